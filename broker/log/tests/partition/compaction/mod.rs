//! Compaction against a model: of each key the last record stays, at its offset, whatever happens meanwhile.

mod crash;
mod keyed;
mod unit;
