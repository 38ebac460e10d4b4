//! Groups' own records in `__consumer_offsets`.

use std::collections::BTreeMap;
use std::sync::Arc;

use topo_protocol::{BatchBuilder, BatchHeader, Compression, DecodedRecord, NewRecord, records};

use super::metadata::{self, GroupMetadata};
use crate::error::BrokerError;
use crate::offsets::ends_early;
use crate::partition::{Isolation, Partition};

/// Bytes to read at a time while replaying.
const REPLAY_BYTES: usize = 1 << 20;
/// Group records are not compressed.
const MAX_DECOMPRESSED_BYTES: usize = 16 << 20;

/// Appends a group's record, which is durable once everything below the returned offset is.
pub(super) fn write(
    partition: &Arc<Partition>,
    group: &str,
    metadata: Option<&GroupMetadata>,
    now_ms: i64,
) -> Result<i64, BrokerError> {
    let key = metadata::encode_key(group);
    let value = metadata.map(|metadata| metadata::encode_value(metadata, now_ms));
    let record = NewRecord { timestamp_ms: now_ms, key: Some(&key), value: value.as_deref(), headers: &[] };
    let mut builder = BatchBuilder::new(0);
    // The first record is taken whatever its size.
    let _ = builder.append(&record)?;
    Ok(partition.write(vec![builder.finish(Compression::None)?])?.next_offset)
}

/// The last record of every group that was not deleted. Blocks.
pub(crate) fn replay(partition: &Partition) -> Result<Vec<(Arc<str>, GroupMetadata)>, BrokerError> {
    let mut groups = BTreeMap::new();
    let held = partition.offsets()?;
    let mut offset = held.log_start;
    while offset < held.high_watermark {
        let mut batches = partition.read(offset, REPLAY_BYTES, Isolation::ReadUncommitted)?.batches;
        if batches.is_empty() {
            return Err(ends_early(offset));
        }
        while !batches.is_empty() {
            let header = BatchHeader::parse(&batches)?;
            let batch = batches.split_to(header.total_bytes().min(batches.len()));
            offset = header.next_offset();
            // Groups are stored outside of transactions.
            if header.attributes.is_transactional() {
                continue;
            }
            for record in records(batch, MAX_DECOMPRESSED_BYTES)? {
                let record = record?;
                let at = record.offset;
                replay_record(&mut groups, record).map_err(|error| {
                    BrokerError::Corrupt(format!("offset {at} of {}: {error}", crate::topic::OFFSETS_TOPIC))
                })?;
            }
        }
    }
    Ok(groups.into_iter().collect())
}

fn replay_record(
    groups: &mut BTreeMap<Arc<str>, GroupMetadata>,
    record: DecodedRecord,
) -> Result<(), metadata::GroupRecordError> {
    let Some(key) = record.key else { return Ok(()) };
    let Some(group) = metadata::decode_key(key)? else { return Ok(()) };
    match record.value {
        Some(value) => drop(groups.insert(group, metadata::decode_value(value)?)),
        None => drop(groups.remove(&group)),
    }
    Ok(())
}
