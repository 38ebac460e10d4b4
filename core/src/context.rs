//! What a component is told about the task it runs as.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::fail::Fail;
use crate::log::{Record, TopicPartition};
use crate::metrics::TaskCounters;
use crate::runtime::{Control, Phase};
use crate::schedule::{Clock, Moment, Scheduler};
use crate::spout::Fault;
use crate::state::{Key, ListState, MapState, OpenState, State, TaskStates};
use crate::store::{Stores, TaskStore};
use crate::time::Watermark;
use crate::transaction::{InputOffsets, Letter, Staging};
use crate::tuple::Tuple;

/// A task's place in its topology, and the time it lives in.
#[derive(Clone)]
pub struct TaskContext {
    pub(crate) topology: Arc<str>,
    pub(crate) component: Arc<str>,
    pub(crate) task: u32,
    pub(crate) tasks: u32,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    pub(crate) control: Arc<Control>,
    pub(crate) counters: Arc<TaskCounters>,
    pub(crate) states: Arc<TaskStates>,
    /// How far the task has come in event time. Survives the instances.
    pub(crate) event_time: Arc<AtomicI64>,
    pub(crate) stores: Arc<Stores>,
    pub(crate) staging: Arc<Staging>,
}

impl TaskContext {
    /// The topology's name.
    pub fn topology(&self) -> &Arc<str> {
        &self.topology
    }

    /// The component's name.
    pub fn component(&self) -> &Arc<str> {
        &self.component
    }

    /// This task's number within its component, from 0.
    pub fn task(&self) -> u32 {
        self.task
    }

    /// How many tasks the component has.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    /// The clock to go by: the machine's in production, a manual one in tests.
    pub fn clock(&self) -> &dyn Clock {
        self.scheduler.clock()
    }

    /// The monotonic time now.
    pub fn now(&self) -> Moment {
        self.clock().now()
    }

    /// Waits for `duration` on the topology's clock. Unlike a sleep of tokio's, it also works on the seeded scheduler.
    pub async fn sleep(&self, duration: Duration) {
        self.scheduler.sleep_until(self.now().after(duration)).await;
    }

    /// Whether the topology has stopped waiting for what is open. A component that waits for something outside gives up
    /// then; what it holds is left unanswered, and comes again after a restart.
    pub fn is_aborting(&self) -> bool {
        self.control.phase() == Phase::Aborting
    }

    /// Opens the task's part of state `name`, a value for each key: `task.state("counts").await?`. It is restored by then.
    ///
    /// A state belongs to one component of a topology, and the component has to be subscribed by
    /// [`key_groups`](crate::BoltHandle::key_groups) with the state's key, unless it has one task.
    pub fn state<K: Key, V: Tuple>(&self, name: &str) -> OpenState<State<K, V>> {
        OpenState::new(self, name)
    }

    /// As [`state`](Self::state), with a list for each key.
    pub fn list_state<K: Key, V: Tuple>(&self, name: &str) -> OpenState<ListState<K, V>> {
        OpenState::new(self, name)
    }

    /// As [`state`](Self::state), with a map for each key.
    pub fn map_state<K: Key, M: Tuple + Ord, V: Tuple>(&self, name: &str) -> OpenState<MapState<K, M, V>> {
        OpenState::new(self, name)
    }

    /// How far this bolt's task has come in event time: nothing earlier comes, but for what comes too late.
    pub fn watermark(&self) -> Watermark {
        Watermark(self.event_time.load(Ordering::Relaxed))
    }

    /// Forgets how far the task has come.
    pub(crate) fn forget_watermark(&self) {
        self.event_time.store(Watermark::MIN.0, Ordering::Relaxed);
    }

    /// Says, in `prepare`, how far the task had come in an earlier run, as its state remembers: its watermark does not go
    /// back behind that. The end of time is not remembered, so [`Watermark::MAX`] changes nothing.
    pub fn raise_watermark(&self, at: Watermark) {
        if at != Watermark::MAX {
            self.event_time.fetch_max(at.0, Ordering::Relaxed);
            self.counters.come_to(at.0);
        }
    }

    /// Has every task of the topology that keeps state make durable what it has done so far, and waits until all have.
    /// For spouts, before they commit: first it is settled what is to be committed, then what that led to is flushed.
    /// Returns at once where no task keeps state.
    ///
    /// # Errors
    /// A task's flush failed. What was to be committed must not be, until another flush succeeds.
    pub async fn flush_states(&self) -> Result<(), Fault> {
        self.control.flushes.request().await
    }

    /// Whether the topology's input goes through in micro-transactions. A sink [stages](Self::stage) its records then, and a
    /// spout commits nothing itself.
    pub fn is_exactly_once(&self) -> bool {
        self.control.transactions.is_some()
    }

    /// Has `record` appended with the micro-transaction in work; only where there are any
    /// ([`is_exactly_once`](Self::is_exactly_once)). The order of a task's records of a partition is kept.
    ///
    /// # Errors
    /// [`Fail::Reject`] where the log has refused this record before, as one that is too large: what led to it is to fail, so
    /// that its batch can be made without it.
    pub fn stage(&self, to: &TopicPartition, record: Record) -> Result<(), Fail> {
        if let Some(transactions) = &self.control.transactions {
            transactions.check(to, &record)?;
            transactions.note_staged(self.staging.add(to, record));
        }
        Ok(())
    }

    /// As [`stage`](Self::stage), to a topic that may have to be created: in the partition that is left when `number` is
    /// divided by how many there are. Where the topic does not take `record`, `short` is written in its place.
    pub fn stage_letter(&self, topic: &Arc<str>, number: u32, record: Record, short: Record) {
        if let Some(transactions) = &self.control.transactions {
            let letter = Letter { topic: Arc::clone(topic), number, record, short };
            transactions.note_staged(self.staging.add_letter(letter));
        }
    }

    /// Has all that is not committed taken back and made again, where there are micro-transactions.
    pub fn fail_batch(&self, why: &str) {
        if let Some(transactions) = &self.control.transactions {
            transactions.fail(&why.into());
        }
    }

    /// Has the log asked whether another instance runs the topology by now, where there are micro-transactions; it stops then.
    /// `with` may be added to a transaction for that, and is not committed.
    pub fn doubt_transactions(&self, with: InputOffsets) {
        if let Some(transactions) = &self.control.transactions {
            transactions.doubt(with);
        }
    }

    /// Keeps `store` under `name` for as long as the task lives, in place of another of that name. A bolt's task flushes it
    /// whenever offsets are about to be committed; to be called in `prepare`.
    pub fn keep_store(&self, name: &str, store: Arc<dyn TaskStore>) {
        self.stores.keep(name, store);
    }

    /// The store that is kept under `name`, where it is an `S`.
    pub fn store<S: TaskStore>(&self, name: &str) -> Option<Arc<S>> {
        self.stores.get(name)
    }

    /// Shows `trouble` as this task's last error, on the page too. For trouble that the component gets over by itself;
    /// what it cannot get over it returns.
    pub fn report(&self, trouble: &str) {
        tracing::warn!(component = %self.component, task = self.task, trouble);
        self.counters.report(self.clock().wall_ms(), trouble.into());
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("topology", &self.topology)
            .field("component", &self.component)
            .field("task", &self.task)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}
