//! The command fails when it should: a runtime that does less than a control is found out; a machine that
//! lacks a tool-chain is no failure, and says what it lacks.

#![expect(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn in_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// What the tests here need; `None`, said where nothing captures it, when this machine has not all of it.
fn runc() -> Option<PathBuf> {
    let found = in_path("jq").and(in_path("runc")).filter(|_| nix::unistd::geteuid().is_root());
    if found.is_none() {
        let thread = std::thread::current();
        let line = format!("skipped: needs root, runc and jq [{}]\n", thread.name().unwrap_or("?"));
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }
    found
}

/// runc, after a change of the configuration at `create`: an expression of jq.
fn changed(folder: &Path, runc: &Path, change: &str) -> PathBuf {
    let path = folder.join("changed");
    let script = format!(
        r#"#!/bin/sh
previous=
for argument; do
    if [ "$previous" = --bundle ]; then
        jq '{change}' "$argument/config.json" > "$argument/config.new" && mv "$argument/config.new" "$argument/config.json"
    fi
    previous=$argument
done
exec {} "$@"
"#,
        runc.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn conformance(subject: &Path, runc: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    command.args(arguments).env("CORTEN_BIN", subject).env("RUNC_BIN", runc).env("CRUN_BIN", runc);
    command.output().unwrap()
}

#[test]
fn a_runtime_that_does_less_fails_the_matrix() {
    let Some(runc) = runc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let broken = changed(folder.path(), &runc, "del(.linux.maskedPaths)");
    let output = conformance(&broken, &runc, &["matrix", "--case", "masked-custom"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not ok") && said.contains("/data/file"), "{said}");
}

#[test]
fn what_is_missing_is_said_and_is_no_failure() {
    let Some(runc) = runc() else { return };
    let folder = tempfile::tempdir().unwrap();
    // The programs that the scripts themselves are made of, and nothing that they test with.
    for name in
        ["bash", "sh", "env", "dirname", "basename", "cat", "sha256sum", "cut", "find", "sort", "head", "id"]
    {
        std::os::unix::fs::symlink(in_path(name).unwrap(), folder.path().join(name)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    let suites =
        ["runtime-tools", "critest", "critest-2", "containerd", "containerd-client", "docker", "podman"];
    command
        .args(suites)
        .env("PATH", folder.path())
        .env("CORTEN_BIN", &runc)
        .env("CONFORMANCE_CACHE", folder.path());
    command.env("CORTEN_ENGINES", folder.path()).env_remove("CONFORMANCE_PROGRAMS");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for suite in suites {
        assert!(said.contains(&format!("{suite}: skipped: needs ")), "{suite}: {said}");
    }
}

/// The folder that cargo builds in now need not be the one where this program and its runtime are.
#[test]
fn suites_that_are_scripts_judge_the_runtime_beside_the_program() {
    let Some(runc) = runc() else { return };
    let (programs, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let program = programs.path().join("conformance");
    // Not by this process: what another thread's child holds open for writing cannot be executed.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_conformance")).arg(&program).status().unwrap();
    assert!(copied.success());
    std::os::unix::fs::symlink(&runc, programs.path().join("corten")).unwrap();
    let mut command = Command::new(&program);
    command.arg("guest-cgroups").env_remove("CORTEN_BIN");
    for name in ["CARGO_TARGET_DIR", "CONFORMANCE_CACHE"] {
        command.env(name, empty.path());
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    if said.contains("needs the guest") {
        let line =
            "skipped: needs the guest [suites_that_are_scripts_judge_the_runtime_beside_the_program]\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
        return;
    }
    assert!(said.contains("skipped: needs the validation programs"), "{said}");
}
