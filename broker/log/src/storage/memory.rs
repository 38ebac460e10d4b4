//! Storage that lives as long as its last handle: for tests, and for logs that nothing needs to outlive.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{Storage, StorageFile, parent_of};

/// A tree of files in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    dirs: BTreeSet<PathBuf>,
}

impl Tree {
    /// `.`, `/` and what was created.
    fn has_dir(&self, dir: &Path) -> bool {
        dir.parent().is_none() || dir == Path::new(".") || self.dirs.contains(dir)
    }

    fn file(&self, path: &Path) -> io::Result<Arc<MemoryFile>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn free(&self, path: &Path) -> io::Result<()> {
        if !self.has_dir(&parent_of(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.files.contains_key(path) || self.has_dir(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }

    fn names<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = String> + 'a {
        let paths = self.files.keys().chain(&self.dirs);
        let inside = paths.filter(move |path| parent_of(path) == dir && path.as_path() != dir);
        inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
    }
}

impl MemoryStorage {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    // Every change of the tree is a single insertion or removal, so a panic elsewhere leaves it whole.
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemoryStorage {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.tree().file(path)?)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let mut tree = self.tree();
        tree.free(path)?;
        let file = Arc::<MemoryFile>::default();
        tree.files.insert(path.to_owned(), file.clone());
        Ok(file)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let tree = self.tree();
        if !tree.has_dir(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut names: Vec<String> = tree.names(dir).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree();
        let file = tree.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        tree.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tree().files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut tree = self.tree();
        tree.free(dir)?;
        tree.dirs.insert(dir.to_owned());
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut tree = self.tree();
        if tree.names(dir).next().is_some() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if tree.dirs.remove(dir) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.tree().has_dir(dir) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Arc<dyn StorageFile>>> {
        let mut tree = self.tree();
        let file = match tree.file(path) {
            Ok(file) => file,
            Err(_) => {
                tree.free(path)?;
                let file = Arc::<MemoryFile>::default();
                tree.files.insert(path.to_owned(), file.clone());
                file
            }
        };
        let mut held = file.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.strong_count() > 0 {
            return Ok(None);
        }
        let locked = Arc::new(LockedFile { file: file.clone() });
        *held = Arc::downgrade(&locked);
        Ok(Some(locked))
    }
}

#[derive(Debug, Default)]
struct MemoryFile {
    bytes: RwLock<Vec<u8>>,
    /// Who holds the file locked; dangling where nobody does.
    held: Mutex<std::sync::Weak<LockedFile>>,
}

/// A handle that holds its file locked while it lives.
#[derive(Debug)]
struct LockedFile {
    file: Arc<MemoryFile>,
}

impl StorageFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, new: &[u8], position: u64) -> io::Result<usize> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        overwrite(&mut bytes, new, position)?;
        Ok(new.len())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.bytes.write().unwrap_or_else(PoisonError::into_inner).resize(length, 0);
        Ok(())
    }

    fn preallocate(&self, position: u64, bytes: u64) -> io::Result<()> {
        let mut held = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let end = position.checked_add(bytes).and_then(|end| usize::try_from(end).ok());
        let end = end.ok_or(io::ErrorKind::FileTooLarge)?;
        if held.len() < end {
            held.resize(end, 0);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }
}

impl StorageFile for LockedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.file.write_at(bytes, position)
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

/// Writes `new` into `bytes` at `position`, with zeros in front of it where `bytes` ends before.
pub(super) fn overwrite(bytes: &mut Vec<u8>, new: &[u8], position: u64) -> io::Result<()> {
    let from = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let to = from.checked_add(new.len()).ok_or(io::ErrorKind::FileTooLarge)?;
    if bytes.len() < to {
        bytes.resize(to, 0);
    }
    bytes[from..to].copy_from_slice(new);
    Ok(())
}
