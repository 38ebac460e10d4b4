//! What a log spout does where its input goes through in micro-transactions: it commits nothing itself, says how far it has
//! read as a batch ends, and goes back to what is committed where one fails.
//!
//! A record whose tree failed is remembered: its batch is made again with it as its next attempt, and in the end without
//! it, its dead letter in the same transaction as the offset that passes it.
//!
//! Invariant: nothing that was emitted since the last commit is outside of what [`LogSpout::end_own_batch`] gives next.

use std::collections::BTreeMap;
use std::sync::Arc;

use topo_core::log::{Log, LogError, TopicPartition};
use topo_core::{FailKind, Failure, InputOffsets, LastBatch};

use super::assignment::Standing;
use super::dead_letter::DeadLetter;
use super::{LogSpout, RecordId};

/// Where a batch ends in each partition, and the letters of what it leaves out.
type Ended = (Vec<(TopicPartition, i64)>, Vec<DeadLetter>);

/// What a log spout knows of its micro-transactions.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// Records that failed, with how often so far; why, where they are given up.
    failed: BTreeMap<RecordId, (u32, Option<Failure>)>,
    /// Dead letters of the batch in work.
    pub(super) letters: Vec<DeadLetter>,
    /// The batch that ended last and is not committed.
    ended: Option<Ended>,
}

impl Batches {
    /// Which attempt at a record the next one is, from 1.
    ///
    /// # Errors
    /// It is given up.
    pub(super) fn attempt(&self, id: RecordId) -> Result<u32, &Failure> {
        match self.failed.get(&id) {
            None => Ok(1),
            Some((_, Some(failure))) => Err(failure),
            Some((attempts, None)) => Ok(attempts + 1),
        }
    }

    /// An attempt at a record failed.
    pub(super) fn note_fail(&mut self, id: RecordId, failure: &Failure, attempts: u32) {
        let is_given_up = failure.kind == FailKind::Reject || failure.attempt >= attempts;
        self.failed.insert(id, (failure.attempt, is_given_up.then(|| failure.clone())));
    }
}

/// The last batch that is noted with an offset of `group` for a partition of `topic`, whoever reads that.
pub(super) async fn last_noted_batch(
    log: &dyn Log,
    topic: &Arc<str>,
    group: &Arc<str>,
) -> Result<Option<LastBatch>, LogError> {
    let mut last: Option<LastBatch> = None;
    for number in 0..log.topic(topic).await?.map_or(0, |info| info.partitions) {
        let at = TopicPartition::new(Arc::clone(topic), number);
        let Some((offset, note)) = log.noted(group, &at).await? else { continue };
        let Some(txid) = LastBatch::parse(&note) else { continue };
        if last.as_ref().is_none_or(|last| last.txid < txid) {
            last = Some(LastBatch { txid, group: Arc::clone(group), at, offset });
        }
    }
    Ok(last)
}

impl<T, D> LogSpout<T, D> {
    /// How far was read: what the group is to go on from once the batch is committed.
    pub(super) fn end_own_batch(&mut self) -> Option<InputOffsets> {
        let batches = self.batches.as_mut()?;
        let read = self.partitions.iter().filter(|one| one.position() != one.committed);
        let offsets: Vec<_> = read.map(|one| (one.at.clone(), one.position())).collect();
        batches.ended = Some((offsets.clone(), std::mem::take(&mut batches.letters)));
        let (group, member) = (Arc::clone(&self.config.group), self.membership.clone());
        (!offsets.is_empty()).then_some(InputOffsets { group, member, offsets })
    }

    /// The batch that ended last is committed.
    pub(super) fn note_batch_committed(&mut self) {
        let Some(batches) = &mut self.batches else { return };
        let Some((offsets, letters)) = batches.ended.take() else { return };
        self.progress.dead_lettered(letters.iter().map(DeadLetter::death));
        for (at, offset) in offsets {
            batches.failed.retain(|id, _| id.partition != at.partition || id.offset >= offset);
            self.progress.committed(&at, offset);
            if let Some(partition) = self.partitions.numbered(at.partition) {
                partition.committed = offset;
            }
        }
    }

    /// Goes back to what is committed; what was to be released is.
    pub(super) fn go_back(&mut self) {
        let Some(batches) = &mut self.batches else { return };
        batches.letters.clear();
        batches.ended = None;
        match self.standing {
            // Nothing of it was emitted yet.
            Standing::Opening => {}
            Standing::Settled => {
                let own: Vec<TopicPartition> = self.partitions.iter().map(|one| one.at.clone()).collect();
                if self.is_assigned {
                    self.drop_partitions();
                    self.standing = Standing::Opening;
                    self.calls.push(self.open_partitions(own));
                }
            }
            Standing::Releasing { .. } => {
                self.drop_partitions();
                self.standing = Standing::Settled;
                if let Some(membership) = &self.membership {
                    membership.release();
                }
            }
        }
    }

    /// Whether something was emitted that is in a micro-transaction which is not committed.
    pub(super) fn has_uncommitted(&self) -> bool {
        self.batches.is_some() && self.partitions.iter().any(|one| one.position() != one.committed)
    }

    /// The group divides its topic anew, as it does where another process runs the topology: who has nothing to commit after
    /// that would not hear that it was replaced.
    pub(super) fn doubt_transactions(&self) {
        if let Some(task) = &self.task {
            let offsets = vec![(TopicPartition::new(Arc::clone(&self.config.topic), 0), 0)];
            let group = Arc::clone(&self.config.group);
            task.doubt_transactions(InputOffsets { group, member: None, offsets });
        }
    }

    /// Has all that is not committed taken back.
    pub(super) fn fail_batch(&self, why: &str) {
        if let Some(task) = &self.task {
            task.fail_batch(why);
        }
    }
}
