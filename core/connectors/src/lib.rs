//! Spouts and bolts that join topologies to the log: [`LogSpout`] reads a topic and commits what is done, [`LogSink`]
//! writes one and acknowledges what is durable.
#![cfg_attr(
    feature = "kafka",
    doc = "\n[`kafka::KafkaLog`] is the log of a Kafka cluster, or of a `topo broker` in another process."
)]

mod brokers;

pub mod dead_letters;
pub mod gather;

#[cfg(feature = "kafka")]
pub mod kafka;

mod log_spout;

mod log_sink;

mod source_progress;

pub use brokers::{Brokers, NoBrokers};
pub use log_sink::{LogSink, Partitioner};
pub use log_spout::{EventTimeConfig, LogSpout, LogSpoutConfig, RecordId, StartAt, record_time, timed};
pub use source_progress::SourceProgress;
