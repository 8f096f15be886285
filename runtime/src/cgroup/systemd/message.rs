//! Messages of D-Bus as bytes (D-Bus Specification, "Message Format"), in this machine's byte order.

use super::value::Value;

const LITTLE: u8 = b'l';
const BIG: u8 = b'B';
const NATIVE: u8 = if cfg!(target_endian = "big") { BIG } else { LITTLE };
/// The largest message that is read. The answers to what this client asks have some hundred bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// A method call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The object, by path.
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// Who is asked; nobody on a connection without a bus between.
    pub(super) destination: Option<&'a str>,
    /// The signature of the body, and this.
    pub(super) signature: &'a str,
    pub(super) body: Body,
}

/// Marshalled arguments.
#[derive(Debug, Default)]
pub(super) struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, to: usize) {
        while !self.0.len().is_multiple_of(to) {
            self.0.push(0);
        }
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend_from_slice(&value.to_ne_bytes());
    }

    pub(super) fn string(&mut self, text: &str) {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    pub(super) fn variant(&mut self, value: &Value) {
        self.signature(&value.signature());
        self.value(value);
    }

    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.u32(u32::from(*value)),
            Value::Byte(value) => self.0.push(*value),
            Value::I16(value) => self.fixed(&value.to_ne_bytes()),
            Value::U16(value) => self.fixed(&value.to_ne_bytes()),
            Value::I32(value) => self.fixed(&value.to_ne_bytes()),
            Value::U32(value) => self.u32(*value),
            Value::I64(value) => self.fixed(&value.to_ne_bytes()),
            Value::U64(value) => self.fixed(&value.to_ne_bytes()),
            Value::Double(value) => self.fixed(&value.to_ne_bytes()),
            Value::String(text) => self.string(text),
            Value::Array(element, values) => {
                self.array(alignment(element), |body| values.iter().for_each(|value| body.value(value)));
            }
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
        }
    }

    fn fixed(&mut self, bytes: &[u8]) {
        self.align(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// An array whose elements begin at multiples of `element`: its length in bytes does not count the gap before the
    /// first one.
    pub(super) fn array(&mut self, element: usize, fill: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(element);
        let start = self.0.len();
        fill(self);
        let length = u32::try_from(self.0.len() - start).unwrap_or(u32::MAX);
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// The beginning of a structure.
    pub(super) fn structure(&mut self) {
        self.align(8);
    }
}

fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

impl Call<'_> {
    /// The whole message. `serial` is not 0.
    pub(super) fn encode(&self, serial: u32, wants_reply: bool) -> Vec<u8> {
        let mut head = Body::default();
        let flags = if wants_reply { 0 } else { 1 };
        head.0.extend_from_slice(&[NATIVE, 1, flags, 1]);
        head.u32(u32::try_from(self.body.0.len()).unwrap_or(u32::MAX));
        head.u32(serial);
        head.array(8, |head| {
            let mut field = |code: u8, kind: &str, text: &str| {
                head.structure();
                head.0.push(code);
                head.signature(kind);
                if kind == "g" { head.signature(text) } else { head.string(text) }
            };
            field(1, "o", self.path);
            field(2, "s", self.interface);
            field(3, "s", self.member);
            if let Some(destination) = self.destination {
                field(6, "s", destination);
            }
            if !self.signature.is_empty() {
                field(8, "g", self.signature);
            }
        });
        head.align(8);
        head.0.extend_from_slice(&self.body.0);
        head.0
    }
}

/// A message that was received, as far as this client understands any.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// The answer to a call: its serial, and the first argument if that is text, also in a variant.
    Reply(u32, String),
    /// The refusal of a call: its serial, the error's name and text.
    Error(u32, String, String),
    /// A job is done: its path, the unit, the result.
    JobRemoved(String, String, String),
    /// Something else.
    Other,
}

/// How many bytes a message has, from its first 16.
pub(super) fn message_length(head: &[u8; 16]) -> Option<usize> {
    if head[0] != NATIVE || head[3] != 1 {
        return None;
    }
    let mut reader = Reader { bytes: head, at: 4 };
    let body = usize::try_from(reader.u32()?).ok()?;
    reader.at = 12;
    let fields = usize::try_from(reader.u32()?).ok()?;
    let length = 16usize.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
    (length <= MAX_MESSAGE).then_some(length)
}

/// Reads a whole message; `None` when it is malformed.
pub(super) fn decode(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader { bytes, at: 12 };
    let end = 16 + usize::try_from(reader.u32()?).ok()?;
    let (mut member, mut interface, mut error) = (String::new(), String::new(), String::new());
    let (mut signature, mut reply_to) = (String::new(), 0);
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        let kind = reader.signature()?;
        match (code, kind.as_str()) {
            (2, "s") => interface = reader.string()?,
            (3, "s") => member = reader.string()?,
            (4, "s") => error = reader.string()?,
            (5, "u") => reply_to = reader.u32()?,
            (8, "g") => signature = reader.signature()?,
            (_, "s" | "o") => drop(reader.string()?),
            (_, "u") => drop(reader.u32()?),
            (_, "g") => drop(reader.signature()?),
            _ => return None,
        }
    }
    reader.align(8);
    Some(match *bytes.get(1)? {
        2 if signature.starts_with(['s', 'o']) => Message::Reply(reply_to, reader.string()?),
        2 if signature == "v" && reader.signature()? == "s" => Message::Reply(reply_to, reader.string()?),
        2 => Message::Reply(reply_to, String::new()),
        3 if signature.starts_with('s') => Message::Error(reply_to, error, reader.string()?),
        3 => Message::Error(reply_to, error, String::new()),
        4 if member == "JobRemoved" && interface == super::bus::MANAGER && signature == "uoss" => {
            reader.u32()?;
            Message::JobRemoved(reader.string()?, reader.string()?, reader.string()?)
        }
        _ => Message::Other,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(length)?;
        let bytes = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.take(4)?.try_into().ok().map(u32::from_ne_bytes)
    }

    fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        (self.byte()? == 0).then_some(text)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `busctl call … Hello`, as another implementation sends it (little-endian).
    #[test]
    #[cfg(target_endian = "little")]
    fn a_call_as_bytes() {
        let call = Call {
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            destination: Some("org.freedesktop.DBus"),
            signature: "",
            body: Body::default(),
        };
        let want: &[u8] = b"l\x01\x00\x01\0\0\0\0\x01\0\0\0\x6d\0\0\0\
            \x01\x01o\0\x15\0\0\0/org/freedesktop/DBus\0\0\0\
            \x02\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0\
            \x03\x01s\0\x05\0\0\0Hello\0\0\0\
            \x06\x01s\0\x14\0\0\0org.freedesktop.DBus\0\0\0\0";
        let bytes = call.encode(1, true);
        assert_eq!(bytes, want);
        let head: [u8; 16] = bytes[..16].try_into().unwrap();
        assert_eq!(message_length(&head), Some(bytes.len()));
    }

    #[test]
    fn values_are_aligned() {
        let mut body = Body::default();
        body.value(&Value::Byte(1));
        body.value(&Value::U64(2));
        body.value(&Value::Array("t", vec![]));
        body.value(&Value::Array("(ss)", vec![Value::Struct(vec!["a".into(), "".into()])]));
        let mut want = vec![1, 0, 0, 0, 0, 0, 0, 0];
        want.extend(2u64.to_ne_bytes());
        // The empty array, with the gap before an element that is not there.
        want.extend([0, 0, 0, 0, 0, 0, 0, 0]);
        want.extend(13u32.to_ne_bytes());
        want.extend([0; 4]);
        want.extend(1u32.to_ne_bytes());
        want.extend([b'a', 0, 0, 0]);
        want.extend(0u32.to_ne_bytes());
        want.push(0);
        assert_eq!(body.0, want);
    }

    #[test]
    fn replies_and_signals_are_read_and_rubbish_is_not() {
        // A signal is a call with another type byte, as far as encoding goes.
        let mut body = Body::default();
        body.u32(7);
        for text in ["/job/7", "x.scope", "done"] {
            body.string(text);
        }
        let call = Call {
            path: "/org/freedesktop/systemd1",
            interface: crate::cgroup::systemd::bus::MANAGER,
            member: "JobRemoved",
            destination: None,
            signature: "uoss",
            body,
        };
        let mut bytes = call.encode(9, false);
        bytes[1] = 4;
        assert_eq!(
            decode(&bytes),
            Some(Message::JobRemoved("/job/7".into(), "x.scope".into(), "done".into()))
        );
        for length in 0..bytes.len() {
            // Cut short anywhere, it is an error and never a panic.
            assert_eq!(decode(&bytes[..length]), None, "{length}");
        }
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0xff;
            let _ = decode(&broken);
        }
    }
}
