//! A topology's numbers as JSON, in the shapes and words of Apache Storm's UI REST API.
//!
//! Invariant: a field that Storm documents means here what it means there: latencies are mean milliseconds as text with
//! three decimals, `capacity` is the busiest task's share as text, `executors` run `tasks` one to one, and the only
//! window is `:all-time`. What is not the same is left out (workers' hosts, memory, `processLatency`). What Storm lacks
//! stands beside it: distributions in microseconds (`…Micros`, `null` where nothing was recorded), `rejected`,
//! `timedOut`, `late`, `eventTimeMs`, `pending`, `treesAcked`, `treesFailed`, `treesExhausted`, `restarted`, `queue`,
//! `windows`, `edges` and `taskStats`.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use topo_core::metrics::{
    ComponentKind, ComponentSnapshot, EdgeSnapshot, Latency, QueueSnapshot, TaskError, TaskSnapshot,
    TopologySnapshot, TopologyStatus, TransactionSnapshot, WindowSnapshot,
};

use super::spell;

/// The answer of `/api/v1/topology/summary`.
#[derive(Serialize)]
pub(super) struct Summaries {
    topologies: Vec<Summary>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    id: Arc<str>,
    name: Arc<str>,
    status: &'static str,
    uptime: String,
    uptime_seconds: u64,
    tasks_total: usize,
    workers_total: usize,
    executors_total: usize,
}

/// The answer of `/api/v1/topology/{id}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopologyPage {
    #[serde(flatten)]
    summary: Summary,
    window: &'static str,
    window_hint: &'static str,
    acked_delivery: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    transactions: Option<Transactions>,
    topology_stats: [WindowStats; 1],
    spouts: Vec<SpoutStats>,
    bolts: Vec<BoltStats>,
    edges: Vec<Edge>,
}

/// The whole topology over a window: emits of every component, acks and fails of its spouts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WindowStats {
    window: &'static str,
    window_pretty: &'static str,
    emitted: u64,
    transferred: u64,
    complete_latency: String,
    acked: u64,
    failed: u64,
    rejected: u64,
    timed_out: u64,
    pending: u64,
    complete_latency_micros: Distribution,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpoutStats {
    spout_id: Arc<str>,
    complete_latency: String,
    pending: u64,
    complete_latency_micros: Distribution,
    #[serde(flatten)]
    component: ComponentStats,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BoltStats {
    bolt_id: Arc<str>,
    capacity: String,
    execute_latency: String,
    executed: u64,
    late: u64,
    event_time_ms: Option<i64>,
    queue: Queue,
    execute_latency_micros: Distribution,
    queue_wait_micros: Distribution,
    #[serde(flatten)]
    component: ComponentStats,
}

/// What spouts and bolts have in common.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ComponentStats {
    executors: usize,
    tasks: usize,
    emitted: u64,
    transferred: u64,
    acked: u64,
    failed: u64,
    rejected: u64,
    timed_out: u64,
    restarted: u64,
    #[serde(flatten)]
    last_error: LastError,
    task_stats: Vec<TaskStats>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskStats {
    task: u32,
    emitted: u64,
    transferred: u64,
    executed: u64,
    acked: u64,
    failed: u64,
    rejected: u64,
    timed_out: u64,
    late: u64,
    event_time_ms: Option<i64>,
    pending: u64,
    trees_acked: u64,
    trees_failed: u64,
    trees_exhausted: u64,
    restarted: u64,
    busy: f64,
    queue: Queue,
    windows: Vec<Window>,
    execute_latency_micros: Distribution,
    queue_wait_micros: Distribution,
    complete_latency_micros: Distribution,
    #[serde(flatten)]
    last_error: LastError,
}

/// The newest error: `""` and nulls where there was none, times in seconds, as in Storm.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastError {
    last_error: Arc<str>,
    error_time: Option<i64>,
    error_lapsed_secs: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    tuples: u64,
    bytes: u64,
    capacity_tuples: u64,
    capacity_bytes: u64,
}

/// What a log spout has open of one partition.
#[derive(Serialize)]
struct Window {
    partition: Arc<str>,
    oldest: Option<i64>,
    span: u64,
    limit: u64,
    waiting: u64,
}

/// A distribution of times in microseconds.
#[derive(Serialize)]
struct Distribution {
    count: u64,
    mean: Option<f64>,
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
}

#[derive(Serialize)]
struct Edge {
    from: Arc<str>,
    stream: Arc<str>,
    to: Arc<str>,
    grouping: Arc<str>,
}

/// The answer where there is nothing of the name asked for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Unknown {
    error: &'static str,
    error_message: String,
}

impl Summaries {
    /// Sums up each of `snapshots`.
    pub(super) fn of(snapshots: &[TopologySnapshot]) -> Self {
        Self { topologies: snapshots.iter().map(Summary::of).collect() }
    }
}

impl Summary {
    fn of(snapshot: &TopologySnapshot) -> Self {
        let tasks = snapshot.components.iter().map(|component| component.tasks.len()).sum();
        Self {
            id: snapshot.id.clone(),
            name: snapshot.name.clone(),
            status: status(snapshot.status),
            uptime: spell::uptime(snapshot.uptime),
            uptime_seconds: snapshot.uptime.as_secs(),
            tasks_total: tasks,
            // Workers are processes, and this one speaks for itself alone.
            workers_total: 1,
            executors_total: tasks,
        }
    }
}

impl TopologyPage {
    /// All of `snapshot`, as of `now_ms` (milliseconds since 1970).
    pub(super) fn of(snapshot: &TopologySnapshot, now_ms: i64) -> Self {
        let of_kind = |kind| snapshot.components.iter().filter(move |component| component.kind == kind);
        Self {
            summary: Summary::of(snapshot),
            window: ":all-time",
            window_hint: "All time",
            acked_delivery: snapshot.acked_delivery,
            transactions: snapshot.transactions.as_ref().map(Transactions::of),
            topology_stats: [WindowStats::of(snapshot)],
            spouts: of_kind(ComponentKind::Spout).map(|spout| SpoutStats::of(spout, now_ms)).collect(),
            bolts: of_kind(ComponentKind::Bolt).map(|bolt| BoltStats::of(bolt, now_ms)).collect(),
            edges: snapshot.edges.iter().map(Edge::of).collect(),
        }
    }
}

/// A topology's micro-transactions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Transactions {
    txid: u64,
    committed: u64,
    commits: u64,
    aborts: u64,
    trees: u64,
    records: u64,
    bytes: u64,
    batch_ms: f64,
    commit_ms: f64,
    held_ms: f64,
    last_abort: Option<Arc<str>>,
}

impl Transactions {
    fn of(numbers: &TransactionSnapshot) -> Self {
        Self {
            txid: numbers.txid,
            committed: numbers.committed,
            commits: numbers.commits,
            aborts: numbers.aborts,
            trees: numbers.trees,
            records: numbers.records,
            bytes: numbers.bytes,
            batch_ms: numbers.lasted.as_secs_f64() * 1e3,
            commit_ms: numbers.took.as_secs_f64() * 1e3,
            held_ms: numbers.held.as_secs_f64() * 1e3,
            last_abort: numbers.last_abort.clone(),
        }
    }
}

impl WindowStats {
    fn of(snapshot: &TopologySnapshot) -> Self {
        let all = |counter: fn(&TaskSnapshot) -> u64| -> u64 {
            snapshot.components.iter().map(|component| component.total(counter)).sum()
        };
        let spouts = || snapshot.components.iter().filter(|component| component.kind == ComponentKind::Spout);
        let roots = |counter: fn(&TaskSnapshot) -> u64| -> u64 {
            spouts().map(|component| component.total(counter)).sum()
        };
        let complete = Latency::merge(spouts().flat_map(|spout| &spout.tasks).map(|task| &task.complete));
        Self {
            window: ":all-time",
            window_pretty: "All time",
            emitted: all(|task| task.emitted),
            transferred: all(|task| task.transferred),
            complete_latency: mean_millis(&complete),
            acked: roots(|task| task.acked),
            failed: roots(|task| task.failed),
            rejected: roots(|task| task.rejected),
            timed_out: roots(|task| task.timed_out),
            pending: roots(|task| task.pending),
            complete_latency_micros: Distribution::of(&complete),
        }
    }
}

impl SpoutStats {
    fn of(spout: &ComponentSnapshot, now_ms: i64) -> Self {
        let complete = spout.latency(|task| &task.complete);
        Self {
            spout_id: spout.name.clone(),
            complete_latency: mean_millis(&complete),
            pending: spout.total(|task| task.pending),
            complete_latency_micros: Distribution::of(&complete),
            component: ComponentStats::of(spout, now_ms),
        }
    }
}

impl BoltStats {
    fn of(bolt: &ComponentSnapshot, now_ms: i64) -> Self {
        let execute = bolt.latency(|task| &task.execute);
        Self {
            bolt_id: bolt.name.clone(),
            capacity: format!("{:.3}", capacity(bolt)),
            execute_latency: mean_millis(&execute),
            executed: bolt.total(|task| task.executed),
            late: bolt.total(|task| task.late),
            event_time_ms: bolt.event_time_ms(),
            queue: Queue {
                tuples: bolt.total(|task| task.queue.tuples),
                bytes: bolt.total(|task| task.queue.bytes),
                capacity_tuples: bolt.total(|task| task.queue.capacity_tuples),
                capacity_bytes: bolt.total(|task| task.queue.capacity_bytes),
            },
            execute_latency_micros: Distribution::of(&execute),
            queue_wait_micros: Distribution::of(&bolt.latency(|task| &task.queue_wait)),
            component: ComponentStats::of(bolt, now_ms),
        }
    }
}

impl ComponentStats {
    fn of(component: &ComponentSnapshot, now_ms: i64) -> Self {
        let newest =
            component.tasks.iter().filter_map(|task| task.last_error.as_ref()).max_by_key(|e| e.at_ms);
        Self {
            executors: component.tasks.len(),
            tasks: component.tasks.len(),
            emitted: component.total(|task| task.emitted),
            transferred: component.total(|task| task.transferred),
            acked: component.total(|task| task.acked),
            failed: component.total(|task| task.failed),
            rejected: component.total(|task| task.rejected),
            timed_out: component.total(|task| task.timed_out),
            restarted: component.total(|task| task.restarted),
            last_error: LastError::of(newest, now_ms),
            task_stats: component.tasks.iter().map(|task| TaskStats::of(task, now_ms)).collect(),
        }
    }
}

impl TaskStats {
    fn of(task: &TaskSnapshot, now_ms: i64) -> Self {
        Self {
            task: task.task,
            emitted: task.emitted,
            transferred: task.transferred,
            executed: task.executed,
            acked: task.acked,
            failed: task.failed,
            rejected: task.rejected,
            timed_out: task.timed_out,
            late: task.late,
            event_time_ms: task.event_time_ms,
            pending: task.pending,
            trees_acked: task.trees_acked,
            trees_failed: task.trees_failed,
            trees_exhausted: task.trees_exhausted,
            restarted: task.restarted,
            busy: task.busy,
            queue: Queue::of(&task.queue),
            windows: task.windows.iter().map(Window::of).collect(),
            execute_latency_micros: Distribution::of(&task.execute),
            queue_wait_micros: Distribution::of(&task.queue_wait),
            complete_latency_micros: Distribution::of(&task.complete),
            last_error: LastError::of(task.last_error.as_ref(), now_ms),
        }
    }
}

impl LastError {
    fn of(error: Option<&TaskError>, now_ms: i64) -> Self {
        Self {
            last_error: error.map_or_else(|| "".into(), |error| error.message.clone()),
            error_time: error.map(|error| error.at_ms / 1_000),
            error_lapsed_secs: error.map(|error| now_ms.saturating_sub(error.at_ms).max(0) / 1_000),
        }
    }
}

impl Queue {
    fn of(queue: &QueueSnapshot) -> Self {
        Self {
            tuples: queue.tuples,
            bytes: queue.bytes,
            capacity_tuples: queue.capacity_tuples,
            capacity_bytes: queue.capacity_bytes,
        }
    }
}

impl Window {
    fn of(window: &WindowSnapshot) -> Self {
        Self {
            partition: window.partition.clone(),
            oldest: window.oldest,
            span: window.span,
            limit: window.limit,
            waiting: window.waiting,
        }
    }
}

impl Distribution {
    fn of(latency: &Latency) -> Self {
        let micros = |time: Option<Duration>| time.map(|time| time.as_nanos() as f64 / 1_000.0);
        Self {
            count: latency.count(),
            mean: micros(latency.mean()),
            p50: micros(latency.quantile(0.5)),
            p99: micros(latency.quantile(0.99)),
            p999: micros(latency.quantile(0.999)),
            max: micros(latency.max()),
        }
    }
}

impl Edge {
    fn of(edge: &EdgeSnapshot) -> Self {
        Self {
            from: edge.from.clone(),
            stream: edge.stream.clone(),
            to: edge.to.clone(),
            grouping: edge.grouping.clone(),
        }
    }
}

impl Unknown {
    /// There is no topology of that id.
    pub(super) fn topology(id: &str) -> Self {
        Self {
            error: "Not Found",
            error_message: format!(
                "there is no topology `{id}`; /api/v1/topology/summary lists those there are"
            ),
        }
    }
}

/// Storm's capacity: the share of time that the busiest task spent executing; near 1 the component is saturated.
pub(super) fn capacity(component: &ComponentSnapshot) -> f64 {
    component.tasks.iter().map(|task| task.busy).fold(0.0, f64::max)
}

/// A status in Storm's words.
pub(super) fn status(status: TopologyStatus) -> &'static str {
    match status {
        TopologyStatus::Active => "ACTIVE",
        TopologyStatus::Inactive => "INACTIVE",
        TopologyStatus::Killed => "KILLED",
    }
}

/// The mean in Storm's form: milliseconds, three decimals, as text, zero where nothing was recorded.
fn mean_millis(latency: &Latency) -> String {
    format!("{:.3}", latency.mean().unwrap_or_default().as_secs_f64() * 1_000.0)
}
