//! A mobile operator's usage, as it is gathered, rated and added up: the whole path of a streaming pipeline.
//!
//! Topic `network` has what the cells report of each use of the network, topic `subscribers`, compacted, who has which plan
//! and lives in which cell. Each use is rated by what its subscriber's plan was when it happened, and counted in a window of
//! event time by its cell (a minute) and by its subscriber (five minutes): topics `usage-by-cell` and `usage-by-subscriber`.
//!
//! **What is promised:** the last result of each key and window is what happened, whatever the order in which reports come,
//! as long as they come within [`DISORDER`] and [`LATENESS`]. A use that comes later goes to `usage-by-cell.late` or
//! `usage-by-subscriber.late`, one of a subscriber that nobody knows to `network.dead-letter`: nothing is dropped.
//!
//! [`Generator`] feeds it with days of which the truth is known.

mod generator;
mod rate;
mod subscribers;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use topo_core::DataStream;
use topo_core::log::TopicSpec;

use crate::launcher::Application;
use crate::streams::{Streams, To};

pub use generator::{GenerateError, Generator, Truth, TruthLine, Written};
pub use rate::Rate;
pub use usage::{Plan, RatedUsage, Subscriber, Totals, TotalsOf, UsageRecord};

/// Where cells report uses of the network: MessagePack of [`UsageRecord`], keyed by subscriber.
pub const NETWORK: &str = "network";
/// Who the subscribers are: MessagePack of [`Subscriber`], keyed by subscriber; a null says that one has left. The record's
/// timestamp says from when on it holds. It is there before any use that it holds for.
pub const SUBSCRIBERS: &str = "subscribers";
/// Results by cell.
pub const USAGE_BY_CELL: &str = "usage-by-cell";
/// Results by subscriber.
pub const USAGE_BY_SUBSCRIBER: &str = "usage-by-subscriber";

/// How much earlier than the latest use of its partition a use may have happened, and be in time.
pub const DISORDER: Duration = Duration::from_secs(5);
/// How much later than that a use may come and still be counted, in another result of its windows.
pub const LATENESS: Duration = Duration::from_secs(60);
/// How long the windows by cell are.
pub const CELL_WINDOW: Duration = Duration::from_secs(60);
/// How long the windows by subscriber are.
pub const SUBSCRIBER_WINDOW: Duration = Duration::from_secs(300);

/// How the topics are created that are not there.
///
/// Their records are as old as what they tell of, so none is deleted for its age, and none of the versions of a subscriber
/// is compacted away before its segment is full: a use is rated by the version of its time.
fn topics() -> [(&'static str, TopicSpec); 6] {
    let spec = |partitions, settings: &[(&str, &str)]| {
        let setting = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let config: BTreeMap<_, _> = settings.iter().map(setting).collect();
        TopicSpec { partitions, config }
    };
    let never = i64::MAX.to_string();
    let kept = |partitions| spec(partitions, &[("retention.ms", "-1"), ("segment.ms", &never)]);
    let table = [("cleanup.policy", "compact"), ("segment.ms", &*never), ("segment.bytes", "67108864")];
    [
        (NETWORK, kept(4)),
        (SUBSCRIBERS, spec(1, &table)),
        (USAGE_BY_CELL, kept(1)),
        (USAGE_BY_SUBSCRIBER, kept(1)),
        (BY_CELL_LATE, kept(1)),
        (BY_SUBSCRIBER_LATE, kept(1)),
    ]
}

const BY_CELL_LATE: &str = "usage-by-cell.late";
const BY_SUBSCRIBER_LATE: &str = "usage-by-subscriber.late";

fn build(log: &Streams) {
    let uses = log.topic::<UsageRecord>(NETWORK).event_time(|used| used.at, DISORDER);
    let table = Arc::clone(log.environment().log());
    let rated = uses.rich_bolt("rate", move || Rate::new(Arc::clone(&table))).tasks(2);
    let rated: DataStream<RatedUsage> = DataStream::of(&rated);

    let by_cell = rated.key_by(|used| &used.cell).window(CELL_WINDOW).allowed_lateness(LATENESS);
    let by_cell = by_cell.aggregate(TotalsOf).name("by-cell");
    by_cell.to(USAGE_BY_CELL);
    by_cell.late().to(BY_CELL_LATE);

    let by_subscriber = rated.key_by(|used| &used.subscriber).window(SUBSCRIBER_WINDOW);
    let by_subscriber = by_subscriber.allowed_lateness(LATENESS).aggregate(TotalsOf).name("by-subscriber");
    by_subscriber.to(USAGE_BY_SUBSCRIBER);
    by_subscriber.late().to(BY_SUBSCRIBER_LATE);
}

/// The ready-made pipeline, from topics `network` and `subscribers` to `usage-by-cell` and `usage-by-subscriber`.
pub fn application() -> Application {
    let application = Application::streams("telecom", build).reads(NETWORK);
    topics().into_iter().fold(application, |application, (topic, spec)| application.topic(topic, spec))
}
