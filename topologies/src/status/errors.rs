//! What went wrong, by its causes: the dead letters, and the newest error of each task.
//!
//! Invariant: values and reasons are bounded in length and number.

use std::sync::Arc;

use serde::Serialize;
use topo_connectors::dead_letters::{Cause, Causes, Example, LetterKind};
use topo_core::metrics::TopologySnapshot;

/// The answer of `/api/v1/topology/{id}/errors`. Times are in milliseconds since 1970.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Errors {
    id: Arc<str>,
    name: Arc<str>,
    /// When this was asked.
    time_ms: i64,
    dead_letters: DeadLetters,
    /// The newest first.
    task_errors: Vec<TaskError>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeadLetters {
    rejected: u64,
    exhausted: u64,
    /// The cause with the most letters first.
    causes: Vec<CauseStats>,
    /// Letters of causes that are not told apart, because there are too many.
    others: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CauseStats {
    component: Arc<str>,
    kind: &'static str,
    reason: Arc<str>,
    count: u64,
    first_time_ms: i64,
    last_time_ms: i64,
    attempt: u32,
    dead_letter_topic: Arc<str>,
    example: ExampleRecord,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExampleRecord {
    topic: Arc<str>,
    partition: u32,
    offset: i64,
    excerpt: Arc<str>,
    value_bytes: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskError {
    component: Arc<str>,
    task: u32,
    error: Arc<str>,
    time_ms: i64,
}

impl Errors {
    /// All that is known of `snapshot`'s topology, as of `now_ms` (milliseconds since 1970).
    pub(super) fn of(snapshot: &TopologySnapshot, causes: &Causes, now_ms: i64) -> Self {
        let mut task_errors: Vec<TaskError> = (snapshot.components.iter())
            .flat_map(|component| component.tasks.iter().map(move |task| (component, task)))
            .filter_map(|(component, task)| {
                let error = task.last_error.as_ref()?;
                let (component, message) = (component.name.clone(), error.message.clone());
                Some(TaskError { component, task: task.task, error: message, time_ms: error.at_ms })
            })
            .collect();
        task_errors.sort_by_key(|error| std::cmp::Reverse(error.time_ms));
        Self {
            id: snapshot.id.clone(),
            name: snapshot.name.clone(),
            time_ms: now_ms,
            dead_letters: DeadLetters {
                rejected: causes.total(LetterKind::Rejected),
                exhausted: causes.total(LetterKind::Exhausted),
                causes: causes.groups().iter().map(CauseStats::of).collect(),
                others: causes.others(),
            },
            task_errors,
        }
    }
}

impl CauseStats {
    fn of(cause: &Cause) -> Self {
        let Example { at, offset, excerpt, value_bytes } = &cause.example;
        Self {
            component: cause.component.clone(),
            kind: cause.kind.as_str(),
            reason: cause.reason.clone(),
            count: cause.count,
            first_time_ms: cause.first_ms,
            last_time_ms: cause.last_ms,
            attempt: cause.attempt,
            dead_letter_topic: cause.letters.clone(),
            example: ExampleRecord {
                topic: at.topic.clone(),
                partition: at.partition,
                offset: *offset,
                excerpt: excerpt.clone(),
                value_bytes: *value_bytes,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use topo_connectors::dead_letters::Death;
    use topo_core::log::TopicPartition;

    use crate::status::tests::{get, get_json};
    use crate::status::{Snapshots, StatusServer, fixture};

    use super::*;

    /// The fixture's topology, and dead letters for these reasons, each with itself as its value.
    struct Dying(Vec<String>);

    impl Snapshots for Dying {
        fn snapshots(&self) -> Vec<TopologySnapshot> {
            vec![fixture::topology()]
        }

        fn causes(&self, id: &str) -> Causes {
            assert_eq!(id, "words-1");
            let mut causes = Causes::default();
            for (reason, offset) in self.0.iter().zip(0..) {
                causes.note(Death {
                    component: &"split".into(),
                    kind: LetterKind::Exhausted,
                    reason,
                    attempt: 5,
                    at_ms: fixture::NOW_MS + offset,
                    letters: &"lines.dead-letter".into(),
                    at: &TopicPartition::new("lines", 3),
                    offset,
                    value: reason.as_bytes(),
                });
            }
            causes
        }
    }

    fn serve(reasons: impl IntoIterator<Item = String>) -> StatusServer {
        let dying = Dying(reasons.into_iter().collect());
        StatusServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(dying)).unwrap()
    }

    #[test]
    fn causes_are_told_as_json_and_as_metrics() {
        let server = serve(["no time", fixture::MARKUP, "no time"].map(str::to_owned));
        let mut told = get_json(server.local_addr(), "/api/v1/topology/words-1/errors");
        assert!(told["timeMs"].as_i64() > Some(1_700_000_000_000));
        assert_eq!(
            told["taskErrors"].take(),
            json!([{
                "component": "split", "task": 1, "error": fixture::MARKUP, "timeMs": fixture::NOW_MS - 65_000,
            }])
        );
        let letters = &told["deadLetters"];
        assert_eq!([&letters["rejected"], &letters["exhausted"], &letters["others"]], [0, 3, 0]);
        assert_eq!(
            letters["causes"][0],
            json!({
                "component": "split", "kind": "exhausted", "reason": "no time", "count": 2,
                "firstTimeMs": fixture::NOW_MS, "lastTimeMs": fixture::NOW_MS + 2, "attempt": 5,
                "deadLetterTopic": "lines.dead-letter",
                "example": {
                    "topic": "lines", "partition": 3, "offset": 2, "excerpt": "no time", "valueBytes": 7,
                },
            })
        );
        let metrics = get(server.local_addr(), "/metrics").body;
        let sample =
            "topo_dead_letters_total{topology=\"words & <more>\",component=\"split\",kind=\"exhausted\"} 3";
        assert!(metrics.lines().any(|line| line == sample), "{metrics}");
    }

    #[test]
    fn however_many_reasons_there_are_the_answer_is_bounded() {
        let server = serve((0..5_000).map(|number| format!("{number} {}", "x".repeat(2_000))));
        let told: Value = get_json(server.local_addr(), "/api/v1/topology/words-1/errors");
        let (causes, others) = (&told["deadLetters"]["causes"], &told["deadLetters"]["others"]);
        assert_eq!((causes.as_array().unwrap().len(), others), (64, &json!(4_936)));
        assert!(told.to_string().len() < 200_000, "{} bytes", told.to_string().len());
        assert_eq!(get(server.local_addr(), "/api/v1/topology/words/errors").status, 404);
    }
}
