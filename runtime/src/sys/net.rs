//! Network interfaces: the ioctls of netdevice(7).

use super::{Errno, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Brings the loopback interface of this network namespace up.
///
/// # Errors
/// The errno of socket(2) or ioctl(2).
pub fn loopback_up() -> Result<()> {
    // SAFETY: no pointers.
    let socket =
        Errno::result(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: ifreq is plain old data for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq with a NUL-terminated name, which outlives the call.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
        .map(drop)
}

/// An rtnetlink(7) message under construction: a header, a fixed part, then attributes.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        // Names and numbers only: far below the 16 bits of a length (CVE-2021-43784).
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn send(mut self, socket: &OwnedFd) -> Result<()> {
        let length = u32::try_from(self.0.len()).unwrap_or(0);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        use nix::sys::socket::{MsgFlags, recv, send};
        send(socket.as_raw_fd(), &self.0, MsgFlags::empty())?;
        acknowledged(socket, &mut |buffer| recv(socket.as_raw_fd(), buffer, MsgFlags::empty()))
    }
}

/// Reads answers up to the acknowledgement, whose error is the result.
fn acknowledged(_: &OwnedFd, receive: &mut dyn FnMut(&mut [u8]) -> Result<usize>) -> Result<()> {
    const NLMSG_ERROR: u16 = 2;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = receive(&mut buffer)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let (Some(size), Some(kind)) = (number(rest, 0), rest.get(4..6)) {
            if u16::from_ne_bytes([kind[0], kind[1]]) == NLMSG_ERROR {
                let error = number(rest, 16).unwrap_or(0).cast_signed();
                return if error == 0 { Ok(()) } else { Err(Errno::from_raw(-error)) };
            }
            let next = (size as usize).next_multiple_of(4).max(16);
            rest = rest.get(next..).unwrap_or_default();
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn netlink() -> Result<OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
}

const RTM_NEWLINK: u16 = 16;
const ACKNOWLEDGE: u16 = 1 | 4;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;

/// Moves the interface `outside` of this network namespace to `namespace` under the name `inside`.
///
/// # Errors
/// The kernel's errno: `ENODEV` when there is no such interface, `EEXIST` when the name is taken there.
pub fn move_interface(outside: &str, inside: &str, namespace: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    let name = std::ffi::CString::new(outside).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `name` is NUL-terminated and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(Errno::ENODEV);
    }
    let socket = netlink()?;
    let mut message = Message::new(RTM_NEWLINK, ACKNOWLEDGE);
    message.0.extend_from_slice(&[0; 4]);
    message.0.extend_from_slice(&index.to_ne_bytes());
    message.0.extend_from_slice(&[0; 8]);
    message.attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
    message.attribute(IFLA_IFNAME, &[inside.as_bytes(), b"\0"].concat());
    message.send(&socket)
}
