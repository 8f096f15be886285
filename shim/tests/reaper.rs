//! The reaper, in a test process of its own: all tests of a process would share its children.

#![expect(clippy::unwrap_used)]

use shim::reaper::{launch, own, sweep};
use shim::sys;

fn dead_child() -> i32 {
    let pid = sys::fork(|| 7).unwrap();
    while sys::peek_pid(pid).unwrap().is_none() {
        std::thread::yield_now();
    }
    pid
}

fn is_reaped(pid: i32) -> bool {
    sys::peek_pid(pid).is_err()
}

#[test]
fn orphans_are_reaped_when_nobody_can_claim_them() {
    let orphan = dead_child();
    sweep();
    assert!(is_reaped(orphan));

    // Owned ones stay, also when they come first; orphans behind them go.
    let kept = dead_child();
    let owned = own(kept);
    let orphan = dead_child();
    sweep();
    assert!(is_reaped(orphan) && !is_reaped(kept));
    assert_eq!(sys::reap_pid(kept).unwrap().unwrap().status, 7);
    drop(owned);

    // During a launch an unknown dead child may be the launched one.
    let first = launch();
    let unknown = dead_child();
    sweep();
    assert!(!is_reaped(unknown));
    // A later launch cannot have started it, so the end of the first one frees it.
    let second = launch();
    drop(first);
    assert!(is_reaped(unknown));

    // Claimed in time, it is kept.
    let launched = dead_child();
    sweep();
    let owned = own(launched);
    drop(second);
    assert!(!is_reaped(launched));
    drop(owned);
    sweep();
    assert!(is_reaped(launched));
}
