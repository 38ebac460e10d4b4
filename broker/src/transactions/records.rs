//! Transactional ids' records in `__transaction_state`.

use std::collections::BTreeMap;
use std::sync::Arc;

use topo_protocol::{BatchBuilder, Compression, DecodedRecord, NewRecord, records};

use super::metadata::{self, TransactionMetadata};
use crate::error::BrokerError;
use crate::partition::Partition;
use crate::topic::TRANSACTIONS_TOPIC;

/// The records are not compressed.
const MAX_DECOMPRESSED_BYTES: usize = 16 << 20;

/// Appends a transactional id's record, which is durable once everything below the returned offset is.
pub(super) fn write(
    partition: &Arc<Partition>,
    id: &str,
    metadata: Option<&TransactionMetadata>,
    now_ms: i64,
) -> Result<i64, BrokerError> {
    let key = metadata::encode_key(id);
    let value = metadata.map(metadata::encode_value);
    let record = NewRecord { timestamp_ms: now_ms, key: Some(&key), value: value.as_deref(), headers: &[] };
    let mut builder = BatchBuilder::new(0);
    // The first record is taken whatever its size.
    let _ = builder.append(&record)?;
    Ok(partition.write(vec![builder.finish(Compression::None)?])?.next_offset)
}

/// The last record of every transactional id that was not deleted. Blocks.
pub(crate) fn replay(partition: &Partition) -> Result<Vec<(Arc<str>, TransactionMetadata)>, BrokerError> {
    let mut ids = BTreeMap::new();
    partition.replay(|_, batch| {
        for record in records(batch, MAX_DECOMPRESSED_BYTES)? {
            let record = record?;
            let at = record.offset;
            replay_record(&mut ids, record).map_err(|error| {
                BrokerError::Corrupt(format!("offset {at} of {TRANSACTIONS_TOPIC}: {error}"))
            })?;
        }
        Ok(())
    })?;
    Ok(ids.into_iter().collect())
}

fn replay_record(
    ids: &mut BTreeMap<Arc<str>, TransactionMetadata>,
    record: DecodedRecord,
) -> Result<(), metadata::TransactionRecordError> {
    let Some(key) = record.key else { return Ok(()) };
    let Some(id) = metadata::decode_key(key)? else { return Ok(()) };
    match record.value {
        Some(value) => drop(ids.insert(id, metadata::decode_value(value)?)),
        None => drop(ids.remove(&id)),
    }
    Ok(())
}
