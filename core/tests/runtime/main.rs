//! Whole topologies from outside: on the seeded scheduler under many seeds, and on real threads, with an explicit set of
//! edges beside every ledger.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dag;
mod lab;
mod part;

mod ack;
mod backpressure;
mod determinism;
mod event_time;
mod fault;
mod feedback;
mod grouping;
mod hop;
mod life_cycle;
mod measure;
mod operator;
mod random;
mod rich;
mod thread;
mod timeout;
