//! An input is answered twice.

use topo_core::{Fail, Input};

fn twice(input: Input<u64>) {
    input.ack();
    input.ack();
}

fn after_all(input: Input<u64>) {
    input.ack();
    input.fail(Fail::retry("on second thoughts"));
}

fn main() {}
