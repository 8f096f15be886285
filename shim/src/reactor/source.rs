//! Waiting for a descriptor.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::condition::Condition;

/// Which side of a descriptor to wait for.
#[derive(Clone, Copy)]
enum Side {
    Read,
    Write,
}

/// What epoll has said of one descriptor. Edge-triggered: a side stays "ready" until an operation on it would
/// block.
#[derive(Default)]
struct Readiness {
    ready: [Cell<bool>; 2],
    waiting: [Condition; 2],
}

impl Readiness {
    fn set(&self, side: Side) {
        self.ready[side as usize].set(true);
        self.waiting[side as usize].changed();
    }
}

#[derive(Default)]
struct Sources {
    epoll: OnceCell<Epoll>,
    by_key: RefCell<BTreeMap<u64, Rc<Readiness>>>,
    next_key: Cell<u64>,
}

thread_local! {
    static SOURCES: Sources = Sources::default();
}

/// A descriptor that tasks can wait for.
pub struct Source {
    fd: OwnedFd,
    key: u64,
    readiness: Rc<Readiness>,
    /// False for a regular file, which epoll does not take and which never makes anybody wait.
    registered: bool,
}

impl Source {
    /// Makes `fd` non-blocking and watches it. Fails when the kernel refuses to (`ENOSPC`, `ENOMEM`).
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Self::watch(fd)
    }

    /// Watches `fd` as it is; for descriptors that are only ever polled, such as a pidfd.
    pub fn watch(fd: OwnedFd) -> io::Result<Self> {
        SOURCES.with(|sources| {
            let key = sources.next_key.get();
            sources.next_key.set(key + 1);
            let readiness = Rc::new(Readiness::default());
            let events =
                EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
            let registered = match sources.epoll()?.add(&fd, EpollEvent::new(events, key)) {
                Ok(()) => true,
                Err(Errno::EPERM) => false,
                Err(error) => return Err(error.into()),
            };
            if registered {
                sources.by_key.borrow_mut().insert(key, Rc::clone(&readiness));
            } else {
                readiness.set(Side::Read);
                readiness.set(Side::Write);
            }
            Ok(Self { fd, key, readiness, registered })
        })
    }

    /// Waits until the descriptor may be read: data, end of file, hang-up or error.
    pub async fn readable(&self) {
        self.ready(Side::Read).await;
    }

    /// Waits until the descriptor may be written, or has failed.
    pub async fn writable(&self) {
        self.ready(Side::Write).await;
    }

    /// Forgets that the descriptor was readable: call it when reading would have blocked.
    pub fn not_readable(&self) {
        self.readiness.ready[Side::Read as usize].set(!self.registered);
    }

    /// Forgets that the descriptor was writable: call it when writing would have blocked.
    pub fn not_writable(&self) {
        self.readiness.ready[Side::Write as usize].set(!self.registered);
    }

    /// Repeats `operation` until it no longer says `EAGAIN`, waiting for readability in between.
    pub async fn read_with<T>(
        &self,
        mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match operation(self.fd.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.not_readable(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return result,
            }
            self.readable().await;
        }
    }

    /// Repeats `operation` until it no longer says `EAGAIN`, waiting for writability in between.
    pub async fn write_with<T>(
        &self,
        mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match operation(self.fd.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.not_writable(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => return result,
            }
            self.writable().await;
        }
    }

    async fn ready(&self, side: Side) {
        let Readiness { ready, waiting } = &*self.readiness;
        waiting[side as usize].until(|| ready[side as usize].get()).await;
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Always by hand: closing alone does not end the watch while a child holds a copy of the descriptor.
        if self.registered {
            SOURCES.with(|sources| {
                if let Ok(epoll) = sources.epoll() {
                    // Fails only for a descriptor that is not watched, which is what we want.
                    let _gone = epoll.delete(&self.fd);
                }
                sources.by_key.borrow_mut().remove(&self.key);
            });
        }
    }
}

impl Sources {
    fn epoll(&self) -> io::Result<&Epoll> {
        if self.epoll.get().is_none() {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            // Cannot have been set since the line above: there is one thread.
            let _first = self.epoll.set(epoll);
        }
        self.epoll.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Waits for events, at most for `timeout`, and wakes the tasks they concern.
pub(super) fn wait(timeout: EpollTimeout) -> io::Result<()> {
    let mut events = [EpollEvent::empty(); 64];
    SOURCES.with(|sources| {
        let count = match sources.epoll()?.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in events.iter().take(count) {
            let Some(readiness) = sources.by_key.borrow().get(&event.data()).cloned() else { continue };
            let what = event.events();
            let failed = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
            if what.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | failed) {
                readiness.set(Side::Read);
            }
            if what.intersects(EpollFlags::EPOLLOUT | failed) {
                readiness.set(Side::Write);
            }
        }
        Ok(())
    })
}
