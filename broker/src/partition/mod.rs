//! A partition as many tasks share it: appends, group-committed syncs, reads, and waiting for records.
//!
//! Invariants: under [`Durability::Fsync`] the high watermark is the log's durable end, so nothing is read, or
//! acknowledged, that a power loss could take back; under the others it is the log's end. It never goes back, also where
//! one takes the other's place; nor does the last stable offset, up to which committed records are read: a transaction
//! is open until the high watermark has passed its marker. At most one thread syncs what is appended; it syncs outside the lock, and all that was
//! appended meanwhile shares its next sync.

mod compaction;
mod removal;
mod replay;
mod syncing;
#[cfg(test)]
mod tests;
mod time;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use topo_log::{AbortedTransaction, Batches, LogError, Partition as Log, ProducerState};
use topo_protocol::{BatchHeader, TimestampType};

use crate::durability::Durability;
use crate::error::BrokerError;
use crate::topic::TopicPartition;
use compaction::Compacting;

/// How many bytes at most a thread that runs tasks reads in place, where they are at hand: what clients ask for of a
/// partition where nobody says otherwise.
pub(crate) const IN_PLACE: usize = 1 << 20;

/// Offsets given to the records of one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// One past the offset of the last.
    pub next_offset: i64,
    /// The time that all records got, in milliseconds since 1970, where their timestamps are the log's.
    pub log_append_time_ms: Option<i64>,
}

/// The offsets that a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The first offset still held.
    pub log_start: i64,
    /// One past the last record that may be read: the durable end, or the log's where the topic does not wait for syncs.
    pub high_watermark: i64,
    /// Where the first transaction begins that is open for those who read up to the high watermark; the high watermark
    /// where none is.
    pub last_stable_offset: i64,
    /// One past the last record appended.
    pub log_end: i64,
}

impl Offsets {
    /// One past the last record that may be read.
    pub fn readable_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable_offset,
        }
    }
}

/// What a reader is shown of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Everything, also what is or will be aborted.
    ReadUncommitted,
    /// Nothing behind the beginning of an open transaction; what was aborted is named, for the reader to leave out.
    ReadCommitted,
}

/// How much a fetch may return, and how long it may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimit {
    /// Stop after about so many bytes; the first batch is returned whole even where it is larger.
    pub max_bytes: usize,
    /// Wait at most so long for a first record.
    pub max_wait: Duration,
    /// What is shown of transactions.
    pub isolation: Isolation,
}

/// What a fetch found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Whole batches, verbatim; the first may begin below the offset asked for. Empty where there is none yet.
    pub batches: Bytes,
    /// One past the last offset of the batches; the offset asked for where there are none.
    pub next_offset: i64,
    /// The aborted transactions that the batches may hold records of, in the order of their markers; none where
    /// everything was asked for.
    pub aborted: Vec<AbortedTransaction>,
    /// The offsets held when it was read.
    pub offsets: Offsets,
}

/// One partition of a topic.
#[derive(Debug)]
pub struct Partition {
    at: TopicPartition,
    state: RwLock<State>,
    progress: watch::Sender<Progress>,
    compacting: Compacting,
}

#[derive(Debug)]
struct State {
    /// `None` once closed or deleted.
    log: Option<Log>,
    durability: Durability,
    /// Whether a sync is under way or due; whoever finds `false` sees to one.
    syncing: bool,
    /// Whose turn it is to sync: raised where the durability changes, and whoever synced before stops.
    turn: u64,
}

#[derive(Debug, Clone)]
struct Progress {
    high_watermark: i64,
    last_stable_offset: i64,
    /// One past the last record that survives a power loss.
    durable_end: i64,
    standing: Standing,
}

impl Progress {
    fn readable_end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable_offset,
        }
    }

    /// Moves the high watermark, and the last stable offset with it.
    fn advance(&mut self, log: &mut Log, high_watermark: i64) {
        self.high_watermark = self.high_watermark.max(high_watermark);
        log.settle(self.high_watermark);
        self.last_stable_offset = log.last_stable_offset(self.high_watermark);
    }
}

/// What may be asked of a partition.
#[derive(Debug, Clone)]
enum Standing {
    Open,
    /// Reads go on; appends are refused.
    Poisoned(Arc<str>),
    /// No appends any more, while the last ones are made durable.
    Closing,
    Closed,
    Deleted,
}

impl Partition {
    /// Shares an open log, all of which is durable.
    pub(crate) fn new(at: TopicPartition, log: Log, durability: Durability) -> Self {
        let high_watermark = log.durable_end();
        let last_stable_offset = log.last_stable_offset(high_watermark);
        let durable_end = high_watermark;
        let progress = Progress { high_watermark, last_stable_offset, durable_end, standing: Standing::Open };
        Self {
            at,
            state: RwLock::new(State { log: Some(log), durability, syncing: false, turn: 0 }),
            progress: watch::Sender::new(progress),
            compacting: Compacting::default(),
        }
    }

    /// Which partition it is.
    pub fn at(&self) -> &TopicPartition {
        &self.at
    }

    /// The offsets held now.
    ///
    /// # Errors
    /// [`BrokerError::Closed`], or [`BrokerError::UnknownTopic`] for a topic that was deleted.
    pub fn offsets(&self) -> Result<Offsets, BrokerError> {
        self.read_state().log.as_ref().map(|log| self.held(log)).ok_or_else(|| self.gone())
    }

    /// Appends sound batches behind each other: gives offsets, writes, and sees that a sync follows.
    /// [`Partition::until_durable`] waits for that.
    ///
    /// # Errors
    /// [`BrokerError::Log`] or [`BrokerError::Poisoned`]; where several batches were given, those in front of one that
    /// failed may be in the log. [`BrokerError::Closed`] or [`BrokerError::UnknownTopic`].
    pub(crate) fn write(self: &Arc<Self>, mut batches: Vec<BytesMut>) -> Result<Appended, BrokerError> {
        let mut guard = self.write_state();
        let state = &mut *guard;
        if let Some(refused) = self.refusal() {
            return Err(refused);
        }
        let durability = state.durability;
        let log = state.log.as_mut().ok_or_else(|| self.gone())?;
        let (base_offset, segments) = (log.log_end(), log.segments());
        let (mut first, mut written) = (None, Ok(base_offset));
        for batch in &mut batches {
            written = log.append(batch).map(|appended| {
                first.get_or_insert(appended);
                appended.last_offset + 1
            });
            if written.is_err() {
                break;
            }
        }
        let next_offset = log.log_end();
        let rolled = log.segments() > segments;
        if durability != Durability::Fsync {
            self.progress.send_modify(|progress| progress.advance(log, next_offset));
        }
        let due = match durability {
            Durability::Os => rolled,
            Durability::Fsync | Durability::Interval(_) => next_offset > base_offset,
        };
        // Also after an error: what was written before it must not keep the high watermark back.
        if !state.syncing && (due || written.is_err()) {
            state.syncing = true;
            self.see_to_sync(durability, written.is_err(), state.turn);
        }
        match written {
            // What was said the first time, where a producer sent again what is in the log.
            Ok(next_offset) => Ok(Appended {
                base_offset: first.map_or(base_offset, |first| first.base_offset),
                next_offset,
                log_append_time_ms: first.and_then(|first| append_time(log, first, &batches)),
            }),
            Err(error) => Err(self.log_error(error)),
        }
    }

    /// Bytes of the batches that are stored.
    ///
    /// # Errors
    /// As [`Partition::offsets`].
    pub fn bytes(&self) -> Result<u64, BrokerError> {
        self.read_state().log.as_ref().map(Log::bytes).ok_or_else(|| self.gone())
    }

    /// Whole batches from the one that holds `offset` on, up to the high watermark or, where the limit says so, the last
    /// stable offset; waits for a first one as long as `limit` allows.
    ///
    /// # Errors
    /// [`BrokerError::OffsetOutOfRange`], [`BrokerError::Log`], [`BrokerError::Closed`], or
    /// [`BrokerError::UnknownTopic`] for a topic that is deleted before or while it waits.
    pub async fn fetch(self: &Arc<Self>, offset: i64, limit: FetchLimit) -> Result<Fetched, BrokerError> {
        let held = self.offsets()?;
        self.check_range(offset, held)?;
        let FetchLimit { max_bytes, max_wait, isolation } = limit;
        if offset >= held.readable_end(isolation) && !max_wait.is_zero() {
            // Running out of time is no error: there is nothing to return, then.
            let _ = tokio::time::timeout(max_wait, self.news(offset, isolation)).await;
        }
        if offset >= self.readable_end(isolation) {
            let (batches, aborted) = (Bytes::new(), Vec::new());
            return Ok(Fetched { batches, next_offset: offset, aborted, offsets: self.offsets()? });
        }
        if max_bytes <= IN_PLACE
            && let Some(fetched) = self.read_at_hand(offset, max_bytes, isolation)
        {
            return Ok(fetched);
        }
        let this = self.clone();
        let read = tokio::task::spawn_blocking(move || this.read(offset, max_bytes, isolation));
        read.await.unwrap_or(Err(BrokerError::Closed))
    }

    /// One past the last record that may be read.
    pub(crate) fn readable_end(&self, isolation: Isolation) -> i64 {
        self.progress.borrow().readable_end(isolation)
    }

    /// Waits until there is something to read from `offset` on, or never will be.
    pub(crate) async fn news(&self, offset: i64, isolation: Isolation) {
        let mut progress = self.progress.subscribe();
        let is_news = |p: &Progress| {
            p.readable_end(isolation) > offset || matches!(p.standing, Standing::Closed | Standing::Deleted)
        };
        // The sender is a field of `self`: it cannot be gone.
        let _ = progress.wait_for(is_news).await;
    }

    /// Reads without waiting.
    pub(crate) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        isolation: Isolation,
    ) -> Result<Fetched, BrokerError> {
        let state = self.read_state();
        let log = state.log.as_ref().ok_or_else(|| self.gone())?;
        let offsets = self.held(log);
        let read = || {
            let Batches { bytes: batches, next_offset } =
                log.read_batches(offset, max_bytes, offsets.readable_end(isolation))?;
            let aborted = match (isolation, next_offset) {
                (Isolation::ReadCommitted, Some(end)) => log.aborted(offset, end)?,
                _ => Vec::new(),
            };
            Ok(Fetched { batches, next_offset: next_offset.unwrap_or(offset), aborted, offsets })
        };
        read().map_err(|error| self.log_error(error))
    }

    /// [`Partition::read`] of what takes no waiting, for a device or for who appends; `None` where it would take some, or
    /// something is wrong, which [`Partition::read`] says.
    pub(crate) fn read_at_hand(
        &self,
        offset: i64,
        max_bytes: usize,
        isolation: Isolation,
    ) -> Option<Fetched> {
        let state = self.state.try_read().ok()?;
        let log = state.log.as_ref()?;
        let offsets = self.held(log);
        let batches = log.read_at_hand(offset, max_bytes, offsets.readable_end(isolation))?;
        let Batches { bytes: batches, next_offset } = batches;
        let aborted = match (isolation, next_offset) {
            (Isolation::ReadCommitted, Some(end)) => log.aborted_at_hand(offset, end)?,
            _ => Vec::new(),
        };
        Some(Fetched { batches, next_offset: next_offset.unwrap_or(offset), aborted, offsets })
    }

    /// What is known of the partition's producers, by id.
    ///
    /// # Errors
    /// As [`Partition::offsets`].
    pub fn producers(&self) -> Result<Vec<ProducerState>, BrokerError> {
        self.read_state().log.as_ref().map(Log::producers).ok_or_else(|| self.gone())
    }

    /// Refuses appends for good, as if the storage had failed; reads go on.
    pub(crate) fn poison(&self, reason: &str) {
        self.progress.send_modify(|progress| progress.standing = Standing::Poisoned(reason.into()));
    }

    /// Takes no more appends, makes everything durable, and closes the log.
    ///
    /// # Errors
    /// [`BrokerError::Poisoned`] or [`BrokerError::Log`]: what was not acknowledged may be lost.
    pub(crate) async fn close(self: &Arc<Self>) -> Result<(), BrokerError> {
        let log_end = {
            // Under the lock, so that an append is either before it, and waited for, or refused.
            let state = self.write_state();
            let Some(log) = state.log.as_ref() else { return Ok(()) };
            self.progress.send_if_modified(|progress| {
                let open = matches!(progress.standing, Standing::Open);
                if open {
                    progress.standing = Standing::Closing;
                }
                open
            });
            log.log_end()
        };
        let durable = self.until_durable(log_end).await;
        let log = self.write_state().log.take();
        let this = self.clone();
        let close = move || {
            // Whoever opens the partition next must be alone with its files.
            this.compacting.end();
            match log {
                Some(log) => log.close().map_err(|error| this.log_error(error)),
                None => Ok(()),
            }
        };
        let closed = tokio::task::spawn_blocking(close).await.unwrap_or(Err(BrokerError::Closed));
        self.progress.send_modify(|progress| progress.standing = Standing::Closed);
        durable.and(closed)
    }

    /// Lets go of the log, whose files are about to be removed; waits for a read that is under way, and for compaction to
    /// stop. Blocks.
    pub(crate) fn delete(&self) {
        let log = self.write_state().log.take();
        self.progress.send_modify(|progress| progress.standing = Standing::Deleted);
        self.compacting.end();
        drop(log);
    }

    fn held(&self, log: &Log) -> Offsets {
        let high_watermark = self.progress.borrow().high_watermark;
        let last_stable_offset = log.last_stable_offset(high_watermark);
        Offsets { log_start: log.log_start(), high_watermark, last_stable_offset, log_end: log.log_end() }
    }

    pub(crate) fn check_range(&self, asked: i64, held: Offsets) -> Result<(), BrokerError> {
        if (held.log_start..=held.log_end).contains(&asked) {
            return Ok(());
        }
        Err(BrokerError::OffsetOutOfRange { at: self.at.clone(), asked, held })
    }

    /// Why no append is taken, where none is.
    fn refusal(&self) -> Option<BrokerError> {
        match &self.progress.borrow().standing {
            Standing::Open => None,
            Standing::Poisoned(reason) => {
                Some(BrokerError::Poisoned { at: self.at.clone(), reason: reason.clone() })
            }
            Standing::Closing | Standing::Closed => Some(BrokerError::Closed),
            Standing::Deleted => Some(BrokerError::UnknownTopic(self.at.topic.clone())),
        }
    }

    /// Why there is no log any more.
    fn gone(&self) -> BrokerError {
        match self.progress.borrow().standing {
            Standing::Deleted => BrokerError::UnknownTopic(self.at.topic.clone()),
            _ => BrokerError::Closed,
        }
    }

    fn log_error(&self, error: LogError) -> BrokerError {
        let at = self.at.clone();
        match error {
            LogError::OffsetOutOfRange { asked, log_start, log_end } => {
                let Progress { high_watermark, last_stable_offset, .. } = *self.progress.borrow();
                let held = Offsets { log_start, high_watermark, last_stable_offset, log_end };
                BrokerError::OffsetOutOfRange { at, asked, held }
            }
            LogError::Poisoned { reason } => BrokerError::Poisoned { at, reason },
            LogError::Batch(error) => BrokerError::InvalidBatch(error),
            LogError::Producer(source) => BrokerError::Producer { at, source },
            corrupt @ LogError::Corrupt { .. } => BrokerError::Corrupt(format!("{at}: {corrupt}")),
            source => BrokerError::Log { at, source },
        }
    }

    // The log poisons itself where a write may have been torn; a panic elsewhere leaves the state whole.
    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time that the records of an append got, where their timestamps are the log's.
fn append_time(log: &Log, first: topo_log::Appended, batches: &[BytesMut]) -> Option<i64> {
    let header = if first.is_duplicate {
        // The time of the first time.
        BatchHeader::parse(&log.read(first.base_offset, 0, i64::MAX).ok()?).ok()?
    } else {
        BatchHeader::parse(batches.first()?).ok()?
    };
    (header.attributes.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp)
}
