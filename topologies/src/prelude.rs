//! What a file with a topology needs: `use topo::prelude::*;`.
//!
//! `Serialize` and `Deserialize`, which tuples derive, are serde's: a crate that derives them depends on serde too.
//!
//! ```
//! use topo::prelude::*;
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Word {
//!     word: String,
//! }
//!
//! ports! {
//!     /// Words by length.
//!     struct Sorted {
//!         short: Word,
//!         long: Word,
//!     }
//! }
//!
//! struct Sort;
//!
//! impl Bolt for Sort {
//!     type In = Word;
//!     type Out = Sorted;
//!
//!     async fn execute(&mut self, word: Word, out: &mut Sorted) -> Result<(), Fail> {
//!         if word.word.len() > 4 { out.long.emit(word) } else { out.short.emit(word) }
//!         Ok(())
//!     }
//! }
//! ```

pub use std::process::ExitCode;
pub use std::time::Duration;

pub use bytes::Bytes;
pub use serde::{Deserialize, Serialize};
pub use topo_core::log::{Consumed, Header, Record};
pub use topo_core::schedule::{Moment, Seeded};
pub use topo_core::state::{ListState, MapState, State};
pub use topo_core::window::{Fired, Trigger, Window, count_sliding, global, session, sliding, tumbling};
pub use topo_core::{
    Bolt, Config, DataStream, Delivery, Direct, Emitter, EventTime, Fail, FailKind, Failure, Fault, Feedback,
    Grouping, Input, Next, Operator, Order, RichBolt, Running, Spout, SpoutEmitter, Stream, Targets,
    TaskContext, Timed, Topology, Trees, Tuple, Watermark, ports,
};

pub use crate::launcher::{Application, Environment};
pub use crate::streams::{Lookup, Print, Streams, Table, To, ToRecord, packed, unpacked, words};
