//! What idempotent producers have appended last, so that what they send twice is stored once, and which of their
//! transactions are open.
//!
//! Invariant: derived from the batches in the log alone. A snapshot only shortens the way there, and nothing of it counts
//! that the log contradicts. A producer whose transaction is open is never forgotten.

mod replay;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use self::replay::{Replay, Replayed, follow};

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use topo_protocol::{BatchHeader, EndTransactionMarker, TransactionResult};

use crate::aborted::AbortedTransaction;
use crate::partition::Appended;
use crate::retention::is_older;

/// Batches remembered of each producer: as many as Kafka's clients have under way.
const RECENT: usize = 5;
/// Producers remembered at most; those that appended longest ago are forgotten first.
const MAX_PRODUCERS: usize = 1 << 16;
/// Transactions open at most: they cannot be forgotten.
const MAX_OPEN: usize = MAX_PRODUCERS / 2;

/// Why a producer's batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProducerError {
    /// A later instance of the producer has appended.
    #[error("producer {producer_id} of epoch {epoch} is fenced: epoch {current} has taken over")]
    Fenced {
        /// The producer.
        producer_id: i64,
        /// Its epoch.
        epoch: i16,
        /// The epoch of who appended last.
        current: i16,
    },
    /// The sequence number leaves a gap, or belongs to a batch that is older than those remembered.
    #[error("producer {producer_id} sent sequence number {sequence} where {expected} follows")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// The first sequence number of the batch.
        sequence: i32,
        /// The one that was to come.
        expected: i32,
    },
    /// A later coordinator has ended a transaction of the producer.
    #[error(
        "the coordinator of epoch {epoch} of producer {producer_id} is fenced: epoch {current} has taken over"
    )]
    CoordinatorFenced {
        /// The producer.
        producer_id: i64,
        /// The coordinator's epoch.
        epoch: i32,
        /// The epoch of the coordinator that wrote the last marker.
        current: i32,
    },
    /// A batch outside of a transaction, by a producer whose transaction is open.
    #[error("producer {producer_id} sent a batch of no transaction while its transaction is open")]
    InTransaction {
        /// The producer.
        producer_id: i64,
    },
    /// More transactions are open than a partition remembers.
    #[error("producer {producer_id} has to wait: {MAX_OPEN} transactions are open in the partition")]
    TooManyTransactions {
        /// The producer.
        producer_id: i64,
    },
    /// A producer without an epoch or a sequence number.
    #[error("producer {producer_id} sent epoch {epoch} and sequence number {sequence}, which cannot be")]
    Invalid {
        /// The producer.
        producer_id: i64,
        /// Its epoch.
        epoch: i16,
        /// The first sequence number of the batch.
        sequence: i32,
    },
}

/// The producers of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
    /// The checksum of the last batch taken into account, by which a snapshot is matched with the log.
    tip: Option<u32>,
    /// Who has a transaction open, by the offset that it begins at.
    open: BTreeMap<i64, i64>,
    /// Transactions that have ended, as yet only for those who read up to their markers: the marker's offset and the
    /// one that the transaction begins at, in the order of the markers.
    ended: VecDeque<(i64, i64)>,
}

/// What a partition knows of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The last sequence number it sent; -1 where it sent none in this epoch.
    pub last_sequence: i32,
    /// The largest timestamp of its last batch, in milliseconds since 1970.
    pub last_timestamp_ms: i64,
    /// The epoch of the coordinator that ended its last transaction; -1 where none did.
    pub coordinator_epoch: i32,
    /// The first offset of its open transaction.
    pub transaction_start: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// Of its last batch, in milliseconds since 1970.
    last_timestamp: i64,
    /// One past the last offset that it appended.
    next_offset: i64,
    /// Of the coordinator that ended its last transaction; -1 where none did.
    coordinator_epoch: i32,
    /// The first offset of its open transaction.
    open: Option<i64>,
    /// Oldest first. Invariant: all of this epoch.
    recent: VecDeque<Sequenced>,
}

/// A batch with its sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sequenced {
    base_sequence: i32,
    base_offset: i64,
    last_offset_delta: i32,
}

impl Sequenced {
    fn last_offset(self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    fn last_sequence(self) -> i32 {
        advance(self.base_sequence, i64::from(self.last_offset_delta))
    }

    fn next_sequence(self) -> i32 {
        advance(self.base_sequence, i64::from(self.last_offset_delta) + 1)
    }
}

/// What a batch without sequence numbers has in their place.
const NO_SEQUENCE: i32 = -1;

/// Sequence numbers go from 0 to `i32::MAX` and start over.
fn advance(sequence: i32, by: i64) -> i32 {
    ((i64::from(sequence) + by) & i64::from(i32::MAX)) as i32
}

impl Producers {
    /// Where a batch was appended before; `None` where it is to be appended now.
    pub(crate) fn check(
        &self,
        header: &BatchHeader,
        marker: Option<&EndTransactionMarker>,
    ) -> Result<Option<Appended>, ProducerError> {
        let BatchHeader { producer_id, producer_epoch: epoch, base_sequence: sequence, .. } = *header;
        let (is_control, is_transactional) =
            (header.attributes.is_control(), header.attributes.is_transactional());
        if producer_id < 0 && !is_transactional {
            return Ok(None);
        }
        // What a coordinator appends in a producer's transaction has no numbers of the producer's.
        let is_unsequenced = is_control || is_transactional && sequence == NO_SEQUENCE;
        if producer_id < 0 || epoch < 0 || sequence < 0 && !is_unsequenced {
            return Err(ProducerError::Invalid { producer_id, epoch, sequence });
        }
        let known = self.by_id.get(&producer_id);
        if let Some(known) = known.filter(|known| epoch < known.epoch) {
            return Err(ProducerError::Fenced { producer_id, epoch, current: known.epoch });
        }
        if let (Some(known), Some(marker)) = (known, marker)
            && marker.coordinator_epoch < known.coordinator_epoch
        {
            let (epoch, current) = (marker.coordinator_epoch, known.coordinator_epoch);
            return Err(ProducerError::CoordinatorFenced { producer_id, epoch, current });
        }
        if is_control {
            return Ok(None);
        }
        if let Some(known) = known.filter(|_| !is_unsequenced)
            && let Some(before) = known.check_sequence(header)?
        {
            return Ok(Some(before));
        }
        let is_open = known.is_some_and(|known| known.open.is_some());
        match (is_transactional, is_open) {
            (false, true) => Err(ProducerError::InTransaction { producer_id }),
            (true, false) if self.open.len() >= MAX_OPEN => {
                Err(ProducerError::TooManyTransactions { producer_id })
            }
            // Whoever is unknown may start anywhere: what it appended before may have been given up.
            _ => Ok(None),
        }
    }

    /// Takes a batch that is in the log into account, with the marker that it is if it is one; what that aborts.
    pub(crate) fn note(
        &mut self,
        header: &BatchHeader,
        marker: Option<&EndTransactionMarker>,
    ) -> Option<AbortedTransaction> {
        self.tip = Some(header.crc);
        if header.producer_id < 0 {
            return None;
        }
        let producer = self.by_id.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            last_timestamp: -1,
            next_offset: 0,
            coordinator_epoch: -1,
            open: None,
            recent: VecDeque::new(),
        });
        producer.note(header);
        let aborted = match marker {
            Some(marker) => {
                producer.coordinator_epoch = marker.coordinator_epoch;
                let first = producer.open.take();
                first.and_then(|first| self.end(first, header, marker.result))
            }
            None => {
                let is_records = !header.attributes.is_control();
                if is_records && header.attributes.is_transactional() && producer.open.is_none() {
                    producer.open = Some(header.base_offset);
                    self.open.insert(header.base_offset, header.producer_id);
                }
                None
            }
        };
        if self.by_id.len() > MAX_PRODUCERS {
            self.forget_oldest();
        }
        aborted
    }

    /// Ends the transaction that begins at `first_offset` with the marker of a batch.
    fn end(
        &mut self,
        first_offset: i64,
        header: &BatchHeader,
        result: TransactionResult,
    ) -> Option<AbortedTransaction> {
        self.open.remove(&first_offset);
        let last_offset = header.base_offset;
        self.ended.push_back((last_offset, first_offset));
        let others = self.open.first_key_value().map(|(first, _)| *first);
        (result == TransactionResult::Abort).then(|| AbortedTransaction {
            producer_id: header.producer_id,
            first_offset,
            last_offset,
            last_stable_offset: others.unwrap_or(header.next_offset()),
        })
    }

    /// The first offset of all transactions that have not ended for who reads up to `readable_end`.
    pub(crate) fn first_unstable(&self, readable_end: i64) -> Option<i64> {
        let open = self.open.first_key_value().map(|(first, _)| *first);
        let late = self.ended.iter().filter(|(last, _)| *last >= readable_end).map(|(_, first)| *first);
        late.chain(open).min()
    }

    /// Everything below may be read from now on: so may the markers there.
    pub(crate) fn settle(&mut self, readable_end: i64) {
        while self.ended.front().is_some_and(|(last, _)| *last < readable_end) {
            self.ended.pop_front();
        }
    }

    /// All producers, by id.
    pub(crate) fn states(&self) -> Vec<ProducerState> {
        let state = |(id, producer): (&i64, &Producer)| ProducerState {
            producer_id: *id,
            epoch: producer.epoch,
            last_sequence: producer.recent.back().map_or(NO_SEQUENCE, |last| last.last_sequence()),
            last_timestamp_ms: producer.last_timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            transaction_start: producer.open,
        };
        let mut states: Vec<ProducerState> = self.by_id.iter().map(state).collect();
        states.sort_unstable_by_key(|state| state.producer_id);
        states
    }

    /// Where each producer's last batch below `end` begins, or the last marker of one that has appended nothing else in its
    /// epoch; and behind them the producers of whom only the log can say, because all that is remembered lies above.
    pub(crate) fn last_batches(&self, end: i64) -> (HashMap<i64, i64>, HashSet<i64>) {
        let (mut last, mut unknown) = (HashMap::new(), HashSet::new());
        for (&id, producer) in &self.by_id {
            let recent = producer.recent.iter().rev().map(|batch| (batch.base_offset, batch.last_offset()));
            let marker = (producer.next_offset - 1, producer.next_offset - 1);
            let mut known = recent.chain(producer.recent.is_empty().then_some(marker));
            match known.find(|(_, last_offset)| *last_offset < end) {
                Some((base_offset, _)) => drop(last.insert(id, base_offset)),
                None => drop(unknown.insert(id)),
            }
        }
        (last, unknown)
    }

    /// Forgets who appended nothing for so long.
    pub(crate) fn expire(&mut self, now_ms: i64, age: Duration) {
        // Without timestamps only their number is bounded.
        self.by_id.retain(|_, producer| {
            let is_recent = producer.last_timestamp < 0 || !is_older(producer.last_timestamp, now_ms, age);
            is_recent || producer.open.is_some()
        });
    }

    /// Makes room for a quarter of the producers at once, so that it is seldom done.
    fn forget_oldest(&mut self) {
        // Of those that may be forgotten there are more: not so many transactions are open.
        let idle = self.by_id.values().filter(|producer| producer.open.is_none());
        let mut offsets: Vec<i64> = idle.map(|producer| producer.next_offset).collect();
        let (_, limit, _) = offsets.select_nth_unstable(MAX_PRODUCERS / 4);
        let limit = *limit;
        self.by_id.retain(|_, producer| producer.next_offset > limit || producer.open.is_some());
    }
}

impl Producer {
    /// Where a batch was appended before; `None` where it is the one to come.
    fn check_sequence(&self, header: &BatchHeader) -> Result<Option<Appended>, ProducerError> {
        let BatchHeader { producer_id, producer_epoch: epoch, base_sequence: sequence, .. } = *header;
        let expected = match self.recent.back() {
            _ if epoch > self.epoch => 0,
            Some(last) => last.next_sequence(),
            None => return Ok(None),
        };
        let same = |batch: &&Sequenced| {
            batch.base_sequence == sequence && batch.last_offset_delta == header.last_offset_delta
        };
        if epoch == self.epoch
            && let Some(before) = self.recent.iter().find(same)
        {
            let last_offset = before.last_offset();
            return Ok(Some(Appended { base_offset: before.base_offset, last_offset, is_duplicate: true }));
        }
        if sequence == expected {
            Ok(None)
        } else {
            Err(ProducerError::OutOfOrderSequence { producer_id, sequence, expected })
        }
    }

    /// Takes a batch of its own into account, but for what it is in a transaction.
    fn note(&mut self, header: &BatchHeader) {
        if self.epoch != header.producer_epoch {
            self.epoch = header.producer_epoch;
            self.recent.clear();
        }
        (self.last_timestamp, self.next_offset) = (header.max_timestamp, header.next_offset());
        if header.attributes.is_control() || header.base_sequence < 0 {
            return;
        }
        self.recent.push_back(Sequenced {
            base_sequence: header.base_sequence,
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta,
        });
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }
}
