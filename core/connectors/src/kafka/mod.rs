//! The log of a Kafka cluster, or of a `topo broker` in another process: [`Log`] over the Kafka protocol, by librdkafka.
//!
//! Records are read ahead, so that a fetch mostly finds them in memory; appends are idempotent and wait for all replicas.
//! A connection that is lost for less than a call's timeout is not noticed. What librdkafka does on threads of its own,
//! or blocks a thread for, never holds up the runtime.
//!
//! Invariant: an offset is never chosen for the caller. Where the one asked for is not held, the fetch says so.

mod appender;
mod client;
mod config;
mod error;
mod groups;
mod member;
mod place;
mod reader;
#[cfg(test)]
mod tests;
mod topics;
mod transactional;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::AdminClient;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio::net::TcpStream;
use topo_core::log::{
    FetchLimit, Fetched, InStages, Joining, Log, LogError, Membership, Offsets, Record, TopicInfo,
    TopicPartition, TopicSpec, TransactionalConfig, TransactionalLog,
};

pub use config::KafkaConfig;
pub use groups::{Group, GroupMember};
pub use member::Member;
pub use topo_core::log::Isolation;

use self::appender::Appender;
use self::client::{Consumer, Told, ask};
use self::error::{About, log_error, no_answer};
use self::groups::Groups;
use self::place::Place;
use self::reader::Readers;
use self::topics::Topics;
use self::transactional::Transactional;
use crate::brokers::Brokers;

/// How long a broker may take to accept a connection.
const CONNECTS_WITHIN: Duration = Duration::from_secs(5);

/// A Kafka cluster as a log.
///
/// Clones share its connections. Its methods need a tokio runtime with timers and I/O. Offsets are those of committed
/// records, unless [`KafkaConfig::isolation`] says otherwise: an open transaction holds back the high watermark that it
/// tells. Two limits of librdkafka's: a timestamp of exactly 0 is written as 1, and a header's name ends at a zero byte.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use topo_connectors::kafka::{KafkaConfig, KafkaLog};
/// use topo_core::log::{Log, Record, TopicPartition, TopicSpec};
///
/// let log = KafkaLog::connect(&"kafka://127.0.0.1:9092".parse()?, KafkaConfig::default()).await?;
/// log.create_topic("lines", &TopicSpec::default()).await?;
/// let record = Record { value: Some("a line".into()), ..Record::default() };
/// log.append(&TopicPartition::new("lines", 0), vec![record]).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct KafkaLog(Arc<Shared>);

struct Shared {
    brokers: Brokers,
    config: KafkaConfig,
    /// `None` only while it is dropped.
    clients: Option<Clients>,
}

struct Clients {
    consumer: Arc<Consumer>,
    topics: Topics,
    appender: Appender,
    readers: Readers,
    groups: Groups,
}

impl KafkaLog {
    /// Connects to the first broker that answers, and to the others as it names them.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where none answers.
    pub async fn connect(brokers: &Brokers, config: KafkaConfig) -> Result<Self, LogError> {
        if !is_anybody_there(brokers).await {
            return Err(no_answer(brokers));
        }
        let failed = |error: KafkaError| log_error(brokers, &error, About::Cluster);
        let told = Told::default();
        let consumer: Consumer = config.reader(brokers).create_with_context(told.clone()).map_err(failed)?;
        let consumer = Arc::new(consumer);
        let admin: AdminClient<Told> =
            config.client(brokers).create_with_context(Told::default()).map_err(failed)?;
        let clients = Clients {
            topics: Topics::new(brokers.clone(), config.clone(), Arc::clone(&consumer), admin),
            appender: Appender::new(brokers.clone(), config.clone()),
            readers: Readers::new(brokers.clone(), Arc::clone(&consumer), told, config.request_timeout),
            groups: Groups::new(brokers.clone(), config.clone()),
            consumer,
        };
        Ok(Self(Arc::new(Shared { brokers: brokers.clone(), config, clients: Some(clients) })))
    }

    /// The brokers that were named.
    pub fn brokers(&self) -> &Brokers {
        &self.0.brokers
    }

    /// The groups that the cluster knows, with their members.
    ///
    /// # Errors
    /// A connection error.
    pub async fn groups(&self) -> Result<Vec<Group>, LogError> {
        let clients = self.clients()?;
        let mut groups = clients.groups.list(&clients.consumer, None).await?;
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(groups)
    }

    /// One group; `None` where the cluster knows none of that name.
    ///
    /// # Errors
    /// A connection error.
    pub async fn group(&self, group: &str) -> Result<Option<Group>, LogError> {
        let clients = self.clients()?;
        let mut groups = clients.groups.list(&clients.consumer, Some(group)).await?;
        // A group that is not there is described as dead.
        groups.retain(|one| one.name == group && one.state != "Dead");
        Ok(groups.pop())
    }

    /// What `group` last committed for each of these partitions.
    ///
    /// # Errors
    /// A connection error.
    pub async fn committed_all(
        &self,
        group: &str,
        of: &[TopicPartition],
    ) -> Result<Vec<Option<i64>>, LogError> {
        let committed = self.clients()?.groups.committed(group, of).await?;
        Ok(committed.into_iter().map(|one| one.map(|(offset, _)| offset)).collect())
    }

    /// Deletes a group and what it has committed.
    ///
    /// # Errors
    /// [`LogError::Invalid`] where it has members or is not there, or a connection error.
    pub async fn delete_group(&self, group: &str) -> Result<(), LogError> {
        self.clients()?.topics.delete_group(group).await
    }

    /// Becomes a member of `group` that reads `topics`, each partition from where the group has committed; where it has
    /// not, from the start or from the end.
    ///
    /// # Errors
    /// [`LogError::Invalid`] where a name is none.
    pub fn member(&self, group: &str, topics: &[&str], from_start: bool) -> Result<Member, LogError> {
        Member::join(self.0.brokers.clone(), &self.0.config, group, topics, from_start)
    }

    fn clients(&self) -> Result<&Clients, LogError> {
        self.0.clients.as_ref().ok_or(LogError::Closed)
    }
}

/// Whether one of the brokers accepts a connection: librdkafka itself would go on trying where all refuse.
async fn is_anybody_there(brokers: &Brokers) -> bool {
    for address in brokers.addresses() {
        let connected = tokio::time::timeout(CONNECTS_WITHIN, TcpStream::connect(address)).await;
        if matches!(connected, Ok(Ok(_))) {
            return true;
        }
    }
    false
}

impl Drop for Shared {
    // librdkafka takes leave of its brokers; nobody has to wait for that.
    fn drop(&mut self) {
        let clients = self.clients.take();
        let _ = std::thread::Builder::new().name("kafka-leave".to_owned()).spawn(move || drop(clients));
    }
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("brokers", &self.0.brokers).finish_non_exhaustive()
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn create_topic(&self, topic: &str, spec: &TopicSpec) -> Result<(), LogError> {
        self.clients()?.topics.create(topic, spec).await
    }

    async fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        self.clients()?.topics.delete(topic).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        self.clients()?.topics.all().await
    }

    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        self.clients()?.topics.one(topic).await
    }

    async fn append(&self, to: &TopicPartition, records: Vec<Record>) -> Result<i64, LogError> {
        let clients = self.clients()?;
        let known = clients.topics.known(to).await?;
        if records.is_empty() {
            return Ok(clients.topics.offsets(to).await?.log_end);
        }
        let appended = clients.appender.append(to, &records, known.max_message_bytes).await;
        if appended.is_err() {
            clients.topics.forget(&to.topic);
        }
        appended
    }

    async fn fetch(
        &self,
        from: &TopicPartition,
        offset: i64,
        limit: FetchLimit,
    ) -> Result<Fetched, LogError> {
        let clients = self.clients()?;
        clients.readers.fetch(&clients.topics, from, offset, limit).await
    }

    async fn offsets(&self, of: &TopicPartition) -> Result<Offsets, LogError> {
        self.clients()?.topics.offsets(of).await
    }

    async fn offset_for_time(&self, of: &TopicPartition, timestamp_ms: i64) -> Result<Option<i64>, LogError> {
        let clients = self.clients()?;
        // It also says whether the partition is there, which librdkafka would wait for.
        let held = clients.topics.offsets(of).await?;
        if timestamp_ms < 0 {
            // Negative times mean something else to a broker. Before 1970 there is nothing, so the first record is late
            // enough.
            return Ok((held.log_start < held.high_watermark).then_some(held.log_start));
        }
        let failed = |error: &KafkaError| log_error(&self.0.brokers, error, About::Partition(of));
        let mut list = TopicPartitionList::new();
        let (partition, time) = (of.partition as i32, Offset::Offset(timestamp_ms));
        list.add_partition_offset(&of.topic, partition, time).map_err(|error| failed(&error))?;
        let timeout = self.0.config.request_timeout;
        let asked = ask(&clients.consumer, move |consumer| consumer.offsets_for_times(list, timeout));
        let found = asked.await?.map_err(|error| failed(&error))?;
        let found = found.find_partition(&of.topic, partition);
        found.as_ref().map_or(Ok(()), |found| found.error()).map_err(|error| failed(&error))?;
        match found.map(|found| found.offset()) {
            Some(Offset::Offset(offset)) if offset < held.high_watermark => Ok(Some(offset)),
            _ => Ok(None),
        }
    }

    async fn commit(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.clients()?.groups.commit(group, offsets).await
    }

    async fn noted(&self, group: &str, of: &TopicPartition) -> Result<Option<(i64, String)>, LogError> {
        let committed = self.clients()?.groups.committed(group, std::slice::from_ref(of)).await?;
        Ok(committed.into_iter().next().flatten())
    }

    async fn join(&self, joining: &Joining) -> Result<Arc<dyn Membership>, LogError> {
        if self.topic(&joining.topic).await?.is_none() {
            return Err(LogError::UnknownTopic(Arc::clone(&joining.topic)));
        }
        Ok(Arc::new(Place::join(self.0.brokers.clone(), &self.0.config, joining)?))
    }

    async fn transactional(
        &self,
        config: &TransactionalConfig,
    ) -> Result<Box<dyn TransactionalLog>, LogError> {
        Ok(Box::new(InStages::new(Transactional::open(self, config).await?)))
    }
}
