//! Streams as values: `map`, `key_by`, `window`, `count` on typed handles, each step a bolt of the same graph.

mod data_stream;
mod each;
mod key;
mod keyed;
mod map_async;

pub use data_stream::{Branches, DataStream, Key, Step};
pub use key::{ByReference, ByValue, KeySelector};
pub use keyed::KeyedStream;
pub use map_async::Order;
