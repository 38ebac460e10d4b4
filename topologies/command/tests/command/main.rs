//! The `topo` binary from outside.

mod topo;
mod words;

mod broker;
mod kafka;
mod kill;
mod page;
mod refusal;
mod stop;
mod user_crate;
mod verbs;
mod word_count;
