//! Appends: idempotent producers, and who waits for what they send.
//!
//! Invariant: the records of one append are handed to librdkafka one behind the other, so that those of another append
//! through the same client never come between them; librdkafka keeps that order through retries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext, config::RDKafkaLogLevel};
use tokio::sync::{Notify, oneshot};
use topo_core::log::{LogError, Record, TopicPartition};

use super::client::{noted, say};
use super::config::{KafkaConfig, batch_bytes};
use super::error::{About, append_error, log_error};
use crate::brokers::Brokers;

/// The producers of a client: one for each size that batches may have, as topics differ in what they take.
pub(super) struct Appender {
    brokers: Brokers,
    config: KafkaConfig,
    producers: Mutex<HashMap<usize, Arc<Sender>>>,
}

/// A producer of librdkafka's.
pub(super) struct Sender {
    pub(super) producer: ThreadedProducer<Deliveries>,
    /// Whose records are handed over.
    turn: tokio::sync::Mutex<()>,
}

/// Hears what became of records.
#[derive(Default)]
pub(super) struct Deliveries {
    /// Rung when a record has left the producer's memory.
    left: Notify,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        noted(&error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = Arc<Append>;

    fn delivery(&self, result: &DeliveryResult<'_>, append: Arc<Append>) {
        match result {
            Ok(message) => append.done(1, Ok(message.offset())),
            Err((error, _)) => append.done(1, Err(error.clone())),
        }
        self.left.notify_one();
    }
}

/// An append under way.
pub(super) struct Append(Mutex<State>);

struct State {
    /// Records that nothing was heard of.
    open: usize,
    /// The least offset, or what went wrong first.
    came_to: Result<i64, KafkaError>,
    waits: Option<oneshot::Sender<Result<i64, KafkaError>>>,
}

impl Append {
    pub(super) fn new(records: usize) -> (Arc<Self>, oneshot::Receiver<Result<i64, KafkaError>>) {
        let (waits, answer) = oneshot::channel();
        let state = State { open: records, came_to: Ok(i64::MAX), waits: Some(waits) };
        (Arc::new(Self(Mutex::new(state))), answer)
    }

    /// Notes what became of so many records.
    pub(super) fn done(&self, records: usize, what: Result<i64, KafkaError>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.open = state.open.saturating_sub(records);
        state.came_to = match (std::mem::replace(&mut state.came_to, Ok(0)), what) {
            (Ok(least), Ok(offset)) => Ok(least.min(offset)),
            (Err(first), _) | (Ok(_), Err(first)) => Err(first),
        };
        if state.open == 0
            && let Some(waits) = state.waits.take()
        {
            // Whoever waited may have left.
            let _ = waits.send(state.came_to.clone());
        }
    }
}

impl Appender {
    pub(super) fn new(brokers: Brokers, config: KafkaConfig) -> Self {
        Self { brokers, config, producers: Mutex::default() }
    }

    /// Appends `records`, of which there are some, to a partition whose topic takes batches of `max_message_bytes`, and
    /// returns the offset of the first.
    pub(super) async fn append(
        &self,
        to: &TopicPartition,
        records: &[Record],
        max_message_bytes: usize,
    ) -> Result<i64, LogError> {
        check(to, records, max_message_bytes)?;
        let sender = self.sender(max_message_bytes)?;
        let (append, answer) = Append::new(records.len());
        {
            let _turn = sender.turn.lock().await;
            for (index, record) in records.iter().enumerate() {
                if let Err(error) = sender.hand_over(to, record, &append).await {
                    append.done(records.len() - index, Err(error));
                    break;
                }
            }
        }
        match answer.await {
            Ok(Ok(offset)) => Ok(offset),
            Ok(Err(error)) => Err(self.failed(to, &error, &sender, max_message_bytes)),
            Err(_) => Err(LogError::Closed),
        }
    }

    fn failed(&self, to: &TopicPartition, error: &KafkaError, sender: &Arc<Sender>, max: usize) -> LogError {
        // Beyond a fatal error a producer sends nothing any more; the next append begins with another.
        if let Some((code, reason)) = sender.producer.client().fatal_error() {
            tracing::warn!(%code, reason, "the producer is given up");
            self.producers().retain(|_, one| !Arc::ptr_eq(one, sender));
        }
        delivery_error(&self.brokers, to, error, max)
    }

    fn sender(&self, max_message_bytes: usize) -> Result<Arc<Sender>, LogError> {
        let mut producers = self.producers();
        if let Some(sender) = producers.get(&batch_bytes(max_message_bytes)) {
            return Ok(Arc::clone(sender));
        }
        let config = self.config.producer(&self.brokers, max_message_bytes);
        let created = Sender::create(&config);
        let sender = Arc::new(created.map_err(|error| log_error(&self.brokers, &error, About::Cluster))?);
        producers.insert(batch_bytes(max_message_bytes), Arc::clone(&sender));
        Ok(sender)
    }

    // Nothing panics while it holds the lock.
    fn producers(&self) -> MutexGuard<'_, HashMap<usize, Arc<Sender>>> {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    pub(super) fn create(config: &ClientConfig) -> KafkaResult<Self> {
        let producer = config.create_with_context(Deliveries::default())?;
        Ok(Self { producer, turn: tokio::sync::Mutex::default() })
    }

    /// Gives a record to librdkafka, once it has room for it.
    pub(super) async fn hand_over(
        &self,
        to: &TopicPartition,
        record: &Record,
        append: &Arc<Append>,
    ) -> Result<(), KafkaError> {
        let mut new = BaseRecord::<[u8], [u8], _>::with_opaque_to(&to.topic, Arc::clone(append));
        new = new.partition(i32::try_from(to.partition).unwrap_or(i32::MAX));
        (new.key, new.payload) = (record.key.as_deref(), record.value.as_deref());
        // librdkafka takes 0 for "now"; no time lies nearer to it than this.
        new.timestamp = record.timestamp_ms.map(|timestamp| if timestamp == 0 { 1 } else { timestamp });
        if !record.headers.is_empty() {
            let none = OwnedHeaders::new_with_capacity(record.headers.len());
            new.headers = Some(record.headers.iter().fold(none, |headers, header| {
                headers.insert(Header { key: &header.key, value: header.value.as_deref() })
            }));
        }
        loop {
            match self.producer.send(new) {
                Ok(()) => return Ok(()),
                Err((error, back)) if error.rdkafka_error_code() == Some(Code::QueueFull) => {
                    new = back;
                    self.producer.context().left.notified().await;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }
}

/// Why a record of a topic that takes batches of `max` bytes is not in the log.
pub(super) fn delivery_error(
    brokers: &Brokers,
    to: &TopicPartition,
    error: &KafkaError,
    max: usize,
) -> LogError {
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge) => LogError::Invalid(format!(
            "a record is too large for topic `{}`, which takes {max} bytes; raise its max.message.bytes",
            to.topic
        )),
        Some(code) => append_error(brokers, code, to),
        None => log_error(brokers, error, About::Partition(to)),
    }
}

/// Refuses what would be refused after some of it is appended.
pub(super) fn check(
    to: &TopicPartition,
    records: &[Record],
    max_message_bytes: usize,
) -> Result<(), LogError> {
    for record in records {
        if let Some(header) = record.headers.iter().find(|header| header.key.contains('\0')) {
            let name = header.key.escape_default();
            return Err(LogError::Invalid(format!("the name of header `{name}` contains a zero byte")));
        }
        // Compressed it may fit; then it has to come alone, as nothing else must be refused with it.
        if records.len() > 1 && bytes(record) > max_message_bytes {
            return Err(LogError::Invalid(format!(
                "a record of {} bytes may be too large for topic `{}`, which takes {max_message_bytes}",
                bytes(record),
                to.topic
            )));
        }
    }
    Ok(())
}

/// What a record takes, uncompressed; a little more than it does.
pub(super) fn bytes(record: &Record) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len) + 5;
    let headers: usize =
        record.headers.iter().map(|header| header.key.len() + 5 + length(&header.value)).sum();
    30 + length(&record.key) + length(&record.value) + headers
}
