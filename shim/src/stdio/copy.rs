//! Carrying bytes. Every function here is the whole life of one stream in one direction.
//!
//! A side that does not move makes its own stream wait, and through the full pipe the process; nothing else
//! waits.

use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use runtime::weak;

use super::Terminal;
use super::sink::{Sink, write_all};
use crate::reactor::{Source, first, yield_now};
use crate::sys;

/// How much one stream may carry before others have their turn.
const TURN: usize = 1 << 20;

/// Buffer of streams that cannot be spliced: one page, as the terminal hands out no more at once.
const BUFFER: usize = 4096;

/// Gives others their turn again and again, also when neither side of a stream ever has to be waited for.
#[derive(Default)]
struct Turn(usize);

impl Turn {
    async fn carried(&mut self, count: usize) {
        self.0 += count;
        if self.0 >= TURN {
            self.0 = 0;
            yield_now().await;
        }
    }
}

/// Carries a process's output until its pipe ends.
pub(super) async fn to_sink(from: &Source, to: &Sink) -> io::Result<()> {
    if to.is_pipe {
        return splice_all(from, &to.writer).await;
    }
    let mut buffer = [0; BUFFER];
    let mut turn = Turn::default();
    loop {
        let count = from.read_with(|fd| Ok(nix::unistd::read(fd, &mut buffer)?)).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
        turn.carried(count).await;
    }
}

/// Moves everything from one pipe to another until the first one ends or the second one has no reader.
pub(super) async fn splice_all(from: &Source, to: &Source) -> io::Result<()> {
    let mut turn = Turn::default();
    loop {
        match sys::splice(from.as_fd(), to.as_fd(), TURN) {
            Ok(0) => return Ok(()),
            Ok(count) => turn.carried(count).await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_blocked(from, to).await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// After a splice that would block: waits for the side that did not move. The kernel does not say which it
/// was.
async fn wait_for_blocked(from: &Source, to: &Source) -> io::Result<()> {
    if !is_ready(from, PollFlags::POLLIN)? {
        from.not_readable();
        from.readable().await;
    } else if weak::off("other-streams") {
        poll(&mut [PollFd::new(to.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
    } else if !is_ready(to, PollFlags::POLLOUT)? {
        to.not_writable();
        to.writable().await;
    } else {
        // It moved between the two calls.
        yield_now().await;
    }
    Ok(())
}

fn is_ready(source: &Source, side: PollFlags) -> io::Result<bool> {
    let mut fds = [PollFd::new(source.as_fd(), side)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}

/// Carries what a user types to a terminal, until the FIFO ends or the terminal is gone.
pub(super) async fn typed(from: &Source, to: &Terminal) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    let mut turn = Turn::default();
    loop {
        let count = from.read_with(|fd| Ok(nix::unistd::read(fd, &mut buffer)?)).await?;
        if count == 0 {
            return Ok(());
        }
        let Some(master) = to.master() else { return Ok(()) };
        write_all(&master, &buffer[..count]).await?;
        turn.carried(count).await;
    }
}

/// Carries a terminal's output until it is hung up, or over and empty.
///
/// A terminal that no process has open reads as an error, and may be opened again: that does not end it.
pub(super) async fn terminal(from: &Terminal, to: &Sink) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    let mut turn = Turn::default();
    loop {
        let Some(master) = from.master() else {
            let rest = from.rest.take();
            return to.write_all(&rest).await;
        };
        match nix::unistd::read(master.as_fd(), &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                // The reader may stand still.
                drop(master);
                to.write_all(&buffer[..count]).await?;
                turn.carried(count).await;
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EIO) => {
                if from.over.get() {
                    return Ok(());
                }
                master.not_readable();
                first(master.readable(), from.changed.until(|| from.over.get())).await;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}
