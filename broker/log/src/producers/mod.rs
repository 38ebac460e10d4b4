//! What idempotent producers have appended last, so that what they send twice is stored once.
//!
//! Invariant: derived from the batches in the log alone. A snapshot only shortens the way there, and nothing of it counts
//! that the log contradicts.

mod replay;
mod snapshot;

pub(crate) use self::replay::{Replay, Replayed};

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use topo_protocol::BatchHeader;

use crate::partition::Appended;
use crate::retention::is_older;

/// Batches remembered of each producer: as many as Kafka's clients have under way.
const RECENT: usize = 5;
/// Producers remembered at most; those that appended longest ago are forgotten first.
const MAX_PRODUCERS: usize = 1 << 16;

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
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// Of its last batch, in milliseconds since 1970.
    last_timestamp: i64,
    /// One past the last offset that it appended.
    next_offset: i64,
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

    fn next_sequence(self) -> i32 {
        advance(self.base_sequence, i64::from(self.last_offset_delta) + 1)
    }
}

/// Sequence numbers go from 0 to `i32::MAX` and start over.
fn advance(sequence: i32, by: i64) -> i32 {
    ((i64::from(sequence) + by) & i64::from(i32::MAX)) as i32
}

impl Producers {
    /// Where a batch was appended before; `None` where it is to be appended now.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Option<Appended>, ProducerError> {
        let BatchHeader { producer_id, producer_epoch: epoch, base_sequence: sequence, .. } = *header;
        if producer_id < 0 {
            return Ok(None);
        }
        let is_control = header.attributes.is_control();
        if epoch < 0 || sequence < 0 && !is_control {
            return Err(ProducerError::Invalid { producer_id, epoch, sequence });
        }
        // Whoever is unknown may start anywhere: what it appended before may have been given up.
        let Some(known) = self.by_id.get(&producer_id) else { return Ok(None) };
        if epoch < known.epoch {
            return Err(ProducerError::Fenced { producer_id, epoch, current: known.epoch });
        }
        if is_control {
            return Ok(None);
        }
        let expected = match known.recent.back() {
            _ if epoch > known.epoch => 0,
            Some(last) => last.next_sequence(),
            None => return Ok(None),
        };
        let same = |batch: &&Sequenced| {
            batch.base_sequence == sequence && batch.last_offset_delta == header.last_offset_delta
        };
        if epoch == known.epoch
            && let Some(before) = known.recent.iter().find(same)
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

    /// Takes a batch that is in the log into account.
    pub(crate) fn note(&mut self, header: &BatchHeader) {
        self.tip = Some(header.crc);
        if header.producer_id < 0 {
            return;
        }
        let producer = self.by_id.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            last_timestamp: -1,
            next_offset: 0,
            recent: VecDeque::new(),
        });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.recent.clear();
        }
        (producer.last_timestamp, producer.next_offset) = (header.max_timestamp, header.next_offset());
        if !header.attributes.is_control() {
            producer.recent.push_back(Sequenced {
                base_sequence: header.base_sequence,
                base_offset: header.base_offset,
                last_offset_delta: header.last_offset_delta,
            });
            if producer.recent.len() > RECENT {
                producer.recent.pop_front();
            }
        }
        if self.by_id.len() > MAX_PRODUCERS {
            self.forget_oldest();
        }
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
            producer.last_timestamp < 0 || !is_older(producer.last_timestamp, now_ms, age)
        });
    }

    /// Makes room for a quarter of the producers at once, so that it is seldom done.
    fn forget_oldest(&mut self) {
        let mut offsets: Vec<i64> = self.by_id.values().map(|producer| producer.next_offset).collect();
        let (_, limit, _) = offsets.select_nth_unstable(MAX_PRODUCERS / 4);
        let limit = *limit;
        self.by_id.retain(|_, producer| producer.next_offset > limit);
    }
}

#[cfg(test)]
mod tests {
    use topo_protocol::Attributes;

    use super::*;

    fn header(producer_id: i64, epoch: i16, base_sequence: i32, base_offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset,
            batch_length: 49,
            partition_leader_epoch: 0,
            magic: 2,
            crc: 7,
            attributes: Attributes::default(),
            last_offset_delta: 1,
            base_timestamp: base_offset,
            max_timestamp: base_offset,
            producer_id,
            producer_epoch: epoch,
            base_sequence,
            record_count: 2,
        }
    }

    #[test]
    fn the_last_five_are_known_again_and_gaps_are_not_let_through() {
        let mut producers = Producers::default();
        let start = i32::MAX - 5;
        for batch in 0..8 {
            let header = header(1, 0, advance(start, batch * 2), batch * 10);
            assert_eq!(producers.check(&header), Ok(None), "{batch}");
            producers.note(&header);
        }
        for batch in 3..8 {
            let again = producers.check(&header(1, 0, advance(start, batch * 2), 999)).unwrap().unwrap();
            assert_eq!((again.base_offset, again.last_offset), (batch * 10, batch * 10 + 1));
        }
        let expected = advance(start, 16);
        assert_eq!(expected, 10, "numbers start over");
        for sequence in [advance(start, 4), expected + 1, expected + 2] {
            let refused = ProducerError::OutOfOrderSequence { producer_id: 1, sequence, expected };
            assert_eq!(producers.check(&header(1, 0, sequence, 999)), Err(refused));
        }
        let longer = BatchHeader { last_offset_delta: 5, ..header(1, 0, advance(start, 14), 999) };
        assert!(producers.check(&longer).is_err(), "another batch under the same number");
    }

    #[test]
    fn a_later_epoch_starts_at_zero_and_fences_the_one_before() {
        let mut producers = Producers::default();
        producers.note(&header(1, 3, 40, 0));
        assert!(matches!(
            producers.check(&header(1, 2, 42, 9)),
            Err(ProducerError::Fenced { current: 3, .. })
        ));
        assert!(matches!(
            producers.check(&header(1, 4, 42, 9)),
            Err(ProducerError::OutOfOrderSequence { expected: 0, .. })
        ));
        assert_eq!(producers.check(&header(1, 4, 0, 9)), Ok(None));
        producers.note(&header(1, 4, 0, 9));
        assert!(producers.check(&header(1, 4, 0, 9)).unwrap().is_some());
        assert!(producers.check(&header(1, 3, 42, 9)).is_err());
        assert_eq!(producers.check(&header(2, 0, 77, 9)), Ok(None), "whoever is unknown may start anywhere");
        assert_eq!(producers.check(&header(-1, -1, -1, 9)), Ok(None));
        for (epoch, sequence) in [(-1, 0), (0, -1)] {
            assert!(matches!(
                producers.check(&header(5, epoch, sequence, 9)),
                Err(ProducerError::Invalid { .. })
            ));
        }
    }

    #[test]
    fn those_that_are_old_or_too_many_are_forgotten() {
        let mut producers = Producers::default();
        for id in 0..100_000 {
            producers.note(&header(id, 0, 0, id));
            assert!(producers.by_id.len() <= MAX_PRODUCERS);
        }
        assert!(producers.check(&header(99_999, 0, 0, 0)).unwrap().is_some());
        assert_eq!(producers.check(&header(0, 0, 0, 0)), Ok(None));
        producers.expire(100_000, Duration::from_millis(10));
        assert_eq!(producers.by_id.len(), 10);
    }
}
