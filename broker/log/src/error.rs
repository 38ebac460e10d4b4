//! What a partition cannot do, and why.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use topo_protocol::BatchError;

use crate::producers::ProducerError;

/// Why a partition could not be opened, appended to, read or synced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The batch to append is not one; nothing was written.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The batch is not the one that its producer has to send next; nothing was written.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The offset is below the log's start or beyond its end.
    #[error("the partition holds offsets {log_start} to {log_end}, not {asked}")]
    OffsetOutOfRange {
        /// The offset asked for.
        asked: i64,
        /// The first offset held.
        log_start: i64,
        /// One past the last offset held.
        log_end: i64,
    },
    /// Stored bytes are not what was written. What lies before them can still be read.
    #[error(
        "{} is corrupt at position {position}, where offset {offset} should be: {reason}; restore it from a copy, \
         or remove {} to keep only the records before it",
        .file.display(), .checkpoint.display()
    )]
    Corrupt {
        /// The segment's file.
        file: PathBuf,
        /// Bytes from the file's start to the first that cannot be trusted.
        position: u64,
        /// The offset that should be there.
        offset: i64,
        /// What is wrong.
        reason: String,
        /// The partition's checkpoint, without which recovery keeps the records before the damage.
        checkpoint: PathBuf,
    },
    /// The storage is full; nothing was written, and appends go on once there is space.
    #[error("no space is left for {}; appends go on once some is free", .file.display())]
    Full {
        /// The file that could not grow.
        file: PathBuf,
    },
    /// The partition has given every offset there is.
    #[error("the partition has no offsets left")]
    OffsetsExhausted,
    /// A write or sync failed before: what is on disk is unknown until recovery has looked.
    #[error("the partition takes no appends since its storage failed ({reason}); start again to recover it")]
    Poisoned {
        /// The failure.
        reason: Arc<str>,
    },
    /// The storage failed.
    #[error("cannot {action} {}: {}", .path.display(), said(source))]
    Storage {
        /// What was attempted, such as `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the storage said.
        source: io::Error,
    },
}

impl LogError {
    /// Names the attempt that an I/O error ended.
    pub(crate) fn storage(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Storage { action, path: path.to_owned(), source }
    }
}

/// What an I/O error says, and what to do about it where it is not the disk that is wrong.
fn said(error: &io::Error) -> String {
    // The standard library has no kind for EMFILE, which has this number on every Unix.
    const TOO_MANY_OPEN: i32 = 24;
    if cfg!(unix) && error.raw_os_error() == Some(TOO_MANY_OPEN) {
        return format!(
            "{error}; let the process open more files (ulimit -n), or give topics larger segments (segment.bytes)"
        );
    }
    error.to_string()
}

/// Whether an I/O error says that there is no room, rather than that the disk is broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_too_many_files_open_is_told_what_to_do() {
        let error =
            |number| LogError::storage("open", Path::new("/d/0.log"))(io::Error::from_raw_os_error(number));
        let (too_many, broken) = (error(24).to_string(), error(5).to_string());
        assert!(
            too_many.starts_with("cannot open /d/0.log: ") && too_many.contains("ulimit -n"),
            "{too_many}"
        );
        assert!(!broken.contains("ulimit"), "{broken}");
    }
}
