//! Streams from topics and sockets, and to topics and the terminal: where the functional face of a topology meets the log.

mod print;
mod record;
mod source;
mod table;
mod to;
mod words;

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use topo_core::log::Consumed;
use topo_core::state::Key;
use topo_core::{DataStream, Fail, Timed, Topology, Tuple};

pub use print::Print;
pub use record::{ToRecord, packed, unpacked};
pub use source::Source;
use source::Times;
pub use table::{Lookup, Table};
pub use to::To;
pub use words::{Words, words};

use crate::launcher::{Application, Environment};

/// Runs a topology of streams, as its program's `main`; the command line is that of `topo run`.
///
/// ```no_run
/// use topo::prelude::*;
///
/// fn main() -> ExitCode {
///     topo::stream("shout", |log| {
///         log.lines("lines").map(|line| line.to_uppercase()).to("shouts");
///     })
/// }
/// ```
pub fn stream(name: &str, build: impl Fn(&Streams) + Send + Sync + 'static) -> ExitCode {
    crate::main(Application::streams(name, build))
}

/// Where streams begin: the topics of the log.
#[derive(Clone)]
pub struct Streams {
    topology: Topology,
    environment: Environment,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("topology", &self.topology).finish_non_exhaustive()
    }
}

impl Streams {
    pub(crate) fn build(name: &str, environment: &Environment, build: impl Fn(&Streams)) -> Topology {
        let topology = Topology::new(name);
        topology.attach(Arc::new(environment.clone()));
        build(&Self { topology: topology.clone(), environment: environment.clone() });
        topology
    }

    /// The topology under construction, for spouts and bolts beside the streams.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The log's spouts and sinks, for components beside the streams.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The lines of a topic: each record's value as text; bytes that are not UTF-8 become the character U+FFFD.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use topo::prelude::*;
    /// # fn main() -> ExitCode {
    /// # topo::stream("example", |log| {
    /// log.lines("lines").filter(|line| line.contains("error")).to("errors");
    /// # })
    /// # }
    /// ```
    pub fn lines(&self, topic: &str) -> Source<String> {
        self.records(topic, |record| {
            Ok(String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned())
        })
    }

    /// The lines that a TCP server at `address` sends, such as `nc -lk 9999`, gathered into `topic` on their way: what was
    /// gathered is durable, and is replayed like all that comes from a topic.
    ///
    /// Event time is when a line came, and goes on while none comes. While nobody serves there it tries again. With
    /// `--until-idle`, the end of the connection is the end of the input.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use topo::prelude::*;
    /// # fn main() -> ExitCode {
    /// # topo::stream("example", |log| {
    /// log.socket("127.0.0.1:9999", "lines").flat_map(words).key_by(|word| word).count().print();
    /// # })
    /// # }
    /// ```
    pub fn socket(&self, address: &str, topic: &str) -> Source<String> {
        self.environment.will_gather(address, topic);
        self.lines(topic).follow_clock()
    }

    /// The values of a topic as [`To::to`] writes them, or in MessagePack. A record that is none goes to the topic's dead
    /// letters.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use topo::prelude::*;
    /// # fn main() -> ExitCode {
    /// # topo::stream("example", |log| {
    /// log.topic::<(String, f64)>("temperatures").filter(|(_, degrees)| *degrees > 90.0).to("too-hot");
    /// # })
    /// # }
    /// ```
    pub fn topic<T: Tuple>(&self, topic: &str) -> Source<T> {
        self.records(topic, |record| {
            let value = record.value.as_deref().ok_or_else(|| Fail::reject("the record has no value"))?;
            unpacked(value)
        })
    }

    /// A topic as a table: of each key, what was written last, for [`Lookup::lookup`]. Keys and values are read as
    /// [`topic`](Self::topic) reads values; a null removes its key.
    ///
    /// The topic is created, compacted, where it is not there. It is not where the input goes.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use topo::prelude::*;
    /// # fn main() -> ExitCode {
    /// # topo::stream("example", |log| {
    /// let owners = log.table::<String, String>("owners");
    /// log.topic::<(String, f64)>("temperatures").lookup(&owners, |(sensor, _)| sensor.clone()).to("owned");
    /// # })
    /// # }
    /// ```
    pub fn table<K: Key, V: Tuple>(&self, topic: &str) -> Table<K, V> {
        self.environment.will_follow(topic);
        Table::of(Arc::clone(self.environment.log()), topic)
    }

    /// The records of a topic, each made into a value by `decode`. What it refuses goes to the topic's dead letters.
    ///
    /// Event time is the records' own timestamps, unless [`Source::event_time`] says otherwise.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use topo::prelude::*;
    /// # fn main() -> ExitCode {
    /// # topo::stream("example", |log| {
    /// let lengths = log.records("pages", |record| {
    ///     let page = record.value.as_ref().ok_or_else(|| Fail::reject("a page has a value"))?;
    ///     Ok((String::from_utf8_lossy(page).into_owned(), page.len() as u64))
    /// });
    /// lengths.to("lengths");
    /// # })
    /// # }
    /// ```
    pub fn records<T: Tuple>(
        &self,
        topic: &str,
        decode: impl Fn(&Consumed) -> Result<T, Fail> + Clone + Send + Sync + 'static,
    ) -> Source<T> {
        self.environment.will_read(topic);
        let (times, environment, from) = (Times::default(), self.environment.clone(), topic.to_owned());
        let source = times.clone();
        let spout = self.topology.spout(topic, move || {
            let (config, time) = source.get();
            let decode = decode.clone();
            let timed = move |record: &Consumed| {
                let value = decode(record)?;
                Ok(Timed { at: time(record, &value)?, value })
            };
            environment.log_spout(&from, timed)().event_time(config)
        });
        Source::new(DataStream::of(&spout), times)
    }
}
