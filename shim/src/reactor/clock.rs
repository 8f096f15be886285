//! Waiting for a time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollTimeout;

use super::{First, first};

#[derive(Default)]
struct Timers {
    /// Sleepers by time, then by a number that keeps equal times apart.
    sleepers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next: Cell<u64>,
}

thread_local! {
    static TIMERS: Timers = Timers::default();
}

/// Waits for `duration`.
pub fn sleep(duration: Duration) -> impl Future<Output = ()> {
    sleep_until(Instant::now() + duration)
}

/// Waits until `deadline`.
pub fn sleep_until(deadline: Instant) -> impl Future<Output = ()> {
    Sleep { deadline, key: None }
}

/// Runs `future` for at most `duration`; `None` when it took longer, and then it is dropped.
pub async fn within<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    match first(future, sleep(duration)).await {
        First::Left(value) => Some(value),
        First::Right(()) => None,
    }
}

struct Sleep {
    deadline: Instant,
    key: Option<(Instant, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        TIMERS.with(|timers| {
            let deadline = self.deadline;
            let key = *self.key.get_or_insert_with(|| {
                let number = timers.next.get();
                timers.next.set(number + 1);
                (deadline, number)
            });
            timers.sleepers.borrow_mut().insert(key, context.waker().clone());
        });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            TIMERS.with(|timers| timers.sleepers.borrow_mut().remove(&key));
        }
    }
}

/// How long epoll may sleep.
pub(super) fn until_next() -> EpollTimeout {
    let next = TIMERS.with(|timers| timers.sleepers.borrow().keys().next().map(|(at, _)| *at));
    let Some(at) = next else { return EpollTimeout::NONE };
    // Rounded up, or the loop would turn idly for the last part of a millisecond.
    let left = at.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
}

/// Wakes the sleepers whose time has come.
pub(super) fn fire() {
    TIMERS.with(|timers| {
        if timers.sleepers.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        loop {
            let mut sleepers = timers.sleepers.borrow_mut();
            match sleepers.first_entry() {
                Some(entry) if entry.key().0 <= now => entry.remove().wake(),
                _ => return,
            }
        }
    });
}
