//! Topic `subscribers` as a table that remembers what it held when.
//!
//! A change is in the topic before any use that it holds for, as a network knows its subscribers before it serves them. So
//! whoever has a use in hand and reads the topic to its end knows all that was so when it happened, and what it finds does
//! not depend on when it looks: a replay finds the same. No watermark has to be waited for, and a table that never changes
//! holds nobody up.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use topo_core::log::{Consumed, FetchLimit, Log, LogError, TopicPartition};

use super::usage::Subscriber;

/// The subscribers, at any time.
pub(super) struct Subscribers {
    log: Arc<dyn Log>,
    topic: Arc<str>,
    /// Each partition, and the offset to read next; `None` before the first reading.
    parts: Option<Vec<(TopicPartition, i64)>>,
    /// What was known of each, in the order of time.
    versions: HashMap<CompactString, Vec<Version>>,
    /// All that was so up to this time is read.
    known_until: Option<i64>,
    /// Nobody asks for what was before, but for what comes too late.
    horizon: i64,
    /// Records that are no rows, and why.
    troubles: Vec<String>,
}

/// What was so from a time on; no subscriber where one has left.
#[derive(Debug)]
struct Version {
    from: i64,
    row: Option<Subscriber>,
}

impl Subscribers {
    /// The table of `topic`, of which nothing is read yet.
    pub(super) fn new(log: Arc<dyn Log>, topic: &str) -> Self {
        let (topic, versions) = (topic.into(), HashMap::new());
        Self { log, topic, parts: None, versions, known_until: None, horizon: i64::MIN, troubles: Vec::new() }
    }

    /// Whether nothing that the topic holds by now could change what [`find`](Self::find) says of `at`.
    pub(super) fn knows(&self, subscriber: &str, at: i64) -> bool {
        // Whoever is not there may have been entered since, and a dead letter be replayed.
        self.known_until.is_some_and(|known| at <= known) && self.find(subscriber, at).is_some()
    }

    /// Reads the topic to its end, for somebody who has uses in hand of which the latest happened at `until`.
    ///
    /// # Errors
    /// Those of the log.
    pub(super) async fn learn(&mut self, until: i64) -> Result<(), LogError> {
        self.read_to_end().await?;
        self.known_until = self.known_until.max(Some(until));
        Ok(())
    }

    /// The subscriber as of `at`, as far as the topic was read. Where it holds no version so old any more, since it is
    /// compacted, or the subscriber was entered late, the oldest that it holds.
    pub(super) fn find(&self, subscriber: &str, at: i64) -> Option<&Subscriber> {
        let versions = self.versions.get(subscriber)?;
        let later = versions.partition_point(|version| version.from <= at);
        versions.get(later.saturating_sub(1))?.row.as_ref()
    }

    /// Nobody will ask for what was before `horizon`, but for what comes too late.
    pub(super) fn forget_before(&mut self, horizon: i64) {
        self.horizon = self.horizon.max(horizon);
    }

    /// What was wrong with records that were passed over.
    pub(super) fn troubles(&mut self) -> impl Iterator<Item = String> {
        self.troubles.drain(..)
    }

    async fn read_to_end(&mut self) -> Result<(), LogError> {
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => self.begin().await?,
        };
        let read = self.read_parts(&mut parts).await;
        self.parts = Some(parts);
        read
    }

    async fn begin(&self) -> Result<Vec<(TopicPartition, i64)>, LogError> {
        let info = self.log.topic(&self.topic).await?;
        let info = info.ok_or_else(|| LogError::UnknownTopic(Arc::clone(&self.topic)))?;
        let parts =
            (0..info.partitions).map(|number| (TopicPartition::new(Arc::clone(&info.name), number), 0));
        Ok(parts.collect())
    }

    async fn read_parts(&mut self, parts: &mut [(TopicPartition, i64)]) -> Result<(), LogError> {
        for (at, next) in parts {
            loop {
                let fetched = match self.log.fetch(at, *next, FetchLimit::default()).await {
                    Ok(fetched) => fetched,
                    // What is gone was deleted; the newest rows are still there.
                    Err(LogError::OffsetOutOfRange { held, .. }) if held.log_start > *next => {
                        *next = held.log_start;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                fetched.records.iter().for_each(|record| self.apply(at, record));
                // Only an answer that has nothing says that this was the end.
                if fetched.next_offset <= *next {
                    break;
                }
                *next = fetched.next_offset;
            }
        }
        Ok(())
    }

    fn apply(&mut self, at: &TopicPartition, record: &Consumed) {
        match row(record) {
            Ok((subscriber, version)) => self.enter(subscriber, version),
            Err(why) => {
                let offset = record.offset;
                self.troubles
                    .push(format!("{at} at offset {offset} is no subscriber, and is passed over: {why}"));
            }
        }
    }

    fn enter(&mut self, subscriber: CompactString, version: Version) {
        let versions = self.versions.entry(subscriber).or_default();
        let place = versions.partition_point(|earlier| earlier.from <= version.from);
        versions.insert(place, version);
        // What held before the one that holds at the horizon is not asked for any more.
        let holds = versions.partition_point(|version| version.from <= self.horizon);
        versions.drain(..holds.saturating_sub(1));
    }
}

/// A record as what it says of a subscriber.
fn row(record: &Consumed) -> Result<(CompactString, Version), String> {
    let key = record.key.as_deref().ok_or("it has no key")?;
    let key = std::str::from_utf8(key).map_err(|_| "its key is no text")?;
    if record.timestamp_ms < 0 {
        return Err("it has no timestamp".to_owned());
    }
    let row = record.value.as_deref().map(rmp_serde::from_slice).transpose();
    let row = row.map_err(|error| error.to_string())?;
    Ok((CompactString::new(key), Version { from: record.timestamp_ms, row }))
}

#[cfg(test)]
mod tests {
    use topo_core::log::{Record, TopicSpec};
    use topo_core::schedule::TokioScheduler;
    use topo_tests::memory_log::{Call, Fate, MemoryLog};

    use super::super::usage::Plan;
    use super::*;

    async fn log() -> Arc<MemoryLog> {
        let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
        log.create_topic("subscribers", &TopicSpec { partitions: 2, ..TopicSpec::default() }).await.unwrap();
        Arc::new(log)
    }

    async fn enter(log: &MemoryLog, key: &str, from: i64, plan: Option<Plan>) {
        let row = plan.map(|plan| Subscriber { plan, home: "home".into() });
        let record = Record {
            key: Some(key.to_owned().into()),
            value: row.map(|row| rmp_serde::to_vec_named(&row).unwrap().into()),
            timestamp_ms: Some(from),
            ..Record::default()
        };
        let at = TopicPartition::new("subscribers", u32::from(key > "m"));
        log.append(&at, vec![record]).await.unwrap();
    }

    async fn plan(table: &mut Subscribers, key: &str, at: i64) -> Option<Plan> {
        if !table.knows(key, at) {
            table.learn(at).await.unwrap();
        }
        table.find(key, at).map(|found| found.plan)
    }

    #[tokio::test]
    async fn a_subscriber_is_found_as_of_any_time() {
        let log = log().await;
        enter(&log, "a", 10, Some(Plan::Basic)).await;
        enter(&log, "z", 15, Some(Plan::Premium)).await;
        enter(&log, "a", 20, Some(Plan::Plus)).await;
        let mut table = Subscribers::new(log.clone(), "subscribers");
        assert_eq!(plan(&mut table, "a", 19).await, Some(Plan::Basic));
        assert_eq!(plan(&mut table, "a", 20).await, Some(Plan::Plus));
        assert_eq!(plan(&mut table, "z", 20).await, Some(Plan::Premium));
        assert_eq!(plan(&mut table, "x", 20).await, None);
        // Entered later than it is asked for: what there is holds.
        assert_eq!(plan(&mut table, "a", 9).await, Some(Plan::Basic));
        enter(&log, "a", 30, None).await;
        assert_eq!(plan(&mut table, "a", 30).await, None, "a new time has the topic read again");
        assert_eq!(plan(&mut table, "a", 29).await, Some(Plan::Plus));
    }

    #[tokio::test]
    async fn who_is_not_there_is_looked_for_again_and_who_is_there_is_not() {
        let log = log().await;
        enter(&log, "a", 10, Some(Plan::Basic)).await;
        let mut table = Subscribers::new(log.clone(), "subscribers");
        assert_eq!(plan(&mut table, "b", 50).await, None);
        enter(&log, "b", 60, Some(Plan::Plus)).await;
        assert_eq!(plan(&mut table, "b", 50).await, Some(Plan::Plus));
        enter(&log, "a", 51, Some(Plan::Plus)).await;
        log.judge(|_: Call<'_>| Fate::fails());
        assert_eq!(plan(&mut table, "a", 50).await, Some(Plan::Basic), "all up to 50 is known");
        assert!(!table.knows("a", 51) && table.learn(51).await.is_err(), "of 51 it is not");
        log.be_kind();
        assert_eq!(plan(&mut table, "a", 51).await, Some(Plan::Plus));
    }

    #[tokio::test]
    async fn what_nobody_asks_for_is_forgotten_and_what_is_no_row_is_told() {
        let log = log().await;
        let mut table = Subscribers::new(log.clone(), "subscribers");
        for from in 0..100 {
            enter(&log, "a", from, Some(Plan::Basic)).await;
            table.forget_before(from - 10);
            assert!(plan(&mut table, "a", from).await.is_some());
        }
        assert_eq!(table.versions["a"].len(), 11);
        let record = Record { key: Some("a".into()), value: Some("no row".into()), ..Record::default() };
        log.append(&TopicPartition::new("subscribers", 1), vec![record]).await.unwrap();
        assert!(plan(&mut table, "a", 200).await.is_some());
        let troubles: Vec<String> = table.troubles().collect();
        assert!(troubles[0].starts_with("subscribers-1 at offset 0 is no subscriber"), "{troubles:?}");
    }
}
