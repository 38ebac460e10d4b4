//! Kafka clients of other languages against a `topo broker`: what one writes, every other reads the same.
//!
//! `tests/clients/install.sh` installs them; without it, the tests say loudly that they were not run, and in CI they fail.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker;
mod client;
mod record;

mod compacted;
mod group;
mod notebook;
mod round_trip;
mod transactions;
