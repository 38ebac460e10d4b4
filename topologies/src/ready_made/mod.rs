//! Topologies that are ready to be run by name.

pub mod access_log;
pub mod rolling_word_count;
pub mod sessions;
pub mod telecom;
pub mod trending;
pub mod windowed_word_count;
pub mod word_count;
