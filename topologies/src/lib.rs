//! topo: stream processing on a log that speaks Kafka, with topologies of spouts and bolts in one process.

pub mod embedded;
pub mod launcher;
pub mod status;
pub mod word_count;
