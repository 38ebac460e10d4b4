//! What a topology's numbers were: a ring of samples, one a second, for rates and for sparklines.
//!
//! Counters are kept for ten minutes. Distributions, which are larger, are kept every second for a dozen seconds, then every
//! tenth second for a minute, then every minute: as a baseline for "the last ten seconds", "minute" and "ten minutes" that
//! is enough. Time is the snapshot's uptime, so the ring knows no clock.
//!
//! Invariant: samples are in the order of their uptime; the ring never holds more than [`MOST_SAMPLES`].

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use topo_core::metrics::{ComponentSnapshot, Latency, Spent, TaskSnapshot, TopologySnapshot};

/// How far back it reaches.
const REACH: Duration = Duration::from_secs(610);
/// How long each sample keeps what tasks spent their time on.
const FINE_REACH: Duration = Duration::from_secs(15);
/// However often it is told.
const MOST_SAMPLES: usize = 2_000;
/// Points of a sparkline, and how far apart they are.
pub(super) const POINTS: usize = 60;
pub(super) const POINT: Duration = Duration::from_secs(10);

/// The windows that rates are told over, with their names; `None` is all time.
pub(super) const WINDOWS: [(&str, Option<Duration>); 4] = [
    ("10s", Some(Duration::from_secs(10))),
    ("1m", Some(Duration::from_secs(60))),
    ("10m", Some(Duration::from_secs(600))),
    ("all", None),
];

type Counter = (&'static str, fn(&TaskSnapshot) -> u64);

/// The counters that rates are told of.
pub(super) const COUNTERS: [Counter; 11] = [
    ("emitted", |task| task.emitted),
    ("transferred", |task| task.transferred),
    ("executed", |task| task.executed),
    ("acked", |task| task.acked),
    ("failed", |task| task.failed),
    ("rejected", |task| task.rejected),
    ("timedOut", |task| task.timed_out),
    ("late", |task| task.late),
    ("restarted", |task| task.restarted),
    ("treesAcked", |task| task.trees_acked),
    ("treesFailed", |task| task.trees_failed),
];

/// One component's counters, added up over its tasks.
pub(super) type Totals = [u64; COUNTERS.len()];

/// Where in [`COUNTERS`] a counter is.
pub(super) const EMITTED: usize = 0;
pub(super) const EXECUTED: usize = 2;
pub(super) const ACKED: usize = 3;
pub(super) const FAILED: usize = 4;

/// A component's distributions.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    pub(super) execute: Latency,
    pub(super) queue_wait: Latency,
    pub(super) complete: Latency,
}

impl Times {
    pub(super) fn of(component: &ComponentSnapshot) -> Self {
        Self {
            execute: component.latency(|task| &task.execute),
            queue_wait: component.latency(|task| &task.queue_wait),
            complete: component.latency(|task| &task.complete),
        }
    }
}

/// Distributions of one moment: of the components and of the edges.
#[derive(Debug, Clone, Default)]
struct Distributions {
    components: Vec<Times>,
    edges: Vec<Latency>,
}

/// The numbers of one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    uptime: Duration,
    components: Vec<Totals>,
    /// Tuples of each edge, and how often a full queue made its senders wait.
    edges: Vec<(u64, u64)>,
    /// Time that all tasks of each component spent executing.
    executing: Vec<Duration>,
    /// By component and task.
    spent: Vec<Vec<Spent>>,
    distributions: Option<Distributions>,
    /// Processor time of this process.
    cpu: Option<Duration>,
}

/// The samples of one topology.
#[derive(Debug)]
pub(super) struct History {
    id: Arc<str>,
    samples: VecDeque<Sample>,
}

/// What changed between a baseline and a snapshot.
pub(super) struct Window<'a> {
    now: &'a TopologySnapshot,
    base: Option<&'a Sample>,
    /// The baseline of the distributions, which may be older.
    distributions: Option<&'a Distributions>,
    /// How long that was.
    pub(super) span: Duration,
}

impl History {
    pub(super) fn new(id: Arc<str>) -> Self {
        Self { id, samples: VecDeque::new() }
    }

    /// Whose samples these are.
    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Takes a sample. `cpu` is the processor time of this process, where it is known.
    pub(super) fn push(&mut self, snapshot: &TopologySnapshot, cpu: Option<Duration>) {
        if self.samples.back().is_some_and(|last| last.uptime >= snapshot.uptime) {
            return;
        }
        self.samples.push_back(Sample::of(snapshot, cpu));
        let uptime = snapshot.uptime;
        let is_old = |sample: &Sample| uptime.saturating_sub(sample.uptime) > REACH;
        while self.samples.len() > MOST_SAMPLES || self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
        self.thin_out(uptime);
    }

    /// Drops what is too large to be kept for every second.
    fn thin_out(&mut self, uptime: Duration) {
        let mut newer: Option<u64> = None;
        for sample in self.samples.iter_mut().rev() {
            let age = uptime.saturating_sub(sample.uptime);
            if age > FINE_REACH {
                sample.spent = Vec::new();
            }
            // The newest sample of each slot stays.
            let (slot, tag) = match age.as_secs() {
                0..13 => continue,
                13..75 => (sample.uptime.as_secs() / 10, 0),
                _ => (sample.uptime.as_secs() / 60, 1 << 40),
            };
            if sample.distributions.is_some() && newer.replace(slot | tag) == Some(slot | tag) {
                sample.distributions = None;
            }
        }
    }

    /// What changed within the last `window`, or since the start where that is shorter or `window` is `None`.
    pub(super) fn window<'a>(&'a self, now: &'a TopologySnapshot, window: Option<Duration>) -> Window<'a> {
        let start = window.and_then(|window| now.uptime.checked_sub(window)).filter(|at| !at.is_zero());
        let Some(start) = start else {
            return Window { now, base: None, distributions: None, span: now.uptime };
        };
        let older = || self.samples.iter().rev().filter(move |sample| sample.uptime <= start);
        // Where it was not looked at so early, the oldest there is.
        let base = older().next().or(self.samples.front()).filter(|sample| sample.uptime < now.uptime);
        let distributions = older().find_map(|sample| sample.distributions.as_ref());
        let distributions = distributions
            .or_else(|| self.samples.iter().find_map(|sample| sample.distributions.as_ref()))
            .filter(|_| base.is_some());
        let span = now.uptime - base.map_or(Duration::ZERO, |sample| sample.uptime);
        Window { now, base, distributions, span }
    }

    /// A counter's rate per second in each of the last [`POINTS`] spans of [`POINT`], oldest first; `None` before it ran.
    pub(super) fn rates(&self, component: usize, counter: usize) -> Vec<Option<f64>> {
        self.points(|sample| sample.components.get(component).map(|totals| totals[counter] as f64))
    }

    /// The share of time that a component's tasks spent executing, on average, in the same spans.
    pub(super) fn busy(&self, component: usize, tasks: usize) -> Vec<Option<f64>> {
        let shares = self.points(|sample| Some(sample.executing.get(component)?.as_secs_f64()));
        shares.into_iter().map(|share| share.map(|share| share / tasks.max(1) as f64)).collect()
    }

    fn points(&self, value: impl Fn(&Sample) -> Option<f64>) -> Vec<Option<f64>> {
        let Some(newest) = self.samples.back() else { return vec![None; POINTS] };
        // The spans end at whole multiples, so that a point stays what it is once it is over.
        let end = newest.uptime.as_secs() / POINT.as_secs();
        let mut points = Vec::with_capacity(POINTS);
        let mut samples = self.samples.iter().peekable();
        let mut before: Option<&Sample> = None;
        for slot in (0..POINTS as u64).rev().map(|back| end.checked_sub(back)) {
            let Some(until) = slot.map(|slot| POINT * (slot as u32 + 1)) else {
                points.push(None);
                continue;
            };
            let from = before;
            let mut last = before;
            while let Some(sample) = samples.next_if(|sample| sample.uptime < until) {
                last = Some(sample);
            }
            before = last;
            points.push(rate_between(from, last, &value));
        }
        points
    }
}

/// How much `value` grew per second from one sample to another; from the start, where there is none before.
fn rate_between(
    from: Option<&Sample>,
    to: Option<&Sample>,
    value: &impl Fn(&Sample) -> Option<f64>,
) -> Option<f64> {
    let to = to?;
    let (start, base) = match from {
        Some(from) => (from.uptime, value(from)?),
        // Looked at from the start on, or else nobody knows.
        None if to.uptime <= POINT => (Duration::ZERO, 0.0),
        None => return None,
    };
    let span = to.uptime.checked_sub(start).filter(|span| !span.is_zero())?;
    Some((value(to)? - base).max(0.0) / span.as_secs_f64())
}

impl Sample {
    fn of(snapshot: &TopologySnapshot, cpu: Option<Duration>) -> Self {
        let components = &snapshot.components;
        Self {
            uptime: snapshot.uptime,
            components: components.iter().map(totals).collect(),
            edges: snapshot.edges.iter().map(|edge| (edge.tuples, edge.refused)).collect(),
            executing: components.iter().map(executing).collect(),
            spent: components.iter().map(|one| one.tasks.iter().map(|task| task.spent).collect()).collect(),
            distributions: Some(Distributions {
                components: components.iter().map(Times::of).collect(),
                edges: snapshot.edges.iter().map(|edge| edge.queue_wait.clone()).collect(),
            }),
            cpu,
        }
    }
}

fn executing(component: &ComponentSnapshot) -> Duration {
    component.tasks.iter().map(|task| task.spent.executing).sum()
}

/// A component's counters.
pub(super) fn totals(component: &ComponentSnapshot) -> Totals {
    COUNTERS.map(|(_, counter)| component.total(counter))
}

impl Window<'_> {
    fn per_second(&self, now: u64, before: u64) -> f64 {
        now.saturating_sub(before) as f64 / self.span.as_secs_f64().max(1e-9)
    }

    /// How much a component's counter grew.
    pub(super) fn growth(&self, component: usize, counter: usize) -> u64 {
        let before = self.base.and_then(|base| base.components.get(component)).map_or(0, |one| one[counter]);
        self.now.components[component].total(COUNTERS[counter].1).saturating_sub(before)
    }

    /// A component's counters per second.
    pub(super) fn rates(&self, component: usize) -> [f64; COUNTERS.len()] {
        std::array::from_fn(|counter| self.per_second(self.growth(component, counter), 0))
    }

    /// An edge's tuples per second.
    pub(super) fn edge_rate(&self, edge: usize) -> f64 {
        let before = self.base.and_then(|base| base.edges.get(edge)).map_or(0, |one| one.0);
        self.per_second(self.now.edges[edge].tuples, before)
    }

    /// How often an edge made its senders wait.
    pub(super) fn refused(&self, edge: usize) -> u64 {
        let before = self.base.and_then(|base| base.edges.get(edge)).map_or(0, |one| one.1);
        self.now.edges[edge].refused.saturating_sub(before)
    }

    /// How long an edge's tuples waited.
    pub(super) fn edge_wait(&self, edge: usize) -> Latency {
        let now = &self.now.edges[edge].queue_wait;
        match self.distributions.and_then(|base| base.edges.get(edge)) {
            Some(before) => now.since(before),
            None => now.clone(),
        }
    }

    /// A component's distributions.
    pub(super) fn times(&self, component: usize) -> Times {
        let now = Times::of(&self.now.components[component]);
        match self.distributions.and_then(|base| base.components.get(component)) {
            Some(before) => Times {
                execute: now.execute.since(&before.execute),
                queue_wait: now.queue_wait.since(&before.queue_wait),
                complete: now.complete.since(&before.complete),
            },
            None => now,
        }
    }

    /// What a task spent its time on, in shares of the window. Only for windows of a few seconds, and for all time.
    pub(super) fn shares(&self, component: usize, task: usize) -> Shares {
        let now = self.now.components[component].tasks[task].spent;
        let before = self.base.and_then(|base| base.spent.get(component)?.get(task).copied());
        let before = before.unwrap_or_default();
        let share = |now: Duration, before: Duration| {
            (now.saturating_sub(before).as_secs_f64() / self.span.as_secs_f64().max(1e-9)).min(1.0)
        };
        Shares {
            busy: share(now.executing, before.executing),
            blocked: share(now.blocked, before.blocked),
            full: share(now.full, before.full),
        }
    }

    /// How many processors this process kept at work, given its processor time now.
    pub(super) fn processors(&self, cpu: Option<Duration>) -> Option<f64> {
        let before = self.base?.cpu?;
        Some(cpu?.saturating_sub(before).as_secs_f64() / self.span.as_secs_f64().max(1e-9))
    }
}

/// What a task spent its time on, each 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Shares {
    pub(super) busy: f64,
    pub(super) blocked: f64,
    pub(super) full: f64,
}
