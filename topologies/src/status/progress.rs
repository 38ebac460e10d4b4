//! How far everything has come: states and their sizes, event time and how far it is behind, open windows, the partitions
//! that spouts read, and micro-transactions.

use std::sync::Arc;

use serde::Serialize;
use topo_core::metrics::{
    ComponentSnapshot, EdgeSnapshot, TopologySnapshot, TransactionSnapshot, WindowSnapshot,
};

use super::Snapshots;
use super::api::{Transactions, Window};
use super::state::States;

/// The end of time, as a watermark says it.
const END: i64 = i64::MAX;

/// What the view `state` is told. Times are in milliseconds since 1970, and how far behind is against the clock of this
/// machine.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    #[serde(flatten)]
    states: States,
    /// One for each input of a component that knows event time.
    watermarks: Vec<InputTime>,
    /// One for each component that has windows.
    windows: Vec<Windows>,
    partitions: Vec<Partition>,
    transactions: Option<Transactions>,
}

/// How far the senders of one edge have come in event time: the last of those that are not idle.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InputTime {
    from: Arc<str>,
    stream: Arc<str>,
    to: Arc<str>,
    /// `null` at the end of time.
    event_time_ms: Option<i64>,
    behind_ms: Option<i64>,
    /// Whether event time is over.
    ended: bool,
    /// Whether nobody waits for it.
    idle: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Windows {
    component: Arc<str>,
    /// Keys that have windows open.
    keys: u64,
    /// Windows of all keys that are not complete, as of the last flush.
    open_windows: u64,
    /// Results that are not acknowledged yet, and those that were, failed and were given up.
    open_results: u64,
    acked_results: u64,
    failed_results: u64,
    exhausted_results: u64,
    late: u64,
    event_time_ms: Option<i64>,
    behind_ms: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Partition {
    component: Arc<str>,
    task: u32,
    #[serde(flatten)]
    window: Window,
}

impl Progress {
    /// All that is known of `snapshot`'s topology at `now_ms`.
    pub(super) fn of(snapshot: &TopologySnapshot, source: &dyn Snapshots, now_ms: i64) -> Self {
        let knows_time = |edge: &&EdgeSnapshot| edge.event_time_ms.is_some();
        let partitions = (snapshot.components.iter()).flat_map(|component| {
            let of_task = move |task: u32, window: &WindowSnapshot| Partition {
                component: Arc::clone(&component.name),
                task,
                window: Window::of(window),
            };
            let tasks = component.tasks.iter();
            tasks.flat_map(move |task| task.windows.iter().map(move |window| of_task(task.task, window)))
        });
        let mut states = source.states();
        states.retain(|(id, _)| *id == snapshot.id);
        Self {
            states: States::of(&states),
            watermarks: snapshot
                .edges
                .iter()
                .filter(knows_time)
                .map(|edge| InputTime::of(edge, now_ms))
                .collect(),
            windows: snapshot.components.iter().filter_map(|one| Windows::of(one, now_ms)).collect(),
            partitions: partitions.collect(),
            transactions: snapshot
                .transactions
                .as_ref()
                .map(|numbers: &TransactionSnapshot| Transactions::of(numbers)),
        }
    }
}

/// An event time before its end, and how far it is behind `now_ms`.
fn behind(at: Option<i64>, now_ms: i64) -> (Option<i64>, Option<i64>) {
    let at = at.filter(|at| *at != END);
    (at, at.map(|at| now_ms.saturating_sub(at)))
}

impl InputTime {
    fn of(edge: &EdgeSnapshot, now_ms: i64) -> Self {
        let (event_time_ms, behind_ms) = behind(edge.event_time_ms, now_ms);
        Self {
            from: Arc::clone(&edge.from),
            stream: Arc::clone(&edge.stream),
            to: Arc::clone(&edge.to),
            event_time_ms,
            behind_ms,
            ended: edge.event_time_ms == Some(END),
            idle: edge.idle,
        }
    }
}

impl Windows {
    fn of(component: &ComponentSnapshot, now_ms: i64) -> Option<Self> {
        component.tasks.iter().find_map(|task| task.open_windows)?;
        let open = |of: fn(&topo_core::metrics::OpenWindows) -> u64| {
            component.total(|task| task.open_windows.as_ref().map_or(0, of))
        };
        let (event_time_ms, behind_ms) = behind(component.event_time_ms(), now_ms);
        Some(Self {
            component: Arc::clone(&component.name),
            keys: open(|windows| windows.keys),
            open_windows: open(|open| open.windows),
            open_results: open(|windows| windows.results),
            acked_results: component.total(|task| task.trees_acked),
            failed_results: component.total(|task| task.trees_failed),
            exhausted_results: component.total(|task| task.trees_exhausted),
            late: component.total(|task| task.late),
            event_time_ms,
            behind_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};
    use topo_core::metrics::OpenWindows;

    use super::*;
    use crate::status::fixture::{self, NOW_MS};

    struct Nothing;
    impl Snapshots for Nothing {
        fn snapshots(&self) -> Vec<TopologySnapshot> {
            Vec::new()
        }
    }

    #[test]
    fn event_time_is_told_by_input_and_with_how_far_it_is_behind() {
        let mut snapshot = fixture::topology();
        assert_eq!(to_value(Progress::of(&snapshot, &Nothing, NOW_MS)).unwrap()["watermarks"], json!([]));
        snapshot.edges[0].event_time_ms = Some(NOW_MS - 1_500);
        let told = to_value(Progress::of(&snapshot, &Nothing, NOW_MS)).unwrap();
        assert_eq!(
            told["watermarks"],
            json!([{
                "from": "lines", "stream": "default", "to": "split", "eventTimeMs": NOW_MS - 1_500, "behindMs": 1_500,
                "ended": false, "idle": false,
            }])
        );
        assert_eq!(told["partitions"][0]["component"], "lines");
        assert_eq!(told["partitions"][0]["partition"], "in-3");
        snapshot.edges[0].event_time_ms = Some(END);
        let told = to_value(Progress::of(&snapshot, &Nothing, NOW_MS)).unwrap();
        assert_eq!(
            (&told["watermarks"][0]["ended"], &told["watermarks"][0]["behindMs"]),
            (&json!(true), &json!(null))
        );
    }

    #[test]
    fn windows_are_added_up_over_the_tasks() {
        let mut snapshot = fixture::topology();
        for (task, keys) in snapshot.components[1].tasks.iter_mut().zip([3, 4]) {
            task.open_windows = Some(OpenWindows { keys, windows: 2 * keys, results: 1 });
        }
        let told = to_value(Progress::of(&snapshot, &Nothing, NOW_MS)).unwrap();
        let windows = &told["windows"][0];
        assert_eq!([&windows["keys"], &windows["openWindows"]], [7, 14]);
        assert_eq!([&windows["openResults"], &windows["late"]], [2, 14]);
        assert_eq!(windows["behindMs"], 4_250);
    }
}
