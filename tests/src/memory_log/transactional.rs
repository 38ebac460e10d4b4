//! Transactions of the log in memory: who has an id, and what is open under it.
//!
//! Invariant: what is open under an id is its latest holder's; whoever had it before changes nothing any more.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use topo_core::log::{LogError, Membership, Record, TopicPartition, TransactionalConfig, TransactionalLog};
use topo_core::schedule::Moment;

use super::group::MemoryMember;
use super::{Call, Shared, State};

/// A transactional id, as the log knows it.
#[derive(Debug, Default)]
pub(super) struct Id {
    epoch: u64,
    open: Option<Open>,
    /// Whether the last transaction of this epoch was committed; `None` before one has ended.
    last: Option<bool>,
}

/// A transaction that is open.
#[derive(Debug)]
struct Open {
    number: u64,
    overdue: Moment,
    /// What is to be committed of groups, and what is noted with that.
    offsets: Vec<(String, TopicPartition, i64, String)>,
}

/// Who has an id, and until when its transactions last.
#[derive(Debug, Clone)]
struct Instance {
    id: Arc<str>,
    epoch: u64,
    timeout: Duration,
}

impl State {
    /// Makes another instance the holder of an id.
    fn take_over(&mut self, config: &TransactionalConfig, now_ms: i64) -> Instance {
        self.end_open(&config.id, false, now_ms);
        let id = self.transactional_ids.entry(Arc::clone(&config.id)).or_default();
        (id.epoch, id.last) = (id.epoch + 1, None);
        Instance { id: Arc::clone(&config.id), epoch: id.epoch, timeout: config.timeout }
    }

    /// Aborts what is open for longer than it may, and fences who left it so.
    pub(super) fn expire(&mut self, now: Moment, now_ms: i64) {
        let is_overdue = |id: &Id| id.open.as_ref().is_some_and(|open| open.overdue <= now);
        let overdue: Vec<_> = self.transactional_ids.iter().filter(|(_, id)| is_overdue(id)).collect();
        let overdue: Vec<_> = overdue.into_iter().map(|(name, _)| Arc::clone(name)).collect();
        for name in overdue {
            self.end_open(&name, false, now_ms);
            if let Some(id) = self.transactional_ids.get_mut(&name) {
                id.epoch += 1;
            }
        }
    }

    /// The id, for who has it.
    fn held_by(&mut self, instance: &Instance) -> Result<&mut Id, LogError> {
        let id = self.transactional_ids.get_mut(&instance.id).filter(|id| id.epoch == instance.epoch);
        id.ok_or_else(|| {
            LogError::Fenced(format!("another instance has `{}`, or it took too long", instance.id))
        })
    }

    /// The transaction that is open, which this begins where none is.
    fn open(&mut self, instance: &Instance, now: Moment) -> Result<&mut Open, LogError> {
        self.transactions += 1;
        let (number, overdue) = (self.transactions, now.after(instance.timeout));
        let id = self.held_by(instance)?;
        Ok(id.open.get_or_insert(Open { number, overdue, offsets: Vec::new() }))
    }

    /// Ends what is open under an id, if anything is.
    fn end_open(&mut self, name: &Arc<str>, is_committed: bool, now_ms: i64) {
        let Some(id) = self.transactional_ids.get_mut(name) else { return };
        let Some(open) = id.open.take() else { return };
        id.last = Some(is_committed);
        for partition in self.topics.values_mut().flat_map(|(_, partitions)| partitions) {
            partition.end_transaction(open.number, is_committed, now_ms);
        }
        for (group, at, offset, note) in open.offsets.into_iter().filter(|_| is_committed) {
            self.commit(&group, &[(at, offset)], &note);
        }
    }

    /// Ends the transaction of an id's holder; asked again, it says what it said.
    fn end(&mut self, instance: &Instance, is_committed: bool, now_ms: i64) -> Result<(), LogError> {
        let id = self.held_by(instance)?;
        if id.open.is_none() && id.last != Some(is_committed) {
            return Err(LogError::Invalid(format!("`{}` has no transaction to end so", instance.id)));
        }
        self.end_open(&instance.id, is_committed, now_ms);
        Ok(())
    }
}

/// A holder of an id, as its user has it.
pub(super) struct MemoryTransactional {
    shared: Arc<Shared>,
    instance: Instance,
    /// Whether the log may know of a transaction that has not ended.
    is_open: bool,
}

impl MemoryTransactional {
    pub(super) async fn open(shared: &Arc<Shared>, config: &TransactionalConfig) -> Result<Self, LogError> {
        let (call, now_ms) = (Call::TakeOver(&config.id), shared.wall_ms());
        let instance = shared.carry_out(call, |state| Ok(state.take_over(config, now_ms))).await;
        shared.appended.notify_waiters();
        Ok(Self { shared: Arc::clone(shared), instance: instance?, is_open: false })
    }

    async fn end(&mut self, is_committed: bool) -> Result<(), LogError> {
        if !self.is_open {
            return Ok(());
        }
        let call = if is_committed { Call::CommitTransaction } else { Call::AbortTransaction };
        let now_ms = self.shared.wall_ms();
        let ended =
            self.shared.carry_out(call, |state| state.end(&self.instance, is_committed, now_ms)).await;
        self.shared.appended.notify_waiters();
        self.is_open &= ended.is_err();
        ended
    }
}

#[async_trait]
impl TransactionalLog for MemoryTransactional {
    async fn append(&mut self, to: &TopicPartition, records: Vec<Record>) -> Result<(), LogError> {
        let (now, now_ms) = (self.shared.scheduler.clock().now(), self.shared.wall_ms());
        self.is_open = true;
        let appended = self.shared.carry_out(Call::Append(to, &records), |state| {
            state.partition(to)?;
            let number = state.open(&self.instance, now)?.number;
            state.partition(to)?.append(&records, Some(number), now_ms);
            Ok(())
        });
        let appended = appended.await;
        self.shared.appended.notify_waiters();
        appended
    }

    async fn flush(&mut self) -> Result<(), LogError> {
        self.shared.carry_out(Call::Flush, |_| Ok(())).await
    }

    async fn commit_offsets_noting(
        &mut self,
        group: &str,
        member: Option<&dyn Membership>,
        offsets: &[(TopicPartition, i64)],
        note: &str,
    ) -> Result<(), LogError> {
        let now = self.shared.scheduler.clock().now();
        self.is_open = true;
        let member = member.map(|member| {
            let own = (member as &dyn Any).downcast_ref::<MemoryMember>();
            own.ok_or_else(|| LogError::Invalid("the member is of another log's group".into()))
        });
        let member = member.transpose()?;
        let act = |state: &mut State| {
            if let Some(member) = member {
                member.check_owned(state, offsets).map_err(LogError::CommitFailed)?;
            }
            let open = state.open(&self.instance, now)?;
            let of = |(at, offset): &(TopicPartition, i64)| {
                (group.to_owned(), at.clone(), *offset, note.to_owned())
            };
            open.offsets.extend(offsets.iter().map(of));
            Ok(())
        };
        self.shared.carry_out(Call::Commit(offsets), act).await
    }

    async fn commit(&mut self) -> Result<(), LogError> {
        self.end(true).await
    }

    async fn abort(&mut self) -> Result<(), LogError> {
        match self.end(false).await {
            // None had begun where the first step failed.
            Err(LogError::Invalid(_)) => {
                self.is_open = false;
                Ok(())
            }
            aborted => aborted,
        }
    }
}

impl Drop for MemoryTransactional {
    fn drop(&mut self) {
        // Where another has the id, or nothing is open, there is nothing to do.
        let _ = self.shared.lock().end(&self.instance, false, self.shared.wall_ms());
        self.shared.appended.notify_waiters();
    }
}
