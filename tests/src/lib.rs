//! What the tests of several crates share.

pub mod log_contract;
pub mod memory_log;
pub mod wire_client;
