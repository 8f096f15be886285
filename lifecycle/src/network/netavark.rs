//! netavark: the program that makes bridges, interfaces, address translation and, with aardvark-dns, names.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::Command;

use super::Network;
use crate::error::{Error, Result, error};
use crate::{files, program};

/// Where distributions put these programs.
const FOLDERS: [&str; 5] = [
    "/usr/lib/podman",
    "/usr/libexec/podman",
    "/usr/local/libexec/podman",
    "/usr/local/lib/podman",
    "/usr/bin",
];

/// How often, and for how long, is looked whether a netavark of an earlier engine has ended.
const PAUSE: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(60);

/// What flock(1) ends with when it has not.
const BUSY: i32 = 75;

/// A program of netavark's family.
fn find(name: &str) -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// netavark itself, if networks can be made here.
///
/// # Errors
/// With what is missing.
pub(super) fn path() -> Result<PathBuf> {
    find("netavark").ok_or_else(|| {
        Error::internal(
            "networks need the program netavark, which is not on this host (apt-get install netavark aardvark-dns); containers can run with --network none or host",
        )
    })
}

/// Runs `netavark setup` or `teardown` for a network namespace, alone: flock(1) has the lock for as long as netavark
/// runs, whatever becomes of the engine; the next one waits here. Not flock itself: one whose engine was killed too
/// would run netavark when nobody expects it any more.
///
/// # Errors
/// With what netavark says.
pub(super) async fn run(verb: &str, namespace: &Path, state: &Path, options: &Value) -> Result<()> {
    files::make_dir(state, 0o700)?;
    let (netavark, dns, input) = (path()?, find("aardvark-dns"), options.to_string());
    let deadline = Instant::now() + LIMIT;
    let output = loop {
        let mut command = Command::new("flock");
        // Without a descriptor for netavark: aardvark-dns would keep it.
        command.args(["--nonblock", "--close", "--conflict-exit-code", &BUSY.to_string()]);
        command.arg(state.join("lock")).arg(&netavark).arg("--config").arg(state);
        command.args(dns.iter().flat_map(|dns| [Path::new("--aardvark-binary"), dns]));
        command.arg(verb).arg(namespace);
        let output = program::run(command, input.as_bytes()).await?;
        if output.status.code() != Some(BUSY) || Instant::now() >= deadline {
            break output;
        }
        tokio::time::sleep(PAUSE).await;
    };
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = said["error"].as_str().unwrap_or(stderr.trim());
    match output.status.code() {
        Some(0) => Ok(()),
        Some(BUSY) => Err(error!(internal, "an earlier netavark has not ended within {LIMIT:?}")),
        _ => Err(error!(internal, "netavark {verb}: {reason}")),
    }
}

/// Gives a bridge an address that stays. By itself it has that of one of its ports, which come and go, and for seconds
/// containers send to one that is gone.
///
/// # Errors
/// When that fails.
pub(super) async fn keep_address(bridge: &str, address: &str) -> Result<()> {
    // NET_ADDR_SET, linux/netdevice.h.
    let kind = std::fs::read(format!("/sys/class/net/{bridge}/addr_assign_type"));
    if kind.is_ok_and(|kind| kind == b"3\n") {
        return Ok(());
    }
    let mut command = Command::new("ip");
    command.args(["link", "set", "dev", bridge, "address", address]);
    program::told("set the address of the bridge", command, &[]).await.map(drop)
}

/// Before netavark's own rules for networks that are kept apart, for nft(8) and for iptables-restore(8): they reach what
/// others of them publish, as everybody else does. It uses one of the two.
const FIRST: [&str; 2] =
    ["ct status dnat return", "NETAVARK_ISOLATION_1 -m conntrack --ctstate DNAT -j RETURN"];

/// Lets through what Docker lets through, whatever the host's firewall does with the rest: netavark accepts less than that,
/// or where a firewall does not see it. What the networks may do among themselves stays netavark's to say.
pub(super) async fn let_through(networks: &[Network]) {
    let of_nft = async |verb: &str, rule: &str| {
        let mut command = Command::new("nft");
        command.arg(format!("{verb} inet netavark NETAVARK-ISOLATION-1 {rule}"));
        program::told(verb, command, &[]).await
    };
    let in_nft = async {
        // Its own come at the end, so that ours stays where it is.
        let rules = of_nft("list chain", "").await.ok();
        if rules.is_some_and(|rules| !String::from_utf8_lossy(&rules).contains(FIRST[0])) {
            let _none = of_nft("insert rule", FIRST[0]).await;
        }
    };
    let in_iptables = async |program: &str, is_six: bool| {
        // Replaced at once, so that it is never missing; the first time there is none to be taken away.
        let first = format!("-I {}\n", FIRST[1]);
        restore(program, [format!("-D {}\n{first}", FIRST[1]), first]).await;
        // Where they are led to from stays, unless a firewall that was made anew has forgotten it.
        let chains = chains(networks, is_six);
        let ways = [["C", "C"], ["C", "I"], ["I", "C"], ["I", "I"]];
        restore(
            program,
            ways.map(|[forward, input]| {
                format!("{chains}-{forward} FORWARD -j CORTEN-FORWARD\n-{input} INPUT -j CORTEN-INPUT\n")
            }),
        )
        .await;
    };
    tokio::join!(in_nft, in_iptables("iptables-restore", false), in_iptables("ip6tables-restore", true));
}

/// Changes the rules of iptables in the first of these ways that is possible.
async fn restore(program: &str, ways: impl IntoIterator<Item = String>) {
    for rules in ways {
        let mut command = Command::new(program);
        command.args(["--wait", "--noflush"]);
        if program::told(program, command, format!("*filter\n{rules}COMMIT\n").as_bytes()).await.is_ok() {
            break;
        }
    }
}

/// Our chains, for iptables-restore(8).
fn chains(networks: &[Network], is_six: bool) -> String {
    // Each of them in whole: what was in it before is gone.
    let mut rules = ":CORTEN-FORWARD - [0:0]\n:CORTEN-INPUT - [0:0]\n".to_owned();
    let bridges = || networks.iter().filter(|network| network.driver == "bridge");
    let mut forward = |rule: String| rules += &format!("-A CORTEN-FORWARD {rule}\n");
    for own in bridges().map(|network| &network.interface) {
        forward(format!("-o {own} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT"));
        forward(format!("-i {own} -o {own} -j ACCEPT"));
    }
    bridges().for_each(|network| forward(format!("-o {} -j RETURN", network.interface)));
    let led_out = bridges().filter(|network| !network.internal);
    led_out.clone().for_each(|network| forward(format!("-i {} -j ACCEPT", network.interface)));
    for network in led_out.filter(|network| network.name != "bridge") {
        for pool in network.pools.iter().filter(|pool| pool.gateway().is_ipv6() == is_six) {
            for protocol in ["udp", "tcp"] {
                let to = format!("-i {} -d {}", network.interface, pool.gateway());
                rules += &format!("-A CORTEN-INPUT {to} -p {protocol} --dport 53 -j ACCEPT\n");
            }
        }
    }
    rules
}

/// Gives a container another name in networks that have names. netavark has no verb for it: aardvark-dns has a file for
/// each network, in which a container is a line `ID IPv4 IPv6 NAME,NAME`, and reads them all again at SIGHUP.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn rename(state: &Path, networks: &[Network], id: &str, (old, new): (&str, &str)) -> Result<()> {
    let folder = state.join("aardvark-dns");
    for network in networks {
        let path = folder.join(network.file_name());
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let is = |name: &str| name == old || name.strip_prefix(old) == Some(&format!(".{}", network.name));
        let renamed = |name: &str| if is(name) { name.replacen(old, new, 1) } else { name.to_owned() };
        let line = |line: &str| match line.rsplit_once(' ') {
            Some((head, names)) if line.starts_with(id) => {
                format!("{head} {}\n", names.split(',').map(renamed).collect::<Vec<_>>().join(","))
            }
            _ => format!("{line}\n"),
        };
        files::write(&path, text.lines().map(line).collect::<String>().as_bytes(), 0o600)?;
    }
    let pid = std::fs::read_to_string(folder.join("aardvark.pid")).unwrap_or_default();
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
    if let (Ok(pid), "aardvark-dns") = (pid.trim().parse(), comm.trim()) {
        let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGHUP);
    }
    Ok(())
}
