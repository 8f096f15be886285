//! Writing files whose zeros take no room: archives may be short and their files large, on purpose or not.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// How many bytes are looked at together.
const PIECE: usize = 8 << 10;

/// A writer to a fresh file, which leaves out zeros. What is written counts once it is [finished](Self::finish).
#[derive(Debug)]
pub struct Holes<'a> {
    file: &'a File,
    /// Zeros since the last byte that is in the file.
    zeros: u64,
}

impl<'a> Holes<'a> {
    /// For a file that is empty.
    pub fn new(file: &'a File) -> Self {
        Self { file, zeros: 0 }
    }

    /// Gives the file its size.
    ///
    /// # Errors
    /// When it is too large for its file system (`EFBIG`).
    pub fn finish(mut self) -> io::Result<()> {
        self.file.set_len(self.file.stream_position()?.saturating_add(self.zeros))
    }
}

impl Write for Holes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PIECE)];
        if bytes.iter().fold(0, |all, byte| all | byte) == 0 {
            self.zeros = self.zeros.saturating_add(bytes.len() as u64);
            return Ok(bytes.len());
        }
        if self.zeros > 0 {
            self.file.seek(SeekFrom::Current(i64::try_from(self.zeros).map_err(io::Error::other)?))?;
            self.zeros = 0;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_take_no_room_and_are_there() {
        let mut file = tempfile::tempfile().unwrap();
        let mut expected = b"start".to_vec();
        expected.resize(4 << 20, 0);
        expected.extend_from_slice(b"middle");
        expected.resize(9 << 20, 0);
        let mut holes = Holes::new(&file);
        io::copy(&mut &expected[..], &mut holes).unwrap();
        holes.finish().unwrap();
        let mut found = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut found).unwrap();
        assert!(found == expected);
        let blocks = file.metadata().unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
    }
}
