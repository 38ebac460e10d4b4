//! The seeded scheduler: order, time, ends that are no ends, and who may call what from where.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::task::Poll;

use tokio::sync::{Notify, mpsc, oneshot};

use super::*;

/// Lets the others run first, maybe.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn sleep(scheduler: &Seeded, millis: u64) -> Task {
    scheduler.sleep_until(scheduler.now().after(Duration::from_millis(millis)))
}

fn now_ms(scheduler: &Seeded) -> u64 {
    scheduler.now().as_nanos() / 1_000_000
}

/// What `block_on` says when it panics.
fn panic_of<T>(run: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).err().expect("a panic");
    crate::schedule::panic_message(&*panic).to_owned()
}

/// Three tasks that sleep, yield and send; gives what arrived and the hash of the trace.
fn chatter(seed: u64) -> (Vec<(u64, usize)>, u64) {
    let scheduler = Seeded::new(seed);
    let (send, mut receive) = mpsc::channel(2);
    for task in 0..3 {
        let (send, clock) = (send.clone(), Arc::clone(&scheduler));
        let name = format!("chatter {task}");
        scheduler.spawn(
            &name,
            Box::pin(async move {
                for _ in 0..5 {
                    sleep(&clock, 10).await;
                    yield_now().await;
                    send.send((now_ms(&clock), task)).await.unwrap();
                }
            }),
        );
    }
    drop(send);
    let heard = scheduler.block_on(async {
        let mut heard = Vec::new();
        while let Some(message) = receive.recv().await {
            heard.push(message);
        }
        heard
    });
    (heard, scheduler.trace_hash())
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another_order() {
    let runs: Vec<_> = (0..20).map(chatter).collect();
    assert_eq!(runs, (0..20).map(chatter).collect::<Vec<_>>());
    let mut hashes: Vec<u64> = runs.iter().map(|(_, hash)| *hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 20);
    for (heard, _) in &runs {
        assert_eq!(heard.len(), 15);
        assert!(heard.is_sorted_by_key(|(at, _)| *at), "{heard:?}");
    }
    assert!(runs.iter().any(|(heard, _)| *heard != runs[0].0));
}

#[test]
fn every_ready_task_runs_beside_one_that_never_rests() {
    for seed in 0..20 {
        let scheduler = Seeded::new(seed);
        scheduler.set_step_limit(20_000);
        scheduler.spawn(
            "restless",
            Box::pin(async {
                loop {
                    yield_now().await;
                }
            }),
        );
        let (send, mut receive) = mpsc::unbounded_channel();
        for task in 0..10 {
            let send = send.clone();
            scheduler.spawn(
                "patient",
                Box::pin(async move {
                    for _ in 0..100 {
                        yield_now().await;
                    }
                    send.send(task).unwrap();
                }),
            );
        }
        drop(send);
        let mut done = scheduler.block_on(async {
            let mut done = Vec::new();
            while let Some(task) = receive.recv().await {
                done.push(task);
            }
            done
        });
        done.sort_unstable();
        assert_eq!(done, (0..10).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(scheduler.unfinished(), ["restless".into()]);
    }
}

#[test]
fn timers_go_off_in_the_order_of_time() {
    let mut orders_of_equals = [0, 0];
    for seed in 0..50 {
        let scheduler = Seeded::new(seed);
        let (send, mut receive) = mpsc::unbounded_channel();
        for (task, millis) in [30, 10, 20, 20, 0].into_iter().enumerate() {
            let (send, alarm) = (send.clone(), sleep(&scheduler, millis));
            let clock = Arc::clone(&scheduler);
            scheduler.spawn(
                "sleeper",
                Box::pin(async move {
                    alarm.await;
                    send.send((now_ms(&clock), task)).unwrap();
                }),
            );
        }
        scheduler.advance(Duration::from_millis(25));
        assert_eq!(now_ms(&scheduler), 25);
        let mut seen: Vec<_> = std::iter::from_fn(|| receive.try_recv().ok()).collect();
        orders_of_equals[usize::from(seen[2].1 == 3)] += 1;
        seen[2..].sort_unstable();
        assert_eq!(seen, [(0, 4), (10, 1), (20, 2), (20, 3)], "seed {seed}");
        scheduler.advance(Duration::from_millis(5));
        assert_eq!(receive.try_recv(), Ok((30, 0)));
    }
    assert!(orders_of_equals.iter().all(|&times| times > 10), "{orders_of_equals:?}");
}

#[test]
fn time_stands_still_until_everybody_waits() {
    let scheduler = Seeded::new(1);
    let ticks = Arc::new(Mutex::new(Vec::new()));
    let (clock, seen) = (Arc::clone(&scheduler), Arc::clone(&ticks));
    scheduler.spawn(
        "ticker",
        Box::pin(async move {
            loop {
                sleep(&clock, 1_000).await;
                seen.lock().unwrap().push(now_ms(&clock));
            }
        }),
    );
    scheduler.run_until_stalled();
    assert_eq!((now_ms(&scheduler), ticks.lock().unwrap().len()), (0, 0));
    scheduler.advance(Duration::from_millis(3_500));
    assert_eq!((now_ms(&scheduler), &*ticks.lock().unwrap()), (3_500, &vec![1_000, 2_000, 3_000]));
    scheduler.abandon();
    assert_eq!(Arc::strong_count(&scheduler), 1);
}

#[test]
fn a_sleep_that_was_dropped_moves_no_clock() {
    let scheduler = Seeded::new(1);
    let mut long = sleep(&scheduler, 3_600_000);
    scheduler.block_on(async {
        let polled_once = poll_fn(|context| Poll::Ready(long.as_mut().poll(context).is_pending()));
        assert!(polled_once.await);
    });
    drop(long);
    scheduler.block_on(sleep(&scheduler, 5));
    assert!(scheduler.try_block_on(std::future::pending::<()>()).is_err());
    assert_eq!(now_ms(&scheduler), 5);
}

#[test]
fn a_deadlock_names_who_waits() {
    let scheduler = Seeded::new(7);
    let (to_left, mut left) = mpsc::channel::<()>(1);
    let (to_right, mut right) = mpsc::channel::<()>(1);
    scheduler.spawn(
        "left",
        Box::pin(async move {
            left.recv().await;
            to_right.send(()).await.unwrap();
        }),
    );
    scheduler.spawn(
        "right",
        Box::pin(async move {
            right.recv().await;
            to_left.send(()).await.unwrap();
        }),
    );
    scheduler.spawn("idle", Box::pin(async {}));
    let forever = scheduler.sleep_until(Moment::from_nanos(u64::MAX));
    let stall = scheduler.try_block_on(forever).unwrap_err();
    let Stall::Deadlock { waiting, .. } = &stall else { panic!("{stall}") };
    assert_eq!(*waiting, ["left".into(), "right".into(), "block_on".into()]);
    let told = stall.to_string();
    assert!(told.starts_with("deadlock with seed 7 after 4 steps"), "{told}");
    assert!(told.ends_with("all of left, right, block_on wait, and no timer is set"), "{told}");
    assert_eq!(scheduler.unfinished(), ["left".into(), "right".into()]);
}

#[test]
fn steps_are_limited_for_each_drive() {
    let scheduler = Seeded::new(7);
    scheduler.set_step_limit(100);
    async fn endless() {
        loop {
            yield_now().await;
        }
    }
    for drives in 1..=2 {
        let stall = scheduler.try_block_on(endless()).unwrap_err();
        assert!(matches!(stall, Stall::StepLimit { .. }), "{stall}");
        assert_eq!(scheduler.steps(), drives * 100);
    }
    scheduler.spawn("endless", Box::pin(endless()));
    assert!(
        panic_of(|| scheduler.run_until_stalled()).starts_with("the limit of steps was reached with seed 7")
    );
}

#[test]
fn steps_may_cost_time_so_that_timers_reach_the_busy() {
    let scheduler = Seeded::new(3);
    scheduler.set_step_limit(10_000);
    scheduler.set_step_cost(Duration::from_micros(1));
    let alarm = sleep(&scheduler, 1);
    scheduler.spawn(
        "busy",
        Box::pin(async {
            loop {
                yield_now().await;
            }
        }),
    );
    scheduler.block_on(alarm);
    assert!((1_000..1_100).contains(&scheduler.steps()), "{}", scheduler.steps());
}

#[test]
fn a_panic_reaches_the_caller_with_task_and_seed() {
    let scheduler = Seeded::new(42);
    scheduler.spawn("unlucky", Box::pin(async { panic!("out of {}", "luck") }));
    let told = panic_of(|| scheduler.block_on(std::future::pending::<()>()));
    assert!(told.starts_with("task `unlucky` panicked with seed 42 after"), "{told}");
    assert!(told.ends_with(": out of luck"), "{told}");
    let told = panic_of(|| scheduler.block_on(async { panic!("in the test itself") }));
    assert!(told.starts_with("task `block_on` panicked with seed 42"), "{told}");
    assert_eq!(scheduler.block_on(async { 7 }), 7, "the scheduler goes on");
    assert!(scheduler.unfinished().is_empty());
}

#[test]
fn tasks_spawn_tasks() {
    let scheduler = Seeded::new(5);
    let (send, mut receive) = mpsc::unbounded_channel();
    fn branch(scheduler: Arc<Seeded>, depth: u32, send: mpsc::UnboundedSender<u32>) -> Task {
        Box::pin(async move {
            for _ in 0..if depth < 4 { 2 } else { 0 } {
                let twig = branch(Arc::clone(&scheduler), depth + 1, send.clone());
                scheduler.spawn("twig", twig);
            }
            send.send(depth).unwrap();
        })
    }
    scheduler.spawn("trunk", branch(Arc::clone(&scheduler), 0, send));
    scheduler.run_until_stalled();
    assert_eq!(std::iter::from_fn(|| receive.try_recv().ok()).count(), 31);
    assert!(scheduler.unfinished().is_empty());
}

#[test]
fn abandoned_tasks_are_dropped_with_all_they_do_then() {
    struct Heir(Arc<Seeded>, Option<oneshot::Sender<()>>);
    impl Drop for Heir {
        fn drop(&mut self) {
            let tell = self.1.take();
            self.0.spawn("heir", Box::pin(async move { drop(tell) }));
        }
    }
    let scheduler = Seeded::new(5);
    let (tell, mut told) = oneshot::channel();
    let heir = Heir(Arc::clone(&scheduler), Some(tell));
    let hour = sleep(&scheduler, 3_600_000);
    scheduler.spawn(
        "testator",
        Box::pin(async move {
            hour.await;
            drop(heir);
        }),
    );
    scheduler.run_until_stalled();
    scheduler.abandon();
    assert!(scheduler.unfinished().is_empty());
    assert_eq!(told.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    assert_eq!(Arc::strong_count(&scheduler), 1);
}

#[test]
fn wakes_from_other_threads_are_safe() {
    let scheduler = Seeded::new(9);
    scheduler.set_step_limit(u64::MAX);
    let (send, mut receive) = mpsc::channel(1);
    let bell = Arc::new(Notify::new());
    let rung = Arc::clone(&bell);
    scheduler.spawn("listener", Box::pin(async move { rung.notified().await }));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (send, bell) = (send.clone(), Arc::clone(&bell));
            std::thread::spawn(move || {
                for number in 0..500 {
                    send.blocking_send(number).unwrap();
                    bell.notify_one();
                }
            })
        })
        .collect();
    drop(send);
    let waiting = Cell::new(true);
    let sum = scheduler.block_on(async {
        let mut sum = 0;
        // Keeps asking, because a scheduler that finds everybody waiting reports a deadlock.
        while waiting.get() {
            match receive.try_recv() {
                Ok(number) => sum += number,
                Err(mpsc::error::TryRecvError::Empty) => yield_now().await,
                Err(mpsc::error::TryRecvError::Disconnected) => waiting.set(false),
            }
        }
        sum
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(sum, 4 * 499 * 500 / 2);
    scheduler.run_until_stalled();
    assert!(scheduler.unfinished().is_empty());
}

#[test]
fn a_drive_goes_on_where_the_last_one_stopped() {
    let scheduler = Seeded::new(2);
    let (send, mut receive) = mpsc::channel(1);
    let clock = Arc::clone(&scheduler);
    scheduler.spawn(
        "counter",
        Box::pin(async move {
            for number in 0.. {
                sleep(&clock, 1).await;
                send.send(number).await.unwrap();
            }
        }),
    );
    // Neither `Send` nor `'static` is asked of what is blocked on.
    let total = Rc::new(Cell::new(0));
    for _ in 0..3 {
        scheduler.block_on(async {
            total.set(total.get() + receive.recv().await.unwrap());
        });
    }
    assert_eq!(total.get(), 3);
    scheduler.abandon();
}

#[test]
fn the_wall_clock_jumps_alone() {
    let scheduler = Seeded::new(2);
    let start = scheduler.wall_ms();
    scheduler.advance(Duration::from_millis(1_500));
    assert_eq!(scheduler.wall_ms() - start, 1_500);
    scheduler.set_wall_ms(1_000);
    assert_eq!((scheduler.wall_ms(), now_ms(&scheduler)), (1_000, 1_500));
    scheduler.advance(Duration::from_millis(1));
    assert_eq!((scheduler.wall_ms(), now_ms(&scheduler)), (1_001, 1_501));
}

#[test]
fn a_task_cannot_drive_its_own_scheduler() {
    let scheduler = Seeded::new(2);
    let inner = Arc::clone(&scheduler);
    scheduler.spawn("greedy", Box::pin(async move { inner.run_until_stalled() }));
    let told = panic_of(|| scheduler.run_until_stalled());
    assert!(told.contains("`greedy`") && told.contains("cannot be driven from within"), "{told}");
}
