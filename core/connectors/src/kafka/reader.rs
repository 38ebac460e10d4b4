//! Fetches: each partition that is read has a queue of its own, which librdkafka fills ahead.
//!
//! Invariant: `position` is the offset of the next record that leaves the queue; a fetch from elsewhere moves the queue
//! there first.

use std::collections::HashMap;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message};
use rdkafka::{Offset, Timestamp, TopicPartitionList};
use tokio::sync::Notify;
use tokio::time::Instant;
use topo_core::log::{Consumed, FetchLimit, Fetched, Header, LogError, TopicPartition};

use super::client::{Consumer, Told, ask};
use super::error::{About, by_code, log_error, no_answer};
use super::topics::Topics;
use crate::brokers::Brokers;

/// A partition that nobody has fetched from for so long is not read ahead any more.
const RESTS_AFTER: Duration = Duration::from_secs(10);
/// How long the wait for records may be until librdkafka is heard again.
const LOOKS_AGAIN: Duration = Duration::from_millis(500);
/// Records are copied into blocks of at least so many bytes.
const BLOCK_BYTES: usize = 64 << 10;

/// The partitions that are read.
pub(super) struct Readers {
    brokers: Brokers,
    consumer: Arc<Consumer>,
    told: Told,
    request_timeout: Duration,
    readers: Mutex<HashMap<TopicPartition, Arc<tokio::sync::Mutex<Reader>>>>,
}

struct Reader {
    at: TopicPartition,
    queue: PartitionQueue<Told>,
    /// Rung when the queue is empty no more.
    filled: Arc<Notify>,
    /// `None` until it is told where to read.
    position: Option<i64>,
    /// Whether the broker had nothing more at `position` when it last answered.
    at_end: bool,
    /// The last one heard of.
    high_watermark: i64,
    /// What ends the next fetch: it came behind records that were returned.
    failed: Option<LogError>,
    used: Instant,
}

/// What a fetch has so far, and where it goes on.
struct Taken {
    next: i64,
    records: Vec<Consumed>,
}

impl Readers {
    pub(super) fn new(
        brokers: Brokers,
        consumer: Arc<Consumer>,
        told: Told,
        request_timeout: Duration,
    ) -> Self {
        Self { brokers, consumer, told, request_timeout, readers: Mutex::default() }
    }

    pub(super) async fn fetch(
        &self,
        topics: &Topics,
        from: &TopicPartition,
        offset: i64,
        limit: FetchLimit,
    ) -> Result<Fetched, LogError> {
        let reader = self.reader(topics, from).await?;
        let mut reader = reader.lock().await;
        reader.used = Instant::now();
        self.hear();
        let fetched = self.fetch_by(&mut reader, topics, offset, limit).await;
        if fetched.is_err() {
            reader.position = None;
        }
        drop(reader);
        self.let_rest().await;
        fetched
    }

    async fn fetch_by(
        &self,
        reader: &mut Reader,
        topics: &Topics,
        offset: i64,
        limit: FetchLimit,
    ) -> Result<Fetched, LogError> {
        let begun = Instant::now();
        if reader.position != Some(offset) {
            self.begin(reader, topics, offset).await?;
        }
        let mut taken = Taken { next: offset, records: Vec::new() };
        // Whether the broker has said that there are records at the end that was found.
        let mut promised = false;
        loop {
            let end = self.told.end(&reader.at);
            reader.drain(&self.brokers, &mut taken, limit.max_bytes);
            if !taken.records.is_empty() {
                break;
            }
            if let Some(error) = reader.failed.take() {
                return Err(self.explained(topics, &reader.at, offset, error).await);
            }
            // The end that was found before the queue was seen empty lies behind nothing that is not returned.
            if let Some(end) = end.filter(|end| reader.at_end && *end > taken.next) {
                taken.next = end;
                break;
            }
            if reader.at_end && limit.max_wait.is_zero() && !promised {
                // What is in the log is returned however short the wait is, for which the broker has to be asked.
                reader.high_watermark = topics.offsets_of_known(&reader.at).await?.high_watermark;
                if reader.high_watermark <= taken.next {
                    break;
                }
                promised = true;
            }
            let owed = promised || !reader.at_end;
            let wait = if owed { self.request_timeout } else { limit.max_wait };
            match wait.saturating_sub(begun.elapsed()) {
                Duration::ZERO if owed => return Err(no_answer(&self.brokers)),
                Duration::ZERO => break,
                left => drop(tokio::time::timeout(left.min(LOOKS_AGAIN), reader.filled.notified()).await),
            }
            self.hear();
        }
        reader.position = Some(taken.next);
        reader.high_watermark = reader.high_watermark.max(taken.next);
        let Taken { next, records } = taken;
        Ok(Fetched { records, next_offset: next, high_watermark: reader.high_watermark })
    }

    /// Lets librdkafka tell what is no partition's.
    fn hear(&self) {
        while self.consumer.poll(Duration::ZERO).is_some() {}
    }

    async fn reader(
        &self,
        topics: &Topics,
        at: &TopicPartition,
    ) -> Result<Arc<tokio::sync::Mutex<Reader>>, LogError> {
        if let Some(reader) = self.readers().get(at) {
            return Ok(Arc::clone(reader));
        }
        match topics.partitions(&at.topic).await? {
            None => return Err(LogError::UnknownTopic(at.topic.clone())),
            Some(partitions) if at.partition >= partitions => {
                return Err(LogError::UnknownPartition(at.clone()));
            }
            Some(_) => {}
        }
        let mut readers = self.readers();
        if let Some(reader) = readers.get(at) {
            return Ok(Arc::clone(reader));
        }
        let filled = Arc::new(Notify::new());
        // Before it is assigned, so that nothing of the partition goes to the queue of all.
        let queue = self.consumer.split_partition_queue(&at.topic, at.partition as i32);
        let mut queue = queue.ok_or_else(|| LogError::UnknownPartition(at.clone()))?;
        let rings = Arc::clone(&filled);
        queue.set_nonempty_callback(move || rings.notify_one());
        let reader = Reader {
            at: at.clone(),
            queue,
            filled,
            position: None,
            at_end: false,
            high_watermark: 0,
            failed: None,
            used: Instant::now(),
        };
        let reader = Arc::new(tokio::sync::Mutex::new(reader));
        readers.insert(at.clone(), Arc::clone(&reader));
        Ok(reader)
    }

    /// Moves a reader to `offset`.
    async fn begin(&self, reader: &mut Reader, topics: &Topics, offset: i64) -> Result<(), LogError> {
        let at = &reader.at;
        let held = topics.offsets(at).await?;
        if !(held.log_start..=held.high_watermark).contains(&offset) {
            return Err(LogError::OffsetOutOfRange { at: at.clone(), asked: offset, held });
        }
        let list =
            |offset| one(at, offset).map_err(|error| log_error(&self.brokers, &error, About::Partition(at)));
        let (old, new) = (list(Offset::Invalid)?, list(Offset::Offset(offset))?);
        let moved = ask(&self.consumer, move |consumer| {
            // It may not have been assigned before.
            let _ = rdkafka::consumer::Consumer::incremental_unassign(&**consumer, &old);
            rdkafka::consumer::Consumer::incremental_assign(&**consumer, &new)
        });
        moved.await?.map_err(|error| log_error(&self.brokers, &error, About::Partition(at)))?;
        (reader.at_end, reader.failed) = (false, None);
        (reader.position, reader.high_watermark) = (Some(offset), held.high_watermark);
        Ok(())
    }

    /// An error as the caller should hear it: where the offset is not held, what is.
    async fn explained(&self, topics: &Topics, at: &TopicPartition, asked: i64, error: LogError) -> LogError {
        match error {
            LogError::OffsetOutOfRange { .. } => match topics.offsets(at).await {
                Ok(held) => LogError::OffsetOutOfRange { at: at.clone(), asked, held },
                Err(error) => error,
            },
            error => error,
        }
    }

    /// Ends the reading of partitions that nobody fetches from.
    async fn let_rest(&self) {
        let mut rest = Vec::new();
        self.readers().retain(|at, reader| {
            let rests = reader.try_lock().is_ok_and(|reader| reader.used.elapsed() > RESTS_AFTER);
            // Whoever has it from the map already goes on with it.
            let rests = rests && Arc::strong_count(reader) == 1;
            if rests {
                rest.push(at.clone());
            }
            !rests
        });
        if rest.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for at in &rest {
            list.add_partition(&at.topic, at.partition as i32);
        }
        let ended = ask(&self.consumer, move |consumer| {
            rdkafka::consumer::Consumer::incremental_unassign(&**consumer, &list)
        });
        if let Ok(Err(error)) = ended.await {
            tracing::debug!(%error, "partitions that rest are read on");
        }
    }

    // Nothing panics while it holds the lock.
    fn readers(&self) -> MutexGuard<'_, HashMap<TopicPartition, Arc<tokio::sync::Mutex<Reader>>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A list of one partition.
fn one(at: &TopicPartition, offset: Offset) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&at.topic, at.partition as i32, offset)?;
    Ok(list)
}

impl Reader {
    /// Takes what is in the queue, up to about `max_bytes`.
    fn drain(&mut self, brokers: &Brokers, taken: &mut Taken, max_bytes: usize) {
        let mut block = BytesMut::new();
        let mut bytes = 0;
        while bytes < max_bytes && self.failed.is_none() {
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) if message.offset() < taken.next => {}
                Some(Ok(message)) => match consumed(&message, &mut block) {
                    Ok(record) => {
                        bytes += message.payload_len() + message.key_len();
                        taken.next = record.offset + 1;
                        self.at_end = false;
                        taken.records.push(record);
                    }
                    Err(NotText) => {
                        let said = format!(
                            "a header of the record at {} of {} is not text",
                            message.offset(),
                            self.at
                        );
                        self.failed = Some(LogError::Corrupt(said));
                    }
                },
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    self.at_end = true;
                    self.high_watermark = self.high_watermark.max(taken.next);
                }
                Some(Err(error)) => self.failed = self.failure(brokers, &error),
            }
        }
    }

    /// What the queue says in place of a record; `None` where it goes on by itself.
    fn failure(&self, brokers: &Brokers, error: &KafkaError) -> Option<LogError> {
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation) => {
                let held = topo_core::log::Offsets { log_start: 0, high_watermark: 0, log_end: 0 };
                Some(LogError::OffsetOutOfRange { at: self.at.clone(), asked: 0, held })
            }
            Some(
                Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut,
            ) => None,
            Some(code) => Some(by_code(brokers, code, About::Partition(&self.at))),
            None => Some(log_error(brokers, error, About::Partition(&self.at))),
        }
    }
}

/// The name of a header is not UTF-8.
pub(super) struct NotText;

/// A record as it is handed on; its bytes are copied into `block`, which records share.
pub(super) fn consumed(message: &BorrowedMessage<'_>, block: &mut BytesMut) -> Result<Consumed, NotText> {
    let timestamp_ms = match message.timestamp() {
        Timestamp::NotAvailable => -1,
        Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => ms,
    };
    Ok(Consumed {
        offset: message.offset(),
        timestamp_ms,
        key: message.key().map(|key| kept(block, key)),
        value: message.payload().map(|value| kept(block, value)),
        headers: message.headers().map_or(Ok(Vec::new()), |headers| self::headers(headers, block))?,
    })
}

fn headers(headers: &BorrowedHeaders, block: &mut BytesMut) -> Result<Vec<Header>, NotText> {
    let mut copied = Vec::with_capacity(headers.count());
    for index in 0..headers.count() {
        // The binding panics at a name that is not UTF-8, which a foreign producer may have written.
        let header = catch_unwind(std::panic::AssertUnwindSafe(|| headers.try_get(index)));
        if let Some(header) = header.map_err(|_| NotText)? {
            copied
                .push(Header { key: header.key.into(), value: header.value.map(|value| kept(block, value)) });
        }
    }
    Ok(copied)
}

fn kept(block: &mut BytesMut, bytes: &[u8]) -> Bytes {
    if block.capacity() - block.len() < bytes.len() {
        *block = BytesMut::with_capacity(bytes.len().max(BLOCK_BYTES));
    }
    block.extend_from_slice(bytes);
    block.split().freeze()
}
