//! The file system as storage: positioned reads and writes, `fdatasync`, and advisory locks that die with their holder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use crate::error::is_full;

use super::{Storage, StorageFile};

/// The operating system's files.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileStorage;

impl Storage for FileStorage {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create_new(true).open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Names are metadata, which `fdatasync` may leave out.
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn StorageFile>>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Arc::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl StorageFile for File {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, position)
    }

    #[cfg(target_os = "linux")]
    fn read_at_hand(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};

        match preadv2(self, &mut [io::IoSliceMut::new(buffer)], position, ReadWriteFlags::NOWAIT) {
            // Not every file system can tell.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read?),
        }
    }

    /// Elsewhere nobody can tell what is at hand.
    #[cfg(not(target_os = "linux"))]
    fn read_at_hand(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn preallocate(&self, position: u64, bytes: u64) -> io::Result<()> {
        reserve(self, position, bytes)?;
        // Reserved alone, a block still costs a change of metadata, and its sync, when it is first written; one that
        // holds zeros does not.
        let end = position.saturating_add(bytes);
        let mut from = position;
        while from < end {
            let count = (end - from).min(ZEROS.len() as u64);
            StorageFile::write_all_at(self, &ZEROS[..count as usize], from)?;
            from += count;
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// What is written at a time where zeros are.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Has the file system lay the blocks out next to each other, or say beforehand that there is no room for them.
#[cfg(target_os = "linux")]
fn reserve(file: &File, position: u64, bytes: u64) -> io::Result<()> {
    use nix::fcntl::{FallocateFlags, fallocate};

    let offset = |offset: u64| offset.try_into().map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
    match fallocate(file, FallocateFlags::empty(), offset(position)?, offset(bytes)?).map_err(io::Error::from)
    {
        Err(error) if is_full(&error) => Err(error),
        // Not every file system can: then writing the zeros does what can be done.
        _ => Ok(()),
    }
}

/// Writing the zeros is all that is done elsewhere.
#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_preallocated_reads_as_zeros_takes_room_and_keeps_what_was_there() {
        use std::os::unix::fs::MetadataExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = FileStorage.create(&path).unwrap();
        file.write_all_at(b"kept", 0).unwrap();
        file.preallocate(4, 200_000).unwrap();
        file.sync().unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"kept") && bytes[4..].iter().all(|byte| *byte == 0));
        assert_eq!((bytes.len() as u64, file.length().unwrap()), (200_004, 200_004));
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 200_000, "the room was not taken");
        file.truncate(4).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_was_just_written_is_at_hand_where_the_file_system_can_tell() {
        let dir = tempfile::tempdir().unwrap();
        let file = FileStorage.create(&dir.path().join("f")).unwrap();
        file.write_all_at(b"written", 0).unwrap();
        let mut read = [0; 4];
        match file.read_at_hand(&mut read, 3) {
            Ok(count) => assert_eq!(read[..count], b"tten"[..count]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}
