//! Streams of zstd, which may have several frames, and such that are passed over (RFC 8878, section 3): parallel
//! compressors write them, and those who keep an index beside the files of a layer.

use std::io::{self, BufRead, ErrorKind, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// A stream without its compression.
pub(super) struct Zstd<R> {
    source: R,
    frame: FrameDecoder,
}

impl<R> Zstd<R> {
    /// Of what is compressed.
    pub(super) fn new(source: R) -> Self {
        Self { source, frame: FrameDecoder::new() }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.frame.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            if !self.frame.is_finished() {
                let block = BlockDecodingStrategy::UptoBlocks(1);
                self.frame.decode_blocks(&mut self.source, block).map_err(io::Error::other)?;
            } else if self.source.fill_buf()?.is_empty() {
                return Ok(0);
            } else {
                self.next_frame()?;
            }
        }
    }
}

impl<R: BufRead> Zstd<R> {
    fn next_frame(&mut self) -> io::Result<()> {
        use ReadFrameHeaderError::SkipFrame;
        match self.frame.init(&mut self.source) {
            Err(FrameDecoderError::ReadFrameHeaderError(SkipFrame { length, .. })) => {
                let length = u64::from(length);
                let passed = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
                if passed == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
            }
            begun => begun.map_err(|error| io::Error::other(format!("zstd: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    #[test]
    fn frames_follow_one_another() {
        let frame = |text: &str| compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        let passed_over = [&[0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
        let read = |parts: &[&[u8]]| {
            let mut text = String::new();
            Zstd::new(&*parts.concat()).read_to_string(&mut text).map(|_| text)
        };
        let (one, other) = (frame("one, "), frame("other"));
        assert_eq!(read(&[&passed_over, &one, &passed_over, &other, &passed_over]).unwrap(), "one, other");
        assert_eq!(read(&[]).unwrap(), "");
        for broken in [&one[..one.len() - 1], &passed_over[..9], b"none of it"] {
            assert!(read(&[&other, broken]).is_err());
        }
    }
}
