//! Frames: what a byte stream is cut into.
//!
//! ```text
//! u32 length of the message | u32 stream | u8 type | u8 flags | message      (big endian)
//! ```
//!
//! The [`Decoder`] takes bytes from a peer that may be hostile: it holds no more than has arrived, and a
//! message over the limit is skipped, not stored, so that the connection survives it.

/// Bytes of a frame's header.
pub const HEADER: usize = 10;

/// The largest message that the protocol allows.
pub const MAX_MESSAGE: usize = 4 << 20;

/// The buffer is given back to the allocator when it is empty and larger than this.
const KEEP: usize = 16 << 10;

/// What a frame carries. Types that this list does not name are to be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call.
    Request,
    /// The answer to a call.
    Response,
    /// A part of a stream.
    Data,
    /// Something of a later version of the protocol.
    Other(u8),
}

impl Kind {
    fn from_wire(value: u8) -> Self {
        match value {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Data,
            other => Self::Other(other),
        }
    }

    fn to_wire(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Response => 2,
            Self::Data => 3,
            Self::Other(other) => other,
        }
    }
}

/// The flag of a request whose sender will send more data.
pub const REMOTE_OPEN: u8 = 2;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which call it belongs to: odd for calls of the client.
    pub stream: u32,
    /// What it carries.
    pub kind: Kind,
    /// Flags of a stream; 0 in a unary call.
    pub flags: u8,
    /// The message, or its length when that is over the limit.
    pub message: Result<Vec<u8>, usize>,
}

/// Writes a frame's header and message to the end of `out`.
pub fn encode(stream: u32, kind: Kind, message: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    out.reserve(HEADER + message.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&[kind.to_wire(), 0]);
    out.extend_from_slice(message);
}

/// Cuts a stream of bytes into frames.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// How much of the buffer has been handed out.
    start: usize,
    /// How much of an oversized message is still to come.
    skip: usize,
}

impl Decoder {
    /// Takes bytes that have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.extend_from_slice(&bytes[skipped..]);
    }

    /// The next frame that is complete.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let frame = self.take_frame();
        if frame.is_none() {
            self.give_back();
        }
        frame
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let (header, rest) = self.buffer[self.start..].split_first_chunk::<HEADER>()?;
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = *header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        let message = if length > MAX_MESSAGE {
            let here = rest.len().min(length);
            self.skip = length - here;
            self.start += HEADER + here;
            Err(length)
        } else {
            let message = rest.get(..length)?.to_vec();
            self.start += HEADER + length;
            Ok(message)
        };
        Some(Frame { stream, kind: Kind::from_wire(kind), flags, message })
    }

    /// The number of bytes that are held for a frame that is not complete.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Drops what has been handed out, and the memory that a large message needed.
    fn give_back(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(stream: u32, kind: u8, flags: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(stream, Kind::from_wire(kind), message, &mut bytes);
        bytes[9] = flags;
        bytes
    }

    #[test]
    fn the_header_is_what_the_protocol_says() {
        let bytes = frame(0x0102_0304, 1, 0, b"hello");
        assert_eq!(bytes, [0, 0, 0, 5, 1, 2, 3, 4, 1, 0, b'h', b'e', b'l', b'l', b'o']);
    }

    #[test]
    fn a_frame_may_arrive_in_any_pieces() {
        let bytes = [frame(1, 1, 0, b"first"), frame(3, 2, 0, b""), frame(5, 9, 7, b"x")].concat();
        for piece in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for part in bytes.chunks(piece) {
                decoder.push(part);
                frames.extend(std::iter::from_fn(|| decoder.next_frame()));
            }
            let kinds: Vec<_> = frames.iter().map(|f| (f.stream, f.kind, f.flags)).collect();
            assert_eq!(kinds, [(1, Kind::Request, 0), (3, Kind::Response, 0), (5, Kind::Other(9), 7)]);
            assert_eq!(frames[0].message.as_deref(), Ok(&b"first"[..]));
            assert_eq!(decoder.held(), 0);
        }
    }

    #[test]
    fn a_stream_that_never_ends_on_a_frame_does_not_pile_up() {
        let bytes = frame(1, 1, 0, &[7; 90]);
        let mut decoder = Decoder::default();
        decoder.push(&bytes[..50]);
        for _ in 0..10_000 {
            decoder.push(&[&bytes[50..], &bytes[..50]].concat());
            assert!(decoder.next_frame().is_some());
            assert!(decoder.next_frame().is_none());
        }
        assert!(decoder.buffer.len() < 200);
    }

    #[test]
    fn an_oversized_message_is_skipped_and_the_next_one_is_read() {
        let length = MAX_MESSAGE + 1;
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 7, 1, 0]);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let refused = decoder.next_frame().unwrap();
        assert_eq!((refused.stream, refused.message), (7, Err(length)));
        for _ in 0..length / 4096 {
            decoder.push(&[0; 4096]);
            assert_eq!(decoder.held(), 0, "a skipped message must not be stored");
            assert_eq!(decoder.next_frame(), None);
        }
        decoder.push(&vec![0; length % 4096]);
        decoder.push(&frame(9, 1, 0, b"next"));
        assert_eq!(decoder.next_frame().unwrap().message, Ok(b"next".to_vec()));
    }

    #[test]
    fn memory_is_given_back_after_a_large_message() {
        let mut decoder = Decoder::default();
        decoder.push(&frame(1, 1, 0, &vec![1; MAX_MESSAGE]));
        assert!(decoder.next_frame().is_some());
        assert_eq!(decoder.next_frame(), None);
        assert_eq!(decoder.buffer.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..16)) {
            let mut decoder = Decoder::default();
            let mut arrived = 0;
            for part in parts {
                arrived += part.len();
                decoder.push(&part);
                while decoder.next_frame().is_some() {}
                prop_assert!(decoder.held() <= arrived);
            }
        }

        #[test]
        fn what_was_encoded_is_decoded(messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..8)) {
            let mut bytes = Vec::new();
            for message in &messages {
                encode(1, Kind::Request, message, &mut bytes);
            }
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            let decoded: Vec<_> = std::iter::from_fn(|| decoder.next_frame()).map(|f| f.message).collect();
            prop_assert_eq!(decoded, messages.into_iter().map(Ok).collect::<Vec<_>>());
        }
    }
}
