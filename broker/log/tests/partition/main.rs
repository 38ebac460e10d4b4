//! The partition from outside: against a model, cut and flipped, on a disk that loses power, fails and fills up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ahead;
mod compaction;
mod crash;
mod damage;
mod failure;
mod history;
mod model;
mod producers;
mod retention;
mod transactions;
