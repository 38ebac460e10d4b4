//! Topologies that are ready to be run by name.

pub mod access_log;
pub mod word_count;
