//! Consumer groups: Kafka's classic group protocol, for members in this process and outside alike.
//!
//! ```text
//!  handlers, Membership ──▶ Groups ──▶ Coordinator ──▶ Slot: one lock ──▶ Group: the state machine
//!                                         ▲    │                            │
//!                                         │    └── __consumer_offsets ◀─────┘ what is to be stored
//!                                       Timer
//! ```
//!
//! A group's state survives a crash as far as it was told: an assignment is durable before any member learns of it, and a
//! restart goes on with the members and the generation that were stored last.

mod assignor;
mod coordinator;
mod error;
mod field;
mod group;
mod handle;
mod membership;
mod metadata;
pub(crate) mod records;
mod request;
mod slot;
mod subscription;
#[cfg(test)]
mod tests;

pub use assignor::{Assignor, Subscriber};
pub(crate) use coordinator::Coordinator;
pub use error::GroupError;
pub use handle::Groups;
pub(crate) use handle::check_name;
pub use membership::{Change, MemberConfig, Membership};
pub use request::{
    Claim, GroupDescription, GroupListing, GroupState, JoinRequest, Joined, JoinedMember, Leaving,
    MemberDescription, SyncRequest, Synced,
};
pub use subscription::{Assignment, Subscription};
