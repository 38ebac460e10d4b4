//! Records that are given up, on their way to the dead-letter topic.
//!
//! A dead letter is the record as it was, key, value and headers, with headers that say why and where it came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use topo_core::log::{Consumed, Header, Log, LogError, Record, TopicPartition, TopicSpec};
use topo_core::{Failure, TaskContext};

use super::RecordId;
use crate::dead_letters::{
    ATTEMPT, COMPONENT, Death, KIND, LetterKind, OFFSET, PARTITION, REASON, TIME_MS, TOPIC, VALUE_BYTES,
    is_own,
};

/// The longest reason that is kept, in bytes.
const REASON_BYTES: usize = 4_096;

/// A record that is given up.
#[derive(Debug, Clone)]
pub(super) struct DeadLetter {
    pub(super) id: RecordId,
    /// The partition that it came from.
    from: TopicPartition,
    /// The topic that it goes to.
    to: Arc<str>,
    why: Failure,
    /// When it was given up, in milliseconds since 1970.
    wall_ms: i64,
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
    /// Keeps `record`, read from `from`, for topic `to`, with the reason and the place it came from. Headers of an earlier
    /// death are replaced.
    pub(super) fn new(
        from: &TopicPartition,
        to: &Arc<str>,
        id: RecordId,
        record: &Consumed,
        why: &Failure,
        wall_ms: i64,
    ) -> Self {
        let mut headers: Vec<Header> =
            record.headers.iter().filter(|header| is_own(header)).cloned().collect();
        let reason = &why.reason[..why.reason.floor_char_boundary(REASON_BYTES)];
        for (key, value) in [
            (REASON, reason.to_owned()),
            (KIND, LetterKind::of(why.kind).to_string()),
            (COMPONENT, why.component.to_string()),
            (ATTEMPT, why.attempt.to_string()),
            (TIME_MS, wall_ms.to_string()),
            (TOPIC, from.topic.to_string()),
            (PARTITION, from.partition.to_string()),
            (OFFSET, record.offset.to_string()),
        ] {
            headers.push(Header { key: key.into(), value: Some(Bytes::from(value)) });
        }
        let timestamp_ms = (record.timestamp_ms >= 0).then_some(record.timestamp_ms);
        let (key, value) = (record.key.clone(), record.value.clone());
        let record = Record { key, value, headers, timestamp_ms };
        Self { id, from: from.clone(), to: Arc::clone(to), why: why.clone(), wall_ms, record }
    }

    /// Has it written with the micro-transaction in work.
    pub(super) fn stage(&self, task: &TaskContext) {
        task.stage_letter(&self.to, self.from.partition, self.record.clone(), self.envelope());
    }

    /// What is to be noted of it once it is buried.
    pub(super) fn death(&self) -> Death<'_> {
        Death {
            component: &self.why.component,
            kind: LetterKind::of(self.why.kind),
            reason: &self.why.reason,
            attempt: self.why.attempt,
            at_ms: self.wall_ms,
            letters: &self.to,
            at: &self.from,
            offset: self.id.offset,
            value: self.record.value.as_deref().unwrap_or_default(),
        }
    }

    /// The letter without what may be too large for the topic; topic, partition and offset say where that is.
    fn envelope(&self) -> Record {
        let bytes = self.record.value.as_ref().map_or(0, Bytes::len).to_string();
        let mut headers: Vec<Header> =
            self.record.headers.iter().filter(|header| !is_own(header)).cloned().collect();
        headers.push(Header { key: VALUE_BYTES.into(), value: Some(Bytes::from(bytes)) });
        Record { headers, timestamp_ms: self.record.timestamp_ms, ..Record::default() }
    }
}

/// Appends each of `letters` to its topic, which is created if need be, in the partition of the number it came from.
pub(super) async fn bury(log: Arc<dyn Log>, letters: Vec<DeadLetter>) -> Burial {
    let mut by_topic: BTreeMap<Arc<str>, Vec<DeadLetter>> = BTreeMap::new();
    for letter in letters {
        by_topic.entry(Arc::clone(&letter.to)).or_default().push(letter);
    }
    let mut burial = Burial::default();
    for (topic, letters) in by_topic {
        match partitions(&*log, &topic).await {
            Ok(partitions) => bury_in(&*log, &topic, partitions, letters, &mut burial).await,
            Err(error) => burial.leave(letters, error),
        }
    }
    burial
}

async fn bury_in(
    log: &dyn Log,
    topic: &Arc<str>,
    partitions: u32,
    letters: Vec<DeadLetter>,
    burial: &mut Burial,
) {
    let mut by_partition: BTreeMap<u32, Vec<DeadLetter>> = BTreeMap::new();
    for letter in letters {
        by_partition.entry(letter.from.partition % partitions.max(1)).or_default().push(letter);
    }
    for (number, letters) in by_partition {
        match append(log, &TopicPartition::new(Arc::clone(topic), number), &letters).await {
            Ok(()) => burial.buried.extend(letters),
            Err(error) => burial.leave(letters, error),
        }
    }
}

impl Burial {
    fn leave(&mut self, letters: Vec<DeadLetter>, error: LogError) {
        let (left, newest) = self.left.get_or_insert_with(|| (Vec::new(), error.clone()));
        left.extend(letters);
        *newest = error;
    }
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
