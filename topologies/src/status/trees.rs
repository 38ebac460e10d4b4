//! Trees as JSON: those that are open, by age; those that ended; and one tree's hops, to be drawn as a waterfall.
//!
//! What was not recorded is said to be so: of first attempts one in 1,024 is traced, every later one is, and each task
//! remembers a bounded number of hops.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use topo_core::Running;
use topo_core::ledger::RootId;
use topo_core::schedule::Moment;
use topo_core::trace::{EndedTree, Hop, HopOutcome, OpenTree, OpenTrees, TreeOutcome};

use super::state;

/// How many trees that ended are told.
const MOST_ENDED: usize = 200;
/// How many hops of one tree are told.
const MOST_HOPS: usize = 1_000;

/// The answer of `/api/v1/topology/{id}/trees`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trees {
    open: Vec<Open>,
    /// Those that failed or were tried again first, then the others; the newest first in each.
    ended: Vec<Ended>,
    /// How many more of those are remembered.
    more: usize,
}

/// What one task has open.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    component: Arc<str>,
    task: u32,
    count: u64,
    /// How old this list is; `null` where the task has not answered yet.
    as_of_ms: Option<f64>,
    by_age: Vec<Age>,
    oldest: Vec<OpenOne>,
}

/// How many trees are older than the last bound and at most as old as this one; the last has none.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Age {
    up_to_ms: Option<f64>,
    count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OpenOne {
    root: String,
    id: Option<Arc<str>>,
    attempt: u32,
    traced: bool,
    age_ms: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    root: String,
    /// `task/slot@generation`, as errors and logs name it.
    name: String,
    component: Arc<str>,
    task: u32,
    id: Option<Arc<str>>,
    attempt: u32,
    traced: bool,
    ago_ms: f64,
    took_ms: f64,
    /// `acked`, `failed` (to be tried again) or `rejected`.
    outcome: &'static str,
    reason: Option<Arc<str>>,
    failed_in: Option<Arc<str>>,
}

/// The answer of `/api/v1/topology/{id}/trees/{root}`. Times are milliseconds since the tree was opened.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Waterfall {
    root: String,
    name: String,
    /// `open`, `acked`, `failed`, `rejected`, or `unknown` where the tree is remembered by its hops only.
    outcome: &'static str,
    attempt: Option<u32>,
    component: Option<Arc<str>>,
    task: Option<u32>,
    id: Option<Arc<str>>,
    /// Until it ended, or until now.
    took_ms: f64,
    reason: Option<Arc<str>>,
    failed_in: Option<Arc<str>>,
    hops: Vec<HopBar>,
    /// Other attempts at the same tuple.
    attempts: Vec<Ended>,
    /// What is not known of it, in sentences.
    notes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HopBar {
    component: Arc<str>,
    task: u32,
    queued_ms: f64,
    started_ms: f64,
    waited_ms: f64,
    executed_ms: f64,
    /// `done`, `failed` or `held`.
    outcome: &'static str,
    emitted: Option<u64>,
    reason: Option<Arc<str>>,
    /// The tuple; `null`, and `valueKept` is false, where it was too large to be kept.
    value: Value,
    value_kept: bool,
}

fn ms(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// A root in an address.
fn spelled(root: RootId) -> String {
    format!("{:016x}", root.as_u64())
}

impl Trees {
    pub(super) fn of(running: &Running) -> Self {
        let now = running.now();
        let mut ended = running.ended_trees();
        // Sorting keeps the newest first among equals.
        ended.sort_by_key(|tree| tree.attempt == 1 && tree.outcome == TreeOutcome::Acked);
        let more = ended.len().saturating_sub(MOST_ENDED);
        ended.truncate(MOST_ENDED);
        Self {
            open: running.open_trees().iter().map(|list| Open::of(list, now)).collect(),
            ended: ended.iter().map(|tree| Ended::of(tree, now)).collect(),
            more,
        }
    }
}

impl Open {
    fn of(list: &OpenTrees, now: Moment) -> Self {
        let one = |tree: &OpenTree| OpenOne {
            root: spelled(tree.root),
            id: tree.id.clone(),
            attempt: tree.attempt,
            traced: tree.root.traced(),
            age_ms: ms(now.since(tree.opened)),
        };
        let age = |(bound, count): &(Option<Duration>, u64)| Age { up_to_ms: bound.map(ms), count: *count };
        Self {
            component: Arc::clone(&list.component),
            task: list.task,
            count: list.count,
            as_of_ms: list.as_of.map(|at| ms(now.since(at))),
            by_age: list.by_age.iter().map(age).collect(),
            oldest: list.oldest.iter().map(one).collect(),
        }
    }
}

impl Ended {
    fn of(tree: &EndedTree, now: Moment) -> Self {
        let (reason, failed_in) = why(tree);
        Self {
            root: spelled(tree.root),
            name: tree.root.to_string(),
            component: Arc::clone(&tree.component),
            task: tree.task,
            id: tree.id.clone(),
            attempt: tree.attempt,
            traced: tree.root.traced(),
            ago_ms: ms(now.since(tree.ended)),
            took_ms: ms(tree.ended.since(tree.opened)),
            outcome: outcome(tree),
            reason,
            failed_in,
        }
    }
}

fn outcome(tree: &EndedTree) -> &'static str {
    match &tree.outcome {
        TreeOutcome::Acked => "acked",
        TreeOutcome::Failed(failure) if failure.kind == topo_core::FailKind::Reject => "rejected",
        TreeOutcome::Failed(_) => "failed",
    }
}

fn why(tree: &EndedTree) -> (Option<Arc<str>>, Option<Arc<str>>) {
    match &tree.outcome {
        TreeOutcome::Acked => (None, None),
        TreeOutcome::Failed(failure) => (Some(failure.reason.clone()), Some(failure.component.clone())),
    }
}

impl Waterfall {
    /// The tree of the root spelled `root`; `None` where nothing is remembered of it.
    pub(super) fn of(running: &Running, root: &str) -> Option<Self> {
        let root = RootId::from_u64(u64::from_str_radix(root, 16).ok()?);
        let now = running.now();
        let all = running.ended_trees();
        let ended = all.iter().find(|tree| tree.root == root);
        let lists = running.open_trees();
        let open = lists.iter().find_map(|list| {
            let tree = list.oldest.iter().find(|tree| tree.root == root)?;
            Some((list, tree))
        });
        let open = open.filter(|_| ended.is_none());
        let hops = running.hops_of(root);
        if ended.is_none() && open.is_none() && hops.is_empty() {
            return None;
        }
        let opened = ended.map(|tree| tree.opened).or(open.map(|(_, tree)| tree.opened));
        let begin = opened.into_iter().chain(hops.iter().map(|hop| hop.queued)).min().unwrap_or(now);
        let last_hop = hops.iter().map(|hop| hop.started.after(hop.executed)).max();
        let until = match (ended, open) {
            (Some(tree), _) => tree.ended,
            (None, Some(_)) => now,
            (None, None) => last_hop.unwrap_or(now),
        };
        let id = ended.map_or_else(|| open.and_then(|(_, tree)| tree.id.clone()), |tree| tree.id.clone());
        let owner = ended
            .map(|tree| (Arc::clone(&tree.component), tree.task))
            .or(open.map(|(list, _)| (Arc::clone(&list.component), list.task)));
        let is_same = |tree: &&EndedTree| tree.root != root && id.is_some() && tree.id == id;
        let (reason, failed_in) = ended.map(why).unwrap_or_default();
        Some(Self {
            root: spelled(root),
            name: root.to_string(),
            outcome: ended.map_or(if open.is_some() { "open" } else { "unknown" }, outcome),
            attempt: ended.map(|tree| tree.attempt).or(open.map(|(_, tree)| tree.attempt)),
            component: owner.as_ref().map(|(component, _)| Arc::clone(component)),
            task: owner.as_ref().map(|(_, task)| *task),
            took_ms: ms(until.since(begin)),
            reason,
            failed_in,
            notes: notes(root, ended, open.is_some(), &hops, running),
            hops: hops.iter().take(MOST_HOPS).map(|hop| HopBar::of(hop, begin)).collect(),
            attempts: all.iter().filter(is_same).map(|tree| Ended::of(tree, now)).collect(),
            id,
        })
    }
}

impl HopBar {
    fn of(hop: &Hop, begin: Moment) -> Self {
        let (outcome, emitted, reason) = match &hop.outcome {
            HopOutcome::Done { emitted } => ("done", Some(*emitted), None),
            HopOutcome::Failed(why) => ("failed", None, Some(Arc::clone(why))),
            HopOutcome::Held => ("held", None, None),
        };
        Self {
            component: Arc::clone(&hop.component),
            task: hop.task,
            queued_ms: ms(hop.queued.since(begin)),
            started_ms: ms(hop.started.since(begin)),
            waited_ms: ms(hop.waited()),
            executed_ms: ms(hop.executed),
            outcome,
            emitted,
            reason,
            value: state::shown(&hop.value),
            value_kept: !hop.value.is_empty(),
        }
    }
}

/// What is not known of a tree.
fn notes(
    root: RootId,
    ended: Option<&EndedTree>,
    open: bool,
    hops: &[Hop],
    running: &Running,
) -> Vec<String> {
    let mut notes = Vec::new();
    if !root.traced() {
        let rest = match ended.map(|tree| &tree.outcome) {
            Some(TreeOutcome::Failed(failure)) => {
                format!("What is known is that it failed in `{}`.", failure.component)
            }
            _ => "How long it took is known, and no more.".to_owned(),
        };
        let only = if hops.is_empty() { "" } else { " Only what failed is shown." };
        notes.push(format!(
            "This attempt was not traced: of first attempts one in 1,024 is, of later ones each.{only} {rest}"
        ));
        return notes;
    }
    if hops.is_empty() {
        let why = if open {
            "nothing of it has been executed yet"
        } else {
            "its hops have made room for newer ones"
        };
        notes.push(format!("No hop of it is remembered: {why}."));
        return notes;
    }
    if ended.is_none() && !open {
        notes.push("How it began and ended is not remembered any more; its hops are.".to_owned());
    }
    if hops.len() > MOST_HOPS {
        notes.push(format!("It has {} hops, of which the first {MOST_HOPS} are shown.", hops.len()));
    }
    let missing = missing_hops(hops, running);
    if missing > 0 {
        let s = if missing == 1 { "tuple" } else { "tuples" };
        notes.push(format!(
            "{missing} {s} that it led to left no hop here: not executed yet, joined with tuples of other trees, or made room \
             for newer ones."
        ));
    }
    if hops.iter().any(|hop| hop.value.is_empty()) {
        notes.push("Values of more than a kilobyte are not kept.".to_owned());
    }
    notes
}

/// How many tuples were emitted to subscribers and are not among the hops, at the least.
fn missing_hops(hops: &[Hop], running: &Running) -> u64 {
    let edges = running.snapshot().edges;
    let emitted_to = |name: &str| -> u64 {
        let from = edges.iter().filter(|edge| *edge.to == *name).map(|edge| &edge.from);
        let mut from: Vec<_> = from.collect();
        from.sort();
        from.dedup();
        // A component with several streams may have emitted on another one: then nothing is certain.
        let certain = |emitter: &&Arc<str>| {
            let mut streams: Vec<_> =
                edges.iter().filter(|edge| edge.from == **emitter).map(|edge| &edge.stream).collect();
            streams.sort();
            streams.dedup();
            streams.len() == 1
        };
        let emitted = |emitter: &Arc<str>| -> u64 {
            let of_it = hops.iter().filter(|hop| hop.component == *emitter);
            of_it.map(|hop| if let HopOutcome::Done { emitted } = hop.outcome { emitted } else { 0 }).sum()
        };
        from.into_iter().filter(certain).map(emitted).sum()
    };
    let mut readers: Vec<_> = edges.iter().map(|edge| &edge.to).collect();
    readers.sort();
    readers.dedup();
    let executed = |name: &str| hops.iter().filter(|hop| *hop.component == *name).count() as u64;
    readers.into_iter().map(|name| emitted_to(name).saturating_sub(executed(name))).sum()
}
