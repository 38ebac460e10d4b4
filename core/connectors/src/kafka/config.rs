//! How the client behaves, and what librdkafka is told of it.

use std::time::Duration;

use rdkafka::ClientConfig;
use topo_core::log::{Isolation, TransactionalConfig};

use crate::brokers::Brokers;

/// How a [`KafkaLog`](super::KafkaLog) asks and waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// What brokers log and meter the client by.
    pub client_id: String,
    /// How long any call but an append may take.
    pub request_timeout: Duration,
    /// How long an append is tried, through lost connections and changes of leader, before it is given up.
    pub append_timeout: Duration,
    /// Which records are read, whatever a single fetch asks for: a client has one isolation for all that it reads.
    pub isolation: Isolation,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            client_id: "topo".to_owned(),
            request_timeout: Duration::from_secs(15),
            append_timeout: Duration::from_secs(120),
            isolation: Isolation::default(),
        }
    }
}

/// The group that reading is done as. It never commits; librdkafka wants it to have a name.
const READING_GROUP: &str = "topo-reading";
/// The most bytes that librdkafka puts into a batch unless the topic takes less; its own default.
pub(super) const BATCH_BYTES: usize = 1_000_000;
/// What a batch takes beside its records, rounded up.
const BATCH_OVERHEAD: usize = 128;

impl KafkaConfig {
    /// A client that asks.
    pub(super) fn client(&self, brokers: &Brokers) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers.to_string());
        config.set("client.id", &self.client_id);
        config.set("allow.auto.create.topics", "false");
        // A broker that restarts is found again within moments.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
        config
    }

    /// A consumer that only reads what it is told to; `group` is whom it commits for.
    pub(super) fn consumer(&self, brokers: &Brokers, group: &str) -> ClientConfig {
        let isolation = match self.isolation {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        };
        let mut config = self.client(brokers);
        config.set("group.id", group).set("isolation.level", isolation);
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
        // What is read ahead of each partition at the most.
        config.set("queued.max.messages.kbytes", "16384");
        // A queue that was full is filled again before it is empty, and a partition that joins need not wait long for the
        // answer that the others wait for.
        config.set("fetch.queue.backoff.ms", "5").set("fetch.wait.max.ms", "100");
        config.set("fetch.error.backoff.ms", "100");
        config
    }

    /// Commits for `group` without being a member.
    pub(super) fn committer(&self, brokers: &Brokers, group: &str) -> ClientConfig {
        let mut config = self.consumer(brokers, group);
        // A commit waits so long for the group's coordinator; there is no session.
        let wait = self.request_timeout.as_millis().clamp(1, 300_000);
        config.set("session.timeout.ms", wait.to_string());
        config
    }

    /// The consumer that fetches.
    pub(super) fn reader(&self, brokers: &Brokers) -> ClientConfig {
        let mut config = self.consumer(brokers, READING_GROUP);
        config.set("statistics.interval.ms", "500");
        config
    }

    /// A member of `group`.
    pub(super) fn member(&self, brokers: &Brokers, group: &str, from_start: bool) -> ClientConfig {
        let mut config = self.consumer(brokers, group);
        config.set("auto.offset.reset", if from_start { "earliest" } else { "latest" });
        config
    }

    /// A producer to topics that take batches of `max_message_bytes`.
    pub(super) fn producer(&self, brokers: &Brokers, max_message_bytes: usize) -> ClientConfig {
        let mut config = self.client(brokers);
        config.set("acks", "all").set("enable.idempotence", "true");
        config.set("message.timeout.ms", self.append_timeout.as_millis().max(1).to_string());
        // Records are gathered before they get here.
        config.set("linger.ms", "1").set("compression.codec", "lz4");
        config.set("queue.buffering.max.messages", "0").set("queue.buffering.max.kbytes", "131072");
        // A record that is larger has a batch of its own, and the broker decides by its compressed size.
        config.set("batch.size", batch_bytes(max_message_bytes).to_string());
        config.set("message.max.bytes", "1000000000");
        config
    }

    /// A producer that has a transactional id, to topics that take large batches.
    pub(super) fn transactional(&self, brokers: &Brokers, holder: &TransactionalConfig) -> ClientConfig {
        let mut config = self.producer(brokers, usize::MAX);
        // librdkafka takes no less than a second, and wants records to be given up no later than their transaction.
        let timeout = holder.timeout.as_millis().clamp(1_000, i32::MAX as u128);
        config.set("transactional.id", &*holder.id).set("transaction.timeout.ms", timeout.to_string());
        config.set("message.timeout.ms", self.append_timeout.as_millis().clamp(1, timeout).to_string());
        config
    }
}

/// How many bytes of records a batch may have.
pub(super) fn batch_bytes(max_message_bytes: usize) -> usize {
    max_message_bytes.saturating_sub(BATCH_OVERHEAD).clamp(1, BATCH_BYTES)
}
