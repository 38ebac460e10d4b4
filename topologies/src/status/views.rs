//! What each view of the page is told, once a second.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use topo_connectors::dead_letters::LetterKind;
use topo_core::metrics::TopologySnapshot;

use super::api::TopologyPage;
use super::component::ComponentPage;
use super::errors::Errors;
use super::graph::{Graph, Moving};
use super::log::{LetterTopics, LogView};
use super::observer::Observer;
use super::progress::Progress;
use super::tap::Tap;
use super::trees::{Trees, Waterfall};
use super::verdict::Verdict;
use super::{Snapshots, api};

/// The names of the views.
pub(super) const VIEWS: [&str; 9] =
    ["graph", "components", "component", "trees", "tree", "tap", "errors", "log", "state"];

/// What a view asks for: `view`, its name; `topology`, an id; and whatever else it needs.
pub(super) type Asked = BTreeMap<String, String>;

/// All topologies, for every view.
pub(super) fn topologies(snapshots: &[TopologySnapshot], now_ms: i64) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Topologies {
        time_ms: i64,
        #[serde(flatten)]
        summaries: api::Summaries,
    }
    json(&Topologies { time_ms: now_ms, summaries: api::Summaries::of(snapshots) })
}

/// What the view that is `asked` for shows of `source` as it stood at `now_ms`, as JSON; `None` while no topology runs.
pub(super) async fn view(
    source: &dyn Snapshots,
    snapshots: &[TopologySnapshot],
    observer: &Observer,
    asked: &Asked,
    now_ms: i64,
) -> Option<String> {
    let is_asked = |id: &str| asked.get("topology").is_none_or(|asked| asked == id);
    let snapshot = snapshots.iter().find(|snapshot| is_asked(&snapshot.id)).or(snapshots.first())?;
    let running = || source.running(&snapshot.id);
    let wanted = |name: &str| asked.get(name).map_or("", String::as_str);
    Some(match asked.get("view").map(String::as_str) {
        Some("graph") => json(&Graph::of(snapshot, observer, now_ms)),
        Some("component") => {
            json(&ComponentPage::of(snapshot, wanted("component"), source, observer, now_ms))
        }
        Some("trees") => json(&running().map(|running| Trees::of(&running))),
        Some("tree") => json(&running().and_then(|running| Waterfall::of(&running, wanted("root")))),
        Some("tap") => json(&TapPage::of(snapshot, source, observer, wanted("edge"), now_ms)),
        Some("errors") => {
            let causes = source.causes(&snapshot.id);
            let mut known = source.dead_letter_topics();
            known.extend(causes.groups().iter().map(|cause| cause.letters.clone()));
            let errors = Errors::of(snapshot, &causes, now_ms);
            json(&ErrorsView { errors, letter_topics: LetterTopics::of(source, &known).await })
        }
        Some("log") => json(&LogView::of(source, asked.get("topic").map(String::as_str)).await),
        Some("state") => json(&Progress::of(snapshot, source, now_ms)),
        _ => json(&Components {
            page: TopologyPage::of(snapshot, now_ms),
            verdict: observer.verdict(snapshot, now_ms),
            moving: observer.with(snapshot, |history| Moving::of_all(snapshot, history)),
            exhausted: exhausted(source, &snapshot.id),
        }),
    })
}

/// What the view `components` is told: all that Storm's API tells, and how the numbers move.
#[derive(Serialize)]
struct Components {
    #[serde(flatten)]
    page: TopologyPage,
    verdict: Verdict,
    moving: BTreeMap<Arc<str>, Moving>,
    /// Records that were given up after their last attempt, by the component that failed them.
    exhausted: BTreeMap<Arc<str>, u64>,
}

fn exhausted(source: &dyn Snapshots, id: &str) -> BTreeMap<Arc<str>, u64> {
    let mut by_component = BTreeMap::new();
    for (component, kind, count) in source.causes(id).totals() {
        if kind == LetterKind::Exhausted {
            *by_component.entry(Arc::clone(component)).or_default() += count;
        }
    }
    by_component
}

/// What the view `tap` is told: the edges, and what the one that is asked for lets through.
#[derive(Serialize)]
struct TapPage {
    graph: Graph,
    tap: Option<Tap>,
}

impl TapPage {
    fn of(
        snapshot: &TopologySnapshot,
        source: &dyn Snapshots,
        observer: &Observer,
        edge: &str,
        now_ms: i64,
    ) -> Self {
        let edge = edge.parse().ok();
        let tap = edge.and_then(|edge| Tap::of(&source.running(&snapshot.id)?, edge));
        Self { graph: Graph::of(snapshot, observer, now_ms), tap }
    }
}

/// What the view of errors is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorsView {
    #[serde(flatten)]
    errors: Errors,
    letter_topics: LetterTopics,
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| {
        tracing::error!(%error, "a view cannot be written");
        "null".to_owned()
    })
}
