//! A stream of bytes as blocks of whole lines, read by a thread of its own.
//!
//! Invariant: a block ends where a line ends, so lines are slices of it; at most a few blocks and one line of
//! [`MAX_LINE_BYTES`] are held. A block is handed on as soon as it was read, so slow input is not held back.

use std::io::{self, Read};
use std::thread;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// How much is read at once.
const READ_BYTES: usize = 256 << 10;

/// How many blocks wait for the log.
const BLOCKS: usize = 8;

/// The longest line that is surely taken; from one read more on it is refused.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// Why the input ended early.
#[derive(Debug)]
pub enum BadInput {
    /// A line is longer than [`MAX_LINE_BYTES`].
    LongLine,
    /// Reading failed.
    Io(io::Error),
}

/// Reads `input` to its end on a thread of its own, which ends with it, with an error, or once nobody receives.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use topo_connectors::gather::{blocks, lines};
///
/// let mut blocks = blocks(&b"one\ntwo"[..])?;
/// let mut read = Vec::new();
/// while let Some(Ok(block)) = blocks.blocking_recv() {
///     read.extend(lines(&block));
/// }
/// assert_eq!(read, ["one", "two"]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// The system's, where it gives no thread.
pub fn blocks(input: impl Read + Send + 'static) -> io::Result<mpsc::Receiver<Result<Bytes, BadInput>>> {
    let (send, blocks) = mpsc::channel(BLOCKS);
    thread::Builder::new().name("topo-input".into()).spawn(move || {
        if let Err(bad) = read(input, |block| send.blocking_send(Ok(block)).is_ok()) {
            // Where nobody listens any more, nobody needs to know.
            let _ = send.blocking_send(Err(bad));
        }
    })?;
    Ok(blocks)
}

/// Reads until `input` ends or `take` has had enough.
fn read(mut input: impl Read, mut take: impl FnMut(Bytes) -> bool) -> Result<(), BadInput> {
    let mut buffer = BytesMut::new();
    loop {
        let filled = buffer.len();
        buffer.resize(filled + READ_BYTES, 0);
        let read = match input.read(&mut buffer[filled..]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                buffer.truncate(filled);
                continue;
            }
            Err(error) => return Err(BadInput::Io(error)),
        };
        let ended = read == 0;
        buffer.truncate(filled + read);
        let last = buffer[filled..].iter().rposition(|byte| *byte == b'\n');
        let whole = last.map_or(if ended { buffer.len() } else { 0 }, |last| filled + last + 1);
        if whole > 0 && !take(buffer.split_to(whole).freeze()) {
            return Ok(());
        }
        if buffer.len() > MAX_LINE_BYTES {
            return Err(BadInput::LongLine);
        }
        if ended {
            return Ok(());
        }
    }
}

/// The lines of a block, without their ends.
pub fn lines(block: &Bytes) -> impl Iterator<Item = Bytes> {
    let whole = block.strip_suffix(b"\n").unwrap_or(block);
    whole.split(|byte| *byte == b'\n').map(|line| block.slice_ref(line))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in reads of the given sizes.
    struct Trickle {
        bytes: Vec<u8>,
        reads: Vec<usize>,
    }

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = self.reads.pop().unwrap_or(usize::MAX).min(buffer.len()).min(self.bytes.len());
            buffer[..most].copy_from_slice(&self.bytes[..most]);
            self.bytes.drain(..most);
            Ok(most)
        }
    }

    fn read_lines(bytes: &[u8], reads: Vec<usize>) -> Vec<Bytes> {
        let mut read_lines = Vec::new();
        read(Trickle { bytes: bytes.to_vec(), reads }, |block| {
            read_lines.extend(lines(&block));
            true
        })
        .unwrap();
        read_lines
    }

    #[test]
    fn a_last_line_needs_no_end_and_empty_lines_count() {
        assert_eq!(read_lines(b"a\n\nb", Vec::new()), ["a", "", "b"]);
        assert_eq!(read_lines(b"\n", Vec::new()), [""]);
        assert!(read_lines(b"", Vec::new()).is_empty());
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_memory() {
        let mut taken = 0;
        let endless = b"first\n".chain(io::repeat(b'x'));
        let ended = read(endless, |block| {
            taken += block.len();
            true
        });
        assert!(matches!(ended, Err(BadInput::LongLine)));
        assert_eq!(taken, b"first\n".len());
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_arrive(
            text in "[ab\n]{0,40}",
            reads in prop::collection::vec(1_usize..5, 0..40),
        ) {
            let expected: Vec<&str> = text.lines().collect();
            prop_assert_eq!(read_lines(text.as_bytes(), reads), expected);
        }
    }
}
