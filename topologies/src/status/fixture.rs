//! A topology's numbers for the tests: a spout of two tasks and a bolt of two, no number twice.

use std::time::Duration;

use topo_core::metrics::{
    ComponentKind, ComponentSnapshot, EdgeSnapshot, Latency, QueueSnapshot, Spent, TaskError, TaskSnapshot,
    TopologySnapshot, TopologyStatus, WindowSnapshot,
};

/// When the tests take place, in milliseconds since 1970.
pub(super) const NOW_MS: i64 = 1_800_000_000_000;

/// What the bolt's second task said when it failed.
pub(super) const MARKUP: &str = "<script>alert(\"x\")</script> & <b>bold</b>";

/// A topology `words & <more>` of id `words-1`: `lines` is read by `split`.
pub(super) fn topology() -> TopologySnapshot {
    TopologySnapshot {
        name: "words & <more>".into(),
        id: "words-1".into(),
        status: TopologyStatus::Active,
        uptime: Duration::from_millis(365_250),
        acked_delivery: true,
        components: vec![spout(), bolt()],
        edges: vec![EdgeSnapshot {
            from: "lines".into(),
            stream: "default".into(),
            to: "split".into(),
            grouping: "shuffle".into(),
            tuples: 1_000_044,
            queue: QueueSnapshot {
                tuples: 524,
                bytes: 8_340,
                capacity_tuples: 2_048,
                capacity_bytes: 131_072,
            },
            ..EdgeSnapshot::default()
        }],
        transactions: None,
    }
}

fn spout() -> ComponentSnapshot {
    let first = TaskSnapshot {
        emitted: 1_000_001,
        transferred: 1_000_002,
        acked: 900_003,
        failed: 17,
        rejected: 5,
        timed_out: 7,
        pending: 99_981,
        busy: 0.25,
        complete: millis(1..=100),
        windows: vec![WindowSnapshot {
            partition: "in-3".into(),
            oldest: Some(77),
            span: 768,
            limit: 1_024,
            waiting: 6,
        }],
        ..idle(0)
    };
    let second = TaskSnapshot { emitted: 41, transferred: 42, acked: 43, pending: 3, ..idle(1) };
    ComponentSnapshot { name: "lines".into(), kind: ComponentKind::Spout, tasks: vec![first, second] }
}

fn bolt() -> ComponentSnapshot {
    let first = TaskSnapshot {
        emitted: 7_000_003,
        transferred: 7_000_004,
        executed: 600_001,
        acked: 600_000,
        failed: 1,
        late: 13,
        event_time_ms: Some(NOW_MS - 3_000),
        busy: 0.5,
        queue: QueueSnapshot { tuples: 12, bytes: 340, capacity_tuples: 1_024, capacity_bytes: 65_536 },
        execute: millis([2; 10]),
        queue_wait: millis([30; 10]),
        ..idle(0)
    };
    let second = TaskSnapshot {
        executed: 400_000,
        acked: 399_999,
        failed: 2,
        timed_out: 1,
        late: 1,
        event_time_ms: Some(NOW_MS - 4_250),
        restarted: 2,
        busy: 0.9375,
        queue: QueueSnapshot { tuples: 512, bytes: 8_000, capacity_tuples: 1_024, capacity_bytes: 65_536 },
        execute: millis([4; 10]),
        last_error: Some(TaskError { at_ms: NOW_MS - 65_000, message: MARKUP.into() }),
        ..idle(1)
    };
    ComponentSnapshot { name: "split".into(), kind: ComponentKind::Bolt, tasks: vec![first, second] }
}

fn idle(task: u32) -> TaskSnapshot {
    TaskSnapshot {
        task,
        emitted: 0,
        transferred: 0,
        executed: 0,
        acked: 0,
        failed: 0,
        rejected: 0,
        timed_out: 0,
        late: 0,
        event_time_ms: None,
        pending: 0,
        trees_acked: 0,
        trees_failed: 0,
        trees_exhausted: 0,
        restarted: 0,
        open_windows: None,
        busy: 0.0,
        spent: Spent::default(),
        queue: QueueSnapshot::default(),
        execute: Latency::merge([]),
        queue_wait: Latency::merge([]),
        complete: Latency::merge([]),
        windows: Vec::new(),
        last_error: None,
    }
}

fn millis(times: impl IntoIterator<Item = u64>) -> Latency {
    times.into_iter().map(Duration::from_millis).collect()
}
