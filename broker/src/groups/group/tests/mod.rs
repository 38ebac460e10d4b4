//! Transcripts of a group on a manual clock, and storms against invariants.

mod bench;
mod members;
mod restart;
mod statics;
mod storm;
mod timeouts;
