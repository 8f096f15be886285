//! Who is at the other end of a connection, and whether they are still there: also where nothing is read or written.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::sys;

/// How long, in seconds, a client over TCP may be silent until it is asked for a sign of life, and how long that takes
/// before it is asked again (net.KeepAliveConfig of Go has the same).
const SILENCE: u32 = 15;

/// How long a client may take to read what was sent before it gets the rest all the same.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// The socket of a client, and what there is an end to when it has gone.
#[derive(Debug, Clone)]
pub struct Client(Arc<OwnedFd>, Interest);

impl Client {
    /// One of this machine. Who has merely said all that it had to say has not gone: only then nothing can be written.
    ///
    /// # Errors
    /// There is no descriptor for it.
    pub fn local(stream: &UnixStream) -> io::Result<Self> {
        Ok(Self(Arc::new(stream.as_fd().try_clone_to_owned()?), Interest::WRITABLE))
    }

    /// One over TCP, which says no more of its end than that it has nothing more to say, and where it falls silent, nothing
    /// at all. (TLS tells of the end of the input alone by itself.)
    ///
    /// # Errors
    /// There is no descriptor for it.
    pub fn far(stream: &TcpStream) -> io::Result<Self> {
        setsockopt(stream, sockopt::KeepAlive, &true)?;
        setsockopt(stream, sockopt::TcpKeepIdle, &SILENCE)?;
        setsockopt(stream, sockopt::TcpKeepInterval, &SILENCE)?;
        Ok(Self(Arc::new(stream.as_fd().try_clone_to_owned()?), Interest::READABLE))
    }

    /// Waits until it has hung up.
    pub async fn hung_up(&self) {
        let Self(socket, interest) = self;
        let own = socket.try_clone().and_then(|socket| sys::watched(socket, *interest));
        let Ok(socket) = own else { return pending().await };
        while let Ok(mut seen) = socket.ready(*interest).await {
            let ready = seen.ready();
            if ready.is_write_closed() || interest.is_readable() && ready.is_read_closed() {
                return;
            }
            // To wait for what comes next.
            seen.clear_ready();
        }
    }

    /// Waits until it has read all that was sent: docker-py loses what comes together with the header of an answer.
    pub async fn has_read(&self) {
        let deadline = Instant::now() + READ_LIMIT;
        while Instant::now() < deadline && sys::unread(self.0.as_fd()).is_ok_and(|bytes| bytes > 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
