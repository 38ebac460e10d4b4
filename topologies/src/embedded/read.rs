//! Batches into records.

use std::collections::HashMap;

use bytes::Bytes;
use topo_broker::{AbortedTransaction, BrokerError};
use topo_core::log::{Consumed, FetchLimit, Fetched, Header, TopicPartition};
use topo_protocol::{BatchError, BatchHeader, DecodedRecord, records};

use super::EmbeddedLog;
use super::error::{isolation_there, there};

impl EmbeddedLog {
    /// Reads the records from `offset` on.
    pub(super) async fn fetch_records(
        &self,
        from: &TopicPartition,
        offset: i64,
        limit: FetchLimit,
    ) -> Result<Fetched, BrokerError> {
        let FetchLimit { max_bytes, max_wait, isolation } = limit;
        let isolation = isolation_there(isolation);
        let limit = topo_broker::FetchLimit { max_bytes, max_wait, isolation };
        let fetched = self.broker.fetch(&there(from), offset, limit).await?;
        let aborted = Aborted::new(fetched.aborted);
        let mut decoded = Decoded { records: Vec::new(), next_offset: offset, aborted };
        let mut batches = fetched.batches;
        while !batches.is_empty() {
            if let Err(error) = decoded.next_batch(&mut batches, self.config.max_decompressed_bytes) {
                // What is in front of the damage is returned first; the fetch behind it finds it again.
                if decoded.next_offset == offset {
                    return Err(error.into());
                }
                break;
            }
        }
        let Decoded { records, next_offset, .. } = decoded;
        Ok(Fetched { records, next_offset, high_watermark: fetched.offsets.readable_end(isolation) })
    }
}

/// Invariant: holds every record from the offset asked for up to `next_offset` but for those of aborted transactions, and
/// none behind it.
struct Decoded {
    records: Vec<Consumed>,
    next_offset: i64,
    aborted: Aborted,
}

/// The aborted transactions that a fetch came upon.
struct Aborted(HashMap<i64, Vec<AbortedTransaction>>);

impl Aborted {
    fn new(aborted: Vec<AbortedTransaction>) -> Self {
        let mut by_producer: HashMap<_, Vec<_>> = HashMap::new();
        for aborted in aborted {
            by_producer.entry(aborted.producer_id).or_default().push(aborted);
        }
        Self(by_producer)
    }

    /// Whether a batch is part of one.
    fn holds(&self, header: &BatchHeader) -> bool {
        let is_in = |aborted: &AbortedTransaction| {
            (aborted.first_offset..aborted.last_offset).contains(&header.base_offset)
        };
        let aborted = self.0.get(&header.producer_id).filter(|_| header.attributes.is_transactional());
        aborted.is_some_and(|aborted| aborted.iter().any(is_in))
    }
}

impl Decoded {
    fn next_batch(&mut self, batches: &mut Bytes, max_decompressed: usize) -> Result<(), BatchError> {
        let header = BatchHeader::parse(batches)?;
        let batch = batches.split_to(header.total_bytes().min(batches.len()));
        // Markers of transactions are for the log itself.
        if !header.attributes.is_control() && !self.aborted.holds(&header) {
            let records = records(batch, max_decompressed)?;
            let before = self.records.len();
            self.records.reserve(records.size_hint().1.unwrap_or(0));
            for record in records {
                match record {
                    Ok(record) if record.offset >= self.next_offset => self.records.push(consumed(record)),
                    Ok(_) => {}
                    Err(error) => {
                        self.records.truncate(before);
                        return Err(error);
                    }
                }
            }
        }
        self.next_offset = header.next_offset();
        Ok(())
    }
}

fn consumed(record: DecodedRecord) -> Consumed {
    let DecodedRecord { offset, timestamp_ms, key, value, headers } = record;
    let headers = headers.into_iter().map(|h| Header { key: h.key, value: h.value }).collect();
    Consumed { offset, timestamp_ms, key, value, headers }
}
