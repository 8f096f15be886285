//! The event loop: one thread, one epoll instance, and the tasks that wait on it.
//!
//! A task is an ordinary `async fn`: it runs until it needs something from outside and continues when epoll
//! or the clock says so. Nothing here ever blocks but the one `epoll_wait`, and nothing that runs here may.
//!
//! - [`run`] drives one future to its end, and all spawned tasks beside it;
//! - [`task`] keeps the tasks; [`Source`] waits for a descriptor; [`clock`] for a time; [`Condition`] for
//!   another task.

pub mod clock;
mod condition;
mod source;
pub mod task;

pub use condition::Condition;
pub use source::Source;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use nix::sys::epoll::EpollTimeout;

/// Drives `main` and every spawned task until `main` ends, and returns its result.
///
/// Fails only when epoll itself does.
pub fn run<T: 'static>(main: impl Future<Output = T> + 'static) -> io::Result<T> {
    let result = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&result);
    task::spawn(async move {
        let value = main.await;
        *slot.borrow_mut() = Some(value);
    });
    loop {
        task::run_ready();
        if let Some(value) = result.borrow_mut().take() {
            return Ok(value);
        }
        let timeout = if task::any_ready() { EpollTimeout::ZERO } else { clock::until_next() };
        source::wait(timeout)?;
        clock::fire();
    }
}

/// Lets every other ready task and event have a turn.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Which of two futures ended first.
pub enum First<A, B> {
    /// The first one, with its result.
    Left(A),
    /// The second one, with its result.
    Right(B),
}

/// Waits until one of two futures ends; the other is dropped.
pub async fn first<A: Future, B: Future>(left: A, right: B) -> First<A::Output, B::Output> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    std::future::poll_fn(|context| {
        if let Poll::Ready(value) = left.as_mut().poll(context) {
            return Poll::Ready(First::Left(value));
        }
        right.as_mut().poll(context).map(First::Right)
    })
    .await
}

/// Waits until both futures have ended, running them side by side.
pub async fn both<A: Future, B: Future>(left: A, right: B) -> (A::Output, B::Output) {
    let (mut left, mut right) = (pin!(left), pin!(right));
    let (mut a, mut b) = (None, None);
    std::future::poll_fn(|context| {
        poll_into(&mut a, left.as_mut(), context);
        poll_into(&mut b, right.as_mut(), context);
        match (a.take(), b.take()) {
            (Some(x), Some(y)) => Poll::Ready((x, y)),
            (x, y) => {
                (a, b) = (x, y);
                Poll::Pending
            }
        }
    })
    .await
}

fn poll_into<F: Future>(result: &mut Option<F::Output>, future: Pin<&mut F>, context: &mut Context<'_>) {
    if result.is_none()
        && let Poll::Ready(value) = future.poll(context)
    {
        *result = Some(value);
    }
}

#[cfg(test)]
mod tests;
