//! Reads a topic, replays what fails, gives up what cannot be done, and commits what is.
//!
//! The committed offset of a partition is its frontier: every record below it is done, which means that its tree was
//! acknowledged or its dead letter is durable. A restart goes on from there, so every record is processed at least once.
//! A call to the log that fails is made again; what is open stays open meanwhile.
//!
//! Invariant: what is under way to the log (fetches, a commit, dead letters) is kept in the spout and not in `ready`,
//! which the runtime drops whenever an ack arrives.

mod assignment;
mod batch;
mod calls;
mod config;
mod dead_letter;
mod event_time;
mod partition;
mod partitions;
mod setback;
mod window;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::pending;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use topo_core::log::{Consumed, Log, LogError, Membership};
use topo_core::metrics::WindowSnapshot;
use topo_core::schedule::Moment;
use topo_core::{
    EventTime, Fail, FailKind, Failure, Fault, InputOffsets, LastBatch, Next, Spout, SpoutEmitter,
    TaskContext, Timed, Tuple,
};

pub use config::{LogSpoutConfig, StartAt};
pub use event_time::{EventTimeConfig, record_time, timed};

use self::assignment::Standing;
use self::batch::{Batches, last_noted_batch};
use self::calls::Call;
use self::dead_letter::DeadLetter;
use self::event_time::Times;
use self::partitions::Partitions;
use self::setback::Setback;
use crate::source_progress::SourceProgress;

/// Records between two looks at the clock.
const RECORDS_PER_LOOK: u32 = 32;
/// How long records are emitted before the calls to the log get their turn.
const TURN: Duration = Duration::from_millis(5);
/// Dead letters that may wait for those before them; then nothing is emitted until they are durable.
const DEAD_LETTERS: usize = 1_024;

/// Names a record by its partition and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The partition's number.
    partition: u32,
    offset: i64,
}

/// A spout of the records of a topic, each made into a tuple by a function.
///
/// Its tasks are members of the group that it is given, among which the log divides the topic's partitions. A record that the
/// function refuses, or panics on, goes to the dead letters.
pub struct LogSpout<T, D> {
    log: Arc<dyn Log>,
    config: LogSpoutConfig,
    decode: D,
    /// Where it tells event time.
    times: Option<Times<T>>,
    progress: SourceProgress,
    task: Option<TaskContext>,
    membership: Option<Arc<dyn Membership>>,
    standing: Standing,
    /// Whether it reads what it was assigned, perhaps nothing: before, nobody knows what will come.
    is_assigned: bool,
    /// Counts the assignments, so that what was asked for an earlier one is known.
    assignment: u64,
    open_setback: Setback,
    partitions: Partitions,
    /// Whose turn it is to emit.
    turn: usize,
    /// Records that failed, by when their next attempt is due.
    retries: BinaryHeap<Reverse<(Moment, RecordId)>>,
    /// Records given up whose dead letters are not under way.
    dead: Vec<DeadLetter>,
    /// Everything under way to the log.
    calls: FuturesUnordered<Call>,
    burying: bool,
    bury_setback: Setback,
    committing: bool,
    commit_setback: Setback,
    last_commit: Moment,
    /// When the calls get their next turn, and records until the clock is asked whether that is now.
    look_at: Moment,
    until_look: u32,
    /// What it knows of micro-transactions, where its input goes through in them.
    batches: Option<Batches>,
    /// What ends this instance.
    fault: Option<LogError>,
    tuple: PhantomData<fn() -> T>,
}

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
            times: None,
            progress,
            task: None,
            membership: None,
            standing: Standing::Settled,
            is_assigned: false,
            assignment: 0,
            open_setback: Setback::default(),
            partitions: Partitions::default(),
            turn: 0,
            retries: BinaryHeap::new(),
            dead: Vec::new(),
            calls: FuturesUnordered::new(),
            burying: false,
            bury_setback: Setback::default(),
            committing: false,
            commit_setback: Setback::default(),
            last_commit: Moment::default(),
            look_at: Moment::default(),
            until_look: 0,
            batches: None,
            fault: None,
            tuple: PhantomData,
        }
    }

    /// Whether the calls to the log get their turn before more is emitted. Stays so until they got it.
    fn is_turn_over(&mut self) -> bool {
        if self.dead.len() >= DEAD_LETTERS {
            return true;
        }
        if self.until_look == 0 {
            if self.now() >= self.look_at {
                return true;
            }
            self.until_look = RECORDS_PER_LOOK;
        }
        self.until_look -= 1;
        false
    }

    fn decode(&self, record: &Consumed) -> Result<T, Fail> {
        // The function is not changed by its calls, so that a panic leaves nothing half done. Without this, the record
        // would end every instance of the spout that comes to it.
        let decoded = catch_unwind(AssertUnwindSafe(|| (self.decode)(record)));
        decoded.unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Fail::reject(format_args!("panicked: {}", message.unwrap_or("a panic without a message"))))
        })
    }

    /// Starts what is due and notes what has come, without waiting.
    fn look_around(&mut self) {
        self.start_calls();
        while let Some(Some(done)) = self.calls.next().now_or_never() {
            self.note(done);
        }
        // What is revoked is released at the next look at the earliest: those behind hear before that this task has nothing,
        // and do not go by what it told of other partitions when another task is given these.
        self.release_if_done();
        if let Some(membership) = &self.membership
            && let Some(change) = membership.changed().now_or_never()
        {
            self.note_change(change);
        }
    }

    /// Emits the next attempt at a record whose wait is over.
    fn emit_retry(&mut self, out: &mut SpoutEmitter<T, RecordId>) -> bool {
        match self.retries.peek() {
            Some(Reverse((due, _))) if *due <= self.now() => {}
            _ => return false,
        }
        let Some(Reverse((due, id))) = self.retries.pop() else { return false };
        let window = self.partitions.numbered(id.partition).map(|partition| &mut partition.window);
        let Some((attempt, record)) = window.and_then(|window| window.reopen(id.offset)) else {
            return true;
        };
        let record = record.clone();
        match self.decode(&record) {
            Ok(tuple) => {
                if out.replay(id, attempt, tuple).is_err() {
                    if let Some(partition) = self.partitions.numbered(id.partition) {
                        partition.window.put_back(id.offset);
                    }
                    self.retries.push(Reverse((due, id)));
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

    fn emit_record(&mut self, place: usize, record: Consumed, out: &mut SpoutEmitter<T, RecordId>) -> bool {
        let id = RecordId { partition: self.partitions[place].at.partition, offset: record.offset };
        let attempt = match self.batches.as_ref().map_or(Ok(1), |batches| batches.attempt(id)) {
            Ok(attempt) => attempt,
            Err(failure) => {
                let failure = failure.clone();
                self.partitions[place].window.open(record);
                self.give_up(id, &failure);
                return true;
            }
        };
        let decoded = self.decode(&record);
        let partition = &mut self.partitions[place];
        match decoded {
            Ok(tuple) => {
                let at = self.times.as_ref().map(|times| (times.at)(&tuple));
                if out.replay(id, attempt, tuple).is_err() {
                    partition.buffer.push_front(record);
                    return false;
                }
                partition.window.open(record);
                if let Some(at) = at {
                    partition.clock.note(id.offset, at, partition.window.first());
                }
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
        let Some(partition) = self.partitions.numbered(id.partition) else { return };
        if let Some((_, record)) = partition.window.fail(id.offset) {
            let wall_ms = self.task.as_ref().map_or(0, |task| task.clock().wall_ms());
            let to = self.config.dead_letters_for(&failure.component);
            let letter = DeadLetter::new(&partition.at, to, id, record, failure, wall_ms);
            match (&mut self.batches, &self.task) {
                // It becomes durable with the offset that passes it.
                (Some(batches), Some(task)) => {
                    letter.stage(task);
                    batches.letters.push(letter);
                    partition.window.done(id.offset);
                }
                _ => self.dead.push(letter),
            }
        }
    }
}

impl<T, D> LogSpout<Timed<T>, D> {
    /// Has it tell event time, which its decoder, made by [`timed`], takes from each record.
    #[must_use]
    pub fn event_time(self, config: EventTimeConfig) -> Self {
        Self { times: Some(Times { config, at: |timed| timed.at }), ..self }
    }
}

impl<T, D> Spout for LogSpout<T, D>
where
    T: Tuple,
    D: Fn(&Consumed) -> Result<T, Fail> + Send + 'static,
{
    type Out = T;
    type Id = RecordId;
    const REPLAYS: bool = true;

    async fn open(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        self.batches = task.is_exactly_once().then(Batches::default);
        self.config.check()?;
        self.join(task).await?;
        self.last_commit = task.now();
        Ok(())
    }

    fn next(&mut self, out: &mut SpoutEmitter<T, RecordId>) -> Result<Next, Fault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault.into());
        }
        if self.may_emit() && !self.is_turn_over() && (self.emit_retry(out) || self.emit_next(out)) {
            return Ok(Next::Emitted);
        }
        Ok(Next::Idle)
    }

    async fn ready(&mut self) {
        self.look_around();
        let now = self.now();
        (self.look_at, self.until_look) = (now.after(TURN), 0);
        let retry = self.retries.peek().is_some_and(|Reverse((due, _))| *due <= now);
        let can_emit = retry || self.partitions.iter().any(|one| one.can_emit(self.config.window));
        if self.fault.is_some() || (can_emit && self.may_emit() && self.dead.len() < DEAD_LETTERS) {
            return;
        }
        let (due, task, membership) = (self.next_due(), self.task.clone(), self.membership.clone());
        let sleep = async move {
            match (due, task) {
                (Some(due), Some(task)) => task.sleep(due.since(now)).await,
                _ => pending().await,
            }
        };
        let change = async {
            match &membership {
                Some(membership) => membership.changed().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(done) = self.calls.next() => self.note(done),
            change = change => self.note_change(change),
            () = sleep => {}
        }
    }

    fn ack(&mut self, id: RecordId) {
        if let Some(partition) = self.partitions.numbered(id.partition) {
            partition.window.done(id.offset);
        }
    }

    fn fail(&mut self, id: RecordId, failure: &Failure) {
        if let Some(batches) = &mut self.batches {
            // The batch is taken back, and the record comes again.
            return batches.note_fail(id, failure, self.config.attempts);
        }
        if failure.kind == FailKind::Reject || failure.attempt >= self.config.attempts {
            return self.give_up(id, failure);
        }
        let now = self.now();
        let Some(partition) = self.partitions.numbered(id.partition) else { return };
        if let Some((attempt, _)) = partition.window.fail(id.offset) {
            let salt = (id.offset as u64) ^ u64::from(id.partition).rotate_right(16);
            self.retries.push(Reverse((self.config.due(attempt + 1, now, salt), id)));
        }
    }

    async fn last_batch(&mut self) -> Result<Option<LastBatch>, Fault> {
        let LogSpoutConfig { topic, group, .. } = &self.config;
        Ok(last_noted_batch(&*self.log, topic, group).await?)
    }

    fn end_batch(&mut self) -> Option<InputOffsets> {
        self.end_own_batch()
    }

    fn batch_committed(&mut self) {
        self.note_batch_committed();
    }

    fn rewind(&mut self) -> Result<(), Fault> {
        self.go_back();
        Ok(())
    }

    fn watermark(&self) -> Option<EventTime> {
        let times = self.times.as_ref()?;
        let is_known = self.is_assigned && self.may_emit();
        let wall_ms = self.task.as_ref().map_or(i64::MIN, |task| task.clock().wall_ms());
        let known = is_known.then(|| times.merge(self.partitions.iter(), (self.now(), wall_ms)));
        Some(known.unwrap_or(EventTime::at(times.config.floor)))
    }

    fn show_windows(&self, shown: &mut Vec<WindowSnapshot>) {
        shown.clear();
        shown.extend(self.partitions.iter().map(|one| WindowSnapshot {
            partition: Arc::clone(&one.name),
            oldest: one.window.first(),
            span: one.window.span(),
            limit: self.config.window,
            waiting: one.window.waiting(),
        }));
    }

    async fn close(&mut self) {
        // Dead letters first: what they held back can be committed then. What fails now is read again after a restart.
        self.settle(|spout| spout.burying).await;
        if !self.dead.is_empty() {
            self.start_burying();
            self.settle(|spout| spout.burying).await;
        }
        self.settle(|spout| spout.committing).await;
        if self.batches.is_none() && self.partitions.iter().any(partition::Partition::has_moved) {
            self.start_commit();
            self.settle(|spout| spout.committing).await;
        }
        self.calls.clear();
        if let Some(membership) = self.membership.take() {
            membership.leave().await;
        }
    }
}
