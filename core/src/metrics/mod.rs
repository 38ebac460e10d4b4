//! What the runtime counts. Executors write, anyone may take a snapshot, nobody waits for anybody.

mod activity;
mod counters;
mod edge;
mod histogram;
mod snapshot;

pub(crate) use activity::Activity;
pub(crate) use counters::{Counter, TaskCounters};
pub(crate) use edge::{EdgeCounters, EdgeView, EdgeViews};

pub use activity::Spent;
pub use histogram::Latency;
pub use snapshot::{
    ComponentKind, ComponentSnapshot, EdgeSnapshot, OpenWindows, QueueSnapshot, TaskError, TaskSnapshot,
    TopologySnapshot, TopologyStatus, TransactionSnapshot, WindowSnapshot,
};
