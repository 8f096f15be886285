//! The floor is honest: its containers see what Corten's see.

use integration::skip;
use std::path::Path;
use std::process::{Command, Output};

/// `bench --compare` with the development build of Corten; nothing where this machine cannot.
fn compare(more: &[&str]) -> Option<Output> {
    let bench = Path::new(env!("CARGO_BIN_EXE_bench"));
    let corten = bench.with_file_name("corten");
    if !nix::unistd::geteuid().is_root() || !corten.is_file() || !Path::new("/bin/busybox").is_file() {
        return None;
    }
    let mut command = Command::new(bench);
    command.args(["--compare", "--only", "corten,floor", "--corten"]).arg(corten).args(more);
    Some(command.output().unwrap())
}

fn same(more: &[&str]) {
    let Some(output) = compare(more) else { skip!("needs root, busybox-static and cargo build -p runtime") };
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if text.contains("no floor") {
        skip!("needs gcc and libc6-dev");
    }
    assert!(output.status.success(), "{text}");
    for shape in ["plain", "docker"] {
        assert!(
            text.contains(&format!("{shape}: containers of corten and of the floor see the same")),
            "{text}"
        );
    }
}

#[test]
fn containers_of_the_floor_see_what_those_of_corten_see() {
    same(&[]);
}

#[test]
fn on_control_groups_of_version_2_too() {
    same(&["--v2"]);
}
