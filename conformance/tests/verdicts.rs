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

/// Nothing is compared with nothing, and that is said.
#[test]
fn a_run_of_no_case_is_no_success() {
    let Some(runc) = runc() else { return };
    let output = conformance(&runc, &runc, &["matrix", "--case", "no-such-case"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("has such a name"), "{output:?}");
    let folder = tempfile::tempdir().unwrap();
    let mut alone = Command::new(env!("CARGO_BIN_EXE_conformance"));
    alone.args(["matrix", "--case", "masked-custom"]).env("CORTEN_BIN", &runc).env("PATH", folder.path());
    let output = alone.env_remove("RUNC_BIN").env_remove("CRUN_BIN").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("matrix: skipped: needs runc or crun"), "{output:?}");
}

/// Where a run has ended early there are no failures: what the control passes has to be passed.
#[test]
fn a_suite_that_died_midway_fails() {
    let Some(_) = runc() else { return };
    let verdict = |control: &str, ours: &str| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("runc.tap"), control).unwrap();
        fs::write(folder.path().join("corten.tap"), ours).unwrap();
        let script = "set -uo pipefail; . suites/daemons.sh; WORK=$0; verdict suite corten";
        let mut command = Command::new("bash");
        command.args(["-c", script]).arg(folder.path()).current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(verdict("ok a\nok b c\nnot ok d\n", "ok b c\nok a\n").0, Some(0));
    let (status, said) = verdict("ok a\nok b c\n", "ok a\n");
    assert_eq!(status, Some(1));
    assert!(said.contains("# passes with runc, fails with corten: b c\n"), "{said}");
    assert_eq!(verdict("ok a\n", "").0, Some(1));
    for control in ["", "not ok a\n"] {
        assert_eq!(verdict(control, "ok a\n").0, Some(2), "a control that passes nothing");
    }
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
