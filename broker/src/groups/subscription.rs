//! What consumers tell each other through the group: `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`, both
//! in versions 0 to 3. The broker hands them on unread; members in this process write and read them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use super::field::{get_array, get_bytes, get_text, put_array, put_bytes, put_nullable, put_text};
use crate::topic::TopicPartition;

/// The highest version known; a later one begins with the same fields.
const MAX_VERSION: i16 = 3;

/// What a consumer says when it joins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// The topics it wants to read.
    pub topics: Vec<Arc<str>>,
    /// What its assignor adds.
    pub user_data: Option<Bytes>,
    /// What it reads now and keeps meanwhile, under a cooperative protocol (version 1).
    pub owned: Vec<TopicPartition>,
    /// The generation in which it was given that; -1 where unknown (version 2).
    pub generation: Option<i32>,
    /// Where it runs (version 3).
    pub rack: Option<Arc<str>>,
}

impl Subscription {
    /// Its bytes, in the lowest version that says all of it.
    pub fn encode(&self) -> Bytes {
        let version = match self {
            Self { rack: Some(_), .. } => 3,
            Self { generation: Some(_), .. } => 2,
            Self { owned, .. } if !owned.is_empty() => 1,
            _ => 0,
        };
        let mut out = Vec::new();
        out.put_i16(version);
        put_array(&mut out, self.topics.iter(), |out, topic| put_text(out, topic));
        put_bytes(&mut out, self.user_data.as_deref());
        if version >= 1 {
            put_partitions(&mut out, &self.owned);
        }
        if version >= 2 {
            out.put_i32(self.generation.unwrap_or(-1));
        }
        if version >= 3 {
            put_nullable(&mut out, self.rack.as_deref());
        }
        out.into()
    }

    /// What the bytes say; `None` where they are no subscription.
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        let version = bytes.try_get_i16().ok().filter(|version| *version >= 0)?.min(MAX_VERSION);
        let topics = get_array(&mut bytes, |bytes| get_text(bytes)?)?;
        let user_data = get_bytes(&mut bytes)?;
        // Some clients say 1 and leave it at version 0's fields.
        let owned =
            if version >= 1 && bytes.has_remaining() { get_partitions(&mut bytes)? } else { Vec::new() };
        let generation = if version >= 2 { Some(bytes.try_get_i32().ok()?) } else { None };
        let rack = if version >= 3 { get_text(&mut bytes)? } else { None };
        let generation = generation.filter(|generation| *generation >= 0);
        Some(Self { topics, user_data, owned, generation, rack })
    }
}

/// What a consumer is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The partitions it is to read.
    pub partitions: Vec<TopicPartition>,
    /// What the leader's assignor adds.
    pub user_data: Option<Bytes>,
}

impl Assignment {
    /// Its bytes, in version 0: the others say nothing more.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_i16(0);
        put_partitions(&mut out, &self.partitions);
        put_bytes(&mut out, self.user_data.as_deref());
        out.into()
    }

    /// What the bytes say: nothing, where there are none; `None` where they are no assignment.
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        bytes.try_get_i16().ok().filter(|version| *version >= 0)?;
        let partitions = get_partitions(&mut bytes)?;
        // Some clients leave it out.
        let user_data = if bytes.has_remaining() { get_bytes(&mut bytes)? } else { None };
        Some(Self { partitions, user_data })
    }
}

/// By topic, as the format has it.
fn put_partitions(out: &mut Vec<u8>, partitions: &[TopicPartition]) {
    let mut topics = BTreeMap::<&str, Vec<u32>>::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    put_array(out, topics.into_iter(), |out, (topic, partitions)| {
        put_text(out, topic);
        put_array(out, partitions.into_iter(), |out, partition| out.put_u32(partition));
    });
}

fn get_partitions(bytes: &mut Bytes) -> Option<Vec<TopicPartition>> {
    let topics = get_array(bytes, |bytes| {
        let topic = get_text(bytes)??;
        let partitions = get_array(bytes, |bytes| u32::try_from(bytes.try_get_i32().ok()?).ok())?;
        Some((topic, partitions))
    })?;
    let of_topic = |(topic, partitions): (Arc<str>, Vec<u32>)| {
        partitions.into_iter().map(move |partition| TopicPartition::new(topic.clone(), partition))
    };
    Some(topics.into_iter().flat_map(of_topic).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn partitions() -> impl Strategy<Value = Vec<TopicPartition>> {
        let partition =
            ("[a-c]{1,3}", 0_u32..9).prop_map(|(topic, partition)| TopicPartition::new(topic, partition));
        // As they are read: by topic, in the order written.
        proptest::collection::vec(partition, 0..6).prop_map(|mut partitions| {
            partitions.sort_by(|a, b| a.topic.cmp(&b.topic));
            partitions
        })
    }

    #[test]
    fn they_are_laid_out_as_kafkas_schemas_say() {
        let subscription = Subscription { topics: vec!["a".into()], ..Subscription::default() };
        assert_eq!(subscription.encode(), &b"\x00\x00\x00\x00\x00\x01\x00\x01a\xff\xff\xff\xff"[..]);
        let owned = vec![TopicPartition::new("a", 2)];
        let full = Subscription {
            owned: owned.clone(),
            generation: Some(7),
            rack: Some("r".into()),
            ..subscription
        };
        assert_eq!(
            full.encode(),
            &b"\x00\x03\x00\x00\x00\x01\x00\x01a\xff\xff\xff\xff\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x01\x00\x00\x00\x02\
               \x00\x00\x00\x07\x00\x01r"[..]
        );
        let assignment = Assignment { partitions: owned, user_data: None };
        assert_eq!(
            assignment.encode(),
            &b"\x00\x00\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x01\x00\x00\x00\x02\xff\xff\xff\xff"[..]
        );
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        let mut later = Subscription { rack: Some("r".into()), ..Subscription::default() }.encode().to_vec();
        later[1] = 9;
        later.extend(b"more");
        assert_eq!(Subscription::decode(later.into()).unwrap().rack.as_deref(), Some("r"));
        assert_eq!(Assignment::decode(Bytes::new()), Some(Assignment::default()));
        assert_eq!(Subscription::decode(Bytes::new()), None);
    }

    #[test]
    fn a_count_reserves_nothing() {
        assert_eq!(Subscription::decode(Bytes::from_static(b"\x00\x00\x7f\xff\xff\xff")), None);
        assert_eq!(Assignment::decode(Bytes::from_static(b"\x00\x00\x7f\xff\xff\xff")), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            topics in proptest::collection::vec("[a-z]{1,9}", 0..5), user_data: Option<Vec<u8>>,
            owned in partitions(), generation in proptest::option::of(0..i32::MAX),
            rack in proptest::option::of("[a-z]{0,9}"),
        ) {
            let topics = topics.into_iter().map(Into::into).collect();
            let user_data = user_data.map(Bytes::from);
            let assignment = Assignment { partitions: owned.clone(), user_data: user_data.clone() };
            prop_assert_eq!(Assignment::decode(assignment.encode()), Some(assignment));
            let rack = rack.map(Into::into);
            let subscription = Subscription { topics, user_data, owned, generation, rack };
            prop_assert_eq!(Subscription::decode(subscription.encode()), Some(subscription));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
            let _ = Subscription::decode(bytes.clone().into());
            let _ = Assignment::decode(bytes.into());
        }
    }
}
