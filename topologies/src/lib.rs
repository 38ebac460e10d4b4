//! topo: stream processing on a log that speaks Kafka, with topologies of spouts and bolts in one process.

pub mod embedded;
pub mod launcher;
mod logging;
pub mod prelude;
pub mod ready_made;
pub mod status;
pub mod streams;
pub mod testing;

pub use launcher::main;
pub use streams::stream;
#[cfg(feature = "kafka")]
#[doc(no_inline)]
pub use topo_connectors::kafka;
#[doc(no_inline)]
pub use topo_core::{ledger, log, metrics, ports, schedule, trace};

// The README's example is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
