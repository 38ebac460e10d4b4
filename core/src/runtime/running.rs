//! A topology that runs: its numbers, and the ways to stop it.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::control::{Control, Phase, Progress};
use super::inbox::Bell;
use super::settings::Setting;
use super::start::Fill;
use super::witness::Witness;
use crate::ledger::{Disagreement, RootId};
use crate::log::LogError;
use crate::metrics::{
    ComponentKind, ComponentSnapshot, Counter, EdgeCounters, EdgeSnapshot, EdgeView, EdgeViews, Latency,
    QueueSnapshot, TaskCounters, TopologySnapshot, TopologyStatus,
};
use crate::schedule::{Moment, Scheduler};
use crate::state::StateHub;
use crate::tap::{TapFilter, TapView};
use crate::time::{EventTime, Watermark};
use crate::topology::BuildError;
use crate::trace::{EndedTree, Hop, HopRing, OpenTrees, TreeBook};

/// Why a topology did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The topology cannot run.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The log cannot be written in transactions, as exactly once asks for.
    #[error("exactly once needs transactions, and the log gives none: {0}")]
    Transactions(#[from] LogError),
    /// A component's `open` or `prepare` failed.
    #[error("`{component}` could not start: {reason}")]
    Prepare {
        /// The component.
        component: Arc<str>,
        /// What it said.
        reason: String,
    },
}

/// Executors that did not stop in time: their code does not return.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stuck} of {tasks} tasks did not stop in time; a component's code does not return")]
pub struct StuckError {
    /// Tasks that still run.
    pub stuck: usize,
    /// All tasks.
    pub tasks: usize,
}

/// One task, seen from outside.
pub(crate) struct TaskView {
    pub(crate) counters: Arc<TaskCounters>,
    pub(crate) hops: Arc<HopRing>,
    pub(crate) trees: Arc<TreeBook>,
    pub(crate) bell: Bell,
    pub(crate) queue: Option<Arc<dyn Fill>>,
}

/// One component, seen from outside.
pub(crate) struct ComponentView {
    pub(crate) name: Arc<str>,
    pub(crate) kind: ComponentKind,
    pub(crate) tasks: Vec<TaskView>,
    /// Whether each task owns a ledger.
    pub(crate) opens_trees: bool,
    pub(crate) settings: Vec<Setting>,
}

/// What is fixed of a subscription.
pub(crate) struct EdgeDefinition {
    pub(crate) from: Arc<str>,
    pub(crate) stream: Arc<str>,
    pub(crate) grouping: &'static str,
    pub(crate) feedback: bool,
    /// The subscriber's place among the components, and which of its subscriptions this is.
    pub(crate) to: usize,
    pub(crate) input: usize,
}

pub(crate) struct View {
    pub(crate) name: Arc<str>,
    pub(crate) id: Arc<str>,
    pub(crate) tracked: bool,
    pub(crate) started: Moment,
    pub(crate) components: Vec<ComponentView>,
    pub(crate) states: StateHub,
    pub(crate) edges: Vec<EdgeDefinition>,
    pub(crate) edge_views: EdgeViews,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    pub(crate) control: Arc<Control>,
    pub(crate) witness: Option<Arc<Witness>>,
}

impl View {
    fn view_of(&self, edge: usize) -> Option<&Arc<EdgeView>> {
        let edge = self.edges.get(edge)?;
        self.edge_views.get(edge.to, edge.input)
    }

    fn edge(&self, edge: &EdgeDefinition) -> EdgeSnapshot {
        let component = &self.components[edge.to];
        let tasks = &component.tasks;
        let waits: Vec<Latency> = tasks.iter().map(|task| task.counters.queue_wait(edge.input)).collect();
        let (mut queue, mut fullest) = (QueueSnapshot::default(), 0.0_f64);
        for fill in tasks.iter().filter_map(|task| task.queue.as_ref()).map(|fill| fill.fill_of(edge.input)) {
            fullest = fullest.max(fill.fill());
            queue.tuples += fill.tuples;
            queue.bytes += fill.bytes;
            queue.capacity_tuples += fill.capacity_tuples;
            queue.capacity_bytes += fill.capacity_bytes;
        }
        let view = self.edge_views.get(edge.to, edge.input);
        let total = |counter: fn(&EdgeCounters) -> &Counter| view.map_or(0, |view| view.total(counter));
        let times: Vec<EventTime> = tasks
            .iter()
            .flat_map(|task| {
                let senders = task.queue.as_ref().map(|fill| fill.senders()).unwrap_or_default();
                task.counters.sender_times().into_iter().zip(senders)
            })
            .filter(|(_, input)| *input as usize == edge.input)
            .map(|(time, _)| time)
            .collect();
        let active = times.iter().filter(|time| !time.idle).map(|time| time.at).min();
        let furthest = active.or(times.iter().map(|time| time.at).max());
        EdgeSnapshot {
            from: Arc::clone(&edge.from),
            stream: Arc::clone(&edge.stream),
            to: Arc::clone(&component.name),
            grouping: edge.grouping.into(),
            feedback: edge.feedback,
            tuples: total(|counters| &counters.tuples),
            batches: total(|counters| &counters.batches),
            bytes: total(|counters| &counters.bytes),
            refused: total(|counters| &counters.refused),
            queue,
            fullest,
            queue_wait: Latency::merge(&waits),
            event_time_ms: furthest.filter(|at| *at != Watermark::MIN).map(|at| at.0),
            idle: active.is_none(),
        }
    }
}

/// A handle to a running topology. Cheap to clone; the topology runs on without it, until [`kill`](Self::kill).
#[derive(Clone)]
pub struct Running(pub(crate) Arc<View>);

impl Running {
    /// The topology's name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// The topology's id: its name and when it started.
    pub fn id(&self) -> &Arc<str> {
        &self.0.id
    }

    fn tasks(&self) -> usize {
        self.0.components.iter().map(|component| component.tasks.len()).sum()
    }

    fn spout_tasks(&self) -> usize {
        let spouts = self.0.components.iter().filter(|component| component.kind == ComponentKind::Spout);
        spouts.map(|spout| spout.tasks.len()).sum()
    }

    /// The numbers now.
    pub fn snapshot(&self) -> TopologySnapshot {
        let view = &*self.0;
        let now = view.scheduler.clock().now();
        let component = |component: &ComponentView| ComponentSnapshot {
            name: Arc::clone(&component.name),
            kind: component.kind,
            tasks: component
                .tasks
                .iter()
                .enumerate()
                .map(|(task, view)| {
                    let queue = view.queue.as_ref().map_or(QueueSnapshot::default(), |queue| queue.fill());
                    view.counters.snapshot(task as u32, queue, self.0.started, now)
                })
                .collect(),
        };
        TopologySnapshot {
            name: Arc::clone(&view.name),
            id: Arc::clone(&view.id),
            status: match view.control.phase() {
                Phase::Preparing | Phase::Active => TopologyStatus::Active,
                Phase::Inactive | Phase::Ending => TopologyStatus::Inactive,
                Phase::Draining | Phase::Aborting => TopologyStatus::Killed,
            },
            uptime: now.since(view.started),
            acked_delivery: view.tracked,
            components: view.components.iter().map(component).collect(),
            edges: view.edges.iter().map(|edge| view.edge(edge)).collect(),
            transactions: view.control.transactions.as_ref().map(|transactions| transactions.snapshot()),
        }
    }

    /// Waits until the topology stops by itself, because it cannot go on; gives the reason. It is to be
    /// [killed](Self::kill) all the same.
    pub async fn stopped_itself(&self) -> Arc<str> {
        self.0.control.wait(|progress| progress.stopped_itself).await;
        self.0.control.stop_reason().unwrap_or_default()
    }

    /// The keyed states, to be asked.
    pub fn states(&self) -> &StateHub {
        &self.0.states
    }

    /// The hops that the tasks remember of traced trees, by root and start.
    pub fn hops(&self) -> Vec<Hop> {
        let mut hops = Vec::new();
        for task in self.0.components.iter().flat_map(|component| &component.tasks) {
            task.hops.copy_to(&mut hops);
        }
        hops.sort_by_key(|hop| (hop.root, hop.started));
        hops
    }

    /// The hops that the tasks remember of one tree, by their start.
    pub fn hops_of(&self, root: RootId) -> Vec<Hop> {
        let mut hops = Vec::new();
        for task in self.0.components.iter().flat_map(|component| &component.tasks) {
            task.hops.copy_of(root, &mut hops);
        }
        hops.sort_by_key(|hop| hop.started);
        hops
    }

    /// Trees that ended: those that failed or were tried again, and of the others those that were traced; the newest, as far
    /// as they are remembered, newest first.
    pub fn ended_trees(&self) -> Vec<EndedTree> {
        let mut trees = Vec::new();
        for task in self.0.components.iter().flat_map(|component| &component.tasks) {
            task.trees.copy_to(&mut trees);
        }
        trees.sort_by_key(|tree| (Reverse(tree.ended), Reverse(tree.attempt), tree.root));
        trees
    }

    /// The trees that each task had open when it last answered, and asks for the next answer: a task answers between two
    /// batches. Who asks once a second has lists that are a second old.
    pub fn open_trees(&self) -> Vec<OpenTrees> {
        let mut lists = Vec::new();
        for component in self.0.components.iter().filter(|component| component.opens_trees) {
            for (number, task) in component.tasks.iter().enumerate() {
                let component = Arc::clone(&component.name);
                lists.push(OpenTrees { component, task: number as u32, ..task.trees.open() });
                task.trees.ask();
                task.bell.notify_one();
            }
        }
        lists
    }

    /// Switches on the tap of the subscription `edge`, by its place among the [edges](TopologySnapshot::edges): it keeps the
    /// newest tuples that `filter` lets through until nobody has asked for `patience`. `false` where there is no such edge.
    pub fn tap(&self, edge: usize, filter: Option<TapFilter>, patience: Duration) -> bool {
        let until = self.now().after(patience);
        self.0.view_of(edge).map(|view| view.tap.switch_on(filter, until)).is_some()
    }

    /// What a tap has seen; it stays on for `patience` more. `None` where there is no such edge.
    pub fn tapped(&self, edge: usize, patience: Duration) -> Option<TapView> {
        Some(self.0.view_of(edge)?.tap.view(self.now(), patience))
    }

    /// Switches a tap off.
    pub fn untap(&self, edge: usize) {
        if let Some(view) = self.0.view_of(edge) {
            view.tap.switch_off();
        }
    }

    /// The topology's monotonic time.
    pub fn now(&self) -> Moment {
        self.0.scheduler.clock().now()
    }

    /// The settings of a component that may be shown; `None` where there is no such component.
    pub fn settings(&self, component: &str) -> Option<&[Setting]> {
        let component = self.0.components.iter().find(|one| *one.name == *component)?;
        Some(&component.settings)
    }

    /// Whether every ledger has agreed at every step with the explicit set of edges, and no tree is left open. Only where
    /// [`Config::witness`](crate::Config::witness) is set, and only once the topology is idle or stopped.
    ///
    /// # Errors
    /// The first disagreement.
    pub fn verify_trees(&self) -> Result<(), Disagreement> {
        self.0.witness.as_ref().map_or(Ok(()), |witness| witness.lock().settle())
    }

    /// Pauses the spouts; what is in flight goes on.
    pub fn deactivate(&self) {
        self.0.control.enter(Phase::Inactive);
    }

    /// Resumes the spouts.
    pub fn activate(&self) {
        self.0.control.enter(Phase::Active);
    }

    /// Waits until every spout has said that it has nothing to emit, and no tree is open; or until the topology has
    /// stopped. A paused spout is not asked, so it is not idle unless it has finished.
    pub async fn idle(&self) {
        let (spouts, tasks) = (self.spout_tasks(), self.tasks());
        let idle = |progress: &Progress| {
            (progress.idle_spouts == spouts && progress.busy_bolts == 0) || progress.finished == tasks
        };
        self.0.control.wait(idle).await;
    }

    /// Waits until every spout has said that it is finished, and no tree is open; or until the topology has stopped.
    pub async fn finished(&self) {
        let (spouts, tasks) = (self.spout_tasks(), self.tasks());
        let done = |progress: &Progress| {
            (progress.done_spouts == spouts && progress.busy_bolts == 0) || progress.finished == tasks
        };
        self.0.control.wait(done).await;
    }

    /// Brings event time to its end: the spouts are paused for good, and once nothing of theirs is open they say that nothing
    /// more will come. Bolts hear how far event time has come with all that was emitted, then
    /// [`Watermark::MAX`](crate::Watermark::MAX); windows emit what they have. Returns once that has gone through the whole
    /// topology, and the trees that it opened are done; or once the topology has stopped.
    ///
    /// What windows keep stays theirs: the end is not remembered, and a later run goes on.
    pub async fn end_time(&self) {
        self.0.control.enter(Phase::Ending);
        let tasks = self.tasks();
        loop {
            self.0.control.wait(|progress| progress.ended == tasks || progress.finished == tasks).await;
            let Some(transactions) = &self.0.control.transactions else { return };
            // What came of the end may be taken back until it is committed.
            let txid = transactions.txid();
            let is_committed = || transactions.committed() >= txid;
            let waits_again = |progress: &Progress| progress.ended < tasks && progress.finished < tasks;
            let over = |progress: &Progress| is_committed() || progress.finished == tasks;
            self.0.control.wait(|progress| over(progress) || waits_again(progress)).await;
            if !waits_again(&self.0.control.progress()) {
                return;
            }
        }
    }

    /// Stops the topology: the spouts are paused, open trees have `wait` to complete, then bolts and spouts are cleaned up
    /// and closed. Trees that are open after `wait` are left unanswered.
    ///
    /// # Errors
    /// [`StuckError`] where a component's code has not returned another `wait` (at least a second) later.
    pub async fn kill(&self, wait: Duration) -> Result<(), StuckError> {
        self.0.control.enter(Phase::Draining);
        if self.stopped_within(wait).await {
            return Ok(());
        }
        self.0.control.enter(Phase::Aborting);
        if self.stopped_within(wait.max(Duration::from_secs(1))).await {
            return Ok(());
        }
        let tasks = self.tasks();
        Err(StuckError { stuck: tasks - self.0.control.progress().finished, tasks })
    }

    pub(crate) async fn stopped_within(&self, wait: Duration) -> bool {
        let tasks = self.tasks();
        let clock = self.0.scheduler.clock();
        let deadline = self.0.scheduler.sleep_until(clock.now().after(wait));
        tokio::select! {
            biased;
            () = self.0.control.wait(|progress| progress.finished == tasks) => true,
            () = deadline => false,
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("id", &self.0.id).field("phase", &self.0.control.phase()).finish()
    }
}
