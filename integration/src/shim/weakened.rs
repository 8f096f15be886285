//! Proof that a test notices the fault it is about: it is run once more with a shim that has the fault.
//!
//! That shim is Corten's with one of its protections off, by a switch that only builds with debug assertions
//! have (the `weak` module of the runtime). Each program of tests has a list of such proofs, by what people
//! have complained about.

use super::pod;
use crate::skip;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What people complain about, the test that is about it, and the protection without which it must fail.
pub type Proof = (&'static str, &'static str, &'static str);

/// How many are tried at once: nearly all of their time is waiting in vain.
const WORKERS: usize = 4;

/// How often a test that passes is tried.
const TRIES: usize = 6;

/// How long, in seconds, the tests wait for what will not happen.
const PATIENCE: u32 = 10;

/// How often a test that fails with nothing off is tried: while all of this goes on, a machine may be slow.
const CONTROLS: usize = 2;

/// Runs each test of the calling program that `proofs` names with nothing off, where it must pass, and
/// without its protection.
///
/// # Panics
/// When one of them passes without its protection, fails with it, or does not exist.
pub fn each_is_noticed(proofs: &[Proof]) {
    each_is_noticed_within(PATIENCE, proofs);
}

/// As [`each_is_noticed`], where something takes more than those few seconds as it is.
///
/// # Panics
/// As there.
pub fn each_is_noticed_within(seconds: u32, proofs: &[Proof]) {
    if !pod::can_be_weakened() || std::env::var_os("CORTEN_WEAKEN").is_some() {
        skip::say("needs Corten's shim in a debug build");
        return;
    }
    let next = AtomicUsize::new(0);
    let (unnoticed, untried) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        while let Some((complaint, test, protection)) = proofs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let run = |weakened: Option<&str>| {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["--exact", test, "--nocapture"]).env("SHIM_PATIENCE", seconds.to_string());
                match weakened {
                    Some(protection) => command.env("CORTEN_WEAKEN", protection),
                    None => command.env_remove("CORTEN_WEAKEN"),
                };
                command.output().unwrap()
            };
            // What fails anyway shows nothing.
            if !(0..CONTROLS).any(|_| run(None).status.success()) {
                unnoticed.lock().unwrap().push(format!("{complaint}: {test} fails with nothing off"));
                continue;
            }
            // Some faults only sometimes show: that they can is what is to be shown.
            let mut output = run(Some(protection));
            for _ in 1..TRIES {
                if !output.status.success() {
                    break;
                }
                output = run(Some(protection));
            }
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            if said.contains("running 0 tests") {
                unnoticed.lock().unwrap().push(format!("{complaint}: there is no test {test}"));
            } else if said.contains("skipped:") {
                untried.lock().unwrap().push(*test);
            } else if output.status.success() {
                unnoticed.lock().unwrap().push(format!("{complaint}: {test} without {protection}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let (unnoticed, untried) = (unnoticed.into_inner().unwrap(), untried.into_inner().unwrap());
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:#?}");
    if !untried.is_empty() {
        skip::say(&format!("needs what these need: {untried:?}"));
    }
}
