//! What windows cost, counted.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::time::Watermark;
use crate::window::aggregate::{Aggregate, count};
use crate::window::{Engine, Offer, Windows, sliding, tumbling};

/// Counts records, and how often it is asked to.
#[derive(Clone, Default)]
struct Metered {
    updates: Arc<AtomicU64>,
    merges: Arc<AtomicU64>,
}

impl Aggregate for Metered {
    type In = ();
    type Acc = u64;
    type Out = u64;

    fn start(&self, (): ()) -> u64 {
        self.updates.fetch_add(1, Ordering::Relaxed);
        1
    }
    fn add(&self, acc: &mut u64, (): ()) {
        self.updates.fetch_add(1, Ordering::Relaxed);
        *acc += 1;
    }
    fn merge(&self, acc: &mut u64, later: &u64) {
        self.merges.fetch_add(1, Ordering::Relaxed);
        *acc += later;
    }
    fn result(&self, acc: &u64) -> u64 {
        *acc
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Ten minutes of ten records a second, of one key: updates, merges, and windows fired.
fn meter(windows: Windows) -> (u64, u64, u64) {
    let metered = Metered::default();
    let mut engine = Engine::new(windows, metered.clone()).unwrap().unacknowledged();
    let fired = Rc::new(Cell::new(0));
    for at in (0..600_000).step_by(100) {
        assert_eq!(engine.add(&0, at, (), &mut |_, _| ()), Offer::Added);
        engine.advance(Watermark(at - 500), &mut |_, _| fired.set(fired.get() + 1));
    }
    (metered.updates.load(Ordering::Relaxed), metered.merges.load(Ordering::Relaxed), fired.get())
}

#[test]
fn a_record_costs_one_update_however_many_windows_cover_it() {
    let short = meter(sliding(5 * SECOND, SECOND));
    let long = meter(sliding(60 * SECOND, SECOND));
    let odd = meter(sliding(Duration::from_millis(59_500), SECOND));
    let single = meter(tumbling(5 * SECOND));
    let updates = [short.0, long.0, odd.0, single.0];
    assert_eq!(updates, [6_000; 4], "updates of 6,000 records");
    assert_eq!((short.2, long.2), (599, 599));
    assert_eq!(single.1, 0, "tumbling windows merge nothing");
    let per_window = |(_, merges, fired): (u64, u64, u64)| merges as f64 / fired as f64;
    println!(
        "merges per window: {:.2} of 5 slices, {:.2} of 60, {:.2} of 119",
        per_window(short),
        per_window(long),
        per_window(odd)
    );
    assert!(per_window(short) <= 3.0 && per_window(long) <= 3.0, "{short:?} {long:?}");
    assert!(per_window(odd) <= 5.0, "{odd:?}: two slices per slide");
}

/// Prints what a record costs, firing included: `cargo test --release -p topo-core --lib window::check::cost -- --ignored
/// --nocapture`.
#[test]
#[ignore = "measures; there is nothing to fail"]
fn nanoseconds_per_record() {
    for (name, windows) in [
        ("tumbling 5 s", tumbling(5 * SECOND)),
        ("sliding 5 s / 1 s", sliding(5 * SECOND, SECOND)),
        ("sliding 60 s / 1 s", sliding(60 * SECOND, SECOND)),
        ("session 1 s", crate::window::session(SECOND)),
        ("count 100", crate::window::count(100)),
    ] {
        let mut engine = Engine::new(windows, count()).unwrap().unacknowledged();
        let (records, mut fired) = (4_000_000i64, 0u64);
        let begin = Instant::now();
        for record in 0..records {
            // A thousand keys, each with a record every 100 ms.
            let at = record / 10;
            let _ = engine.add(&(record % 1_000), at, (), &mut |_, _| fired += 1);
            if record % 1_000 == 0 {
                engine.advance(Watermark(at - 500), &mut |_, _| fired += 1);
            }
        }
        let each = begin.elapsed().as_nanos() as f64 / records as f64;
        println!("{name}: {each:.0} ns per record, {fired} windows fired");
    }
}
