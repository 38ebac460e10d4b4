//! The log as a topology in the same process uses it: no protocol, no port.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use topo_broker::{Broker, BrokerError, FetchLimit, Isolation, Topic, TopicPartition};

use super::batches::Batch;
use super::read::Reader;
use super::tally::{Span, Tally};

/// Appends `batch` to the partitions of `topic` in turn, `depth` appends ahead.
///
/// # Errors
/// What the broker says.
pub(super) async fn produce(
    broker: Broker,
    topic: Arc<Topic>,
    batch: Batch,
    depth: usize,
    span: Span,
) -> Result<Tally, BrokerError> {
    let partitions = topic_partitions(&topic);
    let mut to = partitions.iter().cycle();
    let (mut tally, mut ahead) = (Tally::default(), VecDeque::with_capacity(depth));
    let mut is_over = false;
    while !is_over || !ahead.is_empty() {
        while !is_over && ahead.len() < depth {
            let Some(to) = to.next() else { return Ok(tally) };
            // Whoever produces has made the batch by then.
            let batches = vec![BytesMut::from(&batch.bytes[..])];
            let begun = Instant::now();
            ahead.push_back((begun, broker.start_append(to, batches, 0)?));
        }
        let Some((begun, appending)) = ahead.pop_front() else { break };
        appending.durable().await?;
        tally.add(batch.records, batch.bytes.len(), begun.elapsed());
        is_over = is_over || span.is_over(&tally);
    }
    Ok(span.end(tally))
}

/// Fetches from the partitions of `topic` in turn.
///
/// # Errors
/// What the broker says.
pub(super) async fn fetch(
    broker: Broker,
    topic: Arc<Topic>,
    mut readers: Vec<Reader>,
    max_bytes: usize,
    span: Span,
) -> Result<Tally, BrokerError> {
    let limit = FetchLimit { max_bytes, max_wait: Duration::ZERO, isolation: Isolation::ReadUncommitted };
    let mut tally = Tally::default();
    loop {
        for (partition, reader) in topic_partitions(&topic).iter().zip(&mut readers) {
            let begun = Instant::now();
            let batches = broker.fetch(partition, reader.offset(), limit).await?.batches;
            let took = begun.elapsed();
            tally.add(reader.take(&batches), batches.len(), took);
        }
        if span.is_past() {
            return Ok(span.end(tally));
        }
    }
}

pub(super) fn topic_partitions(topic: &Topic) -> Vec<TopicPartition> {
    (0..topic.partition_count()).map(|index| TopicPartition::new(topic.name().clone(), index)).collect()
}
