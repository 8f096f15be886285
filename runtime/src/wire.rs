//! What the two halves of a `create` say to each other.
//!
//! One `SOCK_SEQPACKET` pair, one message a packet: a tag, then its payload. The end of the stream means that the
//! other half is gone, or, after [`FromChild::Ready`], that the program runs (the socket closes on exec).
//!
//! | message    | direction | payload                          | then                                            |
//! |------------|-----------|----------------------------------|-------------------------------------------------|
//! | `Mounted`  | → parent  |                                  | hooks of the runtime run; child waits for `Go`  |
//! | `Limits`   | → parent  |                                  | parent sets rlimits; child waits for `Go`       |
//! | `Console`  | → parent  | the terminal's master (fd)       |                                                 |
//! | `Listener` | → parent  | the seccomp listener (fd)        | child waits for `Go`                            |
//! | `Moved`    | → parent  | pid (i32) of who goes on (it ends) | parent reaps it; who goes on waits for `Go`  |
//! | `Ready`    | → parent  |                                  | everything is set up; child waits for `Go` if it is not found otherwise when the parent dies |
//! | `Failure`  | → parent  | errno (i32), what failed (UTF-8) | the child exits                                 |
//! | `Go`       | → child   |                                  | the child goes on                               |

use crate::sys::{Errno, fd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// What a child tells its parent.
#[derive(Debug)]
pub enum FromChild {
    /// All mounts are there, the root has not changed yet.
    Mounted,
    /// Resource limits are wanted, which this process may no longer raise itself.
    Limits,
    /// The master of the container's terminal.
    Console(OwnedFd),
    /// The descriptor on which seccomp asks.
    Listener(OwnedFd),
    /// Another process, with this number, goes on in the place of this one.
    Moved(i32),
    /// Everything is set up.
    Ready,
    /// A step failed; the text says which and why.
    Failure(Failure),
    /// The child is gone, or has become the program.
    End,
}

/// A step that failed in the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kernel's reason, if there was one.
    pub errno: Option<Errno>,
    /// One sentence for the user, reason included.
    pub text: String,
}

/// One end of the connection.
#[derive(Debug)]
pub struct Wire(OwnedFd);

/// Longer failure texts are cut: a packet must fit into a socket buffer whatever a path in it looks like.
const MAX_TEXT: usize = 16 << 10;

/// Where packets are received. Nearly all of them are of one byte: what this program begins with as zeroes costs no memory
/// until something is written there. One thread hears: who holds this waits for a packet.
static PACKET: Mutex<[u8; MAX_TEXT + 5]> = Mutex::new([0; MAX_TEXT + 5]);

/// The flags of sendmsg(2) by which descriptors are sent, all of them without a meaning for this kind of socket. A filter
/// that watches every call knows this one by them: nobody can answer for the process before its listener has arrived.
pub const LISTENER_FLAGS: libc::c_int = libc::MSG_CONFIRM | libc::MSG_EOR | libc::MSG_NOSIGNAL;

const MOUNTED: u8 = b'm';
const CONSOLE: u8 = b'c';
const LISTENER: u8 = b'l';
const LIMITS: u8 = b'q';
const READY: u8 = b'r';
const MOVED: u8 = b'p';
const FAILURE: u8 = b'f';
const GO: u8 = b'g';

impl Wire {
    /// Makes both ends: the parent's and the child's.
    ///
    /// # Errors
    /// The errno of socketpair(2).
    pub fn pair() -> Result<(Self, Self), Errno> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
        let (one, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(one), Self(other)))
    }

    /// Tells the parent something, with a descriptor where the message carries one.
    ///
    /// # Errors
    /// The errno of sendmsg(2); `EPIPE` when the parent is gone.
    pub fn tell(&self, message: &FromChild) -> Result<(), Errno> {
        let (tag, fd) = match message {
            FromChild::Mounted => (MOUNTED, None),
            FromChild::Limits => (LIMITS, None),
            FromChild::Console(fd) => (CONSOLE, Some(fd.as_fd())),
            FromChild::Listener(fd) => (LISTENER, Some(fd.as_fd())),
            FromChild::Ready => (READY, None),
            FromChild::Moved(pid) => {
                let [a, b, c, d] = pid.to_ne_bytes();
                return fd::send(self.0.as_fd(), &[MOVED, a, b, c, d], None);
            }
            FromChild::Failure(failure) => return self.fail(failure),
            FromChild::End => return Ok(()),
        };
        if fd.is_some() {
            return fd::send_with(self.0.as_fd(), &[tag], fd, LISTENER_FLAGS);
        }
        // Plain write(2) and read(2): the last messages are under the container's filter, which allows at least those.
        loop {
            match nix::unistd::write(&self.0, &[tag]) {
                Err(Errno::EINTR) => {}
                result => return result.map(drop),
            }
        }
    }

    fn fail(&self, failure: &Failure) -> Result<(), Errno> {
        let text = failure.text.as_bytes();
        let mut packet = Vec::with_capacity(5 + text.len().min(MAX_TEXT));
        packet.push(FAILURE);
        packet.extend_from_slice(&failure.errno.map_or(0, |errno| errno as i32).to_ne_bytes());
        packet.extend_from_slice(&text[..text.len().min(MAX_TEXT)]);
        match fd::send(self.0.as_fd(), &packet, None) {
            // The container's filter may forbid sendmsg(2), but not write(2); nor is there a signal to fear: somebody
            // is there to read it, or this had been EPIPE.
            Err(errno) if errno != Errno::EPIPE => nix::unistd::write(&self.0, &packet).map(drop),
            result => result,
        }
    }

    /// Waits for the child's next message.
    ///
    /// # Errors
    /// The errno of recvmsg(2); `EBADMSG` for something that no child of ours sends.
    pub fn hear(&self) -> Result<FromChild, Errno> {
        let mut buffer = PACKET.lock().unwrap_or_else(PoisonError::into_inner);
        let (length, fd) = match fd::receive(self.0.as_fd(), &mut *buffer) {
            // A child that was killed in the middle of a message.
            Err(Errno::ECONNRESET) => return Ok(FromChild::End),
            result => result?,
        };
        understand(buffer.get(..length).unwrap_or_default(), fd)
    }

    /// Tells the child to go on.
    ///
    /// # Errors
    /// The errno of sendmsg(2); `EPIPE` when the child is gone.
    pub fn go(&self) -> Result<(), Errno> {
        fd::send(self.0.as_fd(), &[GO], None)
    }

    /// Waits for the parent's `Go`.
    ///
    /// # Errors
    /// The errno of recvmsg(2); `EPIPE` when the parent is gone: this process must end then.
    pub fn wait_for_go(&self) -> Result<(), Errno> {
        let mut buffer = [0; 1];
        loop {
            match nix::unistd::read(&self.0, &mut buffer) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(1) if buffer == [GO] => return Ok(()),
                Ok(0) => return Err(Errno::EPIPE),
                Ok(_) => return Err(Errno::EBADMSG),
            }
        }
    }

    /// Ends this end of the connection in a forked process, whose copy of it would keep it alive.
    pub fn close_in_child(&self) {
        fd::close_copy(self.0.as_fd());
    }

    /// The descriptor, to be waited on.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the bytes of a message and its descriptor mean.
pub(crate) fn understand(bytes: &[u8], fd: Option<OwnedFd>) -> Result<FromChild, Errno> {
    match (bytes, fd) {
        ([], _) => Ok(FromChild::End),
        ([MOUNTED], None) => Ok(FromChild::Mounted),
        ([LIMITS], None) => Ok(FromChild::Limits),
        ([CONSOLE], Some(fd)) => Ok(FromChild::Console(fd)),
        ([LISTENER], Some(fd)) => Ok(FromChild::Listener(fd)),
        ([READY], None) => Ok(FromChild::Ready),
        ([MOVED, a, b, c, d], None) => Ok(FromChild::Moved(i32::from_ne_bytes([*a, *b, *c, *d]))),
        ([FAILURE, a, b, c, d, text @ ..], None) => {
            let errno = i32::from_ne_bytes([*a, *b, *c, *d]);
            Ok(FromChild::Failure(Failure {
                errno: (errno != 0).then(|| Errno::from_raw(errno)),
                text: String::from_utf8_lossy(text).into_owned(),
            }))
        }
        _ => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_sent() {
        let (parent, child) = Wire::pair().expect("socketpair");
        let fd = std::fs::File::open("/dev/null").expect("open").into();
        child.tell(&FromChild::Mounted).expect("sent");
        child.tell(&FromChild::Console(fd)).expect("sent");
        let failure = Failure { errno: Some(Errno::ENOENT), text: "no".repeat(MAX_TEXT) };
        child.tell(&FromChild::Failure(failure)).expect("sent");
        drop(child);
        assert!(matches!(parent.hear(), Ok(FromChild::Mounted)));
        assert!(matches!(parent.hear(), Ok(FromChild::Console(_))));
        match parent.hear() {
            Ok(FromChild::Failure(Failure { errno: Some(Errno::ENOENT), text })) => {
                assert_eq!(text.len(), MAX_TEXT)
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(parent.hear(), Ok(FromChild::End)));
        assert_eq!(parent.go(), Err(Errno::EPIPE));
    }

    #[test]
    fn a_child_whose_parent_is_gone_does_not_go_on() {
        let (parent, child) = Wire::pair().expect("socketpair");
        parent.go().expect("sent");
        drop(parent);
        assert_eq!(child.wait_for_go(), Ok(()));
        assert_eq!(child.wait_for_go(), Err(Errno::EPIPE));
    }
}
