//! What the graph shows: the sentence on top, each node's load, and what goes over each edge.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use topo_core::metrics::{ComponentKind, Latency, TopologySnapshot};

use super::api::{self, Distribution};
use super::history::{ACKED, COUNTERS, EMITTED, EXECUTED, FAILED, History, POINT, Times, WINDOWS, Window};
use super::observer::{LAST, Observer};
use super::verdict::Verdict;

/// The answer of `/api/v1/topology/{id}/graph`, and what the view `graph` is told. Rates are per second and shares 0 to 1,
/// both of the last ten seconds; counts are since the start.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Graph {
    id: Arc<str>,
    status: &'static str,
    verdict: Verdict,
    /// How many seconds the rates are of.
    span_seconds: f64,
    totals: Overall,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

/// The whole topology.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Overall {
    /// Tuples that spouts emit, and trees that complete and fail.
    emit_rate: f64,
    ack_rate: f64,
    fail_rate: f64,
    acked: u64,
    failed: u64,
    pending: u64,
    complete_micros: Distribution,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    name: Arc<str>,
    kind: &'static str,
    tasks: usize,
    /// Shares of the task that has most of it.
    busy: f64,
    blocked: f64,
    full: f64,
    /// What bolts execute, and spouts emit.
    rate: f64,
    emit_rate: f64,
    fail_rate: f64,
    pending: u64,
    /// Of execute for bolts, of the whole tree for spouts.
    micros: Distribution,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Edge {
    from: Arc<str>,
    stream: Arc<str>,
    to: Arc<str>,
    grouping: Arc<str>,
    feedback: bool,
    rate: f64,
    tuples: u64,
    bytes: u64,
    batches: u64,
    queue: api::Queue,
    /// Share of the fullest queue that this edge takes.
    fullest: f64,
    /// How often it made its senders wait.
    refused: u64,
    /// How long its tuples waited in queues.
    wait_micros: Distribution,
    event_time_ms: Option<i64>,
    idle: bool,
}

impl Graph {
    /// All of `snapshot`, as of `now_ms` (milliseconds since 1970).
    pub(super) fn of(snapshot: &TopologySnapshot, observer: &Observer, now_ms: i64) -> Self {
        let verdict = observer.verdict(snapshot, now_ms);
        observer.with(snapshot, |history| {
            let window = history.window(snapshot, Some(LAST));
            Self {
                id: Arc::clone(&snapshot.id),
                status: api::status(snapshot.status),
                verdict,
                span_seconds: window.span.as_secs_f64(),
                totals: Overall::of(snapshot, &window),
                nodes: (0..snapshot.components.len()).map(|at| Node::of(snapshot, &window, at)).collect(),
                edges: (0..snapshot.edges.len()).map(|at| Edge::of(snapshot, &window, at)).collect(),
            }
        })
    }
}

impl Overall {
    fn of(snapshot: &TopologySnapshot, window: &Window<'_>) -> Self {
        let spouts: Vec<usize> = (snapshot.components.iter().enumerate())
            .filter(|(_, component)| component.kind == ComponentKind::Spout)
            .map(|(at, _)| at)
            .collect();
        let rate = |counter: usize| spouts.iter().map(|at| window.rates(*at)[counter]).sum();
        let total = |counter: usize| {
            spouts.iter().map(|at| snapshot.components[*at].total(COUNTERS[counter].1)).sum()
        };
        let complete: Vec<Latency> = spouts.iter().map(|at| window.times(*at).complete).collect();
        Self {
            emit_rate: rate(EMITTED),
            ack_rate: rate(ACKED),
            fail_rate: rate(FAILED),
            acked: total(ACKED),
            failed: total(FAILED),
            pending: spouts.iter().map(|at| snapshot.components[*at].total(|task| task.pending)).sum(),
            complete_micros: Distribution::of(&Latency::merge(&complete)),
        }
    }
}

impl Node {
    fn of(snapshot: &TopologySnapshot, window: &Window<'_>, at: usize) -> Self {
        let component = &snapshot.components[at];
        let is_spout = component.kind == ComponentKind::Spout;
        let (rates, times) = (window.rates(at), window.times(at));
        let shares: Vec<_> = (0..component.tasks.len()).map(|task| window.shares(at, task)).collect();
        Self {
            name: Arc::clone(&component.name),
            kind: if is_spout { "spout" } else { "bolt" },
            tasks: component.tasks.len(),
            busy: shares.iter().map(|one| one.busy).fold(0.0, f64::max),
            blocked: shares.iter().map(|one| one.blocked).fold(0.0, f64::max),
            full: shares.iter().map(|one| one.full).fold(0.0, f64::max),
            rate: rates[if is_spout { EMITTED } else { EXECUTED }],
            emit_rate: rates[EMITTED],
            fail_rate: rates[FAILED],
            pending: component.total(|task| task.pending),
            micros: Distribution::of(if is_spout { &times.complete } else { &times.execute }),
        }
    }
}

impl Edge {
    fn of(snapshot: &TopologySnapshot, window: &Window<'_>, at: usize) -> Self {
        let edge = &snapshot.edges[at];
        Self {
            from: Arc::clone(&edge.from),
            stream: Arc::clone(&edge.stream),
            to: Arc::clone(&edge.to),
            grouping: Arc::clone(&edge.grouping),
            feedback: edge.feedback,
            rate: window.edge_rate(at),
            tuples: edge.tuples,
            bytes: edge.bytes,
            batches: edge.batches,
            queue: api::Queue::of(&edge.queue),
            fullest: edge.fullest,
            refused: edge.refused,
            wait_micros: Distribution::of(&window.edge_wait(at)),
            event_time_ms: edge.event_time_ms,
            idle: edge.idle,
        }
    }
}

/// How a component's numbers move: its rates over each window, its distributions, and sparklines.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Moving {
    /// Counters per second, by window and counter.
    rates: BTreeMap<&'static str, BTreeMap<&'static str, f64>>,
    /// Distributions by window.
    micros: BTreeMap<&'static str, TimesMicros>,
    /// Shares of each task in the last ten seconds.
    tasks: Vec<TaskShares>,
    series: Series,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TimesMicros {
    execute: Distribution,
    queue_wait: Distribution,
    complete: Distribution,
}

#[derive(Serialize)]
struct TaskShares {
    busy: f64,
    blocked: f64,
    full: f64,
}

/// The last ten minutes, a point for each ten seconds, oldest first; `null` before there was anything to see.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Series {
    point_seconds: u64,
    /// What bolts execute, and spouts emit, per second.
    rate: Vec<Option<f32>>,
    failed: Vec<Option<f32>>,
    busy: Vec<Option<f32>>,
}

impl Moving {
    /// Of every component, by its name.
    pub(super) fn of_all(snapshot: &TopologySnapshot, history: &History) -> BTreeMap<Arc<str>, Self> {
        let windows = WINDOWS.map(|(name, window)| (name, history.window(snapshot, window)));
        (snapshot.components.iter().enumerate())
            .map(|(at, component)| (Arc::clone(&component.name), Self::of(snapshot, history, &windows, at)))
            .collect()
    }

    /// Of the component `name`.
    pub(super) fn of_one(snapshot: &TopologySnapshot, history: &History, name: &str) -> Option<Self> {
        let at = snapshot.components.iter().position(|component| *component.name == *name)?;
        let windows = WINDOWS.map(|(name, window)| (name, history.window(snapshot, window)));
        Some(Self::of(snapshot, history, &windows, at))
    }

    fn of(
        snapshot: &TopologySnapshot,
        history: &History,
        windows: &[(&'static str, Window<'_>)],
        at: usize,
    ) -> Self {
        let component = &snapshot.components[at];
        let main = if component.kind == ComponentKind::Spout { EMITTED } else { EXECUTED };
        let rates = |window: &Window<'_>| {
            COUNTERS.iter().map(|(name, _)| *name).zip(window.rates(at)).collect::<BTreeMap<_, _>>()
        };
        let last = &windows[0].1;
        let shares = (0..component.tasks.len()).map(|task| last.shares(at, task));
        // Three digits are all that a sparkline shows.
        let short = |points: Vec<Option<f64>>| {
            points.into_iter().map(|point| point.map(|value| ((value * 1e3).round() / 1e3) as f32)).collect()
        };
        Self {
            rates: windows.iter().map(|(name, window)| (*name, rates(window))).collect(),
            micros: windows
                .iter()
                .map(|(name, window)| (*name, TimesMicros::of(&window.times(at))))
                .collect(),
            tasks: shares
                .map(|one| TaskShares { busy: one.busy, blocked: one.blocked, full: one.full })
                .collect(),
            series: Series {
                point_seconds: POINT.as_secs(),
                rate: short(history.rates(at, main)),
                failed: short(history.rates(at, FAILED)),
                busy: short(history.busy(at, component.tasks.len())),
            },
        }
    }
}

impl TimesMicros {
    fn of(times: &Times) -> Self {
        Self {
            execute: Distribution::of(&times.execute),
            queue_wait: Distribution::of(&times.queue_wait),
            complete: Distribution::of(&times.complete),
        }
    }
}
