//! A state's changes in a topic, from which it is rebuilt.
//!
//! Topic `TOPOLOGY.STATE.changelog`, compacted. A record's key is the MessagePack of (key group, key), its value that of the
//! value, or null where the key was removed; its timestamp is when the value was written, where values have a time to live.
//!
//! Invariant: a record is in the partition of its key's group, and the last one of a key is what the key's state was when
//! it was last flushed.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StateError;
use super::flush::{Changed, Restored};
use super::key_group::{KEY_GROUPS, group_of_form, partition_of_group};
use super::place::{Changelog, Place};
use super::store::{Key, Store};
use super::whole::Whole;
use crate::config::StateSettings;
use crate::log::{Consumed, Log, LogError, Pieces, Record, TopicPartition, TopicSpec};
use crate::tuple::Tuple;

/// How far a state is restored, in records of its task's part of the changelog.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreProgress {
    /// The component.
    pub component: Arc<str>,
    /// Its task.
    pub task: u32,
    /// The state.
    pub state: Arc<str>,
    /// Records read so far.
    pub done: u64,
    /// All that there are to be read; what was compacted away counts.
    pub total: u64,
}

impl RestoreProgress {
    /// So many records of `total`.
    pub fn new(component: &str, task: u32, state: &str, done: u64, total: u64) -> Self {
        Self { component: component.into(), task, state: state.into(), done, total }
    }
}

/// The MessagePack of (group, key).
pub(super) fn key_form<K: Serialize + ?Sized>(
    place: &Place,
    group: u8,
    key: &K,
) -> Result<Bytes, StateError> {
    let form = rmp_serde::to_vec_named(&(group, key)).map_err(|error| place.unserializable("key", error))?;
    Ok(form.into())
}

/// The MessagePack of a value.
pub(super) fn value_form<V: Serialize>(place: &Place, value: &V) -> Result<Bytes, StateError> {
    let form = rmp_serde::to_vec_named(value).map_err(|error| place.unserializable("value", error))?;
    Ok(form.into())
}

/// The group and the key's own form.
pub(super) fn split_key_form(form: &[u8]) -> Option<(u8, &[u8])> {
    match form {
        [0x92, group @ 0..=0x7f, key @ ..] | [0x92, 0xcc, group @ 0x80..=0xff, key @ ..] => {
            Some((*group, key))
        }
        _ => None,
    }
}

/// All of `form` as what it should be.
pub(super) fn decode<T: DeserializeOwned>(mut form: &[u8]) -> Result<T, String> {
    let value =
        T::deserialize(&mut rmp_serde::Deserializer::new(&mut form)).map_err(|error| error.to_string())?;
    if form.is_empty() { Ok(value) } else { Err(format!("{} bytes too many", form.len())) }
}

impl Changelog {
    /// The changelog of `state`; created if need be. `None` where nothing is kept.
    pub(super) async fn open(
        settings: &StateSettings,
        topology: &str,
        state: &Arc<str>,
    ) -> Result<Option<Self>, StateError> {
        let Some(log) = settings.log.clone() else { return Ok(None) };
        let topic = format!("{topology}.{state}.changelog");
        let failed = |source| StateError::Log { state: Arc::clone(state), doing: "cannot be opened", source };
        let partitions = match log.topic(&topic).await.map_err(failed)? {
            Some(info) => info.partitions,
            None => create(&*log, &topic, settings.changelog_partitions).await.map_err(failed)?,
        };
        if partitions == 0 || partitions > KEY_GROUPS as u32 {
            return Err(StateError::Partitions { topic, partitions });
        }
        Ok(Some(Self { log, topic: topic.into(), partitions }))
    }

    fn partition(&self, number: u32) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topic), number)
    }

    /// `changes` as records, by partition.
    pub(super) fn records(&self, changes: Vec<Changed>) -> Vec<(TopicPartition, Pieces)> {
        let mut records: BTreeMap<u32, Pieces> = BTreeMap::new();
        for Changed { group, key, value, written_ms } in changes {
            let record = Record { key: Some(key), value, timestamp_ms: written_ms, ..Record::default() };
            records.entry(partition_of_group(group, self.partitions)).or_default().push(record);
        }
        records.into_iter().map(|(number, records)| (self.partition(number), records)).collect()
    }

    /// Appends `changes`; all of them are durable when it returns.
    pub(super) async fn append(&self, state: &Arc<str>, changes: Vec<Changed>) -> Result<(), StateError> {
        let appends = self.records(changes).into_iter().map(|(at, records)| self.append_to(at, records));
        all(appends.map(|append| Box::pin(append) as Appending<'_>).collect())
            .await
            .map_err(|source| StateError::Log { state: Arc::clone(state), doing: "takes no changes", source })
    }

    async fn append_to(&self, at: TopicPartition, mut records: Pieces) -> Result<(), LogError> {
        while let Some(piece) = records.take() {
            self.log.append(&at, piece).await?;
        }
        Ok(())
    }

    /// Fills `store` with what its task's groups were when they were last flushed, and tells `tell` how far it is.
    pub(super) async fn restore<K: Key, V: Tuple>(
        &self,
        store: &Mutex<Store<K, V>>,
        place: &Place,
        tell: impl Fn(u64, u64),
    ) -> Result<(), StateError> {
        let groups = place.groups();
        let numbers = groups.clone().map(|group| partition_of_group(group as u8, self.partitions));
        let failed =
            |source| StateError::Log { state: Arc::clone(&place.state), doing: "cannot be read", source };
        let mut parts = Vec::new();
        for number in numbers.collect::<std::collections::BTreeSet<_>>() {
            parts.push(Whole::begin(&*self.log, self.partition(number)).await.map_err(failed)?);
        }
        let total = parts.iter().map(Whole::left).sum();
        let mut left: u64 = total;
        tell(0, total);
        for part in &mut parts {
            let mut before = part.left();
            while let Some(records) = part.read(&*self.log).await.map_err(failed)? {
                let mut changes = Vec::with_capacity(records.len());
                for record in records {
                    let offset = record.offset;
                    match restored(place, record) {
                        Ok(change) => changes.extend(change),
                        Err(reason) => {
                            let (state, at) = (Arc::clone(&place.state), part.at().clone());
                            return Err(StateError::Corrupt { state, at, offset, reason });
                        }
                    }
                }
                store.lock().unwrap_or_else(PoisonError::into_inner).restore(changes)?;
                left = left.saturating_sub(before - part.left());
                before = part.left();
                tell(total - left, total);
            }
        }
        store.lock().unwrap_or_else(PoisonError::into_inner).end_restore()
    }
}

/// The change that a record tells of; `None` where it is another task's.
fn restored<K: Key, V: Tuple>(place: &Place, record: Consumed) -> Result<Option<Restored<K, V>>, String> {
    let key_form = record.key.ok_or("it has no key")?;
    let (group, own_form) = split_key_form(&key_form).ok_or("its key is not that of a key group")?;
    if !place.groups().contains(&usize::from(group)) {
        return Ok(None);
    }
    if group_of_form(own_form) != group {
        return Err(format!("its key does not belong to key group {group}"));
    }
    let key = decode(own_form).map_err(|error| format!("its key is of another type: {error}"))?;
    let value = record.value.map(|form| match decode(&form) {
        Ok(value) => Ok((value, form)),
        Err(error) => Err(format!("its value is of another type: {error}")),
    });
    let written_ms = match record.timestamp_ms {
        // The log knows no time; as if it were written now.
        ..0 => place.scheduler.clock().wall_ms(),
        written_ms => written_ms,
    };
    Ok(Some(Restored { key, value: value.transpose()?, written_ms, key_form }))
}

/// Creates a changelog and says how many partitions it has.
async fn create(log: &dyn Log, topic: &str, partitions: u32) -> Result<u32, LogError> {
    let compacted = [("cleanup.policy", "compact"), ("message.timestamp.type", "CreateTime")];
    let config = compacted.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    match log.create_topic(topic, &TopicSpec { partitions, config }).await {
        Ok(()) => Ok(partitions),
        // Another task came first.
        Err(LogError::TopicExists(_)) => {
            Ok(log.topic(topic).await?.map_or(partitions, |info| info.partitions))
        }
        // A log that cannot compact keeps the state all the same, and more than it needs.
        Err(LogError::Invalid(reason)) => {
            tracing::warn!(
                topic,
                reason,
                "a changelog cannot be compacted here, so that it grows with every change"
            );
            match log.create_topic(topic, &TopicSpec { partitions, ..TopicSpec::default() }).await {
                Ok(()) | Err(LogError::TopicExists(_)) => {
                    Ok(log.topic(topic).await?.map_or(partitions, |info| info.partitions))
                }
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

type Appending<'a> = Pin<Box<dyn Future<Output = Result<(), LogError>> + Send + 'a>>;

/// Waits for all of `appends`, side by side; gives the first error in their order once all have ended.
async fn all(appends: Vec<Appending<'_>>) -> Result<(), LogError> {
    let mut appends: Vec<_> = appends.into_iter().map(|append| (Some(append), Ok(()))).collect();
    poll_fn(|cx| {
        let mut is_over = true;
        for (append, result) in &mut appends {
            let Some(future) = append else { continue };
            match future.as_mut().poll(cx) {
                Poll::Ready(ended) => (*append, *result) = (None, ended),
                Poll::Pending => is_over = false,
            }
        }
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    appends.into_iter().try_for_each(|(_, result)| result)
}
