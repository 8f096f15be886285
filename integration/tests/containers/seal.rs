//! The program that containers are entered with is executed from a file that nobody can write to, wherever its own lies.

use integration::container::Container;
use integration::runtime::runtime;
use integration::since;
use std::ffi::OsString;
use std::fs;
use std::process::Command;

/// What the process of a created container runs, when the runtime lies in a directory of this name.
fn executed_from(directory: &str) -> String {
    let mut c = Container::new();
    let place = c.path(directory);
    fs::create_dir_all(&place).unwrap();
    let program = place.join("a program");
    // Not by this process: another of its threads may fork meanwhile, and what is open for writing cannot be executed.
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

/// The environment of the program that enters a container has what the program needs, and nothing else of its caller's.
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
    assert!(environment.contains("USER=somebody") && environment.contains("PATH="), "{environment:?}");
    assert!(!environment.contains("secret"), "{environment:?}");
}
