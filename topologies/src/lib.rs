//! topo: stream processing on a log that speaks Kafka, with topologies of spouts and bolts in one process.

pub mod embedded;
pub mod launcher;
pub mod ready_made;
pub mod status;
pub mod word_count;

// The README's example is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
