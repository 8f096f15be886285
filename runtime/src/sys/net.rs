//! Network interfaces: the ioctls of netdevice(7), and the requests of rtnetlink(7) that move one.

use super::fd::LazyFd;
use super::{Errno, Result};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Brings the loopback interface of this network namespace up.
///
/// # Errors
/// The errno of socket(2) or ioctl(2).
pub fn loopback_up() -> Result<()> {
    // SAFETY: no pointers.
    let socket =
        Errno::result(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel returned a new descriptor that nobody else owns.
    let socket = LazyFd::from(unsafe { OwnedFd::from_raw_fd(socket) });
    // SAFETY: ifreq is plain old data for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = std::ffi::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    // netdevice(7); its type is another one in each C library.
    const SIOCSIFFLAGS: libc::Ioctl = 0x8914;
    // SAFETY: SIOCSIFFLAGS reads an ifreq with a NUL-terminated name, which outlives the call.
    Errno::result(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCSIFFLAGS, &raw const request) })
        .map(drop)
}

/// A connection to rtnetlink(7), for the network namespace it was opened in.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

/// A permanent address of global scope, as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE_EXCLUSIVE: u16 = 0x600;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_CACHEINFO: u16 = 6;
const IFA_F_PERMANENT: u8 = 0x80;
const SCOPE_GLOBAL: u8 = 0;
const HEADER: usize = 16;

impl Netlink {
    /// Opens a connection for the network namespace of this process.
    ///
    /// # Errors
    /// The errno of socket(2).
    pub fn open() -> Result<Self> {
        use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
        let flags = SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).map(Self)
    }

    /// The index of an interface.
    ///
    /// # Errors
    /// `ENODEV` when there is none of that name.
    pub fn index(&self, name: &str) -> Result<u32> {
        let mut message = Message::new(RTM_GETLINK, REQUEST, &[0; 16]);
        message.attribute(IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
        let mut index = None;
        self.request(message, &mut |kind, body| {
            if kind == RTM_NEWLINK {
                index = number(body, 4);
            }
        })?;
        index.ok_or(Errno::ENODEV)
    }

    /// The permanent addresses of global scope of an interface.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let mut found = Vec::new();
        self.request(Message::new(RTM_GETADDR, REQUEST | DUMP, &[0; 8]), &mut |kind, body| {
            let Some(&[family, prefix, flags, scope]) = body.first_chunk() else { return };
            let wanted = kind == RTM_NEWADDR && number(body, 4) == Some(index);
            if !wanted || flags & IFA_F_PERMANENT == 0 || scope != SCOPE_GLOBAL {
                return;
            }
            let attributes = attributes(body.get(8..).unwrap_or_default());
            // When it was made and how long it lasts: it is permanent.
            let attributes = attributes.into_iter().filter(|(kind, _)| *kind != IFA_CACHEINFO).collect();
            found.push(Address { family, prefix, attributes });
        })?;
        Ok(found)
    }

    /// Moves an interface to another network namespace, under a name.
    ///
    /// # Errors
    /// The kernel's errno: `EEXIST` when the name is taken there.
    pub fn move_interface(
        &self,
        index: u32,
        name: &str,
        namespace: std::os::fd::BorrowedFd<'_>,
    ) -> Result<()> {
        let mut message = Message::new(RTM_NEWLINK, REQUEST | ACKNOWLEDGE, &link(index, 0));
        message.attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        message.attribute(IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
        self.request(message, &mut |_, _| {})
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn add_address(&self, index: u32, address: &Address) -> Result<()> {
        let mut body = vec![address.family, address.prefix, IFA_F_PERMANENT, SCOPE_GLOBAL];
        body.extend_from_slice(&index.to_ne_bytes());
        let mut message = Message::new(RTM_NEWADDR, REQUEST | ACKNOWLEDGE | CREATE_EXCLUSIVE, &body);
        for (kind, value) in &address.attributes {
            message.attribute(*kind, value);
        }
        self.request(message, &mut |_, _| {})
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn up(&self, index: u32) -> Result<()> {
        let up = libc::IFF_UP.cast_unsigned();
        self.request(Message::new(RTM_NEWLINK, REQUEST | ACKNOWLEDGE, &link(index, up)), &mut |_, _| {})
    }

    /// Sends a message and hands every answer to `each`, up to the acknowledgement or the end of a list.
    fn request(&self, message: Message, each: &mut dyn FnMut(u16, &[u8])) -> Result<()> {
        use nix::sys::socket::{MsgFlags, recv, send};
        let single = !message.is_dump();
        send(self.0.as_raw_fd(), &message.bytes(), MsgFlags::empty())?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let (Some(size), Some(kind)) = (number(rest, 0), rest.get(4..6)) {
                let size = (size as usize).max(HEADER);
                let kind = u16::from_ne_bytes([kind[0], kind[1]]);
                let body = rest.get(HEADER..size.min(rest.len())).unwrap_or_default();
                match kind {
                    NLMSG_ERROR => {
                        let error = number(body, 0).unwrap_or(0).cast_signed();
                        return if error == 0 {
                            Ok(())
                        } else {
                            Err(Errno::from_raw(error.saturating_neg()))
                        };
                    }
                    NLMSG_DONE => return Ok(()),
                    kind => each(kind, body),
                }
                if single {
                    return Ok(());
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// `struct ifinfomsg` for an interface, with flags to set.
fn link(index: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for number in [index, flags, flags] {
        body.extend_from_slice(&number.to_ne_bytes());
    }
    body
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn attributes(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some(&[a, b, c, d]) = rest.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = rest.get(4..length) else { break };
        found.push((u16::from_ne_bytes([c, d]), value.to_vec()));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// A message under construction: a header, a fixed part, then attributes.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        // Names, numbers and addresses: far below the 16 bits of a length (CVE-2021-43784).
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn is_dump(&self) -> bool {
        self.0.get(6..8).is_some_and(|flags| u16::from_ne_bytes([flags[0], flags[1]]) & DUMP == DUMP)
    }

    fn bytes(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(0);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}
