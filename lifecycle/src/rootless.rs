//! The engine of a user without privilege over the host: in a user, a mount and a network namespace of the user's own.
//!
//! They are made by `unshare(1)` with the ids of `/etc/subuid` and `/etc/subgid`, and kept by a process that sleeps:
//! an engine that is started again joins them with `nsenter(1)`, where its containers still are. `slirp4netns` gives
//! them a way out. What needs the host stays impossible, and is refused.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use runtime::state::process_times;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, bail, error};
use crate::files;

/// Whether this process is root in a user namespace only.
pub use runtime::privilege::in_user_namespace as is;

/// A directory of this user's, by the variable of the XDG base directory specification.
///
/// # Errors
/// When neither the variable nor its default is set.
pub fn directory(variable: &str, below_home: Option<&str>) -> Result<PathBuf> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || below_home.and_then(|below| Some(of("HOME")?.join(below)));
    let missing =
        || error!(invalid, "without root, {variable} must be set, or --root, --exec-root and -H be given");
    Ok(of(variable).or_else(home).ok_or_else(missing)?.join("corten"))
}

/// The process that keeps the namespaces, and when it was started: its number alone may be another's by now.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    started: String,
}

impl Holder {
    /// A process as it is now; `None` when there is none.
    fn of(pid: u32) -> Option<Self> {
        let (started, _) = process_times(i32::try_from(pid).ok()?).ok()?;
        Some(Self { pid, started: started.to_string() })
    }
}

/// Goes on in the user's own namespaces, with the same arguments.
///
/// # Errors
/// When they cannot be made or joined; it does not return otherwise.
pub fn enter(exec_root: &Path) -> Result<()> {
    files::make_dir(exec_root, 0o700)?;
    let file = exec_root.join("namespaces.json");
    let known: Option<Holder> = files::read_json(&file)?;
    let holder = match known.filter(|known| Holder::of(known.pid).as_ref() == Some(known)) {
        Some(holder) => holder,
        None => {
            let holder = hold(exec_root)?;
            files::write_json(&file, &holder)?;
            holder
        }
    };
    let own = std::env::current_exe().map_err(Error::step("find this program"))?;
    let here = std::env::current_dir().map_err(Error::step("find the working directory"))?;
    let failed = Command::new("nsenter")
        .args(["--user", "--mount", "--net", "--preserve-credentials", "--target", &holder.pid.to_string()])
        .arg(format!("--wd={}", here.display()))
        .arg("--")
        .arg(own)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error!(internal, "join the user's namespaces with nsenter: {failed}"))
}

/// What keeps the namespaces for as long as it is left alone.
const HOLD: &str = "ip link set lo up && echo ready && exec sleep infinity";

/// Makes the namespaces.
fn hold(exec_root: &Path) -> Result<Holder> {
    let mut child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--map-auto", "--mount", "--net", "--propagation", "slave"])
        .args(["--", "sh", "-c", HOLD])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(Error::step("run unshare"))?;
    let ready = child.stdout.take().is_some_and(|mut out| out.read_exact(&mut [0]).is_ok());
    if !ready {
        bail!(
            internal,
            "the user's namespaces cannot be made (unshare says why): it takes ranges of ids in /etc/subuid and /etc/subgid, newuidmap and ip (apt-get install uidmap iproute2)"
        );
    }
    let holder = Holder::of(child.id()).ok_or_else(|| Error::internal("the namespaces are gone again"))?;
    if let Err(error) = way_out(exec_root, holder.pid) {
        eprintln!("cortend: {NO_WAY_OUT}: {error}");
    }
    Ok(holder)
}

/// What is said where slirp4netns is not there or cannot do its work.
pub const NO_WAY_OUT: &str = "containers reach each other, but nothing outside of this host's user";

/// The interface that leads out.
const TAP: &str = "tap0";

/// Whether containers have a way out.
pub fn leads_out() -> bool {
    nix::net::if_::if_nametoindex(TAP).is_ok()
}

/// Starts slirp4netns for the namespaces that a process keeps, and waits until it is ready.
fn way_out(exec_root: &Path, pid: u32) -> Result<()> {
    let path = exec_root.join("slirp4netns.log");
    let log = std::fs::File::create(&path).map_err(Error::at("make", &path))?;
    let (mut ready, told) = std::io::pipe()?;
    Command::new("slirp4netns")
        .args(["--configure", "--mtu=65520", "--disable-host-loopback", "--ready-fd=0"])
        .args([&pid.to_string(), TAP])
        .stdin(told)
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(Error::step("run slirp4netns (apt-get install slirp4netns)"))?;
    ready.read_exact(&mut [0]).map_err(|_| {
        let said = std::fs::read_to_string(&path).unwrap_or_default();
        error!(internal, "slirp4netns: {}", said.trim())
    })
}
