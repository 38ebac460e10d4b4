//! Log spout and log sink in whole topologies, on the seeded scheduler and a log in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod event_time;
mod fault;
mod flush;
mod group;
mod lab;
mod random;
mod replay;
mod restart;
mod retry;
mod sink;
mod spout;
mod state;
mod trouble;
