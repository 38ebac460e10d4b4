//! Encoding what a fetch answers without copying the records.
//!
//! Everything but the records is encoded twice, with sets of records that are empty and with such as are null. The two
//! differ where records belong, and there alone, so that nothing has to be known here of the fields around them.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::protocol::Encodable;

use crate::server::Parts;

/// From this version on lengths are varints.
const FLEXIBLE_FROM: i16 = 12;
/// An empty set's length: 0 in four bytes, or 0 and one, since null is 0, in one.
const FIXED_LENGTH_BYTES: usize = 4;
const COMPACT_LENGTH_BYTES: usize = 1;

/// How much memory [`encode`] takes at most.
///
/// # Errors
/// As of [`encode`].
pub(crate) fn bytes(message: &FetchResponse, version: i16) -> Result<usize, String> {
    let whole = message.compute_size(version).map_err(|error| error.to_string())?;
    let partitions = message.responses.iter().flat_map(|topic| &topic.partitions);
    let records: usize = partitions.filter_map(|partition| partition.records.as_ref().map(Bytes::len)).sum();
    Ok(2 * (whole - records))
}

/// The message's bytes, those of its records being the very ones in it.
///
/// # Errors
/// What the encoder says of a field that the version does not have.
pub(crate) fn encode(mut message: FetchResponse, version: i16) -> Result<Parts, String> {
    let mut records = Vec::new();
    for partition in partitions(&mut message) {
        records.push(partition.records.replace(Bytes::new()));
    }
    let empty = encoded(&message, version)?;
    partitions(&mut message).for_each(|partition| partition.records = None);
    let null = encoded(&message, version)?;
    let length_bytes = if version < FLEXIBLE_FROM { FIXED_LENGTH_BYTES } else { COMPACT_LENGTH_BYTES };
    let (mut parts, mut done) = (Parts::default(), 0);
    for records in records {
        let differs = empty[done..].iter().zip(&null[done..]).position(|(empty, null)| empty != null);
        let at = done + differs.ok_or("the encoder leaves records out")?;
        parts.push(empty.slice(done..at));
        done = at + length_bytes;
        match records {
            Some(records) => {
                parts.push(length(records.len(), version)?);
                parts.push(records);
            }
            None => parts.push(null.slice(at..done)),
        }
    }
    parts.push(empty.slice(done..));
    Ok(parts)
}

fn partitions(message: &mut FetchResponse) -> impl Iterator<Item = &mut PartitionData> {
    message.responses.iter_mut().flat_map(|topic| &mut topic.partitions)
}

fn encoded(message: &FetchResponse, version: i16) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).map_err(|error| error.to_string())?;
    Ok(bytes.freeze())
}

/// The length of a set of records as it stands in front of it.
fn length(records: usize, version: i16) -> Result<Bytes, String> {
    let records = u32::try_from(records).ok().filter(|records| *records < i32::MAX.cast_unsigned());
    let records = records.ok_or("its records are longer than 2 GiB")?;
    let mut bytes = BytesMut::with_capacity(5);
    if version < FLEXIBLE_FROM {
        bytes.put_u32(records);
        return Ok(bytes.freeze());
    }
    let mut left = records + 1;
    while left >= 0x80 {
        bytes.put_u8(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.put_u8(left as u8);
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse};
    use kafka_protocol::protocol::StrBytes;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn partition() -> impl Strategy<Value = PartitionData> {
        // Lengths whose varints take one byte, two and three.
        let length = prop_oneof![0..3_usize, 120..130_usize, 16_380..16_390_usize];
        let records =
            prop_oneof![1 => Just(None), 5 => length.prop_map(|length| Some(vec![7; length].into()))];
        let aborted = prop_oneof![Just(None), (0..3_usize).prop_map(Some)];
        (any::<i32>(), any::<i16>(), any::<i64>(), aborted, records).prop_map(
            |(index, code, offset, aborted, records)| {
                let aborted = aborted.map(|count| vec![AbortedTransaction::default(); count]);
                PartitionData::default()
                    .with_partition_index(index)
                    .with_error_code(code)
                    .with_high_watermark(offset)
                    .with_aborted_transactions(aborted)
                    .with_records(records)
            },
        )
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_encoder(
            topics in vec(vec(partition(), 0..4), 0..4),
            version in 4..=12_i16,
        ) {
            let topic = |partitions| {
                let name = TopicName(StrBytes::from_static_str("lines"));
                FetchableTopicResponse::default().with_topic(name).with_partitions(partitions)
            };
            let message = FetchResponse::default().with_responses(topics.into_iter().map(topic).collect());
            let expected = encoded(&message, version).unwrap();
            let mut parts = encode(message, version).unwrap();
            prop_assert_eq!(parts.copy_to_bytes(parts.remaining()), expected);
        }
    }

    #[test]
    fn what_a_version_cannot_say_is_refused() {
        let message = FetchResponse::default().with_session_id(1);
        assert!(encode(message, 4).is_err());
    }
}
