//! Sockets on which a runtime hands something over: `--console-socket`, `--pidfd-socket`, `NOTIFY_SOCKET`,
//! and the listener of a seccomp profile.

pub mod agent;

use crate::outcome;
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

/// A listening socket that takes one descriptor with its message from each connection.
#[derive(Debug)]
pub struct Receiver(UnixListener);

/// What came over a connection.
#[derive(Debug)]
pub struct Handed {
    /// The descriptors.
    pub fds: Vec<OwnedFd>,
    /// The bytes that came with them.
    pub data: Vec<u8>,
    /// The connection, for what a protocol has after it.
    pub stream: UnixStream,
}

impl Receiver {
    /// Listens on a path.
    ///
    /// # Panics
    /// When that fails.
    pub fn at(path: &Path) -> Receiver {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Receiver(listener)
    }

    /// Waits for a connection and its message.
    ///
    /// # Panics
    /// When none comes in time, or it brings no message.
    pub fn receive(&self) -> Handed {
        let mut stream = None;
        outcome::until("a connection to the socket", || {
            stream = self.0.accept().ok().map(|(stream, _)| stream);
            stream.is_some()
        });
        let stream = stream.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(outcome::BOUND)).unwrap();
        let (data, fds) = receive_fds(stream.as_raw_fd());
        Handed { fds, data, stream }
    }
}

/// One message with its descriptors.
fn receive_fds(socket: RawFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut bytes = vec![0u8; 65_536];
    let mut space = cmsg_space!([RawFd; 16]);
    let mut vector = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(socket, &mut vector, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).unwrap();
    let mut fds = Vec::new();
    for control in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(list) = control {
            fds.extend(list.into_iter().map(crate::sys::adopt));
        }
    }
    let length = message.bytes;
    bytes.truncate(length);
    (bytes, fds)
}

/// A socket as a service manager has for `sd_notify`, read all the time by a thread of its own.
#[derive(Debug)]
pub struct Notifications(mpsc::Receiver<String>);

impl Notifications {
    /// Binds a path. Descriptors that come (as with `BARRIER=1`) are closed at once, which is the answer to
    /// them.
    ///
    /// # Panics
    /// When the path is taken.
    pub fn at(path: &Path) -> Notifications {
        let socket = UnixDatagram::bind(path).unwrap();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            loop {
                let (data, fds) = receive_fds(socket.as_raw_fd());
                drop(fds);
                if sender.send(String::from_utf8_lossy(&data).into_owned()).is_err() {
                    return;
                }
            }
        });
        Notifications(receiver)
    }

    /// Waits for a datagram.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn receive(&self) -> String {
        self.0.recv_timeout(outcome::BOUND).expect("a notification")
    }
}
