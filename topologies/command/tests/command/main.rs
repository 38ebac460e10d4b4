//! The `topo` binary from outside.

mod topo;
mod words;

mod kill;
mod page;
mod refusal;
mod stop;
mod verbs;
mod word_count;
