//! The tasks of the event loop and the queue of those that can go on.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// What the table keeps of a task. The future is out of the table while it is being polled.
struct Task {
    future: Option<LocalFuture>,
    wake: Arc<WakeTask>,
}

/// Puts its task into the ready queue, once until it has run.
struct WakeTask {
    id: u64,
    queued: AtomicBool,
}

#[derive(Default)]
struct Tasks {
    table: RefCell<BTreeMap<u64, Task>>,
    ready: RefCell<VecDeque<u64>>,
    next_id: Cell<u64>,
}

thread_local! {
    static TASKS: Tasks = Tasks::default();
}

impl Wake for WakeTask {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            TASKS.with(|tasks| tasks.ready.borrow_mut().push_back(self.id));
        }
    }
}

/// Starts a task. It runs to its end by itself unless it is [aborted](TaskId::abort).
pub fn spawn(future: impl Future<Output = ()> + 'static) -> TaskId {
    TASKS.with(|tasks| {
        let id = tasks.next_id.get();
        tasks.next_id.set(id + 1);
        let wake = Arc::new(WakeTask { id, queued: AtomicBool::new(false) });
        wake.wake_by_ref();
        tasks.table.borrow_mut().insert(id, Task { future: Some(Box::pin(future)), wake });
        TaskId(id)
    })
}

/// Names a task. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskId(u64);

impl TaskId {
    /// Drops the task where it stands. Nothing happens when it has ended already.
    pub fn abort(self) {
        // Taken out first: dropping the future may spawn, wake or abort.
        let task = TASKS.with(|tasks| tasks.table.borrow_mut().remove(&self.0));
        drop(task);
    }

    /// Tells whether the task has ended.
    pub fn is_done(self) -> bool {
        TASKS.with(|tasks| !tasks.table.borrow().contains_key(&self.0))
    }
}

/// The number of tasks that have not ended; tests watch it for leaks.
pub fn count() -> usize {
    TASKS.with(|tasks| tasks.table.borrow().len())
}

/// Tells whether a task is waiting for its turn.
pub(super) fn any_ready() -> bool {
    TASKS.with(|tasks| !tasks.ready.borrow().is_empty())
}

/// Gives every task that is ready now one turn. Those that become ready meanwhile wait for the next call, so
/// that a busy task cannot keep events from being looked at.
pub(super) fn run_ready() {
    TASKS.with(|tasks| {
        let turns = tasks.ready.borrow().len();
        for _ in 0..turns {
            let Some(id) = tasks.ready.borrow_mut().pop_front() else { return };
            run_one(tasks, id);
        }
    });
}

fn run_one(tasks: &Tasks, id: u64) {
    let Some((mut future, wake)) = tasks
        .table
        .borrow_mut()
        .get_mut(&id)
        .and_then(|task| Some((task.future.take()?, Arc::clone(&task.wake))))
    else {
        return;
    };
    wake.queued.store(false, Ordering::Relaxed);
    let waker = Waker::from(wake);
    let done = match future.as_mut().poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(()) => {
            tasks.table.borrow_mut().remove(&id);
            Some(future)
        }
        // Aborted during its own turn: the entry is gone and the future goes with it.
        Poll::Pending => match tasks.table.borrow_mut().get_mut(&id) {
            Some(task) => task.future.replace(future),
            None => Some(future),
        },
    };
    // Outside of every borrow: a destructor may spawn, wake or abort.
    drop(done);
}
