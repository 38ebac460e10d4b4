//! The steps of streams, each against a plain computation of the same values.

mod asynchronous;
mod lab;
mod late;
mod memory;
mod process;
mod restart;
mod rolling;
mod stateless;
mod table;
mod windows;

use topo::prelude::*;
use topo::testing::{Seen, given};

/// Runs the stream that `build` makes of `values` on the seeded scheduler, and returns what came out of it.
fn in_order<T: Tuple, U: Tuple>(
    seed: u64,
    values: &[Timed<T>],
    build: impl FnOnce(&DataStream<T>) -> DataStream<U>,
) -> Vec<U> {
    let topology = Topology::new("test");
    let source = topology.spout("source", given(values.to_vec()));
    let seen = Seen::<Timed<U>>::default();
    build(&DataStream::of(&source)).bolt("seen", seen.bolt()).tasks(1);
    let scheduler = Seeded::new(seed);
    scheduler.block_on(async {
        let config = Config { seed, ..Config::default() };
        let running = topology.launch(scheduler.clone(), config).await.expect("it starts");
        running.finished().await;
    });
    let mut values = Vec::new();
    values.extend(seen.tuples().into_iter().map(|timed| timed.value));
    values
}

/// As [`in_order`], sorted.
fn outcome<T: Tuple, U: Tuple + Ord>(
    seed: u64,
    values: &[Timed<T>],
    build: impl FnOnce(&DataStream<T>) -> DataStream<U>,
) -> Vec<U> {
    sorted(in_order(seed, values, build))
}

/// Numbers from 0 on, each at its own millisecond.
fn numbers(count: u64) -> Vec<Timed<u64>> {
    (0..count).map(|number| Timed { at: number as i64, value: number }).collect()
}

fn sorted<T: Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort();
    values
}
