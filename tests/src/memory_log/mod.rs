//! A log in memory: the second implementation of [`Log`], for tests.
//!
//! It runs on any scheduler, remembers every commit with what the log held by then, and lets a test decide how long each
//! call takes and whether it fails.
//!
//! Invariant: a record can be read only after the call that appended it was given its time, as if it had been synced.

mod group;
mod partition;
mod transactional;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use topo_core::log::{
    Consumed, FetchLimit, Fetched, InStages, Isolation, Joining, Log, LogError, Membership, Offsets, Record,
    TopicInfo, TopicPartition, TopicSpec, TransactionalConfig, TransactionalLog,
};
use topo_core::schedule::Scheduler;

use self::group::{Group, MemoryMember};
use self::partition::Partition;
use self::transactional::{Id, MemoryTransactional};

/// A call that is about to be carried out.
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// [`Log::append`] or [`TransactionalLog::append`] of these records.
    Append(&'a TopicPartition, &'a [Record]),
    /// [`Log::fetch`] from this offset on.
    Fetch(&'a TopicPartition, i64),
    /// [`Log::commit`], [`Membership::commit`] or [`TransactionalLog::commit_offsets`].
    Commit(&'a [(TopicPartition, i64)]),
    /// [`Log::transactional`] under this id.
    TakeOver(&'a str),
    /// [`TransactionalLog::flush`].
    Flush,
    /// [`TransactionalLog::commit`] of a transaction that is open. After [`LogError::Unavailable`] it is asked for again.
    CommitTransaction,
    /// [`TransactionalLog::abort`] of a transaction that is open.
    AbortTransaction,
}

/// What becomes of a call.
#[derive(Debug, Clone, Default)]
pub struct Fate {
    /// How long it takes.
    pub takes: Duration,
    /// What it fails with; an append or a commit then has no effect, unless `lies`.
    pub error: Option<LogError>,
    /// Whether it is carried out although it fails, as where the answer was lost.
    pub lies: bool,
}

impl Fate {
    /// It is carried out, and the answer is lost.
    pub fn unanswered() -> Self {
        let error = Some(LogError::Unavailable("the answer is lost".into()));
        Self { error, lies: true, ..Self::default() }
    }

    /// It fails with a storage error.
    pub fn fails() -> Self {
        Self { error: Some(LogError::Storage("the disk is gone".into())), ..Self::default() }
    }
}

/// A commit that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The group.
    pub group: String,
    /// The partition.
    pub at: TopicPartition,
    /// The offset.
    pub offset: i64,
    /// What was noted with it.
    pub note: String,
    /// One past the last record of every partition of the log at that time.
    pub ends: BTreeMap<TopicPartition, i64>,
}

/// Decides what becomes of each call.
type Judge = Box<dyn FnMut(Call<'_>) -> Fate + Send>;

/// A log that keeps everything in memory.
pub struct MemoryLog {
    shared: Arc<Shared>,
}

struct Shared {
    scheduler: Arc<dyn Scheduler>,
    state: Mutex<State>,
    appended: Notify,
    /// Rings where a group changed.
    changed: Notify,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, (TopicSpec, Vec<Partition>)>,
    committed: HashMap<(String, TopicPartition), (i64, String)>,
    commits: Vec<Commit>,
    groups: HashMap<String, Group>,
    transactional_ids: BTreeMap<Arc<str>, Id>,
    /// How many were begun.
    transactions: u64,
    fetch_records: Option<usize>,
    judge: Option<Judge>,
}

impl State {
    fn partition(&mut self, at: &TopicPartition) -> Result<&mut Partition, LogError> {
        let (_, partitions) =
            self.topics.get_mut(&*at.topic).ok_or_else(|| LogError::UnknownTopic(at.topic.clone()))?;
        partitions.get_mut(at.partition as usize).ok_or_else(|| LogError::UnknownPartition(at.clone()))
    }

    fn ends(&self) -> BTreeMap<TopicPartition, i64> {
        let mut ends = BTreeMap::new();
        for (topic, (_, partitions)) in &self.topics {
            for (number, partition) in partitions.iter().enumerate() {
                ends.insert(TopicPartition::new(topic.as_str(), number as u32), partition.end());
            }
        }
        ends
    }

    fn commit(&mut self, group: &str, offsets: &[(TopicPartition, i64)], note: &str) {
        let ends = self.ends();
        for (at, offset) in offsets {
            let (group, at, offset, ends) = (group.to_owned(), at.clone(), *offset, ends.clone());
            self.committed.insert((group.clone(), at.clone()), (offset, note.to_owned()));
            self.commits.push(Commit { group, at, offset, note: note.to_owned(), ends });
        }
    }
}

impl MemoryLog {
    /// An empty log that waits, and takes its timestamps, by `scheduler`'s clock.
    pub fn new(scheduler: Arc<dyn Scheduler>) -> Self {
        let (state, appended, changed) = (Mutex::default(), Notify::new(), Notify::new());
        Self { shared: Arc::new(Shared { scheduler, state, appended, changed }) }
    }

    /// Has `judge` decide what becomes of each append, fetch and commit from now on.
    pub fn judge(&self, judge: impl FnMut(Call<'_>) -> Fate + Send + 'static) {
        self.lock().judge = Some(Box::new(judge));
    }

    /// Carries out every call at once from now on.
    pub fn be_kind(&self) {
        self.lock().judge = None;
    }

    /// Makes every fetch return at most `records`.
    pub fn limit_fetches(&self, records: usize) {
        self.lock().fetch_records = Some(records);
    }

    /// Deletes the records below `offset`, as retention would.
    ///
    /// # Panics
    /// Where there is no such partition.
    pub fn delete_before(&self, at: &TopicPartition, offset: i64) {
        self.lock().partition(at).expect("tests delete from what they created").delete_before(offset);
    }

    /// Has all members of `group` give up their partitions, then gives partition `i` to the member with the task number
    /// `owners[i]`.
    pub fn divide(&self, group: &str, owners: &[u32]) {
        self.lock().groups.entry(group.to_owned()).or_default().divide(owners.to_vec());
        self.shared.changed.notify_waiters();
    }

    /// Takes all partitions from the members of `group`, without asking, and gives partition `i` to the member with the
    /// task number `owners[i]`.
    pub fn seize(&self, group: &str, owners: &[u32]) {
        self.lock().groups.entry(group.to_owned()).or_default().seize(owners.to_vec());
        self.shared.changed.notify_waiters();
    }

    /// What of a partition is committed, or of no transaction; nothing, where there is none.
    pub fn records(&self, topic: &str, partition: u32) -> Vec<Consumed> {
        let at = TopicPartition::new(topic, partition);
        let mut state = self.lock();
        let readable = |of: &mut Partition| of.readable(Isolation::ReadCommitted).cloned().collect();
        state.partition(&at).map_or_else(|_| Vec::new(), readable)
    }

    /// Every commit that took effect, in order.
    pub fn commits(&self) -> Vec<Commit> {
        self.lock().commits.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Shared {
    // No code panics while it holds the lock but a test's judge; the state is whole then.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `call` its time, then carries it out by `act`, as its judge decides.
    async fn carry_out<T>(
        &self,
        call: Call<'_>,
        act: impl FnOnce(&mut State) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let fate = self.lock().judge.as_mut().map(|judge| judge(call)).unwrap_or_default();
        if !fate.takes.is_zero() {
            self.pause(fate.takes).await;
        }
        self.lock().expire(self.scheduler.clock().now(), self.wall_ms());
        match fate.error {
            Some(error) if !fate.lies => Err(error),
            Some(error) => act(&mut self.lock()).and(Err(error)),
            None => act(&mut self.lock()),
        }
    }

    async fn pause(&self, takes: Duration) {
        self.scheduler.sleep_until(self.scheduler.clock().now().after(takes)).await;
    }

    fn wall_ms(&self) -> i64 {
        self.scheduler.clock().wall_ms()
    }

    /// Waits until `from` has something to be read at `offset`, or until the longest wait is over.
    async fn wait_for(&self, from: &TopicPartition, offset: i64, limit: FetchLimit) {
        let FetchLimit { max_wait, isolation, .. } = limit;
        if max_wait.is_zero() {
            return;
        }
        let mut over = self.scheduler.sleep_until(self.scheduler.clock().now().after(max_wait));
        loop {
            let mut appended = pin!(self.appended.notified());
            appended.as_mut().enable();
            let end = self.lock().partition(from).map(|partition| partition.readable_end(isolation));
            if end.map_or(true, |end| end > offset) {
                return;
            }
            tokio::select! {
                biased;
                () = &mut over => return,
                () = appended => {}
            }
        }
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").field("ends", &self.lock().ends()).finish_non_exhaustive()
    }
}

fn info(name: &str, spec: &TopicSpec) -> TopicInfo {
    TopicInfo { name: name.into(), partitions: spec.partitions, config: spec.config.clone() }
}

#[async_trait]
impl Log for MemoryLog {
    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<(), LogError> {
        let mut state = self.lock();
        if state.topics.contains_key(topic) {
            return Err(LogError::TopicExists(topic.into()));
        }
        let partitions = vec![Partition::default(); spec.partitions as usize];
        state.topics.insert(topic.into(), (spec.clone(), partitions));
        Ok(())
    }

    async fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        let mut state = self.lock();
        state.committed.retain(|(_, at), _| &*at.topic != topic);
        state.topics.remove(topic).map(drop).ok_or_else(|| LogError::UnknownTopic(topic.into()))
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        Ok(self.lock().topics.iter().map(|(name, (spec, _))| info(name, spec)).collect())
    }

    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        Ok(self.lock().topics.get(topic).map(|(spec, _)| info(topic, spec)))
    }

    async fn append(&self, to: &TopicPartition, records: Vec<Record>) -> Result<i64, LogError> {
        let now_ms = self.shared.wall_ms();
        let append = |state: &mut State| Ok(state.partition(to)?.append(&records, None, now_ms));
        let appended = self.shared.carry_out(Call::Append(to, &records), append);
        let appended = appended.await;
        self.shared.appended.notify_waiters();
        appended
    }

    async fn fetch(
        &self,
        from: &TopicPartition,
        offset: i64,
        limit: FetchLimit,
    ) -> Result<Fetched, LogError> {
        self.shared.wait_for(from, offset, limit).await;
        self.shared
            .carry_out(Call::Fetch(from, offset), |state| {
                let most = state.fetch_records.unwrap_or(usize::MAX);
                state.partition(from)?.fetch(from, offset, limit, most)
            })
            .await
    }

    async fn offsets(&self, of: &TopicPartition) -> Result<Offsets, LogError> {
        self.lock().partition(of).map(|partition| partition.offsets())
    }

    async fn offset_for_time(&self, of: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>, LogError> {
        self.lock().partition(of).map(|partition| {
            let readable = partition.readable(Isolation::ReadCommitted);
            let mut late = readable.filter(|record| record.timestamp_ms >= timestamp_ms);
            late.next().map(|record| record.offset)
        })
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.shared
            .carry_out(Call::Commit(offsets), |state| {
                state.commit(group, offsets, "");
                Ok(())
            })
            .await
    }

    async fn noted(&self, group: &str, of: &TopicPartition) -> Result<Option<(i64, String)>, LogError> {
        Ok(self.lock().committed.get(&(group.to_owned(), of.clone())).cloned())
    }

    async fn join(&self, joining: &Joining) -> Result<Arc<dyn Membership>, LogError> {
        Ok(Arc::new(MemoryMember::join(&self.shared, joining)?))
    }

    async fn transactional(
        &self,
        config: &TransactionalConfig,
    ) -> Result<Box<dyn TransactionalLog>, LogError> {
        Ok(Box::new(InStages::new(MemoryTransactional::open(&self.shared, config).await?)))
    }
}
