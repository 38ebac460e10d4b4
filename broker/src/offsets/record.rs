//! Committed offsets as Kafka writes them to `__consumer_offsets`: `OffsetCommitKey` 1, `OffsetCommitValue` 3.
//!
//! A record with such a key and no value deletes what was committed.

use bytes::{Buf, BufMut, Bytes};

use super::CommittedOffset;
use crate::topic::TopicPartition;

const KEY_VERSION: i16 = 1;
const VALUE_VERSION: i16 = 3;
/// Keys from here on describe groups, not offsets.
const FIRST_GROUP_KEY_VERSION: i16 = 2;

/// Whose offset, and of which partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OffsetKey {
    pub(super) group: String,
    pub(super) of: TopicPartition,
}

/// Why a record of `__consumer_offsets` cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OffsetRecordError {
    /// The record has no key.
    #[error("it has no key")]
    NoKey,
    /// The value is in a version this broker does not write.
    #[error("its value has version {0}, which this version of topo does not read")]
    Version(i16),
    /// The bytes end early, or are no text where text is due.
    #[error("its {0} is malformed")]
    Malformed(&'static str),
}

/// Whether a string is short enough for a record.
pub(super) fn fits(text: &str) -> bool {
    i16::try_from(text.len()).is_ok()
}

pub(super) fn encode_key(group: &str, of: &TopicPartition) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + group.len() + of.topic.len());
    out.put_i16(KEY_VERSION);
    put_string(&mut out, group);
    put_string(&mut out, &of.topic);
    out.put_u32(of.partition);
    out
}

pub(super) fn encode_value(committed: &CommittedOffset) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + committed.metadata.len());
    out.put_i16(VALUE_VERSION);
    out.put_i64(committed.offset);
    out.put_i32(committed.leader_epoch);
    put_string(&mut out, &committed.metadata);
    out.put_i64(committed.commit_timestamp_ms);
    out
}

/// The key; `None` for one that describes a group.
pub(super) fn decode_key(key: Option<Bytes>) -> Result<Option<OffsetKey>, OffsetRecordError> {
    let mut key = key.ok_or(OffsetRecordError::NoKey)?;
    let malformed = OffsetRecordError::Malformed("key");
    if key.try_get_i16().map_err(|_| malformed)? >= FIRST_GROUP_KEY_VERSION {
        return Ok(None);
    }
    let group = get_string(&mut key).ok_or(malformed)?;
    let topic = get_string(&mut key).ok_or(malformed)?;
    let partition = key.try_get_u32().map_err(|_| malformed)?;
    Ok(Some(OffsetKey { group, of: TopicPartition::new(topic, partition) }))
}

pub(super) fn decode_value(mut value: Bytes) -> Result<CommittedOffset, OffsetRecordError> {
    let malformed = OffsetRecordError::Malformed("value");
    match value.try_get_i16().map_err(|_| malformed)? {
        VALUE_VERSION => {}
        version => return Err(OffsetRecordError::Version(version)),
    }
    Ok(CommittedOffset {
        offset: value.try_get_i64().map_err(|_| malformed)?,
        leader_epoch: value.try_get_i32().map_err(|_| malformed)?,
        metadata: get_string(&mut value).ok_or(malformed)?,
        commit_timestamp_ms: value.try_get_i64().map_err(|_| malformed)?,
    })
}

/// A 16-bit length and the text; callers have checked that it [`fits`].
fn put_string(out: &mut Vec<u8>, text: &str) {
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

fn get_string(bytes: &mut Bytes) -> Option<String> {
    let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
    if length > bytes.len() {
        return None;
    }
    String::from_utf8(bytes.split_to(length).into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_laid_out_as_kafkas_schemas_say() {
        let key = encode_key("g", &TopicPartition::new("lines", 3));
        assert_eq!(key, b"\x00\x01\x00\x01g\x00\x05lines\x00\x00\x00\x03");
        let committed = CommittedOffset {
            offset: 258,
            leader_epoch: -1,
            metadata: "m".to_owned(),
            commit_timestamp_ms: 7,
        };
        let value = encode_value(&committed);
        assert_eq!(
            value,
            b"\x00\x03\x00\x00\x00\x00\x00\x00\x01\x02\xff\xff\xff\xff\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x07"
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_apart() {
        assert_eq!(decode_key(None), Err(OffsetRecordError::NoKey));
        assert_eq!(decode_key(Some(Bytes::from_static(&[0, 2, 9, 9]))), Ok(None), "a group's own record");
        assert_eq!(decode_value(Bytes::from_static(&[0, 9])), Err(OffsetRecordError::Version(9)));
        let key = encode_key("g", &TopicPartition::new("lines", 3));
        for end in 0..key.len() {
            let cut = Bytes::copy_from_slice(&key[..end]);
            assert_eq!(decode_key(Some(cut)), Err(OffsetRecordError::Malformed("key")));
        }
        assert!(fits(&"x".repeat(32_767)) && !fits(&"x".repeat(32_768)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            group in ".{0,40}", topic in "[a-z]{1,20}", partition: u32, offset: i64, leader_epoch: i32,
            metadata in ".{0,40}", commit_timestamp_ms: i64,
        ) {
            let of = TopicPartition::new(topic, partition);
            let key = Bytes::from(encode_key(&group, &of));
            prop_assert_eq!(decode_key(Some(key)), Ok(Some(OffsetKey { group, of })));
            let committed = CommittedOffset { offset, leader_epoch, metadata, commit_timestamp_ms };
            prop_assert_eq!(decode_value(encode_value(&committed).into()), Ok(committed));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode_key(Some(bytes.clone().into()));
            let _ = decode_value(bytes.into());
        }
    }
}
