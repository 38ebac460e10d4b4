//! The `topo` binary from outside.

mod exact;
mod first_attempt;
mod place;
mod topo;
mod words;

mod bench;
mod broker;
mod browser;
mod durability;
mod errors;
mod kafka;
mod kill;
mod kill_access_log;
mod kill_exactly_once;
mod kill_per_batch;
mod kill_windows;
mod lost_answers;
mod page;
mod query;
mod ready_made;
mod refusal;
mod replay;
mod running;
mod secrets;
mod stop;
mod two_instances;
mod user_crate;
mod verbs;
mod word_count;
