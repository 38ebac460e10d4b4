//! The page: every topology with a row per component, rendered on the server.
//!
//! Invariant: whatever a topology brings along (names, error messages) is written as text, never as markup.

use maud::{DOCTYPE, Markup, html};
use topo_core::metrics::{
    ComponentKind, ComponentSnapshot, Latency, TaskSnapshot, TopologySnapshot, TopologyStatus,
};

use super::{Snapshots, api, errors, spell};

/// A share of time or of a queue's room from which on the page points at it.
const HIGH: f64 = 0.8;

/// What stands where a number does not apply.
const NONE: &str = "–";

/// The whole page, as of `now_ms` (milliseconds since 1970).
pub(super) fn whole(source: &dyn Snapshots, now_ms: i64) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "topo" }
                link rel="stylesheet" href="/page.css";
                script src="/page.js" defer {}
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                header {
                    h1 { "topo" }
                    p #connection role="status" {}
                    nav aria-label="The same as data" {
                        a href="/api/v1/topology/summary" { "JSON" }
                        a href="/metrics" { "Metrics" }
                    }
                }
                main #topologies { (topologies(source, now_ms)) }
            }
        }
    }
}

/// The part of the page that the script renews.
pub(super) fn topologies(source: &dyn Snapshots, now_ms: i64) -> Markup {
    let snapshots = source.snapshots();
    html! {
        @if snapshots.is_empty() {
            p { "No topology runs in this process." }
        }
        @for (index, snapshot) in snapshots.iter().enumerate() {
            (topology(index, snapshot, source, now_ms))
        }
    }
}

fn topology(index: usize, snapshot: &TopologySnapshot, source: &dyn Snapshots, now_ms: i64) -> Markup {
    let heading = format!("topology-{index}");
    html! {
        section aria-labelledby=(heading) {
            h2 id=(heading) {
                (snapshot.name) " "
                span .status .active[snapshot.status == TopologyStatus::Active] { (api::status(snapshot.status)) }
            }
            (overview(snapshot))
            div .scroll role="region" tabindex="0" aria-label={ "Components of " (snapshot.name) } {
                table {
                    thead { (head()) }
                    tbody {
                        @for component in &snapshot.components { (row(snapshot, component, now_ms)) }
                    }
                }
            }
            (states(&snapshot.id, source))
            (errors::section(&source.causes(&snapshot.id), now_ms))
            (last_errors(snapshot, now_ms))
        }
    }
}

fn overview(snapshot: &TopologySnapshot) -> Markup {
    let spouts = || snapshot.components.iter().filter(|component| component.kind == ComponentKind::Spout);
    let roots =
        |counter: fn(&TaskSnapshot) -> u64| spell::count(spouts().map(|spout| spout.total(counter)).sum());
    let complete = Latency::merge(spouts().flat_map(|spout| &spout.tasks).map(|task| &task.complete));
    html! {
        dl {
            (figure("Uptime", &spell::uptime(snapshot.uptime)))
            (figure("Delivery", delivery(snapshot)))
            @if let Some(numbers) = &snapshot.transactions {
                (figure("Transaction", &numbers.txid.to_string()))
                (figure("Committed", &spell::count(numbers.commits)))
                (figure("Taken back", &spell::count(numbers.aborts)))
                (figure("Trees of the last batch", &spell::count(numbers.trees)))
                (figure("Its records", &spell::count(numbers.records)))
                (figure("Batch time", &spell::latency(numbers.lasted)))
                (figure("Commit time", &spell::latency(numbers.took)))
            }
            (figure("Acked", &roots(|task| task.acked)))
            (figure("Failed", &roots(|task| task.failed)))
            (figure("Timed out", &roots(|task| task.timed_out)))
            (figure("Pending", &roots(|task| task.pending)))
            (figure("Complete p50", &quantile(&complete, 0.5)))
            (figure("Complete p99", &quantile(&complete, 0.99)))
        }
    }
}

fn delivery(snapshot: &TopologySnapshot) -> &'static str {
    match (&snapshot.transactions, snapshot.acked_delivery) {
        (Some(_), _) => "exactly once",
        (None, true) => "acked",
        (None, false) => "at most once",
    }
}

/// What a topology keeps for its keys.
fn states(id: &str, source: &dyn Snapshots) -> Markup {
    let hubs = source.states();
    let states: Vec<_> =
        hubs.iter().filter(|(of, _)| **of == *id).flat_map(|(_, hub)| hub.states()).collect();
    html! {
        @if !states.is_empty() {
            h3 { "State" }
            ul .states {
                @for state in states {
                    li {
                        strong { (state.component) "/" (state.state) } " " (spell::count(state.len))
                        @if state.len == 1 { " value, " } @else { " values, " }
                        @match &state.changelog {
                            Some(topic) => small { "kept in " (topic) },
                            None => small { "kept nowhere" },
                        }
                    }
                }
            }
        }
    }
}

fn figure(term: &str, value: &str) -> Markup {
    html! { div { dt { (term) } dd { (value) } } }
}

fn head() -> Markup {
    let columns = [
        ("Tasks", "Instances of the component"),
        ("Emitted", "Tuples emitted by the component's code"),
        ("Transferred", "Tuples sent on: emitted times subscribers"),
        ("Executed", "Inputs executed"),
        ("Acked", "Inputs acknowledged, or trees completed"),
        ("Failed", "Inputs failed, or trees failed"),
        ("Rejected", "Of the failed, those refused for good"),
        ("Timed out", "Executes and held inputs that took too long, or trees failed for one"),
        ("Late", "Inputs that came too late for their windows"),
        ("Event time", "How far the last task has come in event time"),
        ("Pending", "Trees neither completed nor failed"),
        ("Restarted", "Tasks replaced after a panic or an error"),
        ("Capacity", "Share of time that the busiest task spent executing"),
        ("Execute p50", "Time spent in execute"),
        ("Execute p99", "Time spent in execute"),
        ("Complete p50", "Time from emit to the tree's completion"),
        ("Complete p99", "Time from emit to the tree's completion"),
        (
            "Window",
            "Fullest partition: offsets from the oldest record not done to the newest, of how many may; then records waiting for their next attempt",
        ),
        ("Queue", "Room taken in the fullest task's queue, and tuples waiting"),
    ];
    html! {
        tr {
            th scope="col" { "Component" }
            @for (name, meaning) in columns { th scope="col" title=(meaning) { (name) } }
        }
    }
}

fn row(snapshot: &TopologySnapshot, component: &ComponentSnapshot, now_ms: i64) -> Markup {
    let spout = component.kind == ComponentKind::Spout;
    let total = |counter: fn(&TaskSnapshot) -> u64| spell::count(component.total(counter));
    let execute = component.latency(|task| &task.execute);
    let complete = component.latency(|task| &task.complete);
    html! {
        tr {
            th scope="row" {
                (component.name) " " small { (if spout { "spout" } else { "bolt" }) }
                @for edge in snapshot.edges.iter().filter(|edge| edge.to == component.name) {
                    small .reads { "reads " (edge.from) "/" (edge.stream) " (" (edge.grouping) ")" }
                }
            }
            td { (component.tasks.len()) }
            td { (total(|task| task.emitted)) }
            td { (total(|task| task.transferred)) }
            td { @if spout { (NONE) } @else { (total(|task| task.executed)) } }
            td { (total(|task| task.acked)) }
            td .bad[component.total(|task| task.failed) > 0] { (total(|task| task.failed)) }
            td .bad[component.total(|task| task.rejected) > 0] { (total(|task| task.rejected)) }
            td .bad[component.total(|task| task.timed_out) > 0] { (total(|task| task.timed_out)) }
            td .bad[component.total(|task| task.late) > 0] { @if spout { (NONE) } @else { (total(|task| task.late)) } }
            td { @if let Some(at_ms) = component.event_time_ms() { (ago(at_ms, now_ms)) } @else { (NONE) } }
            td { @if spout || opens_trees(component) { (total(|task| task.pending)) } @else { (NONE) } }
            td .bad[component.total(|task| task.restarted) > 0] { (total(|task| task.restarted)) }
            td { (share(api::capacity(component))) }
            td { (quantile(&execute, 0.5)) }
            td { (quantile(&execute, 0.99)) }
            td { (quantile(&complete, 0.5)) }
            td { (quantile(&complete, 0.99)) }
            td { @if let Some(fill) = window_fill(component) { (share(fill)) " " (total(waiting)) } @else { (NONE) } }
            td { @if spout { (NONE) } @else { (share(queue_fill(component))) " " (total(|task| task.queue.tuples)) } }
        }
    }
}

/// Whether a bolt has opened trees of its own.
fn opens_trees(bolt: &ComponentSnapshot) -> bool {
    bolt.total(|task| task.pending + task.trees_acked + task.trees_failed) > 0
}

fn share(share: f64) -> Markup {
    let percent = format!("{:.1}%", share * 100.0);
    html! {
        meter min="0" max="1" high=(HIGH) value=(format!("{share:.3}")) aria-hidden="true" {}
        span .full[share >= HIGH] { (percent) }
    }
}

/// Records of a task that wait for their next attempt.
fn waiting(task: &TaskSnapshot) -> u64 {
    task.windows.iter().map(|window| window.waiting).sum()
}

/// The fill of the fullest partition's window, 0 to 1; `None` where nothing has one.
fn window_fill(component: &ComponentSnapshot) -> Option<f64> {
    let windows = component.tasks.iter().flat_map(|task| &task.windows);
    windows.map(|window| window.span as f64 / window.limit.max(1) as f64).reduce(f64::max)
}

/// The fill of the fullest task's queue, 0 to 1, in tuples or bytes, whichever is nearer to its limit.
fn queue_fill(component: &ComponentSnapshot) -> f64 {
    let fill =
        |waiting: u64, capacity: u64| if capacity == 0 { 0.0 } else { waiting as f64 / capacity as f64 };
    component
        .tasks
        .iter()
        .map(|task| &task.queue)
        .map(|queue| fill(queue.tuples, queue.capacity_tuples).max(fill(queue.bytes, queue.capacity_bytes)))
        .fold(0.0, f64::max)
}

fn last_errors(snapshot: &TopologySnapshot, now_ms: i64) -> Markup {
    let mut errors: Vec<_> = (snapshot.components.iter())
        .flat_map(|component| component.tasks.iter().map(move |task| (component, task)))
        .filter_map(|(component, task)| task.last_error.as_ref().map(|error| (component, task.task, error)))
        .collect();
    errors.sort_by_key(|(_, _, error)| std::cmp::Reverse(error.at_ms));
    html! {
        @if !errors.is_empty() {
            h3 { "Last error of each task" }
            ul .errors {
                @for (component, task, error) in errors {
                    li {
                        strong { (component.name) " task " (task) } " "
                        small { (ago(error.at_ms, now_ms)) }
                        pre { (error.message) }
                    }
                }
            }
        }
    }
}

/// How long ago that was.
pub(super) fn ago(at_ms: i64, now_ms: i64) -> String {
    let lapsed = u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0);
    format!("{} ago", spell::uptime(std::time::Duration::from_millis(lapsed)))
}

fn quantile(latency: &Latency, quantile: f64) -> String {
    latency.quantile(quantile).map_or_else(|| NONE.into(), spell::latency)
}
