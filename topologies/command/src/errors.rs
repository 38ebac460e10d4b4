//! `topo errors`: what went wrong in a topology that runs, by its causes.
//!
//! Invariant: what a record or a reason brings along is printed without control characters, within 80 columns.

use std::io::{self, Write};

use clap::Args;
use serde::Deserialize;

use crate::failure::Failure;
use crate::lines::{ago, cut, shown, wrap};
use crate::page::{Page, encoded};

/// Said below the verb's help.
const HELP: &str = "\
What is told is of the time since the topology started. All dead letters, of earlier runs too, are in their topics: `topo \
consume TOPIC.dead-letter` prints them, `topo replay TOPIC.dead-letter` feeds them in again.";

/// `topo errors`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Errors {
    /// The topology's name or id; may be left out where one is running
    topology: Option<String>,
    /// Print what the page answers, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: Page,
}

/// What the page answers, as far as it is printed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    id: String,
    time_ms: i64,
    dead_letters: DeadLetters,
    task_errors: Vec<TaskError>,
}

#[derive(Debug, Deserialize)]
struct DeadLetters {
    rejected: u64,
    exhausted: u64,
    causes: Vec<Cause>,
    others: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cause {
    component: String,
    kind: String,
    reason: String,
    count: u64,
    first_time_ms: i64,
    last_time_ms: i64,
    attempt: u32,
    dead_letter_topic: String,
    example: Example,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Example {
    topic: String,
    partition: u32,
    offset: i64,
    excerpt: String,
    value_bytes: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskError {
    component: String,
    task: u32,
    error: String,
    time_ms: i64,
}

impl Errors {
    /// Asks the page and prints to standard output.
    ///
    /// # Errors
    /// Those of the page and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let (page, id) = self.page.topology(self.topology.as_deref()).await?;
        let answer = page.get(&format!("/api/v1/topology/{}/errors", encoded(&id))).await?;
        let mut out = io::stdout().lock();
        let written = if self.json {
            out.write_all(&answer).and_then(|()| out.write_all(b"\n"))
        } else {
            out.write_all(page.json::<Told>(&answer)?.text().as_bytes())
        };
        written.map_err(Failure::Output)
    }
}

impl Told {
    fn text(&self) -> String {
        let mut text = String::new();
        let DeadLetters { rejected, exhausted, causes, others } = &self.dead_letters;
        let id = shown(&self.id);
        if rejected + exhausted == 0 {
            wrap(&mut text, 0, &format!("{id}: no dead letters since the start"));
        } else {
            let all = format!("{id}: {rejected} records rejected and {exhausted} exhausted since the start");
            wrap(&mut text, 0, &all);
        }
        causes.iter().for_each(|cause| cause.write(&mut text, self.time_ms));
        if *others > 0 {
            let others = format!("and {others} of other causes, which are too many to be told apart");
            wrap(&mut text, 0, &format!("\n{others}"));
        }
        for error in &self.task_errors {
            let TaskError { component, task, error, time_ms } = error;
            let when = ago(self.time_ms - time_ms);
            text.push('\n');
            wrap(&mut text, 0, &format!("newest error of {} task {task}, {when} ago", shown(component)));
            wrap(&mut text, 2, &shown(error));
        }
        text
    }
}

impl Cause {
    fn write(&self, text: &mut String, now_ms: i64) {
        let Self { kind, count, attempt, .. } = self;
        let [first, last] = [self.first_time_ms, self.last_time_ms].map(|at_ms| ago(now_ms - at_ms));
        let when =
            if *count == 1 { format!("{last} ago") } else { format!("first {first} ago, last {last} ago") };
        let component = shown(&self.component);
        text.push('\n');
        wrap(text, 0, &format!("{count} {} by {component}, {when}, at attempt {attempt}", shown(kind)));
        wrap(text, 2, &shown(&self.reason));
        let Example { topic, partition, offset, excerpt, value_bytes } = &self.example;
        let place = format!("such as {}-{partition} at offset {offset}", shown(topic));
        wrap(text, 2, &format!("{place}, now in {}:", shown(&self.dead_letter_topic)));
        text.push_str("    ");
        text.push_str(&cut(&shown(excerpt), 76, excerpt.len() < *value_bytes));
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(causes: serde_json::Value, others: u64) -> Told {
        let letters = json!({ "rejected": 1_234_567, "exhausted": 1, "causes": causes, "others": others });
        serde_json::from_value(json!({
            "id": "access-log-1795601296", "name": "access-log", "timeMs": 100_000_000, "deadLetters": letters,
            "taskErrors": [{ "component": "parse", "task": 1, "error": "panicked: \u{1b}[31m", "timeMs": 99_000_000 }],
        }))
        .unwrap()
    }

    #[test]
    fn causes_are_readable_in_80_columns() {
        let cause = json!({
            "component": "parse", "kind": "rejected", "count": 1_234_566,
            "reason": "the time between [ and ] is missing; a line of the common log format has it behind the user",
            "firstTimeMs": 10_000, "lastTimeMs": 99_997_000, "attempt": 1, "deadLetterTopic": "access.dead-letter",
            "example": {
                "topic": "access", "partition": 0, "offset": 4_711,
                "excerpt": format!("tab\t{}", "long ".repeat(30)), "valueBytes": 5_000,
            },
        });
        let text = told(json!([cause]), 77).text();
        let expected = "\
access-log-1795601296: 1234567 records rejected and 1 exhausted since the start

1234566 rejected by parse, first 1d 3h ago, last 3s ago, at attempt 1
  the time between [ and ] is missing; a line of the common log format has it
  behind the user
  such as access-0 at offset 4711, now in access.dead-letter:
    tab\\tlong long long long long long long long long long long long long long …

and 77 of other causes, which are too many to be told apart

newest error of parse task 1, 16m 40s ago
  panicked: \\u{1b}[31m
";
        assert_eq!(text, expected);
    }

    #[test]
    fn nothing_wrong_is_one_line() {
        let mut told = told(json!([]), 0);
        (told.dead_letters.rejected, told.dead_letters.exhausted) = (0, 0);
        told.task_errors.clear();
        assert_eq!(told.text(), "access-log-1795601296: no dead letters since the start\n");
    }
}
