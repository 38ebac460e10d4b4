//! What a launcher can run: a topology, the topics it lives on, and the topic its input goes to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use topo_connectors::{LogSink, LogSpout, LogSpoutConfig, SourceProgress, StartAt};
use topo_core::log::{Consumed, Log, LogError, Record, TopicSpec};
use topo_core::{BuildError, Fail, Topology, Tuple};
use topo_protocol::partition_for_key;

use super::options::{DeliveryMode, RunOptions};
use crate::streams::Streams;

/// A topology and its topics, ready to be run.
///
/// ```
/// use topo::launcher::Application;
/// use topo_core::Topology;
///
/// let application = Application::new("copy", |environment| {
///     let topology = Topology::new("copy");
///     let spout = environment.log_spout("lines", |record| {
///         Ok(String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned())
///     });
///     let lines = topology.spout("lines", spout);
///     let sink = environment.log_sink("copies", |line: &String| topo_core::log::Record {
///         value: Some(line.clone().into()),
///         ..Default::default()
///     });
///     topology.rich_bolt("copies", sink).shuffle(&lines);
///     topology
/// })
/// .reads("lines")
/// .writes("copies");
/// assert_eq!(&**application.name(), "copy");
/// ```
pub struct Application {
    name: Arc<str>,
    input: Option<Arc<str>>,
    outputs: Vec<Arc<str>>,
    specs: BTreeMap<Arc<str>, TopicSpec>,
    sockets: Vec<(String, Arc<str>)>,
    letters: DeadLetterTopics,
    build: Box<dyn Fn(&Environment) -> Topology + Send + Sync>,
}

impl Application {
    /// An application that builds its topology with `build`.
    pub fn new(name: &str, build: impl Fn(&Environment) -> Topology + Send + Sync + 'static) -> Self {
        let (outputs, specs, sockets, letters) = Default::default();
        Self { name: name.into(), input: None, outputs, specs, sockets, letters, build: Box::new(build) }
    }

    /// An application of streams, which learns its topics from what `build` reads and writes: its input goes to the first
    /// topic that is read.
    ///
    /// ```
    /// use topo::prelude::*;
    ///
    /// let application = Application::streams("shout", |log| {
    ///     log.lines("lines").map(|line| line.to_uppercase()).to("shouts");
    /// });
    /// assert_eq!(&**application.name(), "shout");
    /// ```
    pub fn streams(name: &str, build: impl Fn(&Streams) + Send + Sync + 'static) -> Self {
        let topology = name.to_owned();
        Self::new(name, move |environment| Streams::build(&topology, environment, &build))
    }

    /// Names the topic that its input goes to; created if need be.
    #[must_use]
    pub fn reads(mut self, topic: &str) -> Self {
        self.input = Some(topic.into());
        self
    }

    /// Names a topic that it writes; created if need be.
    #[must_use]
    pub fn writes(mut self, topic: &str) -> Self {
        self.outputs.push(topic.into());
        self
    }

    /// Says how a topic is created, one that it reads or writes or any other that it needs, where it is not there.
    #[must_use]
    pub fn topic(mut self, topic: &str, spec: TopicSpec) -> Self {
        self.specs.insert(topic.into(), spec);
        self
    }

    /// Names the topic for records that are given up, whichever topic they were read from; created when it is needed.
    /// Without it, what was read from `TOPIC` goes to `TOPIC.dead-letter`.
    #[must_use]
    pub fn dead_letters(mut self, topic: &str) -> Self {
        self.letters.all = Some(topic.into());
        self
    }

    /// Names a topic of its own for records that `component` failed; created when it is needed.
    #[must_use]
    pub fn dead_letters_of(mut self, component: &str, topic: &str) -> Self {
        self.letters.of.insert(component.into(), topic.into());
        self
    }

    /// The application's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The topic that input goes to.
    pub fn input_topic(&self) -> Option<&Arc<str>> {
        self.input.as_ref()
    }

    /// The TCP servers whose lines it reads, each with the topic that they go to.
    pub(super) fn sockets(&self) -> &[(String, Arc<str>)] {
        &self.sockets
    }

    /// The topics that it writes.
    pub fn output_topics(&self) -> &[Arc<str>] {
        &self.outputs
    }

    /// The topics that were named for dead letters.
    pub(super) fn dead_letter_topics(&self) -> Vec<Arc<str>> {
        self.letters.all.iter().chain(self.letters.of.values()).cloned().collect()
    }

    /// Builds the topology, and learns which topics it lives on beside those that were named.
    pub(super) fn topology(&mut self, environment: &Environment) -> Topology {
        let topology = (self.build)(environment);
        let topics = std::mem::take(&mut *environment.topics());
        for topic in topics.read {
            match &self.input {
                None => self.input = Some(topic),
                Some(input) if *input == topic => {}
                // Created as the outputs are; fed by somebody else.
                Some(_) => self.outputs.push(topic),
            }
        }
        self.outputs.extend(topics.written);
        for topic in topics.followed {
            // Compacted, unless the application says how it is created.
            let config = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
            self.specs.entry(topic).or_insert_with(|| TopicSpec { config, ..TopicSpec::default() });
        }
        self.sockets = topics.sockets;
        topology
    }

    /// Whether every component that has dead letters of its own is in `topology`.
    pub(super) fn check_dead_letters(&self, topology: &Topology) -> Result<(), BuildError> {
        self.letters.of.keys().try_for_each(|component| topology.has(component))
    }

    /// Creates the topics that are not there.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn create_topics(&self, log: &dyn Log) -> Result<(), LogError> {
        let usual = TopicSpec::default();
        let named = self.input.iter().chain(&self.outputs).chain(self.specs.keys());
        for topic in named {
            if log.topic(topic).await?.is_none() {
                match log.create_topic(topic, self.specs.get(topic).unwrap_or(&usual)).await {
                    // Another process that runs it may have come first.
                    Ok(()) | Err(LogError::TopicExists(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("name", &self.name)
            .field("input", &self.input)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

/// Where dead letters go.
#[derive(Debug, Clone, Default)]
struct DeadLetterTopics {
    /// All that have no other topic; `None` for each topic's own.
    all: Option<Arc<str>>,
    /// Those of components, by name.
    of: BTreeMap<Arc<str>, Arc<str>>,
}

/// What a topology is built in: the log, and factories of spouts and sinks on it.
#[derive(Clone)]
pub struct Environment {
    log: Arc<dyn Log>,
    progress: SourceProgress,
    group: Arc<str>,
    start: StartAt,
    letters: DeadLetterTopics,
    topics: Arc<Mutex<Topics>>,
    is_exactly_once: bool,
}

/// The topics that a topology turned out to live on, as it was built.
#[derive(Debug, Default)]
struct Topics {
    read: Vec<Arc<str>>,
    written: Vec<Arc<str>>,
    /// Read as tables.
    followed: Vec<Arc<str>>,
    /// Addresses whose lines go to a topic.
    sockets: Vec<(String, Arc<str>)>,
}

impl Environment {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        progress: SourceProgress,
        application: &Application,
        options: &RunOptions,
    ) -> Self {
        let (group, letters) = (Arc::clone(application.name()), application.letters.clone());
        let (start, topics) = (options.from.into(), Arc::default());
        let is_exactly_once = options.delivery == DeliveryMode::ExactlyOnce;
        Self { log, progress, group, start, letters, topics, is_exactly_once }
    }

    /// Notes that the topology reads `topic`: created if need be, and the first one is where the input goes.
    pub fn will_read(&self, topic: &str) {
        self.topics().read.push(topic.into());
    }

    /// Notes that the topology writes `topic`, which is created if need be.
    pub fn will_write(&self, topic: &str) {
        self.topics().written.push(topic.into());
    }

    /// Notes that the topology reads `topic` as a table: created, compacted, if need be. No input goes there.
    pub fn will_follow(&self, topic: &str) {
        self.topics().followed.push(topic.into());
    }

    /// Has the lines that a TCP server at `address` sends gathered into `topic` while the topology runs.
    pub fn will_gather(&self, address: &str, topic: &str) {
        self.topics().sockets.push((address.to_owned(), topic.into()));
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the topology's input goes through in micro-transactions.
    pub fn is_exactly_once(&self) -> bool {
        self.is_exactly_once
    }

    /// The log. It opens once the topology is built: until then its calls fail.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// The settings of a spout of this application that reads `topic`, to be changed and given to
    /// [`log_spout_with`](Self::log_spout_with).
    pub fn log_spout_config(&self, topic: &str) -> LogSpoutConfig {
        let mut config = LogSpoutConfig { start: self.start, ..LogSpoutConfig::new(topic, &self.group) };
        config.dead_letters_of.clone_from(&self.letters.of);
        if let Some(letters) = &self.letters.all {
            config.dead_letters = Arc::clone(letters);
        }
        config
    }

    /// A factory of spouts that read `topic` from the committed offset on, each record made into a tuple by `decode`. A
    /// record that `decode` refuses goes to the topic's dead letters.
    pub fn log_spout<T: Tuple>(
        &self,
        topic: &str,
        decode: impl Fn(&Consumed) -> Result<T, Fail> + Clone + Send + Sync + 'static,
    ) -> impl Fn() -> LogSpout<T, LogDecoder<T>> + Send + Sync + 'static {
        self.log_spout_with(self.log_spout_config(topic), decode)
    }

    /// A factory of spouts with settings of their own: other attempts, other waits, another topic for dead letters.
    ///
    /// ```
    /// use topo::launcher::{Application, LogSpoutConfig};
    /// use topo_core::Topology;
    ///
    /// let application = Application::new("patient", |environment| {
    ///     let topology = Topology::new("patient");
    ///     let config = LogSpoutConfig { attempts: 20, ..environment.log_spout_config("lines") };
    ///     topology.spout("lines", environment.log_spout_with(config, |record| Ok(record.value.clone())));
    ///     topology
    /// })
    /// .reads("lines")
    /// .dead_letters("given-up");
    /// ```
    pub fn log_spout_with<T: Tuple>(
        &self,
        config: LogSpoutConfig,
        decode: impl Fn(&Consumed) -> Result<T, Fail> + Clone + Send + Sync + 'static,
    ) -> impl Fn() -> LogSpout<T, LogDecoder<T>> + Send + Sync + 'static {
        let (log, progress) = (Arc::clone(&self.log), self.progress.clone());
        move || {
            let decode: LogDecoder<T> = Box::new(decode.clone());
            LogSpout::new(Arc::clone(&log), config.clone(), progress.clone(), decode)
        }
    }

    /// A factory of sinks that append each tuple to `topic` as the record that `encode` makes of it. Add it with
    /// [`Topology::rich_bolt`]; inputs are acknowledged once their records are durable.
    pub fn log_sink<T: Tuple>(
        &self,
        topic: &str,
        encode: impl Fn(&T) -> Record + Clone + Send + Sync + 'static,
    ) -> impl Fn() -> LogSink<T, LogEncoder<T>> + Send + Sync + 'static {
        self.try_log_sink(topic, move |tuple| Ok(encode(tuple)))
    }

    /// As [`log_sink`](Self::log_sink), for a function that may refuse a tuple, which fails its tree.
    pub fn try_log_sink<T: Tuple>(
        &self,
        topic: &str,
        encode: impl Fn(&T) -> Result<Record, Fail> + Clone + Send + Sync + 'static,
    ) -> impl Fn() -> LogSink<T, LogEncoder<T>> + Send + Sync + 'static {
        let (log, topic) = (Arc::clone(&self.log), Arc::<str>::from(topic));
        move || {
            let encode: LogEncoder<T> = Box::new(encode.clone());
            LogSink::new(Arc::clone(&log), &topic, partition_for_key, encode)
        }
    }
}

/// How records become tuples.
pub type LogDecoder<T> = Box<dyn Fn(&Consumed) -> Result<T, Fail> + Send>;

/// How tuples become records.
pub type LogEncoder<T> = Box<dyn Fn(&T) -> Result<Record, Fail> + Send>;

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("group", &self.group).finish_non_exhaustive()
    }
}
