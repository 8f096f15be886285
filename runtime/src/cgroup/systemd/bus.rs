//! A connection to systemd: a blocking D-Bus client for the five calls that a container needs.
//!
//! Root talks to systemd itself over its private socket, without a bus daemon between; users do the same with their own
//! systemd. Where that socket is missing or closed, the bus is asked.

use super::Error;
use super::message::{Body, Call, Message, decode, message_length};
use super::properties::Property;
use super::value::Value;
use crate::privilege;
use crate::sys::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, send, socket};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const SYSTEMD: &str = "org.freedesktop.systemd1";
/// The interface of systemd's manager.
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const BUS: &str = "org.freedesktop.DBus";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// How long systemd may take. It needs milliseconds; under a storm of units, seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    socket: UnixStream,
    serial: u32,
    /// There is a bus daemon between: it must be told whom to ask.
    routed: bool,
    /// Jobs that were done before anyone asked for them: path and result.
    done: Vec<(String, String)>,
}

impl Bus {
    /// Connects to the system's systemd, or to the user's.
    ///
    /// # Errors
    /// No socket that answers.
    pub(super) fn connect(user: bool) -> Result<Self, Error> {
        let mut failure = None;
        for (address, routed) in if user { user_addresses() } else { system_addresses() } {
            match Self::open(&address, routed) {
                Ok(bus) => return Ok(bus),
                Err(source) => failure = Some(Error::Connect { address, source }),
            }
        }
        Err(failure.unwrap_or(Error::NoSession))
    }

    fn open(address: &str, routed: bool) -> io::Result<Self> {
        let socket = connect(address, PATIENCE)?;
        let mut bus = Self { socket, serial: 0, routed, done: Vec::new() };
        bus.authenticate()?;
        if routed {
            let mut rule = Body::default();
            rule.string(&format!(
                "type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'"
            ));
            for (member, signature, body) in [("Hello", "", Body::default()), ("AddMatch", "s", rule)] {
                let call = Call {
                    path: "/org/freedesktop/DBus",
                    interface: BUS,
                    member,
                    destination: Some(BUS),
                    signature,
                    body,
                };
                let serial = bus.next_serial();
                bus.write(&call.encode(serial, false))?;
            }
        }
        Ok(bus)
    }

    /// The EXTERNAL mechanism: the kernel tells the other side who this is, and it must be who we say.
    fn authenticate(&mut self) -> io::Result<()> {
        let identity: String = outer_uid().to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        self.write(format!("\0AUTH EXTERNAL {identity}\r\nBEGIN\r\n").as_bytes())?;
        let mut answer = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        // Byte by byte: what comes after the line is not text.
        while !answer.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read_exact(&mut byte, deadline)?;
            answer.push(byte[0]);
            if answer.len() > 1024 {
                break;
            }
        }
        if answer.starts_with(b"OK ") {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&answer).trim().to_owned();
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("not accepted as user {}: {words}", outer_uid()),
        ))
    }

    /// Makes a transient unit and waits until its job is done.
    ///
    /// A property that this systemd does not know is left out, where the file of the cgroup says the same. A failed unit
    /// of the same name that was left over is forgotten first.
    ///
    /// # Errors
    /// systemd's refusal, or a job that ends otherwise than done.
    pub(super) fn start(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        let mut wanted: Vec<&Property> = properties.iter().collect();
        let mut reset = false;
        let job = loop {
            let mut body = Body::default();
            body.string(unit);
            body.string("replace");
            put_properties(&mut body, &wanted);
            // No auxiliary units.
            body.array(8, |_| {});
            match self.call("StartTransientUnit", unit, "ssa(sv)a(sa(sv))", body) {
                Err(Error::Refused { name, .. }) if name.ends_with(".UnitExists") && !reset => {
                    reset = true;
                    self.reset_failed(unit);
                }
                Err(Error::Refused { message, .. }) if drop_unknown(&mut wanted, &message) => {}
                result => break result?,
            }
        };
        self.wait_for("StartTransientUnit", unit, &job)
    }

    /// Changes properties of a unit for as long as it lives.
    ///
    /// # Errors
    /// systemd's refusal; then it has changed none.
    pub(super) fn set_properties(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        let mut wanted: Vec<&Property> = properties.iter().collect();
        loop {
            let mut body = Body::default();
            body.string(unit);
            body.value(&Value::Bool(true));
            put_properties(&mut body, &wanted);
            match self.call("SetUnitProperties", unit, "sba(sv)", body) {
                Err(Error::Refused { message, .. }) if drop_unknown(&mut wanted, &message) => {}
                result => return result.map(drop),
            }
        }
    }

    /// The cgroup of this systemd itself, below which its units are.
    ///
    /// # Errors
    /// systemd's refusal.
    pub(super) fn control_group(&mut self) -> Result<String, Error> {
        let mut body = Body::default();
        body.string(MANAGER);
        body.string("ControlGroup");
        self.call_on(PROPERTIES, "Get", "manager", "ss", body)
    }

    /// Moves a process into a unit's cgroup, or one below it.
    ///
    /// # Errors
    /// systemd's refusal.
    pub(super) fn attach(&mut self, unit: &str, below: &str, pid: i32) -> Result<(), Error> {
        let mut body = Body::default();
        body.string(unit);
        body.string(below);
        body.value(&Value::Array("u", vec![Value::U32(pid.unsigned_abs())]));
        self.call("AttachProcessesToUnit", unit, "ssau", body).map(drop)
    }

    /// Stops a unit and waits until that is done. One that is not there is stopped.
    ///
    /// # Errors
    /// systemd's refusal.
    pub(super) fn stop(&mut self, unit: &str) -> Result<(), Error> {
        let mut body = Body::default();
        body.string(unit);
        body.string("replace");
        match self.call("StopUnit", unit, "ss", body) {
            Err(Error::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => return Ok(()),
            // Whatever became of the job: the cgroup is removed next, and says whether something is left.
            Ok(job) => drop(self.wait_for("StopUnit", unit, &job)),
            Err(error) => return Err(error),
        }
        self.reset_failed(unit);
        Ok(())
    }

    /// Lets systemd forget a unit that failed; others are not changed. Nobody waits for the answer.
    fn reset_failed(&mut self, unit: &str) {
        let mut body = Body::default();
        body.string(unit);
        let call = self.to_manager(MANAGER, "ResetFailedUnit", "s", body);
        let serial = self.next_serial();
        let _ = self.write(&call.encode(serial, false));
    }

    fn to_manager<'a>(
        &self,
        interface: &'a str,
        member: &'a str,
        signature: &'a str,
        body: Body,
    ) -> Call<'a> {
        let destination = self.routed.then_some(SYSTEMD);
        Call { path: MANAGER_PATH, interface, member, destination, signature, body }
    }

    /// Calls a method of the manager; the first argument of the answer, if it is text.
    fn call(
        &mut self,
        member: &'static str,
        unit: &str,
        signature: &str,
        body: Body,
    ) -> Result<String, Error> {
        self.call_on(MANAGER, member, unit, signature, body)
    }

    fn call_on(
        &mut self,
        interface: &str,
        member: &'static str,
        unit: &str,
        signature: &str,
        body: Body,
    ) -> Result<String, Error> {
        let call = self.to_manager(interface, member, signature, body);
        let serial = self.next_serial();
        let failed = |source| Error::Io { call: member, source };
        self.write(&call.encode(serial, true)).map_err(failed)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.receive(deadline).map_err(failed)? {
                Message::Reply(to, text) if to == serial => return Ok(text),
                Message::Error(to, name, message) if to == serial => {
                    return Err(Error::Refused { call: member, unit: unit.to_owned(), name, message });
                }
                Message::JobRemoved(job, _, result) => self.done.push((job, result)),
                _ => {}
            }
        }
    }

    fn wait_for(&mut self, call: &'static str, unit: &str, job: &str) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((_, result)) = self.done.iter().find(|(path, _)| path == job) {
                if result == "done" {
                    return Ok(());
                }
                let result = result.clone();
                self.reset_failed(unit);
                return Err(Error::Job { call, unit: unit.to_owned(), result });
            }
            match self.receive(deadline).map_err(|source| Error::Io { call, source })? {
                Message::JobRemoved(path, _, result) => self.done.push((path, result)),
                // The bus gave up the connection that systemd had to it.
                Message::Error(_, name, message) => {
                    return Err(Error::Refused { call, unit: unit.to_owned(), name, message });
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> io::Result<Message> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed D-Bus message");
        let mut head = [0u8; 16];
        self.read_exact(&mut head, deadline)?;
        let length = message_length(&head).ok_or_else(malformed)?;
        let mut bytes = vec![0u8; length];
        bytes[..16].copy_from_slice(&head);
        self.read_exact(&mut bytes[16..], deadline)?;
        decode(&bytes).ok_or_else(malformed)
    }

    fn read_exact(&mut self, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
        while !buffer.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 30 s"));
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }
}

fn put_properties(body: &mut Body, properties: &[&Property]) {
    body.array(8, |body| {
        for property in properties {
            body.structure();
            body.string(&property.name);
            body.variant(&property.value);
        }
    });
}

/// Leaves out the optional property that systemd says it cannot set; false when there is none.
fn drop_unknown(properties: &mut Vec<&Property>, message: &str) -> bool {
    let before = properties.len();
    properties.retain(|property| {
        !(property.optional && message.contains(&format!("Cannot set property {}", property.name)))
    });
    properties.len() < before
}

fn system_addresses() -> Vec<(String, bool)> {
    vec![("/run/systemd/private".to_owned(), false), ("/run/dbus/system_bus_socket".to_owned(), true)]
}

fn user_addresses() -> Vec<(String, bool)> {
    let mut addresses = Vec::new();
    let runtime = std::env::var("XDG_RUNTIME_DIR").ok().filter(|dir| dir.starts_with('/'));
    if let Some(dir) = &runtime {
        addresses.push((format!("{dir}/systemd/private"), false));
    }
    let session = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok().and_then(|address| socket_of(&address));
    if let Some(path) = session.or_else(|| runtime.map(|dir| format!("{dir}/bus"))) {
        addresses.push((path, true));
    }
    addresses
}

/// The path in a bus address, `unix:path=/run/user/1000/bus,guid=…`; one in the abstract namespace begins with `@`.
fn socket_of(address: &str) -> Option<String> {
    address.split(';').find_map(|one| {
        one.strip_prefix("unix:")?.split(',').find_map(|pair| match pair.split_once('=')? {
            ("path", path) => Some(unescape(path)),
            ("abstract", name) => Some(format!("@{}", unescape(name))),
            _ => None,
        })
    })
}

/// `%XX` stands for a byte.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (byte, hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A connection on which nothing takes longer than `patience`, its making included: whoever listens may be too busy to take
/// it, and the queue full (unix(7), `SO_SNDTIMEO` in socket(7)).
fn connect(address: &str, patience: Duration) -> io::Result<UnixStream> {
    let to = match address.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes())?,
        None => UnixAddr::new(address)?,
    };
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let socket = UnixStream::from(socket);
    socket.set_write_timeout(Some(patience))?;
    loop {
        match nix::sys::socket::connect(socket.as_raw_fd(), &to) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            result => return Ok(result.map(|()| socket)?),
        }
    }
}

/// The user as those outside of this process's user namespace see it.
fn outer_uid() -> u32 {
    let uid = privilege::user().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let outer = map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u32>().ok());
        let (inside, outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = uid.checked_sub(inside)?;
        (offset < count).then(|| outside.saturating_add(offset))
    });
    outer.unwrap_or(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_bus() {
        for (address, want) in [
            ("unix:path=/run/user/1000/bus", Some("/run/user/1000/bus")),
            ("unix:path=/a%20b,guid=12", Some("/a b")),
            ("tcp:host=x;unix:abstract=/tmp/x", Some("@/tmp/x")),
            ("unix:tmpdir=/tmp", None),
            ("", None),
        ] {
            assert_eq!(socket_of(address).as_deref(), want, "{address}");
        }
    }

    #[test]
    fn nobody_waits_for_ever_to_be_connected() {
        use nix::sys::socket::{Backlog, bind, listen};
        let address = format!("@corten-bus-{}", std::process::id());
        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new_abstract(&address.as_bytes()[1..]).unwrap()).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let connect = || connect(&address, Duration::from_millis(20));
        let _first = connect().unwrap();
        assert_eq!(connect().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
