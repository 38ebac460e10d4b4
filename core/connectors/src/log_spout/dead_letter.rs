//! Records that are given up, on their way to the dead-letter topic.
//!
//! A dead letter is the record as it was, key, value and headers, with headers that say why and where it came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use topo_core::log::{Consumed, Header, Log, LogError, Record, TopicPartition, TopicSpec};
use topo_core::{FailKind, Failure};

use super::RecordId;

/// The longest reason that is kept, in bytes.
const REASON_BYTES: usize = 4_096;

/// A record that is given up.
#[derive(Debug, Clone)]
pub(super) struct DeadLetter {
    pub(super) id: RecordId,
    /// The number of the partition that it came from.
    partition: u32,
    pub(super) rejected: bool,
    record: Record,
}

/// What came of an attempt to bury dead letters.
#[derive(Debug, Default)]
pub(super) struct Burial {
    /// Those that are durable.
    pub(super) buried: Vec<DeadLetter>,
    /// Those that are not, and why.
    pub(super) left: Option<(Vec<DeadLetter>, LogError)>,
}

impl DeadLetter {
    /// Keeps `record` with the reason and the place it came from. Headers of an earlier death are replaced.
    pub(super) fn new(
        at: &TopicPartition,
        id: RecordId,
        record: &Consumed,
        why: &Failure,
        wall_ms: i64,
    ) -> Self {
        let rejected = why.kind == FailKind::Reject;
        let mut headers: Vec<Header> =
            record.headers.iter().filter(|header| !header.key.starts_with("topo.")).cloned().collect();
        let reason = &why.reason[..why.reason.floor_char_boundary(REASON_BYTES)];
        for (key, value) in [
            ("topo.reason", reason.to_owned()),
            ("topo.kind", if rejected { "rejected" } else { "exhausted" }.to_owned()),
            ("topo.component", why.component.to_string()),
            ("topo.attempt", why.attempt.to_string()),
            ("topo.time-ms", wall_ms.to_string()),
            ("topo.topic", at.topic.to_string()),
            ("topo.partition", at.partition.to_string()),
            ("topo.offset", record.offset.to_string()),
        ] {
            headers.push(Header { key: key.into(), value: Some(Bytes::from(value)) });
        }
        let timestamp_ms = (record.timestamp_ms >= 0).then_some(record.timestamp_ms);
        let (key, value) = (record.key.clone(), record.value.clone());
        let record = Record { key, value, headers, timestamp_ms };
        Self { id, partition: at.partition, rejected, record }
    }

    /// The letter without what may be too large for the topic; topic, partition and offset say where that is.
    fn envelope(&self) -> Record {
        let bytes = self.record.value.as_ref().map_or(0, Bytes::len).to_string();
        let mut headers: Vec<Header> =
            self.record.headers.iter().filter(|header| header.key.starts_with("topo.")).cloned().collect();
        headers.push(Header { key: "topo.value-bytes".into(), value: Some(Bytes::from(bytes)) });
        Record { headers, timestamp_ms: self.record.timestamp_ms, ..Record::default() }
    }
}

/// Appends `letters` to `topic`, which is created if need be, each to the partition of the number it came from.
pub(super) async fn bury(log: Arc<dyn Log>, topic: Arc<str>, letters: Vec<DeadLetter>) -> Burial {
    let partitions = match partitions(&*log, &topic).await {
        Ok(partitions) => partitions,
        Err(error) => return Burial { buried: Vec::new(), left: Some((letters, error)) },
    };
    let mut by_partition: BTreeMap<u32, Vec<DeadLetter>> = BTreeMap::new();
    for letter in letters {
        by_partition.entry(letter.partition % partitions.max(1)).or_default().push(letter);
    }
    let mut burial = Burial::default();
    for (number, letters) in by_partition {
        let at = TopicPartition::new(Arc::clone(&topic), number);
        match append(&*log, &at, &letters).await {
            Ok(()) => burial.buried.extend(letters),
            Err(error) => {
                let (left, newest) = burial.left.get_or_insert_with(|| (Vec::new(), error.clone()));
                left.extend(letters);
                *newest = error;
            }
        }
    }
    burial
}

/// How many partitions the topic has.
async fn partitions(log: &dyn Log, topic: &Arc<str>) -> Result<u32, LogError> {
    if let Some(info) = log.topic(topic).await? {
        return Ok(info.partitions);
    }
    match log.create_topic(topic, &TopicSpec::default()).await {
        Ok(()) | Err(LogError::TopicExists(_)) => {}
        Err(error) => return Err(error),
    }
    let info = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(Arc::clone(topic)))?;
    Ok(info.partitions)
}

async fn append(log: &dyn Log, at: &TopicPartition, letters: &[DeadLetter]) -> Result<(), LogError> {
    let records = letters.iter().map(|letter| letter.record.clone()).collect();
    match log.append(at, records).await {
        Err(LogError::Invalid(_)) => {}
        appended => return appended.map(drop),
    }
    // One that is too large, as its headers may have made it, must not keep the others out.
    for letter in letters {
        match log.append(at, vec![letter.record.clone()]).await {
            Err(LogError::Invalid(_)) => log.append(at, vec![letter.envelope()]).await?,
            appended => appended?,
        };
    }
    Ok(())
}
