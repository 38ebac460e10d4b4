//! What each view of the page is told, once a second.

use std::collections::BTreeMap;

use serde::Serialize;

use super::api::TopologyPage;
use super::errors::Errors;
use super::log::{LetterTopics, LogView};
use super::state::States;
use super::{Snapshots, api};

/// The names of the views.
pub(super) const VIEWS: [&str; 4] = ["components", "errors", "log", "state"];

/// What a view asks for: `view`, its name; `topology`, an id; and whatever else it needs.
pub(super) type Asked = BTreeMap<String, String>;

/// All topologies, for every view.
pub(super) fn topologies(source: &dyn Snapshots, now_ms: i64) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Topologies {
        time_ms: i64,
        #[serde(flatten)]
        summaries: api::Summaries,
    }
    json(&Topologies { time_ms: now_ms, summaries: api::Summaries::of(&source.snapshots()) })
}

/// What the view that is `asked` for shows at `now_ms`, as JSON; `None` while no topology runs.
pub(super) async fn view(source: &dyn Snapshots, asked: &Asked, now_ms: i64) -> Option<String> {
    let snapshots = source.snapshots();
    let is_asked = |id: &str| asked.get("topology").is_none_or(|asked| asked == id);
    let snapshot = snapshots.iter().find(|snapshot| is_asked(&snapshot.id)).or(snapshots.first())?;
    Some(match asked.get("view").map(String::as_str) {
        Some("errors") => {
            let causes = source.causes(&snapshot.id);
            let mut known = source.dead_letter_topics();
            known.extend(causes.groups().iter().map(|cause| cause.letters.clone()));
            let errors = Errors::of(snapshot, &causes, now_ms);
            json(&ErrorsView { errors, letter_topics: LetterTopics::of(source, &known).await })
        }
        Some("log") => json(&LogView::of(source, asked.get("topic").map(String::as_str)).await),
        Some("state") => json(&States::of(&source.states())),
        _ => json(&TopologyPage::of(snapshot, now_ms)),
    })
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
