//! All numbers per task in the OpenMetrics text format, which Prometheus scrapes.
//!
//! Invariant: a bucket's count is exact. Buckets end one nanosecond short of a power of two, where the recorded
//! histograms have an edge too.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use topo_connectors::dead_letters::Causes;
use topo_core::metrics::{
    ComponentKind, ComponentSnapshot, EdgeSnapshot, Latency, TaskSnapshot, TopologySnapshot, TopologyStatus,
    TransactionSnapshot, WindowSnapshot,
};

use super::Snapshots;

/// The format's media type.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Buckets end just short of 2^10 ns (1 µs) to 2^35 ns (34 s).
const BUCKET_EXPONENTS: std::ops::RangeInclusive<u32> = 10..=35;

/// Writes all that `source` tells.
///
/// # Errors
/// Those of the encoder, which writes to memory.
pub(super) fn render(source: &dyn Snapshots) -> Result<String, fmt::Error> {
    let snapshots = source.snapshots();
    let causes = snapshots.iter().map(|snapshot| source.causes(&snapshot.id)).collect();
    let mut registry = Registry::with_prefix("topo");
    registry.register_collector(Box::new(Exposition { snapshots, causes }));
    let mut written = String::new();
    text::encode(&mut written, &registry)?;
    Ok(written)
}

#[derive(Debug)]
struct Exposition {
    snapshots: Vec<TopologySnapshot>,
    /// Of each of the snapshots.
    causes: Vec<Causes>,
}

/// Which components a metric speaks of.
#[derive(Clone, Copy)]
enum Of {
    All,
    Spouts,
    Bolts,
}

type Counter = (&'static str, &'static str, Of, fn(&TaskSnapshot) -> u64);
type Distribution = (&'static str, &'static str, Of, fn(&TaskSnapshot) -> &Latency);

const COUNTERS: [Counter; 12] = [
    ("emitted", "Tuples emitted by the component's code", Of::All, |task| task.emitted),
    ("transferred", "Tuples sent on: emitted times subscribers and copies", Of::All, |task| task.transferred),
    ("executed", "Inputs executed", Of::Bolts, |task| task.executed),
    ("acked", "Inputs acknowledged (bolts) or trees completed (spouts)", Of::All, |task| task.acked),
    ("failed", "Inputs failed (bolts) or trees failed (spouts)", Of::All, |task| task.failed),
    ("rejected", "Of the failed, those refused for good", Of::All, |task| task.rejected),
    (
        "timed_out",
        "Executes and held inputs that took too long (bolts) or trees failed for one (spouts)",
        Of::All,
        |task| task.timed_out,
    ),
    ("trees_acked", "Trees that an operator opened and that were completed", Of::Bolts, |task| {
        task.trees_acked
    }),
    ("trees_failed", "Attempts at trees that an operator opened that failed", Of::Bolts, |task| {
        task.trees_failed
    }),
    ("trees_exhausted", "Trees that an operator opened and that were given up", Of::Bolts, |task| {
        task.trees_exhausted
    }),
    ("late", "Inputs that came too late for their windows", Of::Bolts, |task| task.late),
    ("restarted", "Times the instance was replaced after a panic or an error", Of::All, |task| {
        task.restarted
    }),
];

const LEVELS: [Counter; 5] = [
    ("pending", "Trees opened and neither completed nor failed or given up", Of::All, |task| task.pending),
    ("queue_tuples", "Tuples waiting in the task's queue", Of::Bolts, |task| task.queue.tuples),
    ("queue_bytes", "Bytes waiting in the task's queue, as sampled", Of::Bolts, |task| task.queue.bytes),
    ("queue_capacity_tuples", "Tuples that may wait", Of::Bolts, |task| task.queue.capacity_tuples),
    ("queue_capacity_bytes", "Bytes that may wait", Of::Bolts, |task| task.queue.capacity_bytes),
];

const LATENCIES: [Distribution; 3] = [
    ("execute_latency", "Time spent in execute, per input", Of::Bolts, |task| &task.execute),
    ("queue_wait", "Time an input waited in the queue, per batch", Of::Bolts, |task| &task.queue_wait),
    ("complete_latency", "Time from emit to the tree's completion", Of::Spouts, |task| &task.complete),
];

type SpentTime = (&'static str, &'static str, fn(&TaskSnapshot) -> Duration);

const SPENT: [SpentTime; 3] = [
    ("executing", "Time that the task was at work", |task| task.spent.executing),
    ("blocked", "Time that the task waited for room in a queue downstream", |task| task.spent.blocked),
    ("full", "Time that the task waited with as many trees open as it may have", |task| task.spent.full),
];

type EdgeCounter = (&'static str, &'static str, MetricType, fn(&EdgeSnapshot) -> u64);

const EDGES: [EdgeCounter; 6] = [
    ("edge_tuples", "Tuples put into the queues behind the edge", MetricType::Counter, |edge| edge.tuples),
    ("edge_batches", "Batches that they came in", MetricType::Counter, |edge| edge.batches),
    ("edge_bytes", "Their size in bytes, as sampled", MetricType::Counter, |edge| edge.bytes),
    ("edge_refused", "Times that a full queue made a sender wait", MetricType::Counter, |edge| edge.refused),
    ("edge_queue_tuples", "Tuples of the edge waiting in queues", MetricType::Gauge, |edge| {
        edge.queue.tuples
    }),
    ("edge_queue_bytes", "Bytes of the edge waiting in queues, as sampled", MetricType::Gauge, |edge| {
        edge.queue.bytes
    }),
];

type WindowLevel = (&'static str, &'static str, fn(&WindowSnapshot) -> Option<i64>);

const WINDOWS: [WindowLevel; 4] = [
    ("window_oldest_offset", "Offset of the oldest record that is not done", |window| window.oldest),
    ("window_span", "Offsets from the oldest record that is not done to the newest emitted", |window| {
        i64::try_from(window.span).ok()
    }),
    ("window_limit", "Offsets that may lie so; then the spout waits for the oldest", |window| {
        i64::try_from(window.limit).ok()
    }),
    ("window_waiting", "Records that wait for their next attempt or their dead letter", |window| {
        i64::try_from(window.waiting).ok()
    }),
];

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.topologies(&mut encoder)?;
        self.dead_letters(&mut encoder)?;
        for (name, help, of, counter) in COUNTERS {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            self.each_task(family, of, |task, mut metric| {
                metric.encode_counter::<NoLabelSet, _, f64>(&counter(task), None)
            })?;
        }
        for (name, help, of, level) in LEVELS {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            self.each_task(family, of, |task, mut metric| metric.encode_gauge(&level(task)))?;
        }
        for (name, help, level) in WINDOWS {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            self.each_window(family, level)?;
        }
        let ratio = Unit::Other("ratio".into());
        let family = encoder.encode_descriptor(
            "busy",
            "Share of its time since the start that the task spent executing",
            Some(&ratio),
            MetricType::Gauge,
        )?;
        self.each_task(family, Of::All, |task, mut metric| metric.encode_gauge(&task.busy))?;
        for (name, help, spent) in SPENT {
            let family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
            self.each_task(family, Of::All, |task, mut metric| {
                metric.encode_counter::<NoLabelSet, _, f64>(&spent(task).as_secs_f64(), None)
            })?;
        }
        self.event_time(&mut encoder)?;
        self.edges(&mut encoder)?;
        for (name, help, of, latency) in LATENCIES {
            let family =
                encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
            self.each_task(family, of, |task, metric| histogram(latency(task), metric))?;
        }
        Ok(())
    }
}

impl Exposition {
    fn topologies(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "How long the topology has run";
        let mut family =
            encoder.encode_descriptor("uptime", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for snapshot in &self.snapshots {
            let labels = [("topology", &*snapshot.name)];
            family.encode_family(&labels)?.encode_gauge(&snapshot.uptime.as_secs_f64())?;
        }
        let help = "1 while spouts emit, else 0";
        let mut family = encoder.encode_descriptor("active", help, None, MetricType::Gauge)?;
        for snapshot in &self.snapshots {
            let labels = [("topology", &*snapshot.name)];
            let active = u64::from(snapshot.status == TopologyStatus::Active);
            family.encode_family(&labels)?.encode_gauge(&active)?;
        }
        self.transactions(encoder)
    }

    fn transactions(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        type Counter = (&'static str, &'static str, fn(&TransactionSnapshot) -> u64);
        let counters: [Counter; 2] = [
            ("transactions_committed", "Micro-transactions committed", |numbers| numbers.commits),
            ("transactions_taken_back", "Times that what was not committed was taken back", |numbers| {
                numbers.aborts
            }),
        ];
        let all = || self.snapshots.iter().filter_map(|one| Some((one, one.transactions.as_ref()?)));
        if all().next().is_none() {
            return Ok(());
        }
        for (name, help, counter) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (snapshot, numbers) in all() {
                let labels = [("topology", &*snapshot.name)];
                family
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, f64>(&counter(numbers), None)?;
            }
        }
        Ok(())
    }

    fn dead_letters(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "Records given up and durable in the dead letters, by the component that failed them";
        let mut family = encoder.encode_descriptor("dead_letters", help, None, MetricType::Counter)?;
        for (snapshot, causes) in self.snapshots.iter().zip(&self.causes) {
            for (component, kind, count) in causes.totals() {
                let labels =
                    [("topology", &*snapshot.name), ("component", &**component), ("kind", kind.as_str())];
                let mut metric = family.encode_family(&labels)?;
                metric.encode_counter::<NoLabelSet, _, f64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn event_time(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help = "How far the task has come in event time, since 1970";
        let mut family =
            encoder.encode_descriptor("event_time", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for snapshot in &self.snapshots {
            for component in &snapshot.components {
                for task in &component.tasks {
                    let (Some(at_ms), number) = (task.event_time_ms, task.task.to_string()) else { continue };
                    let labels = [
                        ("topology", &*snapshot.name),
                        ("component", &*component.name),
                        ("kind", kind(component.kind)),
                        ("task", &*number),
                    ];
                    family.encode_family(&labels)?.encode_gauge(&(at_ms as f64 / 1_000.0))?;
                }
            }
        }
        Ok(())
    }

    fn edges(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        for (name, help, kind, value) in EDGES {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            self.each_edge(|edge, labels| {
                let mut metric = family.encode_family(labels)?;
                match kind {
                    MetricType::Gauge => metric.encode_gauge(&value(edge)),
                    _ => metric.encode_counter::<NoLabelSet, _, f64>(&value(edge), None),
                }
            })?;
        }
        let help = "Time that a tuple of the edge waited in a queue, per batch";
        let mut family =
            encoder.encode_descriptor("edge_wait", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        self.each_edge(|edge, labels| histogram(&edge.queue_wait, family.encode_family(labels)?))
    }

    fn each_edge(
        &self,
        mut write: impl FnMut(&EdgeSnapshot, &[(&str, &str); 4]) -> fmt::Result,
    ) -> fmt::Result {
        for snapshot in &self.snapshots {
            for edge in &snapshot.edges {
                let labels = [
                    ("topology", &*snapshot.name),
                    ("from", &*edge.from),
                    ("stream", &*edge.stream),
                    ("to", &*edge.to),
                ];
                write(edge, &labels)?;
            }
        }
        Ok(())
    }

    fn each_window(
        &self,
        mut family: MetricEncoder<'_>,
        level: fn(&WindowSnapshot) -> Option<i64>,
    ) -> fmt::Result {
        for snapshot in &self.snapshots {
            for component in &snapshot.components {
                for task in &component.tasks {
                    let number = task.task.to_string();
                    for window in &task.windows {
                        let Some(level) = level(window) else { continue };
                        let labels = [
                            ("topology", &*snapshot.name),
                            ("component", &*component.name),
                            ("task", &*number),
                            ("partition", &*window.partition),
                        ];
                        family.encode_family(&labels)?.encode_gauge(&level)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn each_task(
        &self,
        mut family: MetricEncoder<'_>,
        of: Of,
        mut write: impl FnMut(&TaskSnapshot, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        for snapshot in &self.snapshots {
            for component in snapshot.components.iter().filter(|component| of.includes(component)) {
                for task in &component.tasks {
                    let number = task.task.to_string();
                    let labels = [
                        ("topology", &*snapshot.name),
                        ("component", &*component.name),
                        ("kind", kind(component.kind)),
                        ("task", &*number),
                    ];
                    write(task, family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Of {
    fn includes(self, component: &ComponentSnapshot) -> bool {
        match self {
            Of::All => true,
            Of::Spouts => component.kind == ComponentKind::Spout,
            Of::Bolts => component.kind == ComponentKind::Bolt,
        }
    }
}

fn kind(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Spout => "spout",
        ComponentKind::Bolt => "bolt",
    }
}

/// Writes `latency` as a histogram; the encoder wants the count of each bucket alone and adds them up itself.
fn histogram(latency: &Latency, mut metric: MetricEncoder<'_>) -> fmt::Result {
    let mut below = 0;
    let mut bucket = |end: f64, at_most: u64| {
        let alone = at_most.saturating_sub(below);
        below = at_most;
        (end, alone)
    };
    let mut buckets: Vec<(f64, u64)> = BUCKET_EXPONENTS
        .map(|exponent| {
            let end = Duration::from_nanos((1 << exponent) - 1);
            bucket(end.as_secs_f64(), latency.count_at_most(end))
        })
        .collect();
    buckets.push(bucket(f64::INFINITY, latency.count()));
    metric.encode_histogram::<NoLabelSet>(latency.sum().as_secs_f64(), latency.count(), &buckets, None)
}
