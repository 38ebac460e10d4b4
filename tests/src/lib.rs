//! What the tests of several crates share.

pub mod memory_log;
mod topo_binary;

pub use topo_binary::topo_binary;
