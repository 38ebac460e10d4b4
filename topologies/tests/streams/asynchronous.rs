//! Steps whose function awaits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use topo::prelude::*;

use crate::{in_order, numbers, outcome, sorted};

/// Calls under way, and the most that ever were.
#[derive(Debug, Default)]
struct Under {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// Gives others their turn so often.
async fn turns(turns: u64) {
    for _ in 0..turns {
        let mut waited = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

fn slowly(stream: &DataStream<u64>, at_once: usize, order: Order, under: &Arc<Under>) -> DataStream<u64> {
    let under = Arc::clone(under);
    stream.map_async(at_once, order, move |number| {
        let under = Arc::clone(&under);
        async move {
            under.most.fetch_max(1 + under.now.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            turns(number * 7 % 5).await;
            under.now.fetch_sub(1, Ordering::Relaxed);
            if number == 13 { Err(Fail::reject("unlucky")) } else { Ok(number) }
        }
    })
}

#[test]
fn kept_order_is_kept_and_no_more_run_at_once_than_may() {
    let mut most = 0;
    for seed in 0..20 {
        let under = Arc::new(Under::default());
        let came = in_order(seed, &numbers(200), |stream| slowly(stream, 8, Order::Kept, &under));
        assert_eq!(came, (0..200).filter(|number| *number != 13).collect::<Vec<_>>(), "seed {seed}");
        assert!(under.most.load(Ordering::Relaxed) <= 8, "seed {seed}");
        most = most.max(under.most.load(Ordering::Relaxed));
    }
    assert!(most > 1, "nothing ever ran beside something else");
}

#[test]
fn as_they_come_all_come_some_before_others() {
    let mut overtook = false;
    for seed in 0..20 {
        let under = Arc::new(Under::default());
        let came = in_order(seed, &numbers(200), |stream| slowly(stream, 8, Order::AsTheyCome, &under));
        overtook |= !came.is_sorted();
        assert_eq!(sorted(came), sorted((0..200).filter(|number| *number != 13)), "seed {seed}");
    }
    assert!(overtook, "a slow one held back the others every time");
}

/// Gives a number once as many as it says have come out behind.
async fn after(number: u64, before: u64, out: Arc<Mutex<(u64, Vec<Waker>)>>) -> Result<u64, Fail> {
    std::future::poll_fn(|context| {
        let mut out = out.lock().expect("nobody panics with it");
        if out.0 >= before {
            return Poll::Ready(Ok(number));
        }
        out.1.push(context.waker().clone());
        Poll::Pending
    })
    .await
}

#[test]
fn what_is_done_leaves_while_calls_behind_it_wait_for_just_that() {
    for seed in 0..20 {
        for (at_once, order) in
            [(1, Order::Kept), (1, Order::AsTheyCome), (3, Order::Kept), (3, Order::AsTheyCome)]
        {
            let out = Arc::<Mutex<(u64, Vec<Waker>)>>::default();
            let came = in_order(seed, &numbers(50), |stream| {
                let (at_call, at_end) = (Arc::clone(&out), Arc::clone(&out));
                // Each call waits until all results have come out but those of calls that may run beside it: were one kept back, it would wait for ever.
                let results = stream.map_async(at_once, order, move |number| {
                    after(number, number.saturating_sub(at_once as u64 - 1), Arc::clone(&at_call))
                });
                results.inspect(move |_| {
                    let mut out = at_end.lock().expect("nobody panics with it");
                    out.0 += 1;
                    out.1.drain(..).for_each(Waker::wake);
                })
            });
            assert_eq!(sorted(came), sorted(0..50), "{at_once} at once, {order:?}, seed {seed}");
        }
    }
}

#[test]
fn several_tasks_divide_the_calls() {
    let under = Arc::new(Under::default());
    let came =
        outcome(9, &numbers(200), |stream| slowly(&stream.repartition(), 4, Order::Kept, &under).tasks(3));
    assert_eq!(came.len(), 199);
    assert!(under.most.load(Ordering::Relaxed) <= 12);
}
