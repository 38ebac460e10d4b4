//! Windows whose results say which events went into them, for the test that kills them; and windows over those results.

use std::collections::BTreeSet;
use std::process::ExitCode;

use topo::launcher::LogSpoutConfig;
use topo::prelude::*;
use topo_connectors::EventTimeConfig;
use topo_core::window::aggregate;

/// An event: whose it is, and which one it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Event {
    key: String,
    number: u64,
}

/// Parses `KEY AT NUMBER`.
fn event(record: &Consumed) -> Result<Timed<Event>, Fail> {
    let text = std::str::from_utf8(record.value.as_deref().unwrap_or_default()).map_err(Fail::reject)?;
    let mut parts = text.split(' ');
    let mut part = || parts.next().ok_or_else(|| Fail::reject("a part is missing"));
    let (key, at, number) = (part()?.to_owned(), part()?, part()?);
    let (at, number) = (at.parse().map_err(Fail::reject)?, number.parse().map_err(Fail::reject)?);
    Ok(Timed { at, value: Event { key, number } })
}

fn main() -> ExitCode {
    topo::stream("windows", |log| {
        log.environment().will_read("events");
        let environment = log.environment().clone();
        let spout = move || {
            // Flushes and commits without a pause, so that most kills are in one.
            let interval = Duration::from_millis(1);
            let config =
                LogSpoutConfig { commit_interval: interval, ..environment.log_spout_config("events") };
            let time = EventTimeConfig::new(Duration::from_millis(500));
            environment.log_spout_with(config, event)().event_time(time)
        };
        let events = DataStream::of(&log.topology().spout("events", spout));
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
