//! Transactions on a broker: producers in the process, zombies, timeouts, crashes at any point. The clock is tokio's, and
//! stands until everybody waits.

mod crash;
mod hanging;
mod producers;
mod random;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use topo_log::storage::Storage;
use topo_protocol::{
    BatchBuilder, BatchHeader, BatchProducer, Compression, EndTransactionMarker, NewRecord, Room,
    TransactionResult, records,
};

use super::*;
use crate::broker::Broker;
use crate::config::{BrokerConfig, TransactionConfig};
use crate::error::BrokerError;
use crate::offsets::CommittedOffset;
use crate::partition::{FetchLimit, Isolation};
use crate::topic::TopicPartition;

const TIMEOUT: Duration = Duration::from_secs(60);

fn open(storage: impl Storage + 'static, transactions: TransactionConfig) -> Result<Broker, BrokerError> {
    let config = BrokerConfig { transactions, ..BrokerConfig::default() };
    Broker::open_on(Arc::new(storage), Path::new("/data"), config)
}

fn lines(partition: u32) -> TopicPartition {
    TopicPartition::new("lines", partition)
}

fn at(offset: i64) -> CommittedOffset {
    CommittedOffset { offset, leader_epoch: 0, metadata: String::new(), commit_timestamp_ms: 7 }
}

/// A batch of one record, of whom the producer is.
fn batch_of(value: &str, producer: &BatchProducer) -> BytesMut {
    let mut builder = BatchBuilder::new(1 << 10);
    let record = NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() };
    assert_eq!(builder.append(&record).unwrap(), Room::Taken);
    builder.finish_as(Compression::None, producer).unwrap()
}

/// A batch of one record.
fn batch(value: &str) -> BytesMut {
    batch_of(value, &BatchProducer::NONE)
}

/// Waits until no step of any transactional id is under way.
async fn settle(broker: &Broker) {
    for listing in broker.transactions().list() {
        broker.transactions().settled(&listing.transactional_id).await.unwrap();
    }
}

/// What a consumer that reads what is committed sees of a partition, in order, as Kafka's clients do it.
async fn committed_values(broker: &Broker, of: &TopicPartition) -> Vec<String> {
    let limit =
        FetchLimit { max_bytes: 16 << 20, max_wait: Duration::ZERO, isolation: Isolation::ReadCommitted };
    let fetched = broker.fetch(of, 0, limit).await.unwrap();
    let (mut batches, mut aborted) = (fetched.batches, fetched.aborted);
    aborted.sort_by_key(|aborted| aborted.first_offset);
    let (mut aborted, mut skipped) = (aborted.into_iter().peekable(), HashSet::new());
    let mut values = Vec::new();
    while !batches.is_empty() {
        let header = BatchHeader::parse(&batches).unwrap();
        let batch = batches.split_to(header.total_bytes());
        while let Some(begun) = aborted.next_if(|aborted| aborted.first_offset <= header.base_offset) {
            skipped.insert(begun.producer_id);
        }
        if header.attributes.is_control() {
            let marker = EndTransactionMarker::decode(batch).unwrap().unwrap();
            if marker.result == TransactionResult::Abort {
                skipped.remove(&marker.producer_id);
            }
        } else if !header.attributes.is_transactional() || !skipped.contains(&header.producer_id) {
            let text = |record: topo_protocol::DecodedRecord| String::from_utf8(record.value.unwrap().into());
            values.extend(records(batch, 1 << 20).unwrap().map(|record| text(record.unwrap()).unwrap()));
        }
    }
    values
}

/// Whether nothing is held back from who reads what is committed, in any partition.
fn assert_nothing_open(broker: &Broker, context: &str) {
    for topic in broker.topics() {
        for partition in topic.partitions() {
            let held = partition.offsets().unwrap();
            assert_eq!(
                held.last_stable_offset,
                held.high_watermark,
                "{context}: a transaction is open in {}",
                partition.at()
            );
        }
    }
}
