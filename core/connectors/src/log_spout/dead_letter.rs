//! Records that are given up, on their way to the dead-letter topic.
//!
//! A dead letter is the record as it was, key, value and headers, with headers that say why and where it came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use topo_core::log::{Consumed, Header, Log, LogError, Record, TopicPartition, TopicSpec};
use topo_core::{FailKind, Failure};

/// A record that is given up.
#[derive(Debug, Clone)]
pub(super) struct DeadLetter {
    partition: usize,
    offset: i64,
    rejected: bool,
    record: Record,
}

/// Dead letters that are durable.
#[derive(Debug)]
pub(super) struct Buried {
    /// By the partition's place among those of the task, and offset.
    pub(super) records: Vec<(usize, i64)>,
    pub(super) rejected: u64,
    pub(super) exhausted: u64,
}

impl DeadLetter {
    /// Keeps `record` with the reason and the place it came from. Headers of an earlier death are replaced.
    pub(super) fn new(
        at: &TopicPartition,
        partition: usize,
        record: &Consumed,
        why: &Failure,
        wall_ms: i64,
    ) -> Self {
        let mut headers: Vec<Header> =
            record.headers.iter().filter(|header| !header.key.starts_with("topo.")).cloned().collect();
        let mut add = |key: &str, value: String| {
            headers.push(Header { key: key.into(), value: Some(Bytes::from(value)) });
        };
        add("topo.reason", why.reason.to_string());
        add("topo.kind", if why.kind == FailKind::Reject { "rejected" } else { "exhausted" }.to_owned());
        add("topo.component", why.component.to_string());
        add("topo.attempt", why.attempt.to_string());
        add("topo.time-ms", wall_ms.to_string());
        add("topo.topic", at.topic.to_string());
        add("topo.partition", at.partition.to_string());
        add("topo.offset", record.offset.to_string());
        let timestamp_ms = (record.timestamp_ms >= 0).then_some(record.timestamp_ms);
        let (key, value) = (record.key.clone(), record.value.clone());
        Self {
            partition,
            offset: record.offset,
            rejected: why.kind == FailKind::Reject,
            record: Record { key, value, headers, timestamp_ms },
        }
    }
}

/// Appends `dead` to `topic`, which is created if need be, to the partition of the number they came from.
pub(super) async fn bury(
    log: Arc<dyn Log>,
    topic: Arc<str>,
    dead: Vec<DeadLetter>,
) -> Result<Buried, LogError> {
    let info = match log.topic(&topic).await? {
        Some(info) => info,
        None => {
            match log.create_topic(&topic, &TopicSpec::default()).await {
                Ok(()) | Err(LogError::TopicExists(_)) => {}
                Err(error) => return Err(error),
            }
            log.topic(&topic).await?.ok_or_else(|| LogError::UnknownTopic(Arc::clone(&topic)))?
        }
    };
    let rejected = dead.iter().filter(|letter| letter.rejected).count() as u64;
    let exhausted = dead.len() as u64 - rejected;
    let records = dead.iter().map(|letter| (letter.partition, letter.offset)).collect();
    let mut by_partition: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
    for letter in dead {
        let partition = letter.partition as u32 % info.partitions.max(1);
        by_partition.entry(partition).or_default().push(letter.record);
    }
    for (partition, records) in by_partition {
        log.append(&TopicPartition::new(Arc::clone(&topic), partition), records).await?;
    }
    Ok(Buried { records, rejected, exhausted })
}
