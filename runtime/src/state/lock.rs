//! Who may change a container: one command at a time, and what the others do meanwhile.

use super::{Record, Result, StateDir, StateError, create};
use crate::sys::fd;
use nix::sys::stat::fstat;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

/// Says to a `create` that its container is not wanted any more.
const UNWANTED: &str = "unwanted";

/// The lock on a state directory; released when dropped.
#[derive(Debug)]
pub struct Lock(Option<File>);

impl AsFd for Lock {
    /// The directory.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().map_or(fd::cwd(), |file| file.as_fd())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A container's process may have a copy of the descriptor: closing is not enough.
        if let Some(file) = &self.0 {
            let _ = file.unlock();
        }
    }
}

/// A lock that others may have for a while.
#[derive(Debug)]
pub struct Released(Option<File>);

impl Lock {
    /// Lets others have it: while hooks run, which may call them, or as long as a container runs.
    #[must_use]
    pub fn release(mut self) -> Released {
        if let Some(file) = &self.0 {
            let _ = file.unlock();
        }
        Released(self.0.take())
    }
}

impl StateDir {
    /// Locks the directory that was just made; [`StateDir::begin`] sees when somebody was quicker, and deleted it.
    pub(super) fn lock_new(&self) -> Result<Lock> {
        let file = self.open_itself()?;
        file.lock().map_err(self.io("lock", &self.path))?;
        Ok(Lock(Some(file)))
    }

    /// Waits until no other command changes this container, and keeps others from it.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it was deleted meanwhile.
    pub fn lock(&self) -> Result<Lock> {
        self.lock_again(Released(Some(self.open_itself()?)))
    }

    /// Takes a lock again, as [`StateDir::lock`]: never that of another container that has the name by now.
    ///
    /// # Errors
    /// [`StateError::Missing`] when the container was deleted meanwhile.
    pub fn lock_again(&self, released: Released) -> Result<Lock> {
        let Released(file) = released;
        if let Some(file) = &file {
            file.lock().map_err(self.io("lock", &self.path))?;
        }
        self.still_there(Lock(file))
    }

    /// As [`StateDir::lock`], without waiting; `None` where somebody else has it.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it was deleted meanwhile.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        let file = self.open_itself()?;
        match file.try_lock() {
            Ok(()) => self.still_there(Lock(Some(file))).map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.io("lock", &self.path)(error)),
        }
    }

    /// As [`StateDir::lock`], of a container that is made, with its record. Nobody waits for a `create`: it may be running
    /// the hook that asks.
    ///
    /// # Errors
    /// [`StateError::Creating`]; [`StateError::Missing`] when there is no such container, or not any more.
    pub fn lock_made(&self) -> Result<(Lock, Record)> {
        let made = || match self.record()? {
            record if record.is_made() => Ok(record),
            _ => Err(StateError::Creating),
        };
        let lock = match self.try_lock()? {
            Some(lock) => lock,
            None => made().and_then(|_| self.lock())?,
        };
        Ok((lock, made()?))
    }

    fn open_itself(&self) -> Result<File> {
        File::open(&self.path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => StateError::Missing,
            _ => self.io("open", &self.path)(source),
        })
    }

    /// Whoever had a lock before may have deleted the directory: what is there now under its name is another container's.
    fn still_there(&self, lock: Lock) -> Result<Lock> {
        let stat = fstat(&lock).map_err(|errno| self.io("stat", &self.path)(errno.into()))?;
        if stat.st_nlink > 0 { Ok(lock) } else { Err(StateError::Missing) }
    }

    /// Says to a `create` that is at work that its container is not wanted any more. Whoever does looks for its process on
    /// record afterwards: either it is there, or the `create` sees this.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn dismiss(&self) -> Result<()> {
        let path = self.path.join(UNWANTED);
        match create(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.io("create", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Whether somebody has said so.
    #[must_use]
    pub fn is_dismissed(&self) -> bool {
        self.path.join(UNWANTED).exists()
    }
}
