//! A stream into a topic.

use topo_core::log::{Header, Record};
use topo_core::{BuildError, DataStream, Step, Timed};

use super::record::ToRecord;
use crate::launcher::Environment;

/// Writes a stream to the log.
pub trait To<T> {
    /// Ends the stream in a topic: each value is a record, with the value's event time as its timestamp. Inputs are
    /// acknowledged once their records are durable. A pair is a record's key and value; anything else is its value.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use topo::prelude::*;
    /// # fn main() -> ExitCode {
    /// # topo::stream("example", |log| {
    /// log.lines("lines").flat_map(words).key_by(|word| word).count().to("counts");
    /// # })
    /// # }
    /// ```
    fn to(&self, topic: &str) -> Step;
}

impl<T: ToRecord> To<T> for DataStream<T> {
    fn to(&self, topic: &str) -> Step {
        let Some(environment) = self.attached::<Environment>() else {
            self.refuse(BuildError::Refused {
                reason: format!("nothing can be written to `{topic}`: the topology has no log; build it in an `Application`")
                    .into(),
            });
            return self.for_each(drop);
        };
        environment.will_write(topic);
        let sink = environment.try_log_sink(topic, |timed: &Timed<T>| {
            let (key, value) = (timed.key()?, timed.value.value()?);
            Ok(Record { key, value, headers: Vec::<Header>::new(), timestamp_ms: Some(timed.at) })
        });
        // One task, so that the records of a key stay in order.
        self.sink(topic, sink).tasks(1)
    }
}
