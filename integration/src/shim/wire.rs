//! Protocol buffers by hand: fields are written by number, and read back by number.

/// A message that is being written.
#[derive(Debug, Default, Clone)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty message.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Adds a text; empty ones are left out, as proto3 does.
    #[must_use]
    pub fn text(self, field: u64, value: &str) -> Writer {
        if value.is_empty() { self } else { self.bytes(field, value.as_bytes()) }
    }

    /// Adds bytes or an encoded message.
    #[must_use]
    pub fn bytes(mut self, field: u64, value: &[u8]) -> Writer {
        varint(&mut self.0, field << 3 | 2);
        varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// Adds a number; 0 is left out.
    #[must_use]
    pub fn number(mut self, field: u64, value: u64) -> Writer {
        if value != 0 {
            varint(&mut self.0, field << 3);
            varint(&mut self.0, value);
        }
        self
    }

    /// Adds a message.
    #[must_use]
    pub fn message(self, field: u64, value: &Writer) -> Writer {
        self.bytes(field, &value.0)
    }

    /// A `google.protobuf.Any`.
    pub fn any(type_url: &str, value: &[u8]) -> Writer {
        Writer::new().text(1, type_url).bytes(2, value)
    }

    /// The encoded message.
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// One value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number or boolean.
    Number(u64),
    /// A text, bytes or a message.
    Bytes(Vec<u8>),
}

/// A message that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<(u64, Value)>);

impl Message {
    /// Reads a message; `None` when it is malformed.
    pub fn read(mut bytes: &[u8]) -> Option<Message> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = take_varint(&mut bytes)?;
            let value = match key & 7 {
                0 => Value::Number(take_varint(&mut bytes)?),
                1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?)),
                2 => {
                    let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
                    Value::Bytes(take(&mut bytes, length)?.to_vec())
                }
                5 => Value::Number(u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?).into()),
                _ => return None,
            };
            fields.push((key >> 3, value));
        }
        Some(Message(fields))
    }

    /// The number in a field; 0 when absent.
    pub fn number(&self, field: u64) -> u64 {
        let found = self.0.iter().rev().find(|(number, _)| *number == field);
        if let Some((_, Value::Number(value))) = found { *value } else { 0 }
    }

    /// The bytes in a field; empty when absent.
    pub fn bytes(&self, field: u64) -> Vec<u8> {
        self.all(field).pop().unwrap_or_default()
    }

    /// The text in a field; empty when absent.
    pub fn text(&self, field: u64) -> String {
        String::from_utf8_lossy(&self.bytes(field)).into_owned()
    }

    /// Every value of a repeated field.
    pub fn all(&self, field: u64) -> Vec<Vec<u8>> {
        let of = self.0.iter().filter(|(number, _)| *number == field);
        of.filter_map(|(_, value)| if let Value::Bytes(bytes) = value { Some(bytes.clone()) } else { None })
            .collect()
    }

    /// The message in a field; empty when absent.
    ///
    /// # Panics
    /// When it is malformed.
    #[track_caller]
    pub fn message(&self, field: u64) -> Message {
        Message::read(&self.bytes(field)).expect("a well-formed message")
    }

    /// Whether a field is there.
    pub fn has(&self, field: u64) -> bool {
        self.0.iter().any(|(number, _)| *number == field)
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Writer::any("some.Type", b"\x00\xff");
        let bytes = Writer::new().text(1, "id").number(3, 300).message(10, &inner).number(4, 0).done();
        assert_eq!(&bytes[..7], b"\x0a\x02id\x18\xac\x02");
        let message = Message::read(&bytes).unwrap();
        assert_eq!((message.text(1).as_str(), message.number(3), message.has(4)), ("id", 300, false));
        assert_eq!(message.message(10).bytes(2), b"\x00\xff");
        assert_eq!(Message::read(&bytes[..bytes.len() - 1]), None);
    }
}
