//! A group's members and generation as Kafka writes them to `__consumer_offsets`: `GroupMetadataKey` 2,
//! `GroupMetadataValue` 3; values from version 0 on are read.
//!
//! A record with such a key and no value deletes the group.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};

use super::field::{get_array, get_bytes, get_text, put_array, put_bytes, put_nullable, put_text};

const KEY_VERSION: i16 = 2;
const VALUE_VERSION: i16 = 3;

/// What is stored of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupMetadata {
    pub(crate) protocol_type: Arc<str>,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) leader: Option<Arc<str>>,
    pub(crate) members: Vec<MemberMetadata>,
}

/// What is stored of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberMetadata {
    pub(crate) member_id: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) subscription: Bytes,
    pub(crate) assignment: Bytes,
}

/// Why a group's record cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupRecordError {
    /// The value is in a version that Kafka added later.
    #[error("its value has version {0}, which this version of topo does not read")]
    Version(i16),
    /// The bytes end early, or are no text or number where one is due.
    #[error("its {0} is malformed")]
    Malformed(&'static str),
}

const KEY: GroupRecordError = GroupRecordError::Malformed("key");
const VALUE: GroupRecordError = GroupRecordError::Malformed("value");

/// The key of a group's record; the name [fits](super::field::fits).
pub(crate) fn encode_key(group: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + group.len());
    out.put_i16(KEY_VERSION);
    put_text(&mut out, group);
    out
}

/// The group that a record with such a key is about; `None` for a key of another kind.
pub(crate) fn decode_key(mut key: Bytes) -> Result<Option<Arc<str>>, GroupRecordError> {
    if key.try_get_i16().map_err(|_| KEY)? != KEY_VERSION {
        return Ok(None);
    }
    get_text(&mut key).ok_or(KEY)?.ok_or(KEY).map(Some)
}

/// The value of a group's record, as of `timestamp_ms`, in milliseconds since 1970.
pub(crate) fn encode_value(group: &GroupMetadata, timestamp_ms: i64) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i16(VALUE_VERSION);
    put_text(&mut out, &group.protocol_type);
    out.put_i32(group.generation);
    put_nullable(&mut out, group.protocol.as_deref());
    put_nullable(&mut out, group.leader.as_deref());
    out.put_i64(timestamp_ms);
    put_array(&mut out, group.members.iter(), |out, member| {
        put_text(out, &member.member_id);
        put_nullable(out, member.instance_id.as_deref());
        put_text(out, &member.client_id);
        put_text(out, &member.client_host);
        out.put_i32(millis(member.rebalance_timeout));
        out.put_i32(millis(member.session_timeout));
        put_bytes(out, Some(&member.subscription));
        put_bytes(out, Some(&member.assignment));
    });
    out
}

/// The group that was written.
pub(crate) fn decode_value(mut value: Bytes) -> Result<GroupMetadata, GroupRecordError> {
    let version = value.try_get_i16().map_err(|_| VALUE)?;
    if !(0..=VALUE_VERSION).contains(&version) {
        return Err(GroupRecordError::Version(version));
    }
    decode_group(&mut value, version).ok_or(VALUE)
}

fn decode_group(value: &mut Bytes, version: i16) -> Option<GroupMetadata> {
    let protocol_type = get_text(value)??;
    let generation = value.try_get_i32().ok()?;
    let (protocol, leader) = (get_text(value)?, get_text(value)?);
    if version >= 2 {
        value.try_get_i64().ok()?;
    }
    let members = get_array(value, |value| decode_member(value, version))?;
    Some(GroupMetadata { protocol_type, generation, protocol, leader, members })
}

fn decode_member(value: &mut Bytes, version: i16) -> Option<MemberMetadata> {
    let member_id = get_text(value)??;
    let instance_id = if version >= 3 { get_text(value)? } else { None };
    let (client_id, client_host) = (get_text(value)??, get_text(value)??);
    let rebalance = if version >= 1 { Some(get_millis(value)?) } else { None };
    let session_timeout = get_millis(value)?;
    let (subscription, assignment) = (get_bytes(value)??, get_bytes(value)??);
    Some(MemberMetadata {
        member_id,
        instance_id,
        client_id,
        client_host,
        rebalance_timeout: rebalance.unwrap_or(session_timeout),
        session_timeout,
        subscription,
        assignment,
    })
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn get_millis(bytes: &mut Bytes) -> Option<Duration> {
    u64::try_from(bytes.try_get_i32().ok()?).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group() -> GroupMetadata {
        let member = MemberMetadata {
            member_id: "m".into(),
            instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout: Duration::from_millis(258),
            session_timeout: Duration::from_millis(1),
            subscription: Bytes::from_static(b"s"),
            assignment: Bytes::from_static(b"as"),
        };
        GroupMetadata {
            protocol_type: "consumer".into(),
            generation: 3,
            protocol: Some("range".into()),
            leader: None,
            members: vec![member],
        }
    }

    #[test]
    fn records_are_laid_out_as_kafkas_schemas_say() {
        assert_eq!(encode_key("g"), b"\x00\x02\x00\x01g");
        assert_eq!(
            encode_value(&group(), 7),
            b"\x00\x03\x00\x08consumer\x00\x00\x00\x03\x00\x05range\xff\xff\x00\x00\x00\x00\x00\x00\x00\x07\
              \x00\x00\x00\x01\x00\x01m\x00\x01i\x00\x01c\x00\x02/h\x00\x00\x01\x02\x00\x00\x00\x01\
              \x00\x00\x00\x01s\x00\x00\x00\x02as"
        );
    }

    #[test]
    fn earlier_versions_are_read() {
        let v0 =
            b"\x00\x00\x00\x01t\x00\x00\x00\x03\xff\xff\xff\xff\x00\x00\x00\x01\x00\x01m\x00\x01c\x00\x01h\
                   \x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x00\x00";
        let read = decode_value(Bytes::from_static(v0)).unwrap();
        assert_eq!((read.generation, read.members[0].rebalance_timeout), (3, Duration::from_millis(9)));
        assert_eq!(decode_value(Bytes::from_static(b"\x00\x04")), Err(GroupRecordError::Version(4)));
    }

    #[test]
    fn what_is_cut_or_counts_more_than_there_is_is_refused() {
        let value = encode_value(&group(), 7);
        for end in 0..value.len() {
            assert_eq!(decode_value(Bytes::copy_from_slice(&value[..end])), Err(VALUE), "{end}");
        }
        let key = encode_key("g");
        for end in 0..key.len() {
            assert_eq!(decode_key(Bytes::copy_from_slice(&key[..end])), Err(KEY), "{end}");
        }
        assert_eq!(decode_key(Bytes::from_static(b"\x00\x01\x00\x01g")), Ok(None));
        let mut many = encode_value(&GroupMetadata { members: Vec::new(), ..group() }, 7);
        let end = many.len();
        many[end - 4..].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(decode_value(many.into()), Err(VALUE));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            name in ".{0,40}", generation: i32, protocol in proptest::option::of(".{0,9}"),
            members in proptest::collection::vec(
                (".{0,9}", proptest::option::of(".{0,9}"), 0_u64..99, any::<Vec<u8>>()), 0..5),
        ) {
            prop_assert_eq!(decode_key(encode_key(&name).into()), Ok(Some(name.as_str().into())));
            let members = members.into_iter().map(|(id, instance, timeout, bytes)| MemberMetadata {
                member_id: id.into(),
                instance_id: instance.map(Into::into),
                client_id: "c".into(),
                client_host: "".into(),
                rebalance_timeout: Duration::from_millis(timeout),
                session_timeout: Duration::from_millis(timeout + 1),
                subscription: bytes.clone().into(),
                assignment: bytes.into(),
            });
            let group = GroupMetadata {
                protocol_type: "consumer".into(),
                generation,
                protocol: protocol.map(Into::into),
                leader: None,
                members: members.collect(),
            };
            prop_assert_eq!(decode_value(encode_value(&group, 9).into()), Ok(group));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
            let _ = decode_key(bytes.clone().into());
            let _ = decode_value(bytes.into());
        }
    }
}
