//! Puts a compacted segment in the place of those that it was made from, so that a crash leaves either.
//!
//! ```text
//! 00…00.log.cleaned        whole and synced, before anything else is touched
//! 00…00-00…42.swap         its new name: from here on it counts; the name says which offsets it takes the place of
//!                          the others' logs go, and every index of theirs
//! 00…00.log                its last name
//! ```
//! The directory is synced after each line. Recovery removes what is called `.cleaned`, and goes the rest of the way with
//! what is called `.swap`.
//!
//! Invariant: a log never stands beside the index of another, nor beside one that holds the same offsets but for a `.swap`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aborted;
use crate::error::LogError;
use crate::recovery::remove_if_there;
use crate::segment::{base_offset_in, index_path, log_path, time_index_path};
use crate::storage::Storage;

const CLEANED: &str = ".cleaned";
const SWAP: &str = ".swap";

/// The name of a file while its segment is being compacted.
pub(super) fn cleaned(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(CLEANED);
    name.into()
}

/// `DIR/00000000000000000000-00000000000000000042.swap`.
fn swap_path(dir: &Path, base: i64, next: i64) -> PathBuf {
    dir.join(format!("{base:020}-{next:020}{SWAP}"))
}

/// The offsets in the name of a segment that takes the place of others.
fn swap_in(name: &str) -> Option<(i64, i64)> {
    let (base, next) = name.strip_suffix(SWAP)?.split_once('-')?;
    let offset = |digits: &str| base_offset_in(&format!("{digits}.log"));
    Some((offset(base)?, offset(next)?))
}

/// A compacted segment that readers have already, and the disk still has under another name.
#[derive(Debug)]
#[must_use = "the segment does not outlast the process until the swap has run"]
pub struct Swap {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) dir: PathBuf,
    pub(super) base: i64,
    pub(super) next: i64,
    /// The base offsets of the segments that it takes the place of.
    pub(super) replaced: Vec<i64>,
}

impl Swap {
    /// Puts it in its place on the disk. Takes no lock that appends or reads take.
    ///
    /// # Errors
    /// What the storage says: opening the partition goes the rest of the way, or back.
    pub fn run(&self) -> Result<(), LogError> {
        let (storage, dir) = (&*self.storage, self.dir.as_path());
        let log = log_path(dir, self.base);
        rename(storage, &cleaned(&log), &swap_path(dir, self.base, self.next))?;
        storage.sync_dir(dir).map_err(LogError::storage("sync", dir))?;
        finish(storage, dir, (self.base, self.next), &self.replaced)?;
        for path in derived_paths(dir, self.base) {
            rename(storage, &cleaned(&path), &path)?;
        }
        storage.sync_dir(dir).map_err(LogError::storage("sync", dir))
    }
}

/// Goes the rest of the way with a segment whose name says that it counts.
fn finish(
    storage: &dyn Storage,
    dir: &Path,
    (base, next): (i64, i64),
    replaced: &[i64],
) -> Result<(), LogError> {
    for &old in replaced {
        if old != base {
            remove_if_there(storage, &log_path(dir, old))?;
        }
        for path in derived_paths(dir, old) {
            remove_if_there(storage, &path)?;
        }
    }
    storage.sync_dir(dir).map_err(LogError::storage("sync", dir))?;
    rename(storage, &swap_path(dir, base, next), &log_path(dir, base))
}

/// The files derived from a segment's log.
pub(super) fn derived_paths(dir: &Path, base: i64) -> [PathBuf; 3] {
    [index_path(dir, base), time_index_path(dir, base), aborted::path(dir, base)]
}

fn rename(storage: &dyn Storage, from: &Path, to: &Path) -> Result<(), LogError> {
    storage.rename(from, to).map_err(LogError::storage("rename", from))
}

/// Finishes or undoes what a crash interrupted, and says how many segments were put in their place.
pub(crate) fn recover(storage: &dyn Storage, dir: &Path) -> Result<usize, LogError> {
    let names = storage.list(dir).map_err(LogError::storage("list", dir))?;
    for name in names.iter().filter(|name| name.ends_with(CLEANED)) {
        remove_if_there(storage, &dir.join(name))?;
    }
    let swaps: Vec<(i64, i64)> = names.iter().filter_map(|name| swap_in(name)).collect();
    for &(base, next) in &swaps {
        let bases = names.iter().filter_map(|name| base_offset_in(name));
        // The segment itself may have lost its old log already.
        let replaced = bases.filter(|old| (base..next).contains(old)).chain([base]).collect::<Vec<_>>();
        finish(storage, dir, (base, next), &replaced)?;
        storage.sync_dir(dir).map_err(LogError::storage("sync", dir))?;
    }
    Ok(swaps.len())
}
