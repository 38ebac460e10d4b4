//! Committed offsets: what each group has read of each partition, kept in `__consumer_offsets` and in memory.
//!
//! Invariant: what [`CommittedOffsets::get`] returns is durable, and is what a replay of the topic would find. Every
//! value is kept with the offset of the record that holds it and is seen once the high watermark has passed that record;
//! so neither the order in which commits are woken nor a commit that stopped waiting can make memory and topic differ.
//! What is committed in a transaction is kept aside, and counts once the high watermark has passed the marker that commits
//! the transaction.

mod history;
mod pending;
mod record;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use topo_protocol::{
    BatchBuilder, BatchHeader, BatchProducer, Compression, DecodedRecord, EndTransactionMarker, NewRecord,
    Room, TransactionResult, records,
};

use crate::error::{BrokerError, shown};
use crate::partition::{Appended, Partition};
use crate::topic::{Topic, TopicPartition};
use crate::transactions::ProducerInstance;
use history::History;
use pending::Pending;
use record::OffsetKey;

/// What a group committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Offset of the next record to read.
    pub offset: i64,
    /// Epoch of the leader that the offset was read from; -1 where unknown.
    pub leader_epoch: i32,
    /// What the member adds for itself; at most 32,767 bytes.
    pub metadata: String,
    /// When it was committed, in milliseconds since 1970.
    pub commit_timestamp_ms: i64,
}

/// All committed offsets.
#[derive(Debug, Default)]
pub(crate) struct CommittedOffsets {
    held: Mutex<Held>,
}

/// What is kept in memory.
#[derive(Debug, Default)]
struct Held {
    groups: HashMap<Arc<str>, BTreeMap<TopicPartition, History>>,
    /// What was committed in transactions that are open.
    pending: Pending,
}

impl CommittedOffsets {
    /// Reads everything that the topic's partition holds. Blocks.
    pub(crate) fn replay(partition: &Partition) -> Result<Self, BrokerError> {
        let mut held = Held::default();
        let high_watermark = partition.offsets()?.high_watermark;
        partition.replay(|header, batch| replay_batch(&mut held, header, batch))?;
        for partitions in held.groups.values_mut() {
            partitions.retain(|_, history| history.prune(high_watermark));
        }
        Ok(Self { held: Mutex::new(held) })
    }

    /// What `group` last committed for a partition, given how far the topic is durable.
    pub(crate) fn get(
        &self,
        group: &str,
        of: &TopicPartition,
        high_watermark: i64,
    ) -> Option<CommittedOffset> {
        self.held().groups.get(group)?.get(of)?.at(high_watermark).cloned()
    }

    /// Whether a commit of `group` for a partition is under way, by itself or in a transaction: what was committed before
    /// may be about to change.
    pub(crate) fn is_unstable(&self, group: &str, of: &TopicPartition, high_watermark: i64) -> bool {
        let held = self.held();
        let history = held.groups.get(group).and_then(|partitions| partitions.get(of));
        history.is_some_and(|history| history.is_unsettled(high_watermark)) || held.pending.holds(group, of)
    }

    /// All that `group` last committed, given how far the topic is durable.
    pub(crate) fn all(&self, group: &str, high_watermark: i64) -> Vec<(TopicPartition, CommittedOffset)> {
        let held = self.held();
        let all = held.groups.get(group).into_iter().flatten();
        all.filter_map(|(of, history)| Some((of.clone(), history.at(high_watermark)?.clone()))).collect()
    }

    /// The groups that have committed something, by name, given how far the topic is durable.
    pub(crate) fn groups_at(&self, high_watermark: i64) -> Vec<Arc<str>> {
        let held = self.held();
        let holds = |partitions: &BTreeMap<_, History>| {
            partitions.values().any(|history| history.at(high_watermark).is_some())
        };
        let names =
            held.groups.iter().filter(|(_, partitions)| holds(partitions)).map(|(name, _)| name.clone());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    }

    /// Forgets what `group` committed for these partitions, or for all, once everything below the returned offset is
    /// durable; `None` where nothing was.
    pub(crate) fn delete(
        &self,
        topic: &Arc<Partition>,
        group: &str,
        of: Option<&[TopicPartition]>,
    ) -> Result<Option<i64>, BrokerError> {
        let mut held = self.held();
        // Also what is not durable yet: it is written before this is.
        let committed = held.groups.get(group).into_iter().flatten();
        let committed = committed.filter(|(_, history)| history.at(i64::MAX).is_some()).map(|(held, _)| held);
        let all: BTreeSet<&TopicPartition> = committed.chain(held.pending.of_group(group)).collect();
        let asked = all.into_iter().filter(|held| of.is_none_or(|of| of.contains(held)));
        let asked: Vec<TopicPartition> = asked.cloned().collect();
        let mut next_offset = None;
        for asked in asked.chunks(DELETIONS) {
            let changes: Vec<Change<'_>> = asked.iter().map(|of| (group, of, None)).collect();
            next_offset = Some(held.apply(topic, &changes)?);
        }
        Ok(next_offset)
    }

    /// Lets go of what a group has deleted, given how far the topic is durable.
    pub(crate) fn prune(&self, group: &str, high_watermark: i64) {
        let mut held = self.held();
        let Some(partitions) = held.groups.get_mut(group) else { return };
        partitions.retain(|_, history| history.prune(high_watermark));
        if partitions.is_empty() {
            held.groups.remove(group);
        }
    }

    /// Writes a commit to the topic's partition, where it is seen once everything below the returned offset is durable.
    ///
    /// `check` is asked, for every partition, whether it may be committed for; no topic starts to retire meanwhile.
    pub(crate) fn write(
        &self,
        topic: &Arc<Partition>,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
        check: impl Fn(&TopicPartition) -> Result<(), BrokerError>,
    ) -> Result<i64, BrokerError> {
        validate(group, offsets)?;
        let mut held = self.held();
        offsets.iter().try_for_each(|(of, _)| check(of))?;
        let changes: Vec<Change<'_>> = offsets.iter().map(|(of, to)| (group, of, Some(to))).collect();
        held.apply(topic, &changes)
    }

    /// [`CommittedOffsets::write`] in a producer's transaction: it counts once the transaction is committed.
    pub(crate) fn write_in_transaction(
        &self,
        topic: &Arc<Partition>,
        producer: ProducerInstance,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
        check: impl Fn(&TopicPartition) -> Result<(), BrokerError>,
    ) -> Result<Appended, BrokerError> {
        validate(group, offsets)?;
        let mut held = self.held();
        offsets.iter().try_for_each(|(of, _)| check(of))?;
        let changes: Vec<Change<'_>> = offsets.iter().map(|(of, to)| (group, of, Some(to))).collect();
        let producer_id = producer.producer_id;
        let producer = BatchProducer {
            id: producer_id,
            epoch: producer.epoch,
            base_sequence: -1,
            is_transactional: true,
        };
        let appended = topic.write(vec![batch(&changes, &producer)?])?;
        for (of, to) in offsets {
            held.pending.put(producer_id, group, of.clone(), appended.next_offset - 1, to.clone());
        }
        Ok(appended)
    }

    /// Writes the marker that ends a producer's transaction: what was committed in it counts once the marker is durable, or
    /// is dropped.
    pub(crate) fn end_transaction(
        &self,
        topic: &Arc<Partition>,
        marker: &EndTransactionMarker,
        now_ms: i64,
    ) -> Result<Appended, BrokerError> {
        let mut held = self.held();
        let high_watermark = topic.offsets()?.high_watermark;
        let appended = topic.write(vec![marker.encode(now_ms)?])?;
        held.end(marker, appended.next_offset - 1, high_watermark);
        Ok(appended)
    }

    /// Marks a topic as being deleted and forgets what was committed for it, once everything below the returned offset
    /// is durable; `None` where nothing was.
    pub(crate) fn retire(
        &self,
        topic: Option<&Arc<Partition>>,
        retired: &Topic,
    ) -> Result<Option<i64>, BrokerError> {
        let mut held = self.held();
        retired.set_retiring(true);
        let committed = held.groups.iter();
        let committed = committed
            .flat_map(|(group, partitions)| partitions.keys().map(|of| (group.clone(), of.clone())))
            .chain(held.pending.all())
            .filter(|(_, of)| of.topic == *retired.name());
        let committed: BTreeSet<(Arc<str>, TopicPartition)> = committed.collect();
        let committed: Vec<(Arc<str>, TopicPartition)> = committed.into_iter().collect();
        let Some(topic) = topic else { return Ok(None) };
        let mut next_offset = None;
        for committed in committed.chunks(DELETIONS) {
            let changes: Vec<Change<'_>> = committed.iter().map(|(group, of)| (&**group, of, None)).collect();
            next_offset = Some(held.apply(topic, &changes)?);
        }
        Ok(next_offset)
    }

    // Histories are changed only after their records were written, one push each: a panic leaves them whole.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most that one commit may take, so that it can be replayed in one piece.
const MAX_COMMIT_BYTES: usize = 16 << 20;
/// Deletions in one batch: with the longest group names they still fit in [`MAX_COMMIT_BYTES`].
const DELETIONS: usize = 256;

/// A group, a partition, and what it commits for it; `None` deletes.
type Change<'a> = (&'a str, &'a TopicPartition, Option<&'a CommittedOffset>);

impl Held {
    /// Writes `changes` as one batch, so that all of them survive or none, and notes them in memory.
    fn apply(&mut self, topic: &Arc<Partition>, changes: &[Change<'_>]) -> Result<i64, BrokerError> {
        let high_watermark = topic.offsets()?.high_watermark;
        let appended = topic.write(vec![batch(changes, &BatchProducer::NONE)?])?;
        // All become visible at once: when the last record is durable.
        let at = appended.next_offset - 1;
        for (group, of, to) in changes {
            if to.is_none() {
                self.pending.delete(group, of);
            }
            self.history(group, of).push(at, to.cloned(), high_watermark);
        }
        Ok(appended.next_offset)
    }

    /// Ends a producer's transaction with the marker at an offset.
    fn end(&mut self, marker: &EndTransactionMarker, at: i64, high_watermark: i64) {
        let ended = self.pending.take(marker.producer_id);
        if marker.result == TransactionResult::Commit {
            for ((group, of), (record, to)) in ended {
                self.history(&group, &of).push_in_transaction(at, record, to, high_watermark);
            }
        }
    }

    fn history(&mut self, group: &str, of: &TopicPartition) -> &mut History {
        self.groups.entry(group.into()).or_default().entry(of.clone()).or_default()
    }
}

fn batch(changes: &[Change<'_>], producer: &BatchProducer) -> Result<BytesMut, BrokerError> {
    let mut builder = BatchBuilder::new(MAX_COMMIT_BYTES);
    for (group, of, to) in changes {
        let key = record::encode_key(group, of);
        let value = to.map(record::encode_value);
        let timestamp_ms = to.map_or(-1, |to| to.commit_timestamp_ms);
        let record = NewRecord { timestamp_ms, key: Some(&key), value: value.as_deref(), headers: &[] };
        if builder.append(&record)? == Room::Full {
            return Err(BrokerError::InvalidCommit(
                "too much is committed at once; commit fewer partitions or less metadata".to_owned(),
            ));
        }
    }
    Ok(builder.finish_as(Compression::None, producer)?)
}

fn validate(group: &str, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<(), BrokerError> {
    let invalid = |reason: String| Err(BrokerError::InvalidCommit(reason));
    if group.is_empty() || !record::fits(group) {
        return invalid(format!("`{}` is no group; use a name of 1 to 32767 bytes", shown(group)));
    }
    for (of, to) in offsets {
        if to.offset < 0 {
            return invalid(format!("offset {} cannot be committed for {of}: offsets start at 0", to.offset));
        }
        if !record::fits(&to.metadata) {
            return invalid(format!("the metadata committed for {of} is longer than 32767 bytes"));
        }
    }
    Ok(())
}

fn replay_batch(held: &mut Held, header: &BatchHeader, batch: Bytes) -> Result<(), BrokerError> {
    // As when it was written: visible once the batch's last record is.
    let at = header.last_offset();
    if header.attributes.is_control() {
        // All that is replayed is durable, and only the last counts.
        if let Some(marker) = EndTransactionMarker::decode(batch)? {
            held.end(&marker, at, at);
        }
        return Ok(());
    }
    for record in records(batch, MAX_COMMIT_BYTES)? {
        let DecodedRecord { offset, key, value, .. } = record?;
        let corrupt = |error| {
            BrokerError::Corrupt(format!("offset {offset} of {}: {error}", crate::topic::OFFSETS_TOPIC))
        };
        let Some(OffsetKey { group, of }) = record::decode_key(key).map_err(corrupt)? else { continue };
        match value.map(record::decode_value).transpose().map_err(corrupt)? {
            Some(to) if header.attributes.is_transactional() => {
                held.pending.put(header.producer_id, &group, of, at, to);
            }
            committed => {
                if committed.is_none() {
                    held.pending.delete(&group, &of);
                }
                held.history(&group, &of).push(at, committed, at);
            }
        }
    }
    Ok(())
}
