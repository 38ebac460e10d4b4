//! Reads a topic, replays what fails, gives up what cannot be done, and commits what is.
//!
//! The committed offset of a partition is its frontier: every record below it is done, which means that its tree was
//! acknowledged or its dead letter is durable. A restart goes on from there, so every record is processed at least once.
//!
//! Invariant: what is under way to the log (a commit, dead letters) is kept in the spout and not in `ready`, which the
//! runtime drops whenever an ack arrives.

mod config;
mod dead_letter;
mod partition;
mod window;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::pending;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::select_all;
use topo_core::log::{Consumed, FetchLimit, Log, LogError, TopicPartition};
use topo_core::schedule::Moment;
use topo_core::{Fail, FailKind, Failure, Fault, Next, Spout, SpoutEmitter, TaskContext, Tuple};

pub use config::{LogSpoutConfig, StartAt};

use self::dead_letter::{Buried, DeadLetter, bury};
use self::partition::{POLL, Partition};
use crate::source_progress::SourceProgress;

/// Something under way to the log.
type UnderWay<T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send>>;

/// Records between two looks at the clock for a commit that is due.
const RECORDS_PER_LOOK: u32 = 256;

/// Names a record by its partition and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordId {
    /// The partition's place among those of its task.
    partition: usize,
    offset: i64,
}

/// A spout of the records of a topic, each made into a tuple by a function.
///
/// Its tasks share the topic's partitions: task i of n reads those whose number leaves i when divided by n. A record that
/// the function refuses goes to the dead letters.
pub struct LogSpout<T, D> {
    log: Arc<dyn Log>,
    config: LogSpoutConfig,
    decode: D,
    progress: SourceProgress,
    task: Option<TaskContext>,
    partitions: Vec<Partition>,
    /// Whose turn it is to emit.
    turn: usize,
    /// Records that failed, by when their next attempt is due.
    retries: BinaryHeap<Reverse<(Moment, RecordKey)>>,
    /// Records given up whose dead letters are not written yet.
    dead: Vec<DeadLetter>,
    burying: Option<UnderWay<Buried>>,
    committing: Option<UnderWay<Vec<(usize, i64)>>>,
    last_commit: Moment,
    until_look: u32,
    /// What the log refused; ends this instance.
    fault: Option<LogError>,
    tuple: PhantomData<fn() -> T>,
}

/// A record's place among the retries.
type RecordKey = (usize, i64);

impl<T, D> LogSpout<T, D>
where
    T: Tuple,
    D: Fn(&Consumed) -> Result<T, Fail> + Send + 'static,
{
    /// A spout of `config.topic`, to be made in a topology's factory.
    pub fn new(log: Arc<dyn Log>, config: LogSpoutConfig, progress: SourceProgress, decode: D) -> Self {
        Self {
            log,
            config,
            decode,
            progress,
            task: None,
            partitions: Vec::new(),
            turn: 0,
            retries: BinaryHeap::new(),
            dead: Vec::new(),
            burying: None,
            committing: None,
            last_commit: Moment::default(),
            until_look: 0,
            fault: None,
            tuple: PhantomData,
        }
    }

    fn now(&self) -> Moment {
        self.task.as_ref().map(TaskContext::now).unwrap_or_default()
    }

    /// Whether something must be told to the log before more is emitted.
    fn is_call_due(&mut self) -> bool {
        if !self.dead.is_empty() && self.burying.is_none() {
            return true;
        }
        if self.until_look > 0 {
            self.until_look -= 1;
            return false;
        }
        self.until_look = RECORDS_PER_LOOK;
        self.commit_due().is_some_and(|at| at <= self.now())
    }

    /// When the next commit is due; `None` where there is nothing to commit or one is under way.
    ///
    /// Once all is done, a commit follows sooner: somebody may be waiting for it.
    fn commit_due(&self) -> Option<Moment> {
        let moved = self.partitions.iter().any(|one| one.window.frontier() > one.committed);
        let at_rest = || self.partitions.iter().all(|one| one.window.is_empty() && one.buffer.is_empty());
        (moved && self.committing.is_none()).then(|| {
            let interval = self.config.commit_interval;
            self.last_commit.after(if at_rest() { interval / 20 } else { interval })
        })
    }

    fn start_commit(&mut self) {
        let moved =
            self.partitions.iter().enumerate().filter(|(_, one)| one.window.frontier() > one.committed);
        let frontiers: Vec<(usize, i64)> = moved.map(|(index, one)| (index, one.window.frontier())).collect();
        let offsets: Vec<(TopicPartition, i64)> =
            frontiers.iter().map(|&(index, offset)| (self.partitions[index].at.clone(), offset)).collect();
        let (log, group) = (Arc::clone(&self.log), Arc::clone(&self.config.group));
        self.last_commit = self.now();
        self.committing =
            Some(Box::pin(async move { log.commit(&group, &offsets).await.map(|()| frontiers) }));
    }

    fn start_burying(&mut self) {
        if self.burying.is_none() && !self.dead.is_empty() {
            let dead = std::mem::take(&mut self.dead);
            let (log, topic) = (Arc::clone(&self.log), Arc::clone(&self.config.dead_letters));
            self.burying = Some(Box::pin(bury(log, topic, dead)));
        }
    }

    /// Notes what came of something under way.
    fn note(&mut self, done: Done) {
        let outcome = match done {
            Done::Committed(committed) => {
                self.committing = None;
                committed.map(|frontiers| {
                    for (index, offset) in frontiers {
                        let partition = &mut self.partitions[index];
                        partition.committed = offset;
                        self.progress.committed(&partition.at, offset);
                    }
                })
            }
            Done::Buried(buried) => {
                self.burying = None;
                buried.map(|buried| {
                    for (index, offset) in buried.records {
                        self.partitions[index].window.done(offset);
                    }
                    self.progress.dead_lettered(buried.rejected, buried.exhausted);
                })
            }
            Done::Fetched(index, fetched) => self.partitions[index].take(fetched),
            Done::Due => Ok(()),
        };
        self.fault = self.fault.take().or(outcome.err());
    }

    /// Emits the next attempt at a record whose wait is over.
    fn emit_retry(&mut self, out: &mut SpoutEmitter<T, RecordId>) -> bool {
        match self.retries.peek() {
            Some(Reverse((due, _))) if *due <= self.now() => {}
            _ => return false,
        }
        let Some(Reverse((due, (index, offset)))) = self.retries.pop() else { return false };
        let window = &mut self.partitions[index].window;
        let Some((attempt, record)) = window.reopen(offset) else { return true };
        let id = RecordId { partition: index, offset };
        match (self.decode)(record) {
            Ok(tuple) => {
                if out.replay(id, attempt, tuple).is_err() {
                    window.put_back(offset);
                    self.retries.push(Reverse((due, (index, offset))));
                    return false;
                }
            }
            Err(fail) => self.give_up(id, &self.refusal(fail, attempt)),
        }
        true
    }

    /// Emits the next record that was fetched, taking turns among partitions.
    fn emit_next(&mut self, out: &mut SpoutEmitter<T, RecordId>) -> bool {
        for _ in 0..self.partitions.len() {
            // A partition keeps its turn while it has records: neighbours share their batch's buffer.
            let partition = &mut self.partitions[self.turn];
            if partition.window.span() < self.config.window
                && let Some(record) = partition.buffer.pop_front()
            {
                return self.emit_record(self.turn, record, out);
            }
            self.turn = (self.turn + 1) % self.partitions.len();
        }
        false
    }

    fn emit_record(&mut self, index: usize, record: Consumed, out: &mut SpoutEmitter<T, RecordId>) -> bool {
        let id = RecordId { partition: index, offset: record.offset };
        let decoded = (self.decode)(&record);
        let partition = &mut self.partitions[index];
        match decoded {
            Ok(tuple) => {
                if out.emit_with(id, tuple).is_err() {
                    partition.buffer.push_front(record);
                    return false;
                }
                partition.window.open(record);
            }
            Err(fail) => {
                partition.window.open(record);
                self.give_up(id, &self.refusal(fail, 1));
            }
        }
        true
    }

    /// The spout's own refusal of a record.
    fn refusal(&self, fail: Fail, attempt: u32) -> Failure {
        let component =
            self.task.as_ref().map_or_else(|| "spout".into(), |task| Arc::clone(task.component()));
        Failure { kind: FailKind::Reject, reason: Arc::clone(fail.reason()), component, attempt }
    }

    /// Sends a record that failed to the dead letters.
    fn give_up(&mut self, id: RecordId, failure: &Failure) {
        let partition = &mut self.partitions[id.partition];
        if let Some((_, record)) = partition.window.fail(id.offset) {
            let wall_ms = self.task.as_ref().map_or(0, |task| task.clock().wall_ms());
            self.dead.push(DeadLetter::new(&partition.at, id.partition, record, failure, wall_ms));
        }
    }

    /// Waits for the first thing to happen: something under way ends, records arrive, a retry or a commit is due.
    async fn first(&mut self) -> Done {
        let due = [self.retries.peek().map(|Reverse((due, _))| *due), self.commit_due()]
            .into_iter()
            .flatten()
            .min();
        let fetches =
            self.partitions.iter().enumerate().filter(|(_, one)| one.wants_records(self.config.window));
        let limit = FetchLimit { max_bytes: self.config.fetch_bytes, max_wait: POLL };
        let log = &self.log;
        let fetches: Vec<_> = fetches
            .map(|(index, one)| {
                Box::pin(async move { (index, log.fetch(&one.at, one.fetch_offset, limit).await) })
            })
            .collect();
        let sleep = async {
            match (due, &self.task) {
                (Some(due), Some(task)) => task.sleep(due.since(task.now())).await,
                _ => pending().await,
            }
        };
        let fetched = async {
            if fetches.is_empty() {
                return pending().await;
            }
            select_all(fetches).await.0
        };
        tokio::select! {
            biased;
            committed = under_way(&mut self.committing) => Done::Committed(committed),
            buried = under_way(&mut self.burying) => Done::Buried(buried),
            (index, fetched) = fetched => Done::Fetched(index, fetched),
            () = sleep => Done::Due,
        }
    }
}

/// What a spout waited for.
enum Done {
    Committed(Result<Vec<(usize, i64)>, LogError>),
    Buried(Result<Buried, LogError>),
    Fetched(usize, Result<topo_core::log::Fetched, LogError>),
    Due,
}

/// The end of something under way; never, where there is nothing.
async fn under_way<T>(future: &mut Option<UnderWay<T>>) -> Result<T, LogError> {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

impl<T, D> Spout for LogSpout<T, D>
where
    T: Tuple,
    D: Fn(&Consumed) -> Result<T, Fail> + Send + 'static,
{
    type Out = T;
    type Id = RecordId;

    async fn open(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        let topic = &self.config.topic;
        let Some(info) = self.log.topic(topic).await? else {
            return Err(LogError::UnknownTopic(Arc::clone(topic)).into());
        };
        for number in (task.task()..info.partitions).step_by(task.tasks() as usize) {
            let at = TopicPartition::new(Arc::clone(topic), number);
            let partition = Partition::open(&*self.log, at, &self.config).await?;
            self.progress.committed(&partition.at, partition.committed);
            self.partitions.push(partition);
        }
        self.last_commit = task.now();
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutEmitter<T, RecordId>) -> Result<Next, Fault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault.into());
        }
        if !self.is_call_due() && (self.emit_retry(out) || self.emit_next(out)) {
            return Ok(Next::Emitted);
        }
        Ok(Next::Idle)
    }

    async fn ready(&mut self) {
        self.start_burying();
        if self.commit_due().is_some_and(|at| at <= self.now()) {
            self.start_commit();
        }
        let buffered = self.partitions.iter().any(|one| one.can_emit(self.config.window));
        let done = if buffered { Done::Due } else { self.first().await };
        self.note(done);
    }

    fn ack(&mut self, id: RecordId) {
        if let Some(partition) = self.partitions.get_mut(id.partition) {
            partition.window.done(id.offset);
        }
    }

    fn fail(&mut self, id: RecordId, failure: &Failure) {
        let now = self.now();
        if failure.kind == FailKind::Reject || failure.attempt >= self.config.attempts {
            return self.give_up(id, failure);
        }
        let Some(partition) = self.partitions.get_mut(id.partition) else { return };
        if let Some((attempt, _)) = partition.window.fail(id.offset) {
            let wait = self.config.wait_before(attempt + 1, rand::random());
            self.retries.push(Reverse((now.after(wait), (id.partition, id.offset))));
        }
    }

    async fn close(&mut self) {
        self.start_burying();
        if self.burying.is_some() {
            let buried = under_way(&mut self.burying).await;
            self.note(Done::Buried(buried));
        }
        if self.committing.is_some() {
            let committed = under_way(&mut self.committing).await;
            self.note(Done::Committed(committed));
        }
        self.start_commit();
        let committed = under_way(&mut self.committing).await;
        self.note(Done::Committed(committed));
        if let Some(fault) = self.fault.take() {
            tracing::error!(topic = %self.config.topic, error = %fault, "the last offsets were not committed");
        }
    }
}
