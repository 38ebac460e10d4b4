//! What the server remembers of topologies: their histories, sampled once a second, and their layouts.
//!
//! It looks whether somebody has a page open or not, so that a page that is opened shows the last ten minutes at once. It
//! reads snapshots only: no executor waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use topo_core::metrics::{ComponentKind, TopologySnapshot};

use super::Snapshots;
use super::history::{ACKED, EMITTED, EXECUTED, FAILED, History, Window};
use super::layout::Layouts;
use super::verdict::{Link, Part, Scene, Verdict, judge};

/// How often it looks.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// What "the last seconds" are.
pub(super) const LAST: Duration = Duration::from_secs(10);
/// How many topologies' histories are kept: those seen last.
const MOST_TOPOLOGIES: usize = 16;
/// The groupings by which a task gets all, however many there are.
const UNDIVIDED: [&str; 2] = ["global", "all"];
/// Ticks of processor time in a second, as Linux tells it to programs.
const TICKS_PER_SECOND: u64 = 100;

/// The memory of the server.
#[derive(Debug, Default)]
pub(super) struct Observer {
    histories: Mutex<Vec<Arc<Mutex<History>>>>,
    layouts: Mutex<BTreeMap<Arc<str>, Arc<OnceLock<Layouts>>>>,
}

impl Observer {
    /// Looks at all topologies once a second, for ever.
    pub(super) async fn watch(self: Arc<Self>, source: Arc<dyn Snapshots>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for snapshot in self.look(&*source) {
                // Of hundreds of components it takes a while, so it is done before somebody asks.
                let observer = Arc::clone(&self);
                drop(tokio::task::spawn_blocking(move || observer.layouts(&snapshot)));
            }
        }
    }

    /// Takes one sample of every topology; gives those whose components have no places yet.
    pub(super) fn look(&self, source: &dyn Snapshots) -> Vec<TopologySnapshot> {
        let cpu = processor_time();
        let mut unplaced = Vec::new();
        for snapshot in source.snapshots() {
            let history = self.history(&snapshot.id);
            lock(&history).push(&snapshot, cpu);
            if !lock(&self.layouts).contains_key(&snapshot.id) {
                unplaced.push(snapshot);
            }
        }
        unplaced
    }

    fn history(&self, id: &Arc<str>) -> Arc<Mutex<History>> {
        let mut histories = lock(&self.histories);
        let found = histories.iter().find(|history| *lock(history).id() == *id).cloned();
        found.unwrap_or_else(|| {
            if histories.len() == MOST_TOPOLOGIES {
                histories.remove(0);
            }
            let fresh = Arc::new(Mutex::new(History::new(Arc::clone(id))));
            histories.push(Arc::clone(&fresh));
            fresh
        })
    }

    /// Has `use_it` see the history of `snapshot`'s topology.
    pub(super) fn with<R>(&self, snapshot: &TopologySnapshot, use_it: impl FnOnce(&History) -> R) -> R {
        let history = self.history(&snapshot.id);
        let history = lock(&history);
        use_it(&history)
    }

    /// Where the components of `snapshot`'s topology are drawn; found once, whoever else asks waits for that.
    pub(super) fn layouts(&self, snapshot: &TopologySnapshot) -> Arc<OnceLock<Layouts>> {
        let mut layouts = lock(&self.layouts);
        if layouts.len() >= MOST_TOPOLOGIES && !layouts.contains_key(&snapshot.id) {
            layouts.pop_first();
        }
        let place = Arc::clone(layouts.entry(Arc::clone(&snapshot.id)).or_default());
        drop(layouts);
        place.get_or_init(|| Layouts::of(snapshot));
        place
    }

    /// The sentence on top of the page.
    pub(super) fn verdict(&self, snapshot: &TopologySnapshot, now_ms: i64) -> Verdict {
        self.with(snapshot, |history| judge(&scene(snapshot, &history.window(snapshot, Some(LAST)), now_ms)))
    }
}

// No code panics while it holds one of the locks, so a poisoned one is still whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the sentence is made from.
fn scene(snapshot: &TopologySnapshot, window: &Window<'_>, now_ms: i64) -> Scene {
    let place = |name: &str| snapshot.components.iter().position(|component| *component.name == *name);
    let parts = (0..snapshot.components.len()).map(|at| part(snapshot, window, at, now_ms)).collect();
    let links = (snapshot.edges.iter().enumerate())
        .filter_map(|(at, edge)| {
            let (from, to) = (place(&edge.from)?, place(&edge.to)?);
            // A queue that others filled makes this edge's senders wait as well.
            let fill = snapshot.components[to].tasks.iter().map(|task| task.queue.fill()).fold(0.0, f64::max);
            let (feedback, refused) = (edge.feedback, window.refused(at) > 0);
            let is_undivided = UNDIVIDED.contains(&&*edge.grouping);
            Some(Link { from, to, feedback, fill, refused, is_undivided })
        })
        .collect();
    Scene {
        status: snapshot.status,
        span: window.span,
        processors: available_parallelism().map_or(1, usize::from),
        at_work: window.processors(processor_time()),
        parts,
        links,
    }
}

fn part(snapshot: &TopologySnapshot, window: &Window<'_>, at: usize, now_ms: i64) -> Part {
    let component = &snapshot.components[at];
    let shares: Vec<_> = (0..component.tasks.len()).map(|task| window.shares(at, task)).collect();
    let most = |share: fn(&super::history::Shares) -> f64| shares.iter().map(share).fold(0.0, f64::max);
    let busiest =
        (shares.iter().enumerate()).max_by(|a, b| a.1.busy.total_cmp(&b.1.busy)).map(|(task, _)| task);
    let rates = window.rates(at);
    let recent = |at_ms: i64| now_ms.saturating_sub(at_ms) <= LAST.as_millis() as i64;
    let errors = component.tasks.iter().filter_map(|task| task.last_error.as_ref());
    Part {
        name: Arc::clone(&component.name),
        is_spout: component.kind == ComponentKind::Spout,
        tasks: component.tasks.len(),
        busy: most(|one| one.busy),
        mean_busy: shares.iter().map(|one| one.busy).sum::<f64>() / shares.len().max(1) as f64,
        busiest: busiest.unwrap_or(0) as u32,
        blocked: most(|one| one.blocked),
        full: most(|one| one.full),
        emitted: rates[EMITTED],
        executed: rates[EXECUTED],
        acked: rates[ACKED],
        failed: rates[FAILED],
        pending: component.total(|task| task.pending),
        waiting: component.total(|task| task.queue.tuples),
        error: errors
            .filter(|error| recent(error.at_ms))
            .max_by_key(|e| e.at_ms)
            .map(|e| Arc::clone(&e.message)),
    }
}

/// The processor time of this process so far, where the system tells it.
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, in parentheses, may hold anything; the twelfth and thirteenth fields behind it are the times.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixture;

    #[test]
    fn each_topology_has_a_history_and_they_do_not_grow_without_bound() {
        struct Many;
        impl Snapshots for Many {
            fn snapshots(&self) -> Vec<TopologySnapshot> {
                let named =
                    |number| TopologySnapshot { id: format!("words-{number}").into(), ..fixture::topology() };
                (0..40).map(named).collect()
            }
        }
        let observer = Observer::default();
        observer.look(&Many);
        observer.look(&Many);
        assert_eq!(lock(&observer.histories).len(), MOST_TOPOLOGIES);
        for snapshot in Many.snapshots() {
            observer.layouts(&snapshot);
        }
        assert_eq!(lock(&observer.layouts).len(), MOST_TOPOLOGIES);
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = processor_time().unwrap();
        let mut sum = 0_u64;
        while processor_time().unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(processor_time().unwrap() > before);
    }
}
