//! File descriptors: openat2(2), close_range(2), and messages that carry descriptors.

use super::{Errno, Result, check};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// openat2(2) (Linux 5.6).
///
/// # Errors
/// The errno of openat2(2); `EAGAIN` when a rename raced with a scoped lookup: try again.
pub fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32, resolve: u64) -> Result<OwnedFd> {
    // SAFETY: open_how is plain old data for which zeroes are valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((flags | libc::O_CLOEXEC).cast_unsigned());
    how.mode = u64::from(mode);
    how.resolve = resolve;
    // SAFETY: `path` is NUL-terminated and `how` is valid for its size; both outlive the call.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            dir.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            std::mem::size_of::<libc::open_how>(),
        )
    })?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes ownership of a descriptor that the caller of this program passed to it (`--preserve-fds`, `LISTEN_FDS`).
/// `None` when it is not open.
pub fn inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: F_GETFD takes no pointer and fails cleanly on a number that is not open.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, was opened by the caller of this program or by its first step, and is taken over once, at start.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes ownership of the mount that this program was moved to in place ([`seal::mount`]), if it was.
pub fn of_the_seal() -> Option<OwnedFd> {
    // SAFETY: it was opened by the program's first step, is open, and belongs to who asks first: no other gets it.
    seal::mount().map(|number| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether a descriptor is open and was passed to this program by its caller: what is opened here is close-on-exec, and
/// what came through execve(2) is not.
#[must_use]
pub fn was_passed(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer and fails cleanly on a number that is not open.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// Marks every descriptor from `first` on as close-on-exec (`CLOSE_RANGE_CLOEXEC`, Linux 5.11).
///
/// # Errors
/// The errno of close_range(2): `ENOSYS` or `EINVAL` on older kernels.
pub fn cloexec_from(first: u32) -> Result<()> {
    // SAFETY: no pointers. Marking does not close, so no owner loses its descriptor.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })
    .map(drop)
}

/// Marks one descriptor by number as close-on-exec or not; `EBADF` when it is not open.
///
/// # Errors
/// The errno of fcntl(2).
pub fn set_cloexec(fd: RawFd, on: bool) -> Result<()> {
    // SAFETY: F_SETFD takes no pointer and changes no ownership.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, if on { libc::FD_CLOEXEC } else { 0 }) }).map(drop)
}

/// Sends `bytes` with up to one descriptor (`SCM_RIGHTS`) over a connected Unix socket. A peer that is gone is
/// `EPIPE`, never a signal.
///
/// # Errors
/// The errno of sendmsg(2).
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
    send_with(socket, bytes, fd, 0)
}

/// As [`send`], with further flags of sendmsg(2).
///
/// # Errors
/// The errno of sendmsg(2).
pub fn send_with(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fd: Option<BorrowedFd<'_>>,
    flags: libc::c_int,
) -> Result<()> {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let flags = MsgFlags::from_bits_retain(flags) | MsgFlags::MSG_NOSIGNAL;
    let raw = fd.map(|fd| [fd.as_raw_fd()]);
    let control: Vec<ControlMessage<'_>> = raw.iter().map(|fds| ControlMessage::ScmRights(fds)).collect();
    loop {
        let iov = [std::io::IoSlice::new(bytes)];
        match sendmsg::<()>(socket.as_raw_fd(), &iov, &control, flags, None) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// The most descriptors of one message (`include/net/scm.h`): with room for all, none is installed and not told of.
const SCM_MAX_FD: usize = 253;

/// Receives one message and the descriptor that came with it, if any (close-on-exec). Zero bytes: the peer is gone.
///
/// # Errors
/// The errno of recvmsg(2); `EMSGSIZE` when the message was cut.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut control = nix::cmsg_space!([RawFd; SCM_MAX_FD]);
    loop {
        let mut iov = [std::io::IoSliceMut::new(buffer)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(message) => {
                let mut fds = Vec::new();
                for item in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = item {
                        // SAFETY: the kernel installed these descriptors for this message; nobody else owns them.
                        fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                if message.flags.contains(MsgFlags::MSG_TRUNC) {
                    return Err(Errno::EMSGSIZE);
                }
                return Ok((message.bytes, fds.into_iter().next()));
            }
        }
    }
}

/// Reads a whole regular file that had `size` bytes a moment ago, but no more than `most`.
///
/// # Errors
/// The errno of read(2).
pub fn read_whole(file: BorrowedFd<'_>, size: u64, most: u64) -> Result<Vec<u8>> {
    let number = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let (size, most) = (number(size), number(most));
    // As long as it was, and there was room for more: this is its end, which need not be asked for.
    read_until(file, size.saturating_add(1).min(most), most, |length, room| length == size && room > 0)
}

/// Reads a file that tells all it has at once, as far as there is room, and mostly is short: one that leaves room is whole.
///
/// # Errors
/// The errno of read(2).
pub fn read_short(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    read_until(file, 4096, usize::MAX, |_, room| room > 0)
}

/// Reads a file to its end, to `most` bytes, or to where `is_end` says so, which is told how many bytes there are and for how
/// many more there was room. There is `room` to begin with.
///
/// # Errors
/// The errno of read(2).
pub fn read_until(
    file: BorrowedFd<'_>,
    room: usize,
    most: usize,
    is_end: impl Fn(usize, usize) -> bool,
) -> Result<Vec<u8>> {
    let (mut bytes, mut length) = (vec![0; room], 0);
    while length < bytes.len() {
        match nix::unistd::read(file, &mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        }
        if is_end(length, bytes.len() - length) {
            break;
        }
        if length == bytes.len() {
            bytes.resize(length.saturating_mul(2).min(most), 0);
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// `AT_FDCWD` as a descriptor to borrow: paths relative to the working directory.
pub fn cwd() -> BorrowedFd<'static> {
    // SAFETY: AT_FDCWD is not a descriptor but a value every *at call accepts in its place; it is never closed.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
}

/// `NS_GET_NSTYPE` (ioctl_ns(2), Linux 4.11): the `CLONE_NEW…` flag of a namespace file.
///
/// # Errors
/// The errno of ioctl(2); `ENOTTY` when it is no namespace.
pub fn namespace_type(file: BorrowedFd<'_>) -> Result<libc::c_int> {
    // _IO(0xb7, 0x3)
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: this ioctl takes no argument.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) })
}

/// Closes a forked process's copy of a descriptor that the parent goes on to own. Only for a process that never
/// returns to the owner's code, and uses the descriptor no more.
pub fn close_copy(fd: BorrowedFd<'_>) {
    // SAFETY: in the forked process the owner is never dropped (it ends in execve or _exit), so the number is not
    // closed twice; what is opened under it later belongs to somebody else alone.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// A descriptor of a process that is about to close everything at once, by its end or because it becomes another program:
/// not closed by itself as long as there is room for more. Closing one by one was every fifth call of a container's start.
#[derive(Debug)]
pub struct LazyFd(std::mem::ManuallyDrop<OwnedFd>);

/// Descriptors below this number are left open; 0: none.
static LEFT_OPEN: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);

/// From now on this process, and each that it forks, leaves its [`LazyFd`]s open: up to a few hundred, or half of what
/// `RLIMIT_NOFILE` allows.
pub fn leave_open() {
    use nix::sys::resource::{Resource, getrlimit};
    const MOST: u64 = 400;
    if LEFT_OPEN.load(std::sync::atomic::Ordering::Relaxed) != 0 {
        return;
    }
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| (soft / 2).min(MOST));
    LEFT_OPEN.store(i32::try_from(limit).unwrap_or(0), std::sync::atomic::Ordering::Relaxed);
}

impl From<OwnedFd> for LazyFd {
    fn from(fd: OwnedFd) -> Self {
        Self(std::mem::ManuallyDrop::new(fd))
    }
}

impl From<std::fs::File> for LazyFd {
    fn from(file: std::fs::File) -> Self {
        OwnedFd::from(file).into()
    }
}

impl std::io::Write for &LazyFd {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(nix::unistd::write(self, bytes)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::os::fd::AsFd for LazyFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for LazyFd {
    fn drop(&mut self) {
        if self.0.as_raw_fd() >= LEFT_OPEN.load(std::sync::atomic::Ordering::Relaxed) {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { std::mem::ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// Waits until `socket` can be read (true) or the process of `pidfd` has ended without that (false).
///
/// # Errors
/// The errno of poll(2).
pub fn readable_before(socket: BorrowedFd<'_>, pidfd: BorrowedFd<'_>) -> Result<bool> {
    let poll = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polls = [poll(socket), poll(pidfd)];
    loop {
        // SAFETY: two valid pollfds.
        match Errno::result(unsafe { libc::poll(polls.as_mut_ptr(), 2, -1) }) {
            Err(Errno::EINTR) => {}
            result => return result.map(|_| polls[0].revents & libc::POLLIN != 0),
        }
    }
}

/// Waits until every other end of a pipe is closed.
///
/// # Errors
/// The errno of poll(2).
pub fn wait_for_hangup(pipe: BorrowedFd<'_>) -> Result<()> {
    // Errors and hang-ups are always reported; nothing else is asked for.
    let mut poll = libc::pollfd { fd: pipe.as_raw_fd(), events: 0, revents: 0 };
    loop {
        // SAFETY: one valid pollfd.
        match Errno::result(unsafe { libc::poll(&raw mut poll, 1, -1) }) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// Standard input, whatever it is.
pub fn stdin() -> BorrowedFd<'static> {
    let [stdin, ..] = standard_streams();
    stdin
}

/// Standard output, whatever it is, without the standard library's buffer.
pub fn stdout() -> BorrowedFd<'static> {
    let [_, stdout, _] = standard_streams();
    stdout
}

/// Standard input, output and error, without the buffers of the standard library's.
pub fn standard_streams() -> [BorrowedFd<'static>; 3] {
    // SAFETY: descriptors 0 to 2 are open from the beginning (`process::begin`), and never closed by this program.
    [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) })
}

/// close_range(2) by hand, as far as descriptors go by default: what has a higher number was passed in, and is marked
/// close-on-exec since the start.
fn close_each(first: u32, last: u32) {
    const USUAL: u32 = 1023;
    for number in first..=last.min(USUAL) {
        // SAFETY: as for close_range(2).
        unsafe { libc::close(number.cast_signed()) };
    }
}

/// Closes every descriptor from `first` on but those in `keep` (sorted), in a forked process that owns copies of them
/// and uses none of the others again (close_range(2), Linux 5.9; one by one before that).
///
/// # Errors
/// The errno of close_range(2).
pub fn close_all_but(first: u32, keep: &[u32]) -> Result<()> {
    let mut from = first;
    for keep in keep.iter().copied().chain([u32::MAX]) {
        if keep > from {
            // SAFETY: no pointers. The owners of these descriptors are in memory that this process does not return to.
            match check(unsafe { libc::syscall(libc::SYS_close_range, from, keep - 1, 0) }) {
                Err(Errno::ENOSYS) => close_each(from, keep - 1),
                result => drop(result?),
            }
        }
        from = from.max(keep.saturating_add(1));
    }
    Ok(())
}
