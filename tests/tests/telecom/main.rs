//! `topo run telecom`, whole: a generated day goes into the log, through the topology and out of it, and is read by a Kafka
//! client from outside. What it reads has to be the truth that the generator wrote beside it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compare;
mod process;
mod read;

mod day;
mod kills;
