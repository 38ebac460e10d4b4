//! Windows whose results say which events went into them, for the test that kills them; and windows over those results.

use std::collections::BTreeSet;
use std::process::ExitCode;

use topo::prelude::*;
use topo_core::window::aggregate;

/// An event: whose it is, when it was, and which one it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Event {
    key: String,
    at: i64,
    number: u64,
}

/// Parses `KEY AT NUMBER`.
fn event(record: &Consumed) -> Result<Event, Fail> {
    let text = std::str::from_utf8(record.value.as_deref().unwrap_or_default()).map_err(Fail::reject)?;
    let mut parts = text.split(' ');
    let mut part = || parts.next().ok_or_else(|| Fail::reject("a part is missing"));
    let (key, at, number) = (part()?.to_owned(), part()?, part()?);
    Ok(Event { key, at: at.parse().map_err(Fail::reject)?, number: number.parse().map_err(Fail::reject)? })
}

fn main() -> ExitCode {
    topo::stream("windows", |log| {
        let events = log.records("events", event).event_time(|event| event.at, Duration::from_millis(500));
        let numbers = aggregate::distinct(|event: Event| event.number);
        let keyed = events.key_by(|event| &event.key).window(Duration::from_secs(5));
        let windows = keyed.every(Duration::from_secs(1)).aggregate(numbers).name("count").tasks(2);
        windows.to("windows");
        // All keys of a window, whose results come at its last millisecond.
        let all = aggregate::fold(
            BTreeSet::new(),
            |all: &mut BTreeSet<u64>, fired: Fired<String, BTreeSet<u64>>| all.extend(fired.value),
            |all, other| all.extend(other),
        );
        let together = windows.key_by(|fired| &fired.window).window(Duration::from_secs(1)).aggregate(all);
        together.name("join").tasks(2).to("joined");
        events.key_by(|event| &event.key).count().name("roll").to("counts");
    })
}
