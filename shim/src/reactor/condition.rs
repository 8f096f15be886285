//! Waiting for another task.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};

/// A condition variable for tasks: some wait [until](Condition::until) something holds, others say that it
/// may.
#[derive(Default)]
pub struct Condition {
    waiting: RefCell<Vec<(u64, Waker)>>,
    next: Cell<u64>,
}

/// One who waits, in the list of a condition at most once. Not there any more when this is dropped: many
/// conditions never change, such as the end of a connection, and a thousand times a day somebody waits for
/// that or something else.
struct Waiting<'a> {
    condition: &'a Condition,
    number: u64,
}

impl Condition {
    /// A condition that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every waiting task look again.
    pub fn changed(&self) {
        for (_, waker) in self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits until `holds` returns true; it is asked at once and after every [`changed`](Condition::changed).
    pub async fn until(&self, mut holds: impl FnMut() -> bool) {
        self.until_some(|| holds().then_some(())).await;
    }

    /// Waits until `get` returns something.
    pub async fn until_some<T>(&self, mut get: impl FnMut() -> Option<T>) -> T {
        let waiting = Waiting { condition: self, number: self.next.get() };
        self.next.set(waiting.number + 1);
        std::future::poll_fn(|context| match get() {
            Some(value) => Poll::Ready(value),
            None => {
                waiting.wake_by(context.waker());
                Poll::Pending
            }
        })
        .await
    }

    /// How many wait; tests watch it for leaks.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }
}

impl Waiting<'_> {
    fn wake_by(&self, waker: &Waker) {
        let mut all = self.condition.waiting.borrow_mut();
        match all.iter_mut().find(|(number, _)| *number == self.number) {
            // It was woken for other reasons, and asks again.
            Some((_, known)) => known.clone_from(waker),
            None => all.push((self.number, waker.clone())),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut all = self.condition.waiting.borrow_mut();
        if let Some(at) = all.iter().position(|(number, _)| *number == self.number) {
            all.swap_remove(at);
        }
        if all.is_empty() {
            // Not kept: conditions are many, and most of them idle.
            *all = Vec::new();
        }
    }
}
