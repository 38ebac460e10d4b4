//! Buffers that batches are read into, kept for the next read once nobody looks at what they hold.
//!
//! A buffer of the size of a fetch is zeroed, and mapped page by page, each time it comes from the allocator: as much work
//! as copying the batches into it.
//!
//! Invariant: at most [`KEPT_BYTES`] are kept; nothing of a buffer is given out but what was read into it.

use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::storage::StorageFile;

/// Smaller ones the allocator keeps itself.
const SMALLEST: usize = 32 << 10;
/// Buffers that nobody uses take this much at most.
const KEPT_BYTES: usize = 16 << 20;

static KEPT: Mutex<Kept> = Mutex::new(Kept { buffers: Vec::new(), bytes: 0 });

struct Kept {
    buffers: Vec<Vec<u8>>,
    /// Of all of them.
    bytes: usize,
}

impl Kept {
    /// One that holds `bytes` and not many more; none of those that are kept where there is no such.
    fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let fits = |buffer: &Vec<u8>| buffer.len() >= bytes && buffer.len() / 4 <= bytes;
        let at = self.buffers.iter().rposition(fits)?;
        let buffer = self.buffers.swap_remove(at);
        self.bytes -= buffer.len();
        Some(buffer)
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if self.bytes + buffer.len() > KEPT_BYTES {
            // Sizes that nobody asks for any more must not keep others out.
            self.buffers.clear();
            self.bytes = 0;
        }
        if buffer.len() <= KEPT_BYTES {
            self.bytes += buffer.len();
            self.buffers.push(buffer);
        }
    }
}

/// A buffer that was read into.
#[derive(Debug)]
pub(crate) struct Buffer {
    buffer: Vec<u8>,
    /// How much of it was asked for.
    bytes: usize,
}

impl Buffer {
    /// The `bytes` bytes of a file at `position`.
    ///
    /// # Errors
    /// As [`StorageFile::read_exact_at`].
    pub(crate) fn read(file: &dyn StorageFile, position: u64, bytes: usize) -> io::Result<Self> {
        let kept = if bytes < SMALLEST { None } else { lock(|kept| kept.take(bytes)) };
        // Kept as well where nothing can be read.
        let mut read = Self { buffer: kept.unwrap_or_else(|| vec![0; bytes]), bytes };
        file.read_exact_at(&mut read.buffer[..bytes], position)?;
        Ok(read)
    }

    /// The first `bytes` bytes of it; the buffer is kept once they are dropped.
    pub(crate) fn into_bytes(self, bytes: usize) -> Bytes {
        let whole = Bytes::from_owner(self);
        whole.slice(..bytes.min(whole.len()))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.bytes]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.buffer.len() >= SMALLEST {
            let buffer = std::mem::take(&mut self.buffer);
            lock(|kept| kept.keep(buffer));
        }
    }
}

fn lock<T>(with: impl FnOnce(&mut Kept) -> T) -> T {
    // Whatever a panic left is buffers.
    with(&mut KEPT.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::storage::{MemoryStorage, Storage};

    #[test]
    fn a_buffer_that_was_used_shows_only_what_was_read_into_it() {
        let file = MemoryStorage::new().create(Path::new("/f")).unwrap();
        file.write_all_at(&[1; 100 << 10], 0).unwrap();
        file.write_all_at(&[2; 60 << 10], 0).unwrap();
        for _ in 0..10 {
            let long = Buffer::read(&*file, 0, 100 << 10).unwrap().into_bytes(usize::MAX);
            assert!(long.len() == 100 << 10 && long.ends_with(&[1; 40 << 10]));
            let held = long.slice(..10);
            drop(long);
            let short = Buffer::read(&*file, 10, 50 << 10).unwrap().into_bytes(45 << 10);
            assert_eq!(short, vec![2; 45 << 10]);
            assert_eq!(held, [2; 10][..], "who still looks at a buffer sees no other read");
        }
        assert!(Buffer::read(&*file, 0, 101 << 10).is_err());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut kept = Kept { buffers: Vec::new(), bytes: 0 };
        for size in [1 << 20, 3 << 20, KEPT_BYTES + 1, 5 << 20, 9 << 20, 1 << 20] {
            kept.keep(vec![0; size]);
            assert_eq!(kept.bytes, kept.buffers.iter().map(Vec::len).sum::<usize>());
            assert!(kept.bytes <= KEPT_BYTES);
        }
        assert!(kept.take(100).is_none(), "a small read holds no large buffer");
        let taken = kept.take(600 << 10).unwrap();
        assert!(taken.len() >= 600 << 10 && kept.bytes == kept.buffers.iter().map(Vec::len).sum::<usize>());
    }
}
