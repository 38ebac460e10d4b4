//! A transactional id as Kafka writes it to `__transaction_state`: `TransactionLogKey` 0, `TransactionLogValue` 1; values of
//! version 0 are read as well.
//!
//! Kafka does not store which instance a producer was before it was initialised last, and refuses its retry after a restart.
//! Here it is stored, in a tagged field that Kafka's readers skip. A record with such a key and no value deletes the
//! transactional id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};

use super::field::{get_length, get_tagged, get_text, put_length, put_text, put_varint};
use super::request::{ProducerInstance, TransactionState};
use crate::topic::TopicPartition;

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 1;
/// Kafka's tagged field of the producer id before.
const PREVIOUS_PRODUCER_ID: u32 = 0;
/// The instance before, far from the numbers that Kafka gives.
const LAST_INSTANCE: u32 = 7_000;

/// What is stored of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransactionMetadata {
    /// Who produces under it.
    pub(crate) producer: ProducerInstance,
    /// Who that was before it went on after an error; its retry is answered as it was.
    pub(crate) last: Option<ProducerInstance>,
    /// How long a transaction may last.
    pub(crate) timeout: Duration,
    pub(crate) state: TransactionState,
    /// What the transaction has, or may have, written to.
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// When this was written, in milliseconds since 1970.
    pub(crate) updated_ms: i64,
    /// When the transaction began, in milliseconds since 1970; -1 without one.
    pub(crate) started_ms: i64,
}

/// Why a record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransactionRecordError {
    /// The value is in a version that Kafka added later.
    #[error("its value has version {0}, which this version of topo does not read")]
    Version(i16),
    /// The bytes end early, or are no text or number where one is due.
    #[error("its {0} is malformed")]
    Malformed(&'static str),
}

const KEY: TransactionRecordError = TransactionRecordError::Malformed("key");
const VALUE: TransactionRecordError = TransactionRecordError::Malformed("value");

/// Whether a transactional id is one, and short enough for a record.
pub(crate) fn fits(id: &str) -> bool {
    !id.is_empty() && i16::try_from(id.len()).is_ok()
}

/// The key of a transactional id that [`fits`].
pub(crate) fn encode_key(id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + id.len());
    out.put_i16(KEY_VERSION);
    out.put_i16(id.len() as i16);
    out.put_slice(id.as_bytes());
    out
}

/// The transactional id that a record with such a key is about; `None` for a key of another kind.
pub(crate) fn decode_key(mut key: Bytes) -> Result<Option<Arc<str>>, TransactionRecordError> {
    if key.try_get_i16().map_err(|_| KEY)? != KEY_VERSION {
        return Ok(None);
    }
    let length = usize::try_from(key.try_get_i16().map_err(|_| KEY)?).map_err(|_| KEY)?;
    let id = key.get(..length).ok_or(KEY)?;
    Ok(Some(std::str::from_utf8(id).map_err(|_| KEY)?.into()))
}

/// The value of a transactional id's record.
pub(crate) fn encode_value(metadata: &TransactionMetadata) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i16(VALUE_VERSION);
    out.put_i64(metadata.producer.producer_id);
    out.put_i16(metadata.producer.epoch);
    out.put_i32(i32::try_from(metadata.timeout.as_millis()).unwrap_or(i32::MAX));
    out.put_u8(number(metadata.state));
    let mut topics: BTreeMap<&Arc<str>, Vec<u32>> = BTreeMap::new();
    for TopicPartition { topic, partition } in &metadata.partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    put_length(&mut out, topics.len());
    for (topic, partitions) in topics {
        put_text(&mut out, topic);
        put_length(&mut out, partitions.len());
        partitions.into_iter().for_each(|partition| out.put_u32(partition));
        put_varint(&mut out, 0);
    }
    out.put_i64(metadata.updated_ms);
    out.put_i64(metadata.started_ms);
    match metadata.last {
        None => put_varint(&mut out, 0),
        Some(last) => {
            put_varint(&mut out, 2);
            put_varint(&mut out, PREVIOUS_PRODUCER_ID);
            put_varint(&mut out, 8);
            out.put_i64(last.producer_id);
            put_varint(&mut out, LAST_INSTANCE);
            put_varint(&mut out, 10);
            out.put_i64(last.producer_id);
            out.put_i16(last.epoch);
        }
    }
    out
}

/// What was written.
pub(crate) fn decode_value(mut value: Bytes) -> Result<TransactionMetadata, TransactionRecordError> {
    let version = value.try_get_i16().map_err(|_| VALUE)?;
    if !(0..=VALUE_VERSION).contains(&version) {
        return Err(TransactionRecordError::Version(version));
    }
    decode(&mut value, version == VALUE_VERSION).ok_or(VALUE)
}

fn decode(value: &mut Bytes, flexible: bool) -> Option<TransactionMetadata> {
    let producer_id = value.try_get_i64().ok()?;
    let epoch = value.try_get_i16().ok()?;
    let timeout = Duration::from_millis(u64::try_from(value.try_get_i32().ok()?).ok()?);
    let state = *TransactionState::ALL.get(usize::from(value.try_get_u8().ok()?))?;
    let partitions = decode_partitions(value, flexible)?;
    let (updated_ms, started_ms) = (value.try_get_i64().ok()?, value.try_get_i64().ok()?);
    let mut last = None;
    if flexible {
        get_tagged(value, |tag, mut field| {
            if tag == LAST_INSTANCE {
                let (producer_id, epoch) = (field.try_get_i64().ok()?, field.try_get_i16().ok()?);
                last = Some(ProducerInstance { producer_id, epoch });
            }
            Some(())
        })?;
    }
    let producer = ProducerInstance { producer_id, epoch };
    Some(TransactionMetadata { producer, last, timeout, state, partitions, updated_ms, started_ms })
}

fn decode_partitions(value: &mut Bytes, flexible: bool) -> Option<BTreeSet<TopicPartition>> {
    let mut partitions = BTreeSet::new();
    for _ in 0..get_count(value, flexible)?.unwrap_or(0) {
        let topic: Arc<str> = if flexible { get_text(value)? } else { get_old_text(value)? }.into();
        for _ in 0..get_count(value, flexible)?? {
            partitions.insert(TopicPartition::new(topic.clone(), value.try_get_u32().ok()?));
        }
        if flexible {
            get_tagged(value, |_, _| Some(()))?;
        }
    }
    Some(partitions)
}

/// `Some(None)` for null.
fn get_count(value: &mut Bytes, flexible: bool) -> Option<Option<usize>> {
    if flexible {
        return get_length(value);
    }
    match value.try_get_i32().ok()? {
        -1 => Some(None),
        count => usize::try_from(count).ok().map(Some),
    }
}

fn get_old_text(value: &mut Bytes) -> Option<String> {
    let length = usize::try_from(value.try_get_i16().ok()?).ok()?;
    let text = (length <= value.len()).then(|| value.split_to(length))?;
    std::str::from_utf8(&text).ok().map(str::to_owned)
}

/// Kafka's number of a state.
fn number(state: TransactionState) -> u8 {
    TransactionState::ALL.iter().position(|of| *of == state).unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> TransactionMetadata {
        let partitions = [("lines", 0), ("lines", 300), ("__consumer_offsets", 0)];
        TransactionMetadata {
            producer: ProducerInstance { producer_id: 7, epoch: 3 },
            last: None,
            timeout: Duration::from_secs(60),
            state: TransactionState::Ongoing,
            partitions: partitions.map(|(topic, partition)| TopicPartition::new(topic, partition)).into(),
            updated_ms: 5,
            started_ms: 4,
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let last = Some(ProducerInstance { producer_id: 6, epoch: 32_766 });
        for metadata in [
            metadata(),
            TransactionMetadata { last, ..metadata() },
            TransactionMetadata { partitions: BTreeSet::new(), state: TransactionState::Empty, ..metadata() },
        ] {
            let value = encode_value(&metadata);
            assert_eq!(decode_value(value.clone().into()), Ok(metadata));
            for cut in 0..value.len() {
                let cut = decode_value(Bytes::copy_from_slice(&value[..cut]));
                assert!(matches!(cut, Err(TransactionRecordError::Malformed("value"))), "{cut:?}");
            }
        }
        let id: Arc<str> = "id".into();
        assert_eq!(decode_key(encode_key(&id).into()), Ok(Some(id)));
        assert_eq!(decode_key(Bytes::from_static(&[0, 1, 0, 0])), Ok(None));
        assert_eq!(decode_key(Bytes::from_static(&[0, 0, 0, 3, b'i', b'd'])), Err(KEY));
        assert_eq!(decode_value(Bytes::from_static(&[0, 2])), Err(TransactionRecordError::Version(2)));
        assert!(!fits("") && !fits(&"x".repeat(1 << 15)) && fits("id"));
    }

    #[test]
    fn the_form_is_kafkas() {
        let value = encode_value(&metadata());
        let mut expected = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 3, 0, 0, 0xea, 0x60, 1, 3, 19];
        expected.extend_from_slice(b"__consumer_offsets");
        expected.extend_from_slice(&[2, 0, 0, 0, 0, 0, 6]);
        expected.extend_from_slice(b"lines");
        expected.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 1, 44, 0]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
        assert_eq!(value, expected);
    }

    #[test]
    fn the_older_form_is_read_too() {
        let mut old = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 3, 0, 0, 0xea, 0x60, 1, 0, 0, 0, 2, 0, 18];
        old.extend_from_slice(b"__consumer_offsets");
        old.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 5]);
        old.extend_from_slice(b"lines");
        old.extend_from_slice(&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 44]);
        old.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(decode_value(old.into()), Ok(metadata()));
    }
}
