//! Waiting for another task.

use std::cell::RefCell;
use std::task::{Poll, Waker};

/// A condition variable for tasks: some wait [until](Condition::until) something holds, others say that it may.
#[derive(Default)]
pub struct Condition {
    waiting: RefCell<Vec<Waker>>,
}

impl Condition {
    /// A condition that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every waiting task look again.
    pub fn changed(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits until `holds` returns true; it is asked at once and after every [`changed`](Condition::changed).
    pub async fn until(&self, mut holds: impl FnMut() -> bool) {
        self.until_some(|| holds().then_some(())).await;
    }

    /// Waits until `get` returns something.
    pub async fn until_some<T>(&self, mut get: impl FnMut() -> Option<T>) -> T {
        std::future::poll_fn(|context| match get() {
            Some(value) => Poll::Ready(value),
            None => {
                let mut waiting = self.waiting.borrow_mut();
                // A task that is woken for other reasons asks again and again: it must not be listed twice.
                if !waiting.iter().any(|known| known.will_wake(context.waker())) {
                    waiting.push(context.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }
}
