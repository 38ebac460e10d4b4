//! Streams as values: `map`, `key_by`, `window`, `count` on typed handles, each step a bolt of the same graph.

mod data_stream;
mod each;
mod key;
mod keyed;
mod map_async;
mod marks;
mod process;
mod processing;
mod rolling;
mod shelf;
mod windowed;
mod windowing;

pub use data_stream::{Branches, DataStream, Step};
pub use key::{ByReference, ByValue, KeySelector};
pub use keyed::KeyedStream;
pub use map_async::Order;
pub use process::{Process, ProcessContext, Timer};
pub use windowed::{WindowResults, WindowedStream};
pub use windowing::Windowed;
