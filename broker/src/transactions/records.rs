//! Transactional ids' records in `__transaction_state`.

use std::collections::BTreeMap;
use std::sync::Arc;

use topo_protocol::{BatchBuilder, BatchHeader, Compression, NewRecord, records};

use super::metadata::{self, TransactionMetadata};
use crate::error::BrokerError;
use crate::partition::{Isolation, Partition};
use crate::topic::TRANSACTIONS_TOPIC;

/// Bytes to read at a time while replaying.
const REPLAY_BYTES: usize = 1 << 20;
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
    let held = partition.offsets()?;
    let mut offset = held.log_start;
    let corrupt = |offset, reason: &dyn std::fmt::Display| {
        BrokerError::Corrupt(format!("offset {offset} of {TRANSACTIONS_TOPIC}: {reason}"))
    };
    while offset < held.high_watermark {
        let mut batches = partition.read(offset, REPLAY_BYTES, Isolation::ReadUncommitted)?.batches;
        if batches.is_empty() {
            return Err(corrupt(offset, &"there is no record, below its high watermark"));
        }
        while !batches.is_empty() {
            let header = BatchHeader::parse(&batches)?;
            let batch = batches.split_to(header.total_bytes().min(batches.len()));
            for record in records(batch, MAX_DECOMPRESSED_BYTES)? {
                let record = record?;
                let Some(key) = record.key else { continue };
                let decoded = metadata::decode_key(key);
                let Some(id) = decoded.map_err(|error| corrupt(record.offset, &error))? else { continue };
                let value = record.value.map(metadata::decode_value).transpose();
                match value.map_err(|error| corrupt(record.offset, &error))? {
                    Some(metadata) => drop(ids.insert(id, metadata)),
                    None => drop(ids.remove(&id)),
                }
            }
            offset = header.next_offset();
        }
    }
    Ok(ids.into_iter().collect())
}
