//! Exactly once, in whole topologies on the seeded scheduler and a log in memory: whatever fails, whoever reads what is
//! committed sees every word counted once for each time it was written.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alignment;
mod ends;
mod fail_points;
mod faults;
mod lab;
mod late;
mod late_model;
mod outputs;
mod per_batch;
mod plain;
mod refused;
mod sizes;
mod tally;
mod trouble;
mod windows;
mod word_count;
