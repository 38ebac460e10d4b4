//! What a key costs in memory. It measures; there is nothing to fail:
//! `cargo test --release -p topo --test streams memory -- --ignored --nocapture`.

use std::fs;
use std::sync::Arc;

use topo::prelude::*;
use topo_core::schedule::TokioScheduler;

const KEYS: u64 = 1_000_000;

/// Each number once.
struct Numbers(u64);

impl Spout for Numbers {
    type Out = Timed<u64>;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<Timed<u64>, u64>) -> Result<Next, Fault> {
        if self.0 == KEYS {
            return Ok(Next::Finished);
        }
        out.emit_with(self.0, Timed { at: 0, value: self.0 })?;
        self.0 += 1;
        Ok(Next::Emitted)
    }
}

/// The memory of this process, in bytes.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("Linux tells");
    4_096
        * pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("the second is a number")
}

/// Bytes per key of a million keys in `state`, as they are once somebody has asked for one.
async fn bytes_per_key(state: &str, build: impl FnOnce(&DataStream<u64>)) -> u64 {
    let topology = Topology::new("memory");
    build(&DataStream::of(&topology.spout("numbers", || Numbers(0))));
    let before = resident();
    let scheduler = Arc::new(TokioScheduler::current());
    let running = topology.launch(scheduler, Config::default()).await.expect("it starts");
    running.finished().await;
    let key = rmp_serde::to_vec_named(&7_u64).expect("a number");
    assert!(running.states().get(state, &[key]).await.expect("it answers").is_some());
    let taken = resident().saturating_sub(before);
    running.kill(Duration::from_secs(600)).await.expect("it stops");
    taken / KEYS
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; there is nothing to fail"]
async fn bytes_of_a_key() {
    let rolling = bytes_per_key("counts", |numbers| {
        numbers.key_by(|number| number).count().name("counts").for_each(drop);
    });
    println!("a count that rolls: {} bytes", rolling.await);
    let tumbling = bytes_per_key("windows", |numbers| {
        numbers.key_by(|number| number).window(Duration::from_secs(5)).count().name("windows").for_each(drop);
    });
    println!("a count in a tumbling window: {} bytes", tumbling.await);
}
