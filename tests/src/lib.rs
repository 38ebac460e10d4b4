//! What the tests of several crates share.

pub mod log_contract;
pub mod memory_log;
pub mod proxy;
pub mod seeds;
mod topo_binary;
pub mod wire_client;

pub use topo_binary::topo_binary;
