//! Where in a generated day a record came from, kept in a header of the record: position and record are durable together or
//! not at all.

use std::sync::Arc;

use bytes::Bytes;
use topo_core::log::{Consumed, Header};

/// The header that holds a position, as with all that is gathered.
const HEADER: &str = "topo.source";

/// A place in the telling of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) seed: u64,
    /// How many uses the day has.
    pub(super) uses: u64,
    /// How much was told before.
    pub(super) index: u64,
}

impl Position {
    pub(super) fn key() -> Arc<str> {
        HEADER.into()
    }

    pub(super) fn header(self, key: &Arc<str>) -> Header {
        let Self { seed, uses, index } = self;
        Header { key: Arc::clone(key), value: Some(Bytes::from(format!("telecom/{seed}/{uses}@{index}"))) }
    }

    /// The position in a record's headers, if it has one.
    pub(super) fn of(record: &Consumed) -> Option<Self> {
        let header = record.headers.iter().find(|header| &*header.key == HEADER)?;
        let text = std::str::from_utf8(header.value.as_deref()?).ok()?;
        let (seed, rest) = text.strip_prefix("telecom/")?.split_once('/')?;
        let (uses, index) = rest.split_once('@')?;
        Some(Self { seed: seed.parse().ok()?, uses: uses.parse().ok()?, index: index.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_from_its_header_and_others_are_none() {
        let record = |headers| Consumed { offset: 0, timestamp_ms: 0, key: None, value: None, headers };
        let position = Position { seed: u64::MAX, uses: 7, index: 3 };
        assert_eq!(Position::of(&record(vec![position.header(&Position::key())])), Some(position));
        for other in ["", "telecom/", "telecom/1/2", "telecom/1@2", "telecom/x/1@2", "801-1f/0@12"] {
            let header = Header { key: HEADER.into(), value: Some(other.into()) };
            assert_eq!(Position::of(&record(vec![header])), None, "{other}");
        }
        assert_eq!(Position::of(&record(Vec::new())), None);
    }
}
