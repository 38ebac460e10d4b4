//! Groups' own records in `__consumer_offsets`.

use std::collections::BTreeMap;
use std::sync::Arc;

use topo_protocol::{BatchBuilder, Compression, DecodedRecord, NewRecord, records};

use super::metadata::{self, GroupMetadata};
use crate::error::BrokerError;
use crate::partition::Partition;
use crate::topic::OFFSETS_TOPIC;

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
    partition.replay(|header, batch| {
        // Groups are stored outside of transactions.
        if header.attributes.is_transactional() {
            return Ok(());
        }
        for record in records(batch, MAX_DECOMPRESSED_BYTES)? {
            let record = record?;
            let at = record.offset;
            replay_record(&mut groups, record)
                .map_err(|error| BrokerError::Corrupt(format!("offset {at} of {OFFSETS_TOPIC}: {error}")))?;
        }
        Ok(())
    })?;
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
