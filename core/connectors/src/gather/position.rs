//! Where in its source a record came from, kept in a header of the record, so that position and record are durable
//! together or not at all.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use topo_core::log::{Consumed, Header};

/// The header that holds a position.
const HEADER: &str = "topo.source";

/// A file, whatever it is called: its device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.device, self.inode)
    }
}

/// A place in a source: one past the last byte of a line, in one of the passes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) source: SourceId,
    /// How often the source had been gathered whole before, so that a later pass over it is told from an earlier one.
    pub(super) pass: u32,
    /// Bytes from the source's start.
    pub(super) bytes: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.source, self.pass, self.bytes)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (source, place) = text.split_once('/').ok_or(())?;
        let (device, inode) = source.split_once('-').ok_or(())?;
        let (pass, bytes) = place.split_once('@').ok_or(())?;
        let hex = |digits| u64::from_str_radix(digits, 16).map_err(drop);
        let source = SourceId { device: hex(device)?, inode: hex(inode)? };
        Ok(Self { source, pass: pass.parse().map_err(drop)?, bytes: bytes.parse().map_err(drop)? })
    }
}

impl Position {
    /// The header that says so.
    pub(super) fn header(self, key: &Arc<str>) -> Header {
        Header { key: Arc::clone(key), value: Some(Bytes::from(self.to_string())) }
    }

    /// The position in a record's headers, if it has one.
    pub(super) fn of(record: &Consumed) -> Option<Self> {
        let header = record.headers.iter().find(|header| &*header.key == HEADER)?;
        std::str::from_utf8(header.value.as_deref()?).ok()?.parse().ok()
    }

    /// The header's key, to be shared by many records.
    pub(super) fn key() -> Arc<str> {
        HEADER.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_position_comes_back_from_its_header(device: u64, inode: u64, pass: u32, bytes: u64) {
            let position = Position { source: SourceId { device, inode }, pass, bytes };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn other_headers_are_no_position(text in "\\PC{0,20}") {
            let _ = text.parse::<Position>();
        }
    }
}
