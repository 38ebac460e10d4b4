//! Topologies that are ready to be run by name.

pub mod access_log;
pub mod telecom;
pub mod word_count;
