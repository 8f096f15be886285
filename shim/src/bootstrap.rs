//! `start`: makes sure that a shim serves the container, and tells containerd its address.
//!
//! One shim serves all containers of a group: those of a pod, which carry an annotation, or one container
//! alone. The socket's name follows from the group, so the second container of a pod finds the shim of the
//! first.
//!
//! containerd has asked in four dialects so far. Until 2.2 it sends the runtime options on standard input,
//! from 2.3 on a `BootstrapParams` message; each wants its own kind of answer on standard output and nothing
//! on standard error.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use prost::Message;
use serde::Deserialize;

use runtime::weak;

use crate::args::Args;
use crate::options::{self, RuntimeOptions};
use crate::proto::bootstrap::{BootstrapParams, BootstrapResult, LogLevel};
use crate::proto::well_known::Any;
use crate::sys::{self, ChildSetup};
use crate::ttrpc::client::connect_now;
use crate::{bundle, sha256};

/// Where sockets are unless containerd names another place.
const SOCKET_DIR: &str = "/run/containerd/s";

/// The kernel takes 107 bytes and a NUL; containerd allows 106.
const MAX_SOCKET_PATH: usize = 106;

/// Annotations that name the group of a container, in the order in which they count.
const GROUP_ANNOTATIONS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// What to do about a runtime that is configured for what there is not.
pub const NO_SANDBOXES: &str =
    "this shim makes no sandboxes of its own: set sandboxer = \"podsandbox\" for this runtime";

/// The number of the listening socket in the daemon.
pub const LISTENER_FD: i32 = 3;

/// Why no shim could be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something about a file or socket.
    #[error("{step} {path}: {source}", path = path.display())]
    Path {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The bundle's config.json is no JSON.
    #[error("read {path}: {source}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The bundle has no config.json: containerd has made it for a sandbox of the shim's own making.
    #[error("read {path}: No such file or directory; {NO_SANDBOXES}", path = .0.display())]
    NoConfig(PathBuf),
    /// The path of the socket would be too long.
    #[error("socket path {0:?} is longer than {MAX_SOCKET_PATH} bytes")]
    TooLong(PathBuf),
    /// The runtime options make no sense.
    #[error(transparent)]
    Options(#[from] options::Error),
    /// No hierarchy has the cgroup that the shim is to go into.
    #[error("ShimCgroup {0:?} does not exist in any hierarchy")]
    NoCgroup(String),
    /// The daemon could not be started.
    #[error("start the shim's daemon: {0}")]
    Spawn(io::Error),
}

fn at(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Path { step, path, source }
}

/// What containerd wants to know, and in which words.
enum Dialect {
    /// containerd before 2.3, and CRI-O: the plain address.
    Plain,
    /// Asked for by the environment, for containerd 2.0 to 2.2: saves one start for each further container of
    /// a pod.
    Json,
    /// containerd from 2.3 on.
    Message(Box<BootstrapParams>),
}

/// Serves `start` and returns what is to be printed, byte for byte.
pub fn start(args: &Args) -> Result<Vec<u8>, Error> {
    let bundle = std::env::current_dir().map_err(at("find", Path::new(".")))?;
    let input = options::read_input().map_err(at("read", Path::new("standard input")))?;
    let (dialect, options) = understand(&input, args)?;
    let group = group_of(&bundle)?.unwrap_or_else(|| args.id.clone());
    let socket = socket_path(&dialect, args, &group)?;
    let address = format!("unix://{}", socket.display());
    if let Some(listener) = listen(&socket)? {
        let file = SocketFile::of(&socket);
        if let Err(error) = start_daemon(args, &dialect, &options, listener) {
            let _gone = file.remove();
            return Err(error);
        }
    }
    write_address(&bundle, &address)?;
    Ok(answer(&dialect, address))
}

/// Tells the dialects apart by what arrived. Runtime options decode as `BootstrapParams` too, with a type's
/// name as the id: only the right id and namespace make it one.
fn understand(input: &[u8], args: &Args) -> Result<(Dialect, RuntimeOptions), Error> {
    let params = BootstrapParams::decode(input)
        .ok()
        .filter(|params| params.instance_id == args.id && params.namespace == args.namespace);
    if let Some(params) = params {
        let extension = params.extensions.iter().filter_map(|extension| extension.value.as_ref());
        let options = extension.map(|any| RuntimeOptions::decode(Some(any))).find_map(Result::ok);
        return Ok((Dialect::Message(Box::new(params)), options.unwrap_or_default()));
    }
    let any = Any::decode(input).unwrap_or_default();
    let dialect = match std::env::var("CORTEN_TASK_API") {
        Ok(version) if version == "3" => Dialect::Json,
        _ => Dialect::Plain,
    };
    Ok((dialect, RuntimeOptions::decode(Some(&any))?))
}

/// The part of [`crate::fuzz`] that looks inside of this module: a socket's path is short, and in the folder
/// that was named.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(input: &[u8]) {
    let (id, namespace) = ("c1".to_owned(), "default".to_owned());
    let address = "/run/containerd/containerd.sock".to_owned();
    let action = crate::args::Action::Start;
    let args = Args { action, namespace, id, address, bundle: String::new(), debug: false };
    // Options may name a file, and not each is fit to be opened here.
    if input.windows(15).any(|part| part == b"runtimeoptions.") {
        return;
    }
    let Ok((dialect, _)) = understand(input, &args) else { return };
    for group in ["c1", std::str::from_utf8(input).unwrap_or_default()] {
        if let Ok(path) = socket_path(&dialect, &args, group) {
            assert!(path.as_os_str().len() <= MAX_SOCKET_PATH);
            assert!(path.file_name().is_some_and(|name| name.len() == 64));
        }
    }
    let _ = answer(&dialect, "unix:///run/x".to_owned());
}

/// The group that the bundle's annotations name.
fn group_of(bundle: &Path) -> Result<Option<String>, Error> {
    #[derive(Deserialize, Default)]
    struct Config {
        #[serde(default)]
        annotations: Option<std::collections::BTreeMap<String, String>>,
    }
    let path = bundle.join("config.json");
    let text = fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NoConfig(path.clone()),
        _ => at("read", &path)(error),
    })?;
    let config: Config = serde_json::from_slice(&text).map_err(|source| Error::Config { path, source })?;
    let mut annotations = config.annotations.unwrap_or_default();
    Ok(GROUP_ANNOTATIONS.iter().find_map(|name| annotations.remove(*name)))
}

/// Where the shim of a group listens.
fn socket_path(dialect: &Dialect, args: &Args, group: &str) -> Result<PathBuf, Error> {
    let folder = match dialect {
        Dialect::Message(params) => params.socket_dir.as_deref().filter(|folder| !folder.is_empty()),
        _ => None,
    };
    // Joined as a path is: Go's path.Join leaves out empty parts and double slashes.
    let parts = [args.address.as_str(), &args.namespace, group];
    let name = parts.iter().filter(|part| !part.is_empty()).fold(String::new(), |path, part| {
        if path.is_empty() { (*part).to_owned() } else { format!("{}/{part}", path.trim_end_matches('/')) }
    });
    let path = Path::new(folder.unwrap_or(SOCKET_DIR)).join(sha256::hex(name.as_bytes()));
    if path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH {
        return Err(Error::TooLong(path));
    }
    Ok(path)
}

/// A socket to listen on; `None` when a shim listens there already.
fn listen(path: &Path) -> Result<Option<OwnedFd>, Error> {
    let folder = folder_of(path);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at("make", folder))?;
    // Two starts of one group could each take the other's fresh socket for a dead one.
    let lock =
        File::open(folder).and_then(|folder| folder.lock().map(|()| folder)).map_err(at("lock", folder))?;
    let mut bound = bind(path);
    if bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
        if is_alive(path) {
            return Ok(None);
        }
        fs::remove_file(path).map_err(at("remove the dead socket", path))?;
        bound = bind(path);
    }
    drop(lock);
    bound.map(|listener| Some(listener.into())).map_err(at("listen on", path))
}

/// The file of a socket, told from one that another shim has put in its place.
pub struct SocketFile {
    path: PathBuf,
    identity: Option<Identity>,
}

/// Device, number, and when it was made: numbers are given again.
type Identity = (u64, u64, i64, i64);

impl SocketFile {
    /// The one that is there now.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }

    /// Removes it if it is still there. `WouldBlock` when a `start` is at work in its folder.
    pub fn remove(&self) -> io::Result<()> {
        let _lock = File::open(folder_of(&self.path)).and_then(|folder| {
            folder.try_lock()?;
            Ok(folder)
        })?;
        if self.identity.is_some() && identity(&self.path) == self.identity {
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let file = path.symlink_metadata().ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec()))
}

fn folder_of(socket: &Path) -> &Path {
    socket.parent().unwrap_or(Path::new("/"))
}

/// Binds a socket that is nobody else's from the beginning.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let mask = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(mask);
    bound
}

/// Whether anybody accepts connections at `path`.
fn is_alive(path: &Path) -> bool {
    if weak::off("hung") {
        return UnixStream::connect(path).is_ok();
    }
    // A full backlog is that of a shim that hangs. It gets as long as a busy one may need.
    for _ in 0..10 {
        match connect_now(path) {
            Err(Errno::EAGAIN) => std::thread::sleep(Duration::from_millis(10)),
            connected => return connected.is_ok(),
        }
    }
    false
}

/// Starts the daemon: this program again, in a process group of its own, with the socket and without our
/// stdio.
fn start_daemon(
    args: &Args,
    dialect: &Dialect,
    options: &RuntimeOptions,
    listener: OwnedFd,
) -> Result<(), Error> {
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command.args(["-namespace", &args.namespace, "-id", &args.id, "-address", &args.address]);
    let debug = match dialect {
        Dialect::Message(params) => params.log_level <= LogLevel::Debug as i32,
        _ => false,
    };
    if args.debug || debug {
        command.arg("-debug");
    }
    if let Dialect::Message(params) = dialect
        && std::env::var_os("TTRPC_ADDRESS").is_none()
    {
        command.env("TTRPC_ADDRESS", &params.containerd_ttrpc_address);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let setup = ChildSetup {
        own_group: true,
        pass: vec![listener],
        core_scheduling: std::env::var_os("SCHED_CORE").is_some_and(|value| !value.is_empty()),
        ..ChildSetup::default()
    };
    sys::prepare_child(&mut command, setup);
    let mut child = command.spawn().map_err(Error::Spawn)?;
    let placed = place(child.id(), options);
    if placed.is_err() {
        // Gone when the caller is told that there is none.
        let _killed = child.kill().and_then(|()| child.wait());
    }
    placed
}

/// Puts the daemon into its cgroup, and before the containers in the order of victims when memory runs out.
fn place(pid: u32, options: &RuntimeOptions) -> Result<(), Error> {
    if !options.shim_cgroup.is_empty() {
        let files = cgroup_files(&options.shim_cgroup);
        if files.is_empty() {
            return Err(Error::NoCgroup(options.shim_cgroup.clone()));
        }
        for file in files {
            append(&file, &pid.to_string()).map_err(at("join cgroup", &file))?;
        }
    }
    let parent = PathBuf::from(format!("/proc/{}/oom_score_adj", nix::unistd::getppid()));
    let score = fs::read_to_string(&parent).map_err(at("read", &parent))?;
    let score = score.trim().parse::<i32>().unwrap_or(0).saturating_add(1).min(1000);
    let own = PathBuf::from(format!("/proc/{pid}/oom_score_adj"));
    append(&own, &score.to_string()).map_err(at("write", &own))
}

/// The cgroup.procs files of a cgroup in every hierarchy that has it.
fn cgroup_files(cgroup: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let inside = |hierarchy: PathBuf| hierarchy.join(cgroup.trim_start_matches('/')).join("cgroup.procs");
    if root.join("cgroup.controllers").exists() {
        return vec![inside(root.to_owned())];
    }
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten();
    // Of controllers that share a hierarchy, the other names are links.
    let own = hierarchies.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    own.map(|entry| inside(entry.path())).filter(|file| file.exists()).collect()
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// Leaves the address in the bundle, where containerd before 2.0 looks for it after a restart.
fn write_address(folder: &Path, address: &str) -> Result<(), Error> {
    let path = folder.join("address");
    let temporary = folder.join(format!(".address-{}", std::process::id()));
    bundle::write(&temporary, address.as_bytes())
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(at("write", &path))
}

fn answer(dialect: &Dialect, address: String) -> Vec<u8> {
    match dialect {
        // No newline: some versions take it for a part of the address.
        Dialect::Plain => address.into_bytes(),
        Dialect::Json => format!(r#"{{"version":3,"address":"{address}","protocol":"ttrpc"}}"#).into_bytes(),
        Dialect::Message(_) => {
            BootstrapResult { version: 3, address, protocol: "ttrpc".to_owned(), ..Default::default() }
                .encode_to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::bootstrap::Extension;
    use crate::proto::runc_options::Options;

    fn args() -> Args {
        let line = "-namespace k8s.io -id c1 -address /run/containerd/containerd.sock start";
        Args::parse(line.split(' ').map(str::to_owned)).unwrap()
    }

    fn options() -> Any {
        let options = Options { systemd_cgroup: true, ..Options::default() };
        Any { type_url: "containerd.runc.v1.Options".into(), value: options.encode_to_vec() }
    }

    #[test]
    fn the_dialects_are_told_apart() {
        let (dialect, found) = understand(&options().encode_to_vec(), &args()).unwrap();
        assert!(matches!(dialect, Dialect::Plain) && found.systemd_cgroup);
        assert_eq!(answer(&dialect, "unix:///s".into()), b"unix:///s");
        let (dialect, _) = understand(b"", &args()).unwrap();
        assert!(matches!(dialect, Dialect::Plain));

        let params = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "k8s.io".into(),
            extensions: vec![Extension { value: Some(options()) }],
            ..Default::default()
        };
        let (dialect, found) = understand(&params.encode_to_vec(), &args()).unwrap();
        assert!(matches!(dialect, Dialect::Message(_)) && found.systemd_cgroup);
        let result = BootstrapResult::decode(&answer(&dialect, "unix:///s".into())[..]).unwrap();
        assert_eq!(
            (result.version, result.address.as_str(), result.protocol.as_str()),
            (3, "unix:///s", "ttrpc")
        );

        // Another container's parameters are not ours.
        let other = BootstrapParams { instance_id: "c2".into(), ..params };
        assert!(matches!(understand(&other.encode_to_vec(), &args()), Err(Error::Options(_))));
    }

    #[test]
    fn the_socket_is_where_other_shims_have_it() {
        // As the Go shim of containerd 2.1 names it for these three parts.
        let path = socket_path(&Dialect::Plain, &args(), "pod").unwrap();
        let expected = sha256::hex(b"/run/containerd/containerd.sock/k8s.io/pod");
        assert_eq!(path, Path::new(SOCKET_DIR).join(expected));
        let params = BootstrapParams { socket_dir: Some("/run/user/1000/s".into()), ..Default::default() };
        let rootless = socket_path(&Dialect::Message(Box::new(params)), &args(), "pod").unwrap();
        assert!(rootless.starts_with("/run/user/1000/s"));
        let deep = BootstrapParams { socket_dir: Some(format!("/{}", "d".repeat(50))), ..Default::default() };
        assert!(matches!(
            socket_path(&Dialect::Message(Box::new(deep)), &args(), "p"),
            Err(Error::TooLong(_))
        ));
    }

    #[test]
    fn a_group_is_named_by_annotations_in_their_order() {
        let bundle = tempfile::tempdir().unwrap();
        let group = |config: &str| {
            fs::write(bundle.path().join("config.json"), config).unwrap();
            group_of(bundle.path())
        };
        assert_eq!(group("{}").unwrap(), None);
        assert_eq!(group(r#"{"annotations":null}"#).unwrap(), None);
        let cri = r#""io.kubernetes.cri.sandbox-id":"pod""#;
        assert_eq!(group(&format!(r#"{{"annotations":{{{cri}}}}}"#)).unwrap().as_deref(), Some("pod"));
        let both = format!(r#"{{"annotations":{{{cri},"io.containerd.runc.v2.group":"mine"}}}}"#);
        assert_eq!(group(&both).unwrap().as_deref(), Some("mine"));
        assert!(matches!(group("{"), Err(Error::Config { .. })));
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s/socket");
        let first = listen(&path).unwrap().unwrap();
        assert!(listen(&path).unwrap().is_none());
        drop(first);
        assert!(listen(&path).unwrap().is_some());
    }
}
