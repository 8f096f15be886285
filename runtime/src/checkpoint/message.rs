//! criu's messages: protobuf, of which this writes and reads the handful of fields it needs.
//!
//! A field is a number with a varint or with bytes; what has another form, or a number that is not known here, is passed
//! over. Source: `images/rpc.proto` of criu 4, and the encoding as protobuf.dev describes it.

/// The kinds of requests and answers (`criu_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Save processes.
    Dump = 1,
    /// Make them anew.
    Restore = 2,
    /// Save their memory alone, and let them run.
    PreDump = 4,
    /// Something happens: what, says [`Notice`].
    Notify = 6,
    /// Which of these features are there?
    FeatureCheck = 9,
}

impl Kind {
    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dump => "DUMP",
            Self::Restore => "RESTORE",
            Self::PreDump => "PRE_DUMP",
            Self::Notify => "NOTIFY",
            Self::FeatureCheck => "FEATURE_CHECK",
        }
    }

    fn of(number: u64) -> Option<Self> {
        [Self::Dump, Self::Restore, Self::PreDump, Self::Notify, Self::FeatureCheck]
            .into_iter()
            .find(|kind| *kind as u64 == number)
    }
}

/// A message that is being written.
#[derive(Debug, Clone, Default)]
pub(super) struct Message(Vec<u8>);

const VARINT: u64 = 0;
const BYTES: u64 = 2;

impl Message {
    /// A number, of whatever width the field has: numbers below 0 do not occur.
    #[must_use]
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3 | VARINT);
        self.varint(value);
        self
    }

    /// A switch, if it is on: off is what every one is by default.
    #[must_use]
    pub(super) fn flag(self, field: u64, on: bool) -> Self {
        if on { self.number(field, 1) } else { self }
    }

    /// A string; criu takes any bytes but NUL.
    #[must_use]
    pub(super) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message in the message.
    #[must_use]
    pub(super) fn nested(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// What is sent.
    #[must_use]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Value<'a> {
    fn number(self) -> u64 {
        if let Self::Number(number) = self { number } else { 0 }
    }

    fn is_true(self) -> bool {
        self.number() != 0
    }

    /// An `int32`, which is sent with its sign extended.
    fn int(self) -> i32 {
        i32::try_from(self.number().cast_signed()).unwrap_or(0)
    }

    fn text(self) -> String {
        if let Self::Bytes(bytes) = self {
            String::from_utf8_lossy(bytes).into_owned()
        } else {
            String::new()
        }
    }

    fn fields(self) -> Fields<'a> {
        Fields(if let Self::Bytes(bytes) = self { bytes } else { &[] })
    }
}

/// The fields of a message, in order; ends early at what is no message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f).checked_shl(shift)?;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            VARINT => Value::Number(self.varint()?),
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            1 => self.take(8).map(|_| Value::Other)?,
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

/// Something that criu tells in the middle of its work, and waits for an answer to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Notice {
    /// What happens: `post-dump`, `setup-namespaces`, `orphan-pts-master`…
    pub(super) script: String,
    /// The first process, as this process's namespace numbers it.
    pub(super) pid: i32,
}

/// criu's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Response {
    /// What it answers to; `None` for what is not known here.
    pub(super) kind: Option<Kind>,
    /// Whether it could be done.
    pub(super) success: bool,
    /// The first process of what was restored.
    pub(super) pid: i32,
    /// With [`Kind::Notify`].
    pub(super) notice: Notice,
    /// Why not, as an errno; 0 if there is none.
    pub(super) errno: i32,
    /// Why not, in words: what criu logged as errors.
    pub(super) message: String,
    /// To [`Kind::FeatureCheck`]: pages that were written to can be told apart.
    pub(super) mem_track: bool,
    /// To [`Kind::FeatureCheck`]: memory can follow later.
    pub(super) lazy_pages: bool,
}

impl Response {
    /// Reads an answer. What is no message gives one without a kind.
    #[must_use]
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut response = Self::default();
        for (field, value) in Fields(bytes) {
            match field {
                1 => response.kind = Kind::of(value.number()),
                2 => response.success = value.is_true(),
                4 => response.pid = first(value).int(),
                5 => response.notice = notice(value),
                7 => response.errno = value.int(),
                8 => features(value, &mut response),
                9 => response.message = value.text(),
                _ => {}
            }
        }
        response
    }
}

fn first(value: Value<'_>) -> Value<'_> {
    value.fields().find(|(field, _)| *field == 1).map_or(Value::Other, |(_, value)| value)
}

fn notice(value: Value<'_>) -> Notice {
    let mut notice = Notice::default();
    for (field, value) in value.fields() {
        match field {
            1 => notice.script = value.text(),
            2 => notice.pid = value.int(),
            _ => {}
        }
    }
    notice
}

fn features(value: Value<'_>, response: &mut Response) {
    for (field, value) in value.fields() {
        match field {
            1 => response.mem_track = value.is_true(),
            2 => response.lazy_pages = value.is_true(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_protobuf_has_it() {
        let inner = Message::default().number(1, 300).bytes(13, b"/r").flag(3, true).flag(4, false);
        let request = Message::default().number(1, Kind::Dump as u64).nested(2, &inner);
        let wanted = [8, 1, 18, 9, 8, 0xac, 2, 0x6a, 2, b'/', b'r', 24, 1];
        assert_eq!(request.as_bytes(), wanted);
        assert_eq!(Message::default().flag(48, true).as_bytes(), [0x80, 3, 1], "a field number of two bytes");
    }

    #[test]
    fn an_answer_is_read() {
        let notice = Message::default().bytes(1, b"post-restore").number(2, 4711);
        let bytes = Message::default()
            .number(1, Kind::Notify as u64)
            .number(2, 1)
            .nested(5, &notice)
            .number(7, 22)
            .nested(8, &Message::default().number(1, 0).number(2, 1))
            .bytes(9, "Error \u{e4}".as_bytes())
            .number(99, 7);
        let response = Response::read(bytes.as_bytes());
        assert_eq!((response.kind, response.success), (Some(Kind::Notify), true));
        assert_eq!(response.notice, Notice { script: "post-restore".into(), pid: 4711 });
        assert_eq!((response.errno, response.message.as_str()), (22, "Error \u{e4}"));
        assert_eq!((response.mem_track, response.lazy_pages), (false, true));
    }

    #[test]
    fn rubbish_is_no_answer() {
        for bytes in [
            &[][..],
            &[0xff; 32],
            &[8],
            &[18, 200, 1],
            &[10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[13, 1],
            &[8, 77, 16, 1],
        ] {
            assert_eq!(Response::read(bytes).kind, None, "{bytes:?}");
        }
    }
}
