//! Spouts and bolts that join topologies to the log: [`LogSpout`] reads a topic and commits what is done, [`LogSink`]
//! writes one and acknowledges what is durable.

pub mod dead_letters;
pub mod gather;

mod log_spout;

mod log_sink;

mod source_progress;

pub use log_sink::{LogSink, Partitioner};
pub use log_spout::{LogSpout, LogSpoutConfig, RecordId, StartAt};
pub use source_progress::SourceProgress;
