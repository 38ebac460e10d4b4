//! One round of reading for a fetch: part after part, until there is no room left.
//!
//! Invariant: what a thread that serves connections reads in place waits for no device, and is no more than
//! [`IN_PLACE`]; the rest is left to a thread that may block.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use topo_log::AbortedTransaction;
use topo_protocol::{BatchHeader, Compression};

use super::code::code;
use crate::partition::{Fetched, IN_PLACE, Isolation, Offsets, Partition};

/// A part of a round.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) slot: usize,
    pub(super) partition: Arc<Partition>,
    pub(super) offset: i64,
    pub(super) isolation: Isolation,
    pub(super) room: usize,
}

/// What became of one part.
#[derive(Debug)]
pub(super) enum Outcome {
    Read {
        batches: Bytes,
        aborted: Vec<AbortedTransaction>,
        next_offset: i64,
        held: Offsets,
    },
    /// What comes next has no room in this response.
    Full,
    Failed(ResponseError),
}

impl Outcome {
    /// How many bytes of records it brought.
    pub(super) fn bytes(&self) -> usize {
        if let Self::Read { batches, .. } = self { batches.len() } else { 0 }
    }
}

/// A round under way.
#[derive(Debug)]
pub(super) struct Round {
    /// What is still to be read.
    parts: VecDeque<Part>,
    /// How many bytes more may be read.
    left: usize,
    /// Whether the response has nothing yet, so that the next batch is taken whatever its size.
    is_first: bool,
    takes_zstd: bool,
    outcomes: Vec<(usize, Outcome)>,
}

impl Round {
    pub(super) fn new(parts: Vec<Part>, left: usize, is_first: bool, takes_zstd: bool) -> Self {
        let outcomes = Vec::with_capacity(parts.len());
        Self { parts: parts.into(), left, is_first, takes_zstd, outcomes }
    }

    /// Reads all of it, and says what became of which slot's part.
    pub(super) async fn read(mut self) -> Vec<(usize, Outcome)> {
        self.read_in_place();
        if !self.is_over() {
            let read = tokio::task::spawn_blocking(move || {
                self.read_waiting();
                self
            });
            // A task that was ended early has read nothing.
            return read.await.map(|round| round.outcomes).unwrap_or_default();
        }
        self.outcomes
    }

    /// Reads what is at hand, up to the first part of which something is not.
    fn read_in_place(&mut self) {
        let least = self.left.saturating_sub(IN_PLACE);
        while !self.is_over()
            && let Some(part) = self.parts.front()
            && self.left - self.room(part) >= least
            && let Some(fetched) = part.partition.read_at_hand(part.offset, self.room(part), part.isolation)
        {
            self.take(Ok(fetched));
        }
    }

    /// Reads the rest. Blocks.
    fn read_waiting(&mut self) {
        while !self.is_over()
            && let Some(part) = self.parts.front()
        {
            let read = part.partition.read(part.offset, self.room(part), part.isolation);
            self.take(read.map_err(|error| code(&error)));
        }
    }

    /// Whether nothing is left to read, or no room for it.
    fn is_over(&self) -> bool {
        self.parts.front().is_none_or(|part| self.room(part) == 0 && !self.is_first)
    }

    fn room(&self, part: &Part) -> usize {
        part.room.min(self.left)
    }

    /// Takes what was read of the first part.
    fn take(&mut self, read: Result<Fetched, ResponseError>) {
        let Some(part) = self.parts.pop_front() else { return };
        let outcome = match read {
            Ok(fetched) if fetched.batches.is_empty() => Outcome::Full,
            Ok(fetched) if fetched.batches.len() > self.room(&part) && !self.is_first => Outcome::Full,
            Ok(fetched) => match known(&fetched, self.takes_zstd) {
                (0, _) => Outcome::Failed(ResponseError::UnsupportedCompressionType),
                (known, next_offset) => {
                    self.is_first = false;
                    self.left = self.left.saturating_sub(known);
                    let Fetched { batches, aborted, offsets: held, .. } = fetched;
                    Outcome::Read { batches: batches.slice(..known), aborted, next_offset, held }
                }
            },
            Err(code) => Outcome::Failed(code),
        };
        self.outcomes.push((part.slot, outcome));
    }
}

/// How many bytes of the batches come before the first one that the client does not know, and where those end.
fn known(fetched: &Fetched, takes_zstd: bool) -> (usize, i64) {
    let Fetched { batches, next_offset, .. } = fetched;
    let mut known = 0;
    while !takes_zstd && let Ok(header) = BatchHeader::parse(&batches[known..]) {
        if header.attributes.compression() == Ok(Compression::Zstd) {
            return (known, header.base_offset);
        }
        known = batches.len().min(known + header.total_bytes());
    }
    (batches.len(), *next_offset)
}
