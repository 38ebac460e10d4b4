//! Topics: created, deleted, described, and remembered for the appends.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, ConfigSource, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{IsError, KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::{MetadataBroker, MetadataTopic};
use tokio::time::Instant;
use topo_core::log::{LogError, Offsets, TopicInfo, TopicPartition, TopicSpec};

use super::client::{Consumer, Told, ask};
use super::config::KafkaConfig;
use super::error::{About, by_code, code, log_error};
use crate::brokers::Brokers;

/// Topics that brokers keep for themselves.
const INTERNAL: [&str; 2] = ["__consumer_offsets", "__transaction_state"];
/// Kafka's default of `max.message.bytes`, for brokers that do not tell.
const MAX_MESSAGE_BYTES: usize = (1 << 20) + 12;
/// How long it may take until all brokers know of a topic that was created or deleted, and how often they are asked.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What appends need to know of a topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) partitions: u32,
    pub(super) max_message_bytes: usize,
}

/// A topic with its settings, each with whether it differs from the default.
struct Described {
    info: TopicInfo,
    max_message_bytes: Option<usize>,
}

/// Topics and how many partitions each has, and the id of a broker that is there.
struct Named {
    topics: Vec<(String, u32)>,
    by: Option<i32>,
}

pub(super) struct Topics {
    brokers: Brokers,
    config: KafkaConfig,
    consumer: Arc<Consumer>,
    admin: AdminClient<Told>,
    known: Mutex<HashMap<Arc<str>, Known>>,
}

impl Topics {
    pub(super) fn new(
        brokers: Brokers,
        config: KafkaConfig,
        consumer: Arc<Consumer>,
        admin: AdminClient<Told>,
    ) -> Self {
        Self { brokers, config, consumer, admin, known: Mutex::default() }
    }

    pub(super) async fn create(&self, topic: &str, spec: &TopicSpec) -> Result<(), LogError> {
        let about = About::Topic(topic);
        let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
        // As many replicas as the cluster gives where it is not told.
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        new.config = spec.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let created = self.admin.create_topics([&new], &self.options()).await;
        if let Ok(results) = &created
            && let [Err((_, Code::InvalidConfig))] = results[..]
        {
            return Err(self.refused_settings(topic, partitions, spec).await);
        }
        self.result(created.map(|results| results.into_iter().next()), about)?;
        self.until(topic, true).await
    }

    /// Why a topic's settings are refused. librdkafka keeps the broker's reason to itself, so the broker is asked of each
    /// setting whether it would take that one alone.
    async fn refused_settings(&self, topic: &str, partitions: i32, spec: &TopicSpec) -> LogError {
        let mut refused = Vec::new();
        for (key, value) in &spec.config {
            let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1)).set(key, value);
            let asked = self.admin.create_topics([&new], &self.options().validate_only(true)).await;
            if let Ok(results) = &asked
                && let [Err((_, Code::InvalidConfig))] = results[..]
            {
                refused.push(format!("{key}={value}"));
            }
        }
        // Each may do by itself, and not beside the others.
        if refused.is_empty() {
            refused.extend(spec.config.iter().map(|(key, value)| format!("{key}={value}")));
        }
        LogError::Invalid(format!(
            "topic `{topic}` is not created: the broker does not take {}; check the name and the value, or leave it out",
            refused.join(", ")
        ))
    }

    pub(super) async fn delete(&self, topic: &str) -> Result<(), LogError> {
        let about = About::Topic(topic);
        let deleted = self.admin.delete_topics(&[topic], &self.options()).await;
        self.result(deleted.map(|results| results.into_iter().next()), about)?;
        self.forget(topic);
        self.until(topic, false).await
    }

    /// Deletes a group and what it has committed.
    pub(super) async fn delete_group(&self, group: &str) -> Result<(), LogError> {
        let about = About::Group(group);
        let deleted = self.admin.delete_groups(&[group], &self.options()).await;
        self.result(deleted.map(|results| results.into_iter().next()), about)
    }

    fn result(&self, answer: KafkaResult<Option<TopicResult>>, about: About<'_>) -> Result<(), LogError> {
        match answer.map_err(|error| log_error(&self.brokers, &error, about))? {
            Some(Err((_, code))) => Err(by_code(&self.brokers, code, about)),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    fn options(&self) -> AdminOptions {
        let timeout = self.config.request_timeout;
        AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout / 2))
    }

    /// Waits until the brokers tell of a topic, or do not any more: what comes next may be answered by another of them.
    async fn until(&self, topic: &str, there: bool) -> Result<(), LogError> {
        let begun = Instant::now();
        while self.partitions(topic).await?.is_some() != there && begun.elapsed() < KNOWN_WITHIN {
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }

    /// All topics but those that brokers keep for themselves.
    pub(super) async fn all(&self) -> Result<Vec<TopicInfo>, LogError> {
        let mut named = self.metadata(None).await?;
        named.topics.retain(|(name, _)| !INTERNAL.contains(&name.as_str()));
        Ok(self.described(named).await?.into_iter().map(|topic| topic.info).collect())
    }

    pub(super) async fn one(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        Ok(self.describe(topic).await?.map(|described| described.info))
    }

    async fn describe(&self, topic: &str) -> Result<Option<Described>, LogError> {
        if is_no_name(topic) {
            return Ok(None);
        }
        let named = self.metadata(Some(topic)).await?;
        Ok(self.described(named).await?.pop())
    }

    /// What is known of a topic that is appended to.
    pub(super) async fn known(&self, at: &TopicPartition) -> Result<Known, LogError> {
        let remembered = self.remembered().get(&at.topic).copied();
        let known = match remembered.filter(|known| at.partition < known.partitions) {
            Some(known) => known,
            None => {
                let described = self.describe(&at.topic).await?;
                let described = described.ok_or_else(|| LogError::UnknownTopic(at.topic.clone()))?;
                let max_message_bytes = described.max_message_bytes.unwrap_or(MAX_MESSAGE_BYTES);
                let known = Known { partitions: described.info.partitions, max_message_bytes };
                self.remembered().insert(at.topic.clone(), known);
                known
            }
        };
        if at.partition < known.partitions { Ok(known) } else { Err(LogError::UnknownPartition(at.clone())) }
    }

    /// Asks anew before the next append: the topic is not what it was.
    pub(super) fn forget(&self, topic: &str) {
        self.remembered().remove(topic);
    }

    // Nothing panics while it holds the lock.
    fn remembered(&self) -> MutexGuard<'_, HashMap<Arc<str>, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many partitions the topic has; `None` where there is no such topic.
    pub(super) async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        if is_no_name(topic) {
            return Ok(None);
        }
        Ok(self.metadata(Some(topic)).await?.topics.pop().map(|(_, partitions)| partitions))
    }

    /// Topics and how many partitions each has, as one of the brokers knows them.
    async fn metadata(&self, topic: Option<&str>) -> Result<Named, LogError> {
        let (timeout, asked) = (self.config.request_timeout, topic.map(str::to_owned));
        let asked = ask(&self.consumer, move |consumer| {
            let metadata = consumer.client().fetch_metadata(asked.as_deref(), timeout)?;
            let there = |topic: &&MetadataTopic| topic.error().is_none_or(|error| !error.is_error());
            let one = |topic: &MetadataTopic| (topic.name().to_owned(), topic.partitions().len() as u32);
            // A topic that is being created has no partitions yet.
            let topics =
                metadata.topics().iter().filter(there).map(one).filter(|(_, partitions)| *partitions > 0);
            let refused = metadata.topics().iter().find_map(MetadataTopic::error).map(Code::from);
            let by = Some(metadata.orig_broker_id()).filter(|id| *id >= 0);
            let by = by.or_else(|| metadata.brokers().first().map(MetadataBroker::id));
            Ok::<_, KafkaError>((Named { topics: topics.collect(), by }, refused))
        });
        let about = topic.map_or(About::Cluster, About::Topic);
        let (named, refused) = asked.await?.map_err(|error| log_error(&self.brokers, &error, about))?;
        match refused {
            Some(code @ (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed))
                if topic.is_some() =>
            {
                Err(by_code(&self.brokers, code, about))
            }
            _ => Ok(named),
        }
    }

    /// Adds the settings to topics. Where the broker does not tell them, none is known.
    async fn described(&self, named: Named) -> Result<Vec<Described>, LogError> {
        let Named { topics: named, by } = named;
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<ResourceSpecifier<'_>> =
            named.iter().map(|(name, _)| ResourceSpecifier::Topic(name)).collect();
        let told = match self.admin.describe_configs(&asked, &self.options().broker_id(by)).await {
            Ok(told) => told,
            Err(error) => match code(&error) {
                Some(Code::UnsupportedFeature | Code::UnsupportedVersion) => Vec::new(),
                _ => return Err(log_error(&self.brokers, &error, About::Cluster)),
            },
        };
        let mut settings: HashMap<String, ConfigResource> = HashMap::new();
        for resource in told.into_iter().flatten() {
            if let OwnedResourceSpecifier::Topic(name) = &resource.specifier {
                settings.insert(name.clone(), resource);
            }
        }
        let describe = |(name, partitions): (String, u32)| {
            let told = settings.get(&name);
            let entries = told.map_or(&[][..], |told| &told.entries);
            let own = entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
            let config: BTreeMap<_, _> =
                own.filter_map(|entry| Some((entry.name.clone(), entry.value.clone()?))).collect();
            let max =
                told.and_then(|told| told.get("max.message.bytes")).and_then(|entry| entry.value.as_ref());
            Described {
                max_message_bytes: max.and_then(|value| value.parse().ok()),
                info: TopicInfo { name: name.as_str().into(), partitions, config },
            }
        };
        Ok(named.into_iter().map(describe).collect())
    }

    /// The offsets that a partition holds now.
    pub(super) async fn offsets(&self, of: &TopicPartition) -> Result<Offsets, LogError> {
        // librdkafka waits until a partition appears that is not there.
        match self.partitions(&of.topic).await? {
            None => Err(LogError::UnknownTopic(of.topic.clone())),
            Some(partitions) if of.partition >= partitions => Err(LogError::UnknownPartition(of.clone())),
            Some(_) => self.offsets_of_known(of).await,
        }
    }

    /// The same for a partition that is there.
    pub(super) async fn offsets_of_known(&self, of: &TopicPartition) -> Result<Offsets, LogError> {
        let (at, timeout) = (of.clone(), self.config.request_timeout);
        let asked = ask(&self.consumer, move |consumer| {
            consumer.client().fetch_watermarks(&at.topic, at.partition as i32, timeout)
        });
        let (log_start, high_watermark) =
            asked.await?.map_err(|error| log_error(&self.brokers, &error, About::Partition(of)))?;
        Ok(Offsets { log_start, high_watermark, log_end: high_watermark })
    }
}

/// What librdkafka would take for no topic, or not at all.
fn is_no_name(topic: &str) -> bool {
    topic.is_empty() || topic.contains('\0')
}
