//! How far compaction has come, and the file that remembers it.
//!
//! The file is never synced: what it says is behind the truth at worst, and costs another look at what is compacted.
//! Invariant: below the offset that is told, no record of a key has a later one below it as well, so that a deletion there
//! deletes nothing any more.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use crate::error::LogError;
use crate::recovery::remove_if_there;
use crate::storage::{Storage, read_full};

const NAME: &str = "compacted";
const BYTES: usize = 12;

/// How far a partition's compaction has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The first offset that has not been through it.
    pub(super) first_dirty: i64,
    /// Held by the pass that is under way.
    pub(super) running: Weak<()>,
    /// Why there is none any more until the partition is opened again.
    pub(super) refused: Option<Arc<str>>,
}

impl Progress {
    /// Reads what the partition in `dir` remembers; nothing counts of a log whose end is unknown, or is `end` and lies
    /// before.
    pub(crate) fn open(storage: &dyn Storage, dir: &Path, end: Option<i64>) -> Result<Self, LogError> {
        let path = path(dir);
        let first_dirty = match storage.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            file => {
                let (file, mut bytes) = (file.map_err(LogError::storage("open", &path))?, [0; BYTES]);
                let read = read_full(&*file, &mut bytes, 0).map_err(LogError::storage("read", &path))?;
                (read == BYTES).then(|| decode(bytes)).flatten()
            }
        };
        match first_dirty.filter(|first_dirty| end.is_some_and(|end| *first_dirty <= end)) {
            Some(first_dirty) => Ok(Self { first_dirty, ..Self::default() }),
            // It must not count again once the log has grown beyond.
            None => remove_if_there(storage, &path).map(|()| Self::default()),
        }
    }

    /// Whether a pass is under way.
    pub(super) fn is_running(&self) -> bool {
        self.running.strong_count() > 0
    }

    /// Moves on to `first_dirty`.
    pub(super) fn advance(&mut self, storage: &dyn Storage, dir: &Path, first_dirty: i64) {
        self.first_dirty = self.first_dirty.max(first_dirty);
        let path = path(dir);
        let file = match storage.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => storage.create(&path),
            file => file,
        };
        // Without it the next start begins anew.
        drop(file.and_then(|file| file.write_all_at(&encode(self.first_dirty), 0)));
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

fn encode(first_dirty: i64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&first_dirty.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode(bytes: [u8; BYTES]) -> Option<i64> {
    let first_dirty = i64::from_be_bytes(std::array::from_fn(|at| bytes[at]));
    // Zeros are what a power loss leaves, and no checksum of theirs.
    (first_dirty > 0 && encode(first_dirty) == bytes).then_some(first_dirty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn it_is_remembered_unless_damaged_or_beyond_the_log() {
        let (storage, dir) = (MemoryStorage::new(), Path::new("/"));
        let open = |end| Progress::open(&storage, dir, end).unwrap().first_dirty;
        assert_eq!(open(Some(100)), 0);
        Progress::default().advance(&storage, dir, 42);
        assert_eq!((open(Some(100)), open(Some(42))), (42, 42));
        assert_eq!((open(Some(41)), open(Some(100))), (0, 0), "forgotten for good");
        Progress::default().advance(&storage, dir, 42);
        assert_eq!((open(None), open(Some(100))), (0, 0));
        for bit in 0..BYTES * 8 {
            Progress::default().advance(&storage, dir, 42);
            let file = storage.open(&path(dir)).unwrap();
            let mut bytes = encode(42);
            bytes[bit / 8] ^= 1 << (bit % 8);
            file.write_all_at(&bytes, 0).unwrap();
            assert_eq!(open(Some(i64::MAX)), 0, "bit {bit}");
        }
    }
}
