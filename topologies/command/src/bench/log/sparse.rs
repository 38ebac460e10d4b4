//! Files that take up no room for zeros, and a count of what is read and written.
//!
//! Invariant: every byte reads as it was written; only such zeros are left out as the file has there anyway, beyond its
//! end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use topo_log::storage::{FileStorage, Storage, StorageFile};

/// What file systems lay out at a time.
const BLOCK_BYTES: usize = 4 << 10;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Bytes that went through.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    read: AtomicU64,
    written: AtomicU64,
}

impl Traffic {
    /// Bytes read and written since this was asked last.
    pub(super) fn take(&self) -> (u64, u64) {
        (self.read.swap(0, Ordering::Relaxed), self.written.swap(0, Ordering::Relaxed))
    }
}

/// The file system, sparsely.
#[derive(Debug, Default)]
pub(super) struct SparseStorage {
    files: FileStorage,
    pub(super) traffic: Arc<Traffic>,
}

impl SparseStorage {
    fn wrap(&self, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(SparseFile { file, traffic: self.traffic.clone() })
    }
}

impl Storage for SparseStorage {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(self.files.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.wrap(self.files.create(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.files.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.remove(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn StorageFile>>> {
        self.files.lock(path)
    }
}

#[derive(Debug)]
struct SparseFile {
    file: Arc<dyn StorageFile>,
    traffic: Arc<Traffic>,
}

impl StorageFile for SparseFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, position)?;
        self.traffic.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let (mut at, length) = (0, self.file.length()?);
        while at < bytes.len() {
            // Up to where the file's next block begins.
            let to_block = BLOCK_BYTES - (position as usize + at) % BLOCK_BYTES;
            let block = &bytes[at..(at + to_block).min(bytes.len())];
            let is_hole = position + at as u64 >= length && *block == ZEROS[..block.len()];
            if !is_hole {
                self.file.write_all_at(block, position + at as u64)?;
                self.traffic.written.fetch_add(block.len() as u64, Ordering::Relaxed);
            }
            at += block.len();
        }
        let end = position + bytes.len() as u64;
        if self.file.length()? < end {
            self.file.truncate(end)?;
        }
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.truncate(bytes)
    }

    fn preallocate(&self, position: u64, bytes: u64) -> io::Result<()> {
        self.file.preallocate(position, bytes)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_written_reads_the_same_and_zeros_take_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let (sparse, path) = (SparseStorage::default(), dir.path().join("f"));
        let file = sparse.create(&path).unwrap();
        let mut bytes = vec![0; 1 << 20];
        (bytes[10], bytes[700_000]) = (1, 2);
        file.write_all_at(&bytes, 100).unwrap();
        // Over what is there, zeros count.
        file.write_all_at(&[0; 5], 108).unwrap();
        bytes[10] = 0;
        let written = std::fs::read(&path).unwrap();
        assert!(written[..100].iter().all(|byte| *byte == 0) && written[100..] == bytes);
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 <= 64 << 10, "zeros take up room");
        sparse.traffic.take();
        file.read_exact_at(&mut [0; 1_000], 5).unwrap();
        assert_eq!(sparse.traffic.take(), (1_000, 0));
    }
}
