//! What the clients of librdkafka that are no producers have in common: how they speak, and how they are asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};
use topo_core::log::{LogError, TopicPartition};

/// What is done with that librdkafka says of itself. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// Up to where reading has come that found the end of a partition: where the markers of transactions lie at the end,
    /// this is behind them, and no record tells.
    ends: Arc<Mutex<HashMap<TopicPartition, i64>>>,
}

impl Told {
    /// Where reading last found the partition's end, as of some moments ago.
    pub(super) fn end(&self, at: &TopicPartition) -> Option<i64> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).get(at).copied()
    }
}

/// A consumer of librdkafka's.
pub(super) type Consumer = BaseConsumer<Told>;

impl ClientContext for Told {
    fn log(&self, level: Level, facility: &str, message: &str) {
        say(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        noted(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.clear();
        for (topic, one) in statistics.topics {
            let topic: Arc<str> = topic.into();
            for (number, partition) in one.partitions {
                if let Ok(number) = u32::try_from(number) {
                    ends.insert(TopicPartition::new(Arc::clone(&topic), number), partition.eof_offset);
                }
            }
        }
    }
}

impl ConsumerContext for Told {}

/// Logs what librdkafka logs. A lost connection, its most frequent error, is tried again by itself; what does not pass
/// comes back from the call that it disturbed.
pub(super) fn say(level: Level, facility: &str, message: &str) {
    match level {
        Level::Emerg | Level::Alert | Level::Critical => tracing::error!(facility, "{message}"),
        Level::Error | Level::Warning => tracing::info!(facility, "{message}"),
        Level::Notice | Level::Info | Level::Debug => tracing::debug!(facility, "{message}"),
    }
}

/// Logs an error that is no call's.
pub(super) fn noted(error: &KafkaError, reason: &str) {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
        tracing::warn!(reason, "no broker answers; it is tried again");
    } else {
        tracing::info!(%error, reason, "the connection to the broker is disturbed");
    }
}

/// Asks a client where nothing else waits: librdkafka's calls block their thread.
pub(super) async fn ask<T: Send + 'static>(
    consumer: &Arc<Consumer>,
    ask: impl FnOnce(&Arc<Consumer>) -> T + Send + 'static,
) -> Result<T, LogError> {
    let consumer = Arc::clone(consumer);
    tokio::task::spawn_blocking(move || {
        let answer = ask(&consumer);
        // Where it is the last one, it takes leave of the brokers here, and not on a thread that others wait for.
        drop(consumer);
        answer
    })
    .await
    .map_err(|_| LogError::Closed)
}
