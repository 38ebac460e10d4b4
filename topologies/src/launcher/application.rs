//! What a launcher can run: a topology, the topics it lives on, and the topic its input goes to.

use std::fmt;
use std::sync::Arc;

use topo_connectors::{LogSink, LogSpout, LogSpoutConfig, SourceProgress, StartAt};
use topo_core::log::{Consumed, Log, LogError, Record, TopicSpec};
use topo_core::{Fail, Topology, Tuple};
use topo_protocol::partition_for_key;

use super::options::RunOptions;

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
    build: Box<dyn Fn(&Environment) -> Topology + Send + Sync>,
}

impl Application {
    /// An application that builds its topology with `build`.
    pub fn new(name: &str, build: impl Fn(&Environment) -> Topology + Send + Sync + 'static) -> Self {
        Self { name: name.into(), input: None, outputs: Vec::new(), build: Box::new(build) }
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

    /// The application's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The topic that input goes to.
    pub fn input_topic(&self) -> Option<&Arc<str>> {
        self.input.as_ref()
    }

    /// The topics that it writes.
    pub fn output_topics(&self) -> &[Arc<str>] {
        &self.outputs
    }

    /// Builds the topology.
    pub fn topology(&self, environment: &Environment) -> Topology {
        (self.build)(environment)
    }

    /// Creates the topics that are not there.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn create_topics(&self, log: &dyn Log) -> Result<(), LogError> {
        for topic in self.input.iter().chain(&self.outputs) {
            if log.topic(topic).await?.is_none() {
                match log.create_topic(topic, &TopicSpec::default()).await {
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

/// What a topology is built in: the log, and factories of spouts and sinks on it.
#[derive(Clone)]
pub struct Environment {
    log: Arc<dyn Log>,
    progress: SourceProgress,
    group: Arc<str>,
    start: StartAt,
}

impl Environment {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        progress: SourceProgress,
        application: &Application,
        options: &RunOptions,
    ) -> Self {
        Self { log, progress, group: Arc::clone(application.name()), start: options.from.into() }
    }

    /// The log.
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// A factory of spouts that read `topic` from the committed offset on, each record made into a tuple by `decode`. A
    /// record that `decode` refuses goes to the topic's dead letters.
    pub fn log_spout<T: Tuple>(
        &self,
        topic: &str,
        decode: impl Fn(&Consumed) -> Result<T, Fail> + Clone + Send + Sync + 'static,
    ) -> impl Fn() -> LogSpout<T, LogDecoder<T>> + Send + Sync + 'static {
        let (log, progress) = (Arc::clone(&self.log), self.progress.clone());
        let config = LogSpoutConfig { start: self.start, ..LogSpoutConfig::new(topic, &self.group) };
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
pub type LogEncoder<T> = Box<dyn Fn(&T) -> Record + Send>;

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("group", &self.group).finish_non_exhaustive()
    }
}
