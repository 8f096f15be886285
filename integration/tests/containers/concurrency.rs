//! Several commands on one container, and several containers, at the same time.

use integration::container::{Container, End};
use integration::runtime::runtime;
use integration::{leaks, outcome, since, skip};
use serde_json::json;
use std::fs;

/// Starts the same command several times and returns how many succeeded.
fn at_once(c: &Container, args: &[&str], count: usize) -> usize {
    let running: Vec<_> = (0..count).map(|_| c.launch(args)).collect();
    let mut successes = 0;
    for run in running {
        let run = run.finish();
        if run.status.success() {
            successes += 1;
        } else {
            assert!(!run.error().is_empty());
        }
    }
    successes
}

#[test]
fn one_of_many_starts_succeeds() {
    since!("one clear result of several starts", "runc -", "crun -");
    for _ in 0..5 {
        let mut c = Container::new();
        c.args(&["/probe", "signals"]);
        c.create();
        let started = at_once(&c, &["start", &c.id], 4);
        assert_eq!(started, 1);
        c.await_line("ready");
        assert_eq!(c.output(), "ready\n");
        assert_eq!(c.status(), "running");
    }
}

#[test]
fn one_of_many_creates_succeeds() {
    since!("one clear result of several creates", "runc 1.2", "crun -");
    for _ in 0..5 {
        let mut c = Container::new();
        c.args(&["/probe", "sleep"]).write_config();
        let bundle = c.bundle().to_str().unwrap().to_owned();
        let created = at_once(&c, &["create", "--bundle", &bundle, &c.id], 4);
        assert_eq!(created, 1);
        assert_eq!(c.status(), "created");
        assert_eq!(leaks::processes(&c.id).len(), 1);
        c.delete_force().ok();
        leaks::assert_none(&c);
    }
}

#[test]
fn many_deletes_leave_nothing() {
    for _ in 0..5 {
        let mut c = Container::new();
        c.sleeping();
        let deleted = at_once(&c, &["delete", "--force", &c.id], 4);
        assert!(deleted >= 1);
        leaks::assert_none(&c);
    }
}

#[test]
fn a_start_and_a_forced_delete_end_in_nothing() {
    for _ in 0..10 {
        let mut c = Container::new();
        c.args(&["/probe", "sleep"]);
        c.create();
        let start = c.launch(&["start", &c.id]);
        let delete = c.launch(&["delete", "--force", &c.id]);
        let start = start.finish();
        if !start.status.success() {
            assert!(!start.error().is_empty());
        }
        delete.finish();
        // Whoever was first: a second delete finds nothing or the rest, and then there is none.
        c.delete_force().ok();
        leaks::assert_none(&c);
    }
}

/// Before, while or after its hook runs, which would never end.
#[test]
fn a_create_and_a_forced_delete_end_in_nothing() {
    since!("clean-up of a container that is being created", "runc -", "crun -");
    for _ in 0..20 {
        let mut c = Container::new();
        c.put("/hooks/createRuntime/-", json!({ "path": "/bin/sleep", "args": ["sleep", "600"] }));
        c.args(&["/probe", "sleep"]).write_config();
        let bundle = c.bundle().to_str().unwrap().to_owned();
        let create = c.launch(&["create", "--bundle", &bundle, &c.id]);
        // As soon as there is something to delete.
        outcome::until("the state directory", || c.root.join(&c.id).exists());
        c.delete_force().ok();
        assert!(!create.finish().error().is_empty());
        leaks::assert_none(&c);
    }
}

#[test]
fn a_kill_during_the_start_is_not_lost() {
    for _ in 0..10 {
        let mut c = Container::new();
        c.args(&["/probe", "sleep"]);
        c.create();
        let start = c.launch(&["start", &c.id]);
        let kill = c.launch(&["kill", &c.id, "KILL"]);
        start.finish();
        assert!(kill.finish().status.success());
        assert_eq!(c.wait(), End::Killed(9));
        assert_eq!(c.status(), "stopped");
        c.delete().ok();
        leaks::assert_none(&c);
    }
}

#[test]
fn an_exec_during_the_end_has_one_clear_result() {
    for _ in 0..10 {
        let mut c = Container::new();
        c.sleeping();
        let execs: Vec<_> = (0..3).map(|_| c.launch(&["exec", &c.id, "/bin/true"])).collect();
        let kill = c.launch(&["kill", &c.id, "KILL"]);
        kill.finish();
        for exec in execs {
            let exec = exec.finish();
            // It ran, it was killed with the container, or it came too late and says so.
            if !exec.status.success() && exec.code() != 137 {
                assert!(!exec.error().is_empty(), "{exec:#?}");
            }
        }
        c.wait();
        c.delete().ok();
        leaks::assert_none(&c);
    }
}

#[test]
fn a_record_that_is_being_written_is_no_container_yet() {
    if !runtime().is_ours() {
        skip!("needs the state files of Corten");
    }
    let c = Container::new();
    let state = c.path("state").join(&c.id);
    for text in ["", "{\"format\":1,\"id\":\"ab"] {
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("state.json"), text).unwrap();
        let outcome = c.call(&["state", &c.id]);
        assert_eq!(outcome.code(), 1, "{outcome:#?}");
        assert!(outcome.error().contains("does not exist"), "{outcome:#?}");
        c.delete_force().ok();
        assert!(!state.exists());
    }
}

#[test]
fn states_can_be_read_at_any_time() {
    let mut c = Container::new();
    c.args(&["/probe", "sleep"]).write_config();
    let bundle = c.bundle().to_str().unwrap().to_owned();
    let create = c.launch(&["create", "--bundle", &bundle, &c.id]);
    let states: Vec<_> = (0..10).map(|_| c.launch(&["state", &c.id])).collect();
    for state in states {
        let state = state.finish();
        if state.status.success() {
            let status = state.json()["status"].as_str().unwrap().to_owned();
            assert!(["creating", "created"].contains(&status.as_str()), "{status}");
        } else {
            assert!(state.error().contains("does not exist"), "{state:#?}");
        }
    }
    create.finish().ok();
}

#[test]
fn many_containers_at_once() {
    let mut containers: Vec<Container> = (0..24).map(|_| Container::new()).collect();
    for (number, c) in containers.iter_mut().enumerate() {
        c.args(&["/bin/echo", &number.to_string()]);
    }
    let running: Vec<_> = containers.iter().map(|c| c.launch_run(&[])).collect();
    for (number, run) in running.into_iter().enumerate() {
        assert_eq!(run.finish().ok().stdout, format!("{number}\n"));
    }
    for c in &containers {
        leaks::assert_none(c);
    }
}

#[test]
fn pause_resume_and_update_at_once_end_in_a_clear_state() {
    let mut c = Container::new();
    c.sleeping();
    for _ in 0..5 {
        let pause = c.launch(&["pause", &c.id]);
        let update = c.launch(&["update", "--pids-limit", "77", &c.id]);
        let resume = c.launch(&["resume", &c.id]);
        for run in [pause, update, resume] {
            run.finish();
        }
        let status = c.status();
        assert!(["running", "paused"].contains(&status.as_str()), "{status}");
        if status == "paused" {
            c.call(&["resume", &c.id]).ok();
        }
        assert_eq!(c.exec(&[], &["/bin/true"]).code(), 0);
    }
    outcome::until("running", || c.status() == "running");
}
