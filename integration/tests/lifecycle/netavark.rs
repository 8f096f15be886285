//! Networks with the netavark and aardvark-dns of newer releases of Debian, which use nftables in place of iptables:
//! `fetch-netavark.sh` fetches them.

use std::path::PathBuf;

use integration::skip;

use super::{details, docker, engine_with, has_networks, networks};

/// The folder of a release's programs.
fn programs(release: &str) -> PathBuf {
    let fetched =
        std::env::var_os("CORTEN_NETAVARK").map_or("/var/cache/corten-netavark".into(), PathBuf::from);
    fetched.join(release).join("usr/lib/podman")
}

fn networks_are_the_same(release: &str) {
    let programs = programs(release);
    if !programs.join("netavark").exists() || !has_networks() {
        return skip::say("needs netavark, aardvark-dns, and tests/lifecycle/fetch-netavark.sh");
    }
    let put = format!("mount --bind {} /usr/lib/podman", programs.display());
    let Some(engine) = engine_with(&[], |engine| drop(engine.run(&["sh", "-c", &put]).ok())) else {
        return skip::say("needs docker");
    };
    let said = engine.run(&["/usr/lib/podman/netavark", "--version"]).ok();
    assert!(!said.contains("netavark 1.4."), "{said}");
    docker::find_each_other(&engine);
    details::keep_networks_apart(&engine);
    let rules = engine.run(&["nft", "list", "table", "inet", "netavark"]).ok();
    assert_eq!(rules.matches("ct status dnat return").count(), 1, "{rules}");
    networks::pass_a_firewall(&engine);
}

#[test]
fn networks_of_debian_13_are_the_same() {
    networks_are_the_same("trixie");
}

#[test]
fn networks_of_debian_sid_are_the_same() {
    networks_are_the_same("sid");
}
