//! The event loop by itself: order, time-outs, aborts, and descriptors.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};

use super::clock::{sleep, within};
use super::task::{count, spawn};
use super::{Condition, First, Source, both, first, run, yield_now};

#[test]
fn tasks_take_turns() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&log);
    run(async move {
        for name in ["a", "b"] {
            let log = Rc::clone(&log);
            spawn(async move {
                for turn in 0..3 {
                    log.borrow_mut().push(format!("{name}{turn}"));
                    yield_now().await;
                }
            });
        }
        sleep(Duration::from_millis(5)).await;
    })
    .unwrap();
    assert_eq!(seen.borrow().join(" "), "a0 b0 a1 b1 a2 b2");
}

#[test]
fn a_pipe_wakes_its_reader_and_its_writer() {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let total = run(async move {
        let (reader, writer) = (Source::new(reader).unwrap(), Source::new(writer).unwrap());
        let sent = 300_000;
        spawn(async move {
            let mut left = sent;
            while left > 0 {
                // More than a pipe holds: the writer must be woken when the reader has made room.
                let chunk = vec![7_u8; left.min(100_000)];
                left -= writer.write_with(|fd| Ok(write(fd, &chunk)?)).await.unwrap();
            }
        });
        let mut total = 0;
        let mut buffer = [0; 4096];
        loop {
            match reader.read_with(|fd| Ok(read(fd, &mut buffer)?)).await {
                Ok(0) => return total,
                Ok(some) => total += some,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .unwrap();
    assert_eq!(total, 300_000);
}

#[test]
fn a_descriptor_wakes_all_who_wait_for_it() {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let woken = run(async move {
        let (reader, woken) = (Rc::new(Source::new(reader).unwrap()), Rc::new(Cell::new(0)));
        for _ in 0..3 {
            let (reader, woken) = (Rc::clone(&reader), Rc::clone(&woken));
            spawn(async move {
                reader.readable().await;
                woken.set(woken.get() + 1);
            });
        }
        yield_now().await;
        drop(writer);
        reader.readable().await;
        yield_now().await;
        woken.get()
    })
    .unwrap();
    assert_eq!(woken, 3);
}

#[test]
fn a_time_out_drops_what_took_too_long() {
    struct Dropped(Rc<Cell<bool>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let dropped = Rc::new(Cell::new(false));
    let guard = Dropped(Rc::clone(&dropped));
    let result = run(async move {
        within(Duration::from_millis(1), async move {
            let _guard = guard;
            Condition::new().until(|| false).await;
        })
        .await
    })
    .unwrap();
    assert!(result.is_none());
    assert!(dropped.get());
}

#[test]
fn an_aborted_task_is_gone_even_during_its_own_turn() {
    let reached = Rc::new(Cell::new(false));
    let flag = Rc::clone(&reached);
    run(async move {
        let before = count();
        let own_id = Rc::new(Cell::new(None));
        let id = Rc::clone(&own_id);
        let task = spawn(async move {
            yield_now().await;
            if let Some(task) = id.get() {
                let task: super::task::TaskId = task;
                task.abort();
            }
            yield_now().await;
            flag.set(true);
        });
        own_id.set(Some(task));
        sleep(Duration::from_millis(2)).await;
        assert!(task.is_done());
        assert_eq!(count(), before);
    })
    .unwrap();
    assert!(!reached.get());
}

#[test]
fn a_condition_wakes_everybody_once() {
    let value = Rc::new(Cell::new(0));
    let condition = Rc::new(Condition::new());
    let woken = Rc::new(Cell::new(0));
    let seen = Rc::clone(&woken);
    run(async move {
        for _ in 0..10 {
            let (value, condition, woken) = (Rc::clone(&value), Rc::clone(&condition), Rc::clone(&woken));
            spawn(async move {
                condition.until(|| value.get() == 2).await;
                woken.set(woken.get() + 1);
            });
        }
        for step in 1..=2 {
            yield_now().await;
            value.set(step);
            condition.changed();
        }
        sleep(Duration::from_millis(1)).await;
    })
    .unwrap();
    assert_eq!(seen.get(), 10);
}

#[test]
fn combinators_return_what_ended() {
    run(async {
        assert!(matches!(first(async { 1 }, sleep(Duration::from_secs(60))).await, First::Left(1)));
        let pair = both(
            async {
                sleep(Duration::from_millis(1)).await;
                1
            },
            async { 2 },
        );
        assert_eq!(pair.await, (1, 2));
    })
    .unwrap();
}

#[test]
fn a_regular_file_never_makes_anybody_wait() {
    let file = tempfile::tempfile().unwrap();
    let written = run(async move {
        let source = Source::new(file.into()).unwrap();
        source.write_with(|fd| write(fd, b"text").map_err(io::Error::from)).await
    })
    .unwrap();
    assert_eq!(written.unwrap(), 4);
}

#[test]
fn nobody_is_kept_who_does_not_wait_any_more() {
    run(async {
        let never = Rc::new(Condition::new());
        for _ in 0..100 {
            let never = Rc::clone(&never);
            first(never.until(|| false), yield_now()).await;
        }
        assert_eq!(never.waiting(), 0, "a future that was dropped");
        let waits = Rc::clone(&never);
        let task = spawn(async move { waits.until(|| false).await });
        yield_now().await;
        never.changed();
        yield_now().await;
        assert_eq!(never.waiting(), 1, "one who looked again");
        task.abort();
        assert_eq!(never.waiting(), 0, "a task that was ended");
    })
    .unwrap();
}
