//! A stream at its source, where event time arises.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use topo_connectors::{EventTimeConfig, record_time};
use topo_core::log::Consumed;
use topo_core::{DataStream, Fail};

/// Finds the time of a record and its value, in milliseconds since 1970.
pub(super) type TimeOf<T> = Arc<dyn Fn(&Consumed, &T) -> Result<i64, Fail> + Send + Sync>;

/// A stream as it comes from its topic; dereferences to the [`DataStream`].
///
/// Only its source knows which records await their replay, so event time is told here: the watermark stays behind whatever
/// may still come, and no replayed record is late because it failed.
pub struct Source<T> {
    stream: DataStream<T>,
    times: Times<T>,
}

/// How the spout of a source tells event time; read as each of its tasks is made.
pub(super) struct Times<T>(Arc<Mutex<(EventTimeConfig, TimeOf<T>)>>);

impl<T> Clone for Times<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: 'static> Default for Times<T> {
    fn default() -> Self {
        let times = (EventTimeConfig::new(Duration::ZERO), Arc::new(record_time) as TimeOf<T>);
        Self(Arc::new(Mutex::new(times)))
    }
}

impl<T> Times<T> {
    /// The settings, and what finds the time of a record.
    pub(super) fn get(&self) -> (EventTimeConfig, TimeOf<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut (EventTimeConfig, TimeOf<T>))) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<T> Source<T> {
    pub(super) fn new(stream: DataStream<T>, times: Times<T>) -> Self {
        Self { stream, times }
    }

    /// Takes event time from the values: `time` finds when each happened, in milliseconds since 1970. A value may be up to
    /// `disorder` earlier than the latest one of its partition before it, and is not late. A longer `disorder` delays
    /// windows, a shorter one makes values late.
    ///
    /// Without it, event time is the records' own timestamps, without disorder.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use topo::prelude::*;
    /// # fn main() -> ExitCode {
    /// # topo::stream("example", |log| {
    /// let visits = log.topic::<(i64, String)>("visits").event_time(|(ms, _)| *ms, Duration::from_secs(5));
    /// let hourly = visits.key_by(|(_, page)| page).window(tumbling(Duration::from_secs(3_600))).count();
    /// hourly.to("hourly");
    /// # })
    /// # }
    /// ```
    #[must_use]
    pub fn event_time(self, time: impl Fn(&T) -> i64 + Send + Sync + 'static, disorder: Duration) -> Self {
        self.times.change(|(config, of)| {
            config.disorder = disorder;
            *of = Arc::new(move |_, value| Ok(time(value)));
        });
        self
    }

    /// Lets records be up to `disorder` earlier than the latest one of their partition before them, and not be late.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use topo::prelude::*;
    /// # fn main() -> ExitCode {
    /// # topo::stream("example", |log| {
    /// let lines = log.lines("lines").disorder(Duration::from_secs(2));
    /// lines.key_by_value(|line| line.len() as u64).window(tumbling(Duration::from_secs(60))).count().print();
    /// # })
    /// # }
    /// ```
    #[must_use]
    pub fn disorder(self, disorder: Duration) -> Self {
        self.times.change(|(config, _)| config.disorder = disorder);
        self
    }

    /// How long a partition that has been read to its end may get no record before windows no longer wait for it; a second
    /// unless set.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use topo::prelude::*;
    /// # fn main() -> ExitCode {
    /// # topo::stream("example", |log| {
    /// let lines = log.lines("lines").idle_after(Duration::from_secs(30));
    /// lines.key_by_value(|line| line.len() as u64).window(tumbling(Duration::from_secs(60))).count().print();
    /// # })
    /// # }
    /// ```
    #[must_use]
    pub fn idle_after(self, quiet: Duration) -> Self {
        self.times.change(|(config, _)| config.idle_after = quiet);
        self
    }

    /// Has event time go on with the clock while no record comes, for records that carry the time at which they came into the
    /// log: windows then end without a further record. [`Streams::socket`](super::Streams::socket) does so by itself.
    #[must_use]
    pub fn follow_clock(self) -> Self {
        self.times.change(|(config, _)| config.follows_clock = true);
        self
    }

    /// Names the source.
    #[must_use]
    pub fn name(self, name: &str) -> Self
    where
        T: topo_core::Tuple,
    {
        Self { stream: self.stream.name(name), times: self.times }
    }

    /// Gives the source so many tasks, which divide its topic's partitions.
    #[must_use]
    pub fn tasks(self, tasks: usize) -> Self
    where
        T: topo_core::Tuple,
    {
        Self { stream: self.stream.tasks(tasks), times: self.times }
    }
}

impl<T> Clone for Source<T> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), times: self.times.clone() }
    }
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<T> Deref for Source<T> {
    type Target = DataStream<T>;

    fn deref(&self) -> &DataStream<T> {
        &self.stream
    }
}
