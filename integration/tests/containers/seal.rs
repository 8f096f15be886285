//! The program that containers are entered with is executed from a file that nobody can write to, wherever
//! its own lies.

use integration::container::Container;
use integration::runtime::runtime;
use integration::{since, sys};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// What the process of a created container runs, when the runtime lies in a directory of this name.
fn executed_from(directory: &str) -> String {
    let mut c = Container::new();
    let place = c.path(directory);
    fs::create_dir_all(&place).unwrap();
    let program = place.join("a program");
    // Not by this process: another of its threads may fork meanwhile, and what is open for writing cannot be
    // executed.
    let copied = Command::new("cp").arg(&runtime().path).arg(&program).status().unwrap();
    assert!(copied.success());
    // The name of the runtime itself is the script's, and stays out.
    let set = format!("PROGRAM={}", program.display());
    c.via = ["env", &set, "sh", "-c", "exec \"$PROGRAM\" \"$@\""].map(OsString::from).into();
    c.create();
    let link = fs::read_link(format!("/proc/{}/exe", c.pid())).unwrap();
    link.to_str().unwrap().to_owned()
}

#[test]
fn the_seal_is_an_overlay_whatever_the_directory_is_called() {
    since!("a program sealed by an overlay", "runc -", "crun -");
    for directory in ["plain", "a:b", "a,b", "a\\b", ":", "\\:,", "\u{e9} and\nmore"] {
        assert_eq!(executed_from(directory), "/a program", "{directory:?}");
    }
}

/// The program goes on in the sealed file where it runs. Where the kernel does not let itself be told so (it
/// is older, or a filter is in the way), it is executed again from there.
#[test]
fn the_program_is_moved_in_place_or_executed_again() {
    since!("a program that is sealed in place", "runc -", "crun -");
    for refused in [false, true] {
        let c = Container::new();
        c.write_config();
        let outcome = c.call_with(&["create", "--bundle", c.bundle().to_str().unwrap(), &c.id], |command| {
            if refused {
                sys::refuse_with(command, libc::SYS_prctl, libc::PR_SET_MM, libc::EPERM);
            }
        });
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
        let file = |name: &str| format!("/proc/{}/{name}", c.state()["pid"]);
        let name = Path::new("/").join(runtime().path.file_name().unwrap());
        assert_eq!(fs::read_link(file("exe")).unwrap(), name);
        let maps = fs::read_to_string(file("maps")).unwrap();
        let mapped: BTreeSet<_> = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).collect();
        let files: Vec<_> = mapped.iter().filter(|name| name.starts_with('/')).collect();
        assert_eq!(files, [&name.to_str().unwrap()], "{maps}");
        assert_eq!(executed_as(&file("auxv"), &file("mem")) == "/dev/fd/", refused);
    }
}

/// `AT_EXECFN` of a process (getauxval(3)): the kernel notes it when it executes a program, and never again.
fn executed_as(auxv: &str, memory: &str) -> String {
    let notes = fs::read(auxv).unwrap();
    let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
    let note = notes.chunks_exact(16).find(|note| number(&note[..8]) == libc::AT_EXECFN).unwrap();
    // It is the last on the stack.
    let mut text = [0; 8];
    File::open(memory).unwrap().read_exact_at(&mut text, number(&note[8..])).unwrap();
    String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap()).into_owned()
}

/// The list of an overlay's layers has 255 bytes at most.
#[test]
fn the_seal_is_a_copy_in_memory_where_an_overlay_cannot_be_had() {
    since!("a program sealed by an overlay", "runc -", "crun -");
    let long = format!("{0}/{0}", "x".repeat(200));
    assert_eq!(executed_from(&long), "/memfd:corten (deleted)");
}

/// What is opened first gets the lowest number, and is not to be taken for one of the standard streams.
#[test]
fn closed_standard_streams_stay_out_of_it() {
    for (closed, streams) in [("<&-", "0"), (">&-", "1"), ("2>&-", "2"), ("<&- >&- 2>&-", "0 1 2")] {
        let mut c = Container::new();
        c.shell(&format!(
            "for n in {streams}; do [ \"$(readlink /proc/$$/fd/$n)\" = /dev/null ] || exit 1; done; exit 7"
        ));
        c.via = ["sh", "-c", &format!("exec \"$0\" \"$@\" {closed}")].map(OsString::from).into();
        let outcome = c.run(&[]);
        assert_eq!(outcome.status.code(), Some(7), "{closed}: {outcome:?}");
    }
}

/// The environment of the program that enters a container has what the program needs, and nothing else of its
/// caller's.
#[test]
fn the_callers_environment_stays_with_the_caller() {
    since!("a program sealed by an overlay", "runc -", "crun -");
    let c = Container::new();
    c.write_config();
    let many = (0..100).map(|number| (format!("VARIABLE_{number}"), "secret".repeat(100)));
    let outcome = c.call_with(&["create", "--bundle", c.bundle().to_str().unwrap(), &c.id], |command| {
        command.envs(many).env("PATHS", "secret").env("USER", "somebody").env("NOTIFY", "secret");
    });
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    let environment = fs::read(format!("/proc/{}/environ", c.state()["pid"])).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    // What was emptied is empty up to its end.
    assert_eq!(environment.split('\0').filter(|entry| !entry.is_empty() && !entry.contains('=')).count(), 0);
    assert!(environment.contains("USER=somebody") && environment.contains("PATH="), "{environment:?}");
    assert!(!environment.contains("secret"), "{environment:?}");
}
