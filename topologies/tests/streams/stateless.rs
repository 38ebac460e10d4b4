//! Steps that need no state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use topo::prelude::*;
use topo_core::BuildError;

use crate::{numbers, outcome, sorted};

const SEEDS: std::ops::Range<u64> = 0..20;

#[test]
fn steps_of_one_value_do_what_iterators_do() {
    for seed in SEEDS {
        let tasks = 1 + (seed as usize) % 3;
        let streamed = outcome(seed, &numbers(500), |stream| {
            stream
                .map(|number| number * 3)
                .tasks(tasks)
                .filter(|number| number % 2 == 0)
                .flat_map(|number| vec![number, number + 1])
                .repartition()
                .filter_map(|number| (number % 5 != 0).then(|| number.to_string()))
                .tasks(2)
        });
        let iterated = (0..500_u64).map(|number| number * 3).filter(|number| number % 2 == 0);
        let iterated = iterated.flat_map(|number| [number, number + 1]);
        let iterated = iterated.filter(|number| number % 5 != 0).map(|number| number.to_string());
        assert_eq!(streamed, sorted(iterated), "seed {seed}");
    }
}

#[test]
fn branches_divide_and_merge_unites() {
    for seed in SEEDS {
        let all = outcome(seed, &numbers(300), |stream| {
            let (small, large) = stream.branch(|number| *number < 100);
            small
                .map(|number| (number, "small".to_owned()))
                .merge(&large.map(|number| (number, "large".to_owned())))
                .map(|pair| pair)
        });
        let expected =
            (0..300).map(|number| (number, if number < 100 { "small" } else { "large" }.to_owned()));
        assert_eq!(all, sorted(expected), "seed {seed}");
    }
}

#[test]
fn a_broadcast_reaches_every_task() {
    let copies = outcome(7, &numbers(40), |stream| stream.broadcast().map(|number| number).tasks(3));
    assert_eq!(copies, sorted((0..3).flat_map(|_| 0..40)));
}

#[test]
fn what_a_function_rejects_fails_and_what_it_retries_comes_again() {
    let asked = Arc::new(AtomicU64::new(0));
    let times = Arc::clone(&asked);
    let kept = outcome(3, &numbers(50), move |stream| {
        let asked = Arc::clone(&times);
        stream.try_map(move |number| match number {
            13 => Err(Fail::reject("unlucky")),
            7 if asked.fetch_add(1, Ordering::Relaxed) < 2 => Err(Fail::retry("not now")),
            number => Ok(number),
        })
    });
    assert_eq!(kept, sorted((0..50).filter(|number| *number != 13)));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[test]
fn steps_see_values_pass_and_keep_their_time() {
    let sum = Arc::new(AtomicU64::new(0));
    let (seen, acted) = (Arc::clone(&sum), Arc::clone(&sum));
    let streamed = outcome(5, &numbers(10), move |stream| {
        let stream = stream.inspect(move |number| {
            seen.fetch_add(*number, Ordering::Relaxed);
        });
        stream.for_each(move |number| {
            acted.fetch_add(number, Ordering::Relaxed);
        });
        stream
    });
    assert_eq!(streamed, sorted(0..10));
    assert_eq!(sum.load(Ordering::Relaxed), 90);
}

#[test]
fn what_cannot_be_is_refused_in_a_sentence() {
    let topology = Topology::new("test");
    let numbers = topology.spout("numbers", topo::testing::given(vec![Timed { at: 0, value: 1_u64 }]));
    let stream = DataStream::of(&numbers);
    stream.map(|number| number).name("same").for_each(drop).name("same");
    assert_eq!(topology.check(), Err(BuildError::NameTwice { name: "same".into() }));

    let topology = Topology::new("test");
    let numbers =
        topology.spout("numbers", topo::testing::given(vec![Timed { at: 0, value: "a".to_owned() }]));
    DataStream::of(&numbers).to("words");
    let refused = topology.check().expect_err("there is no log").to_string();
    assert_eq!(
        refused,
        "nothing can be written to `words`: the topology has no log; build it in an `Application`"
    );

    type Step = fn(&DataStream<String>);
    let misuses: [(Step, &str); 5] = [
        (
            |words| {
                drop(
                    words
                        .key_by(|word| word)
                        .window(Duration::from_secs(1))
                        .every(Duration::from_secs(2))
                        .count(),
                )
            },
            "sliding windows would leave records out: make `every` at most as long as the window",
        ),
        (
            |words| drop(words.key_by(|word| word).window(Duration::ZERO).count()),
            "a window of 0ns cannot be: give it whole milliseconds, from 1 ms to 73 million years",
        ),
        (
            |words| drop(words.key_by(|word| word).window(count_sliding(5, 1)).partial().count()),
            "windows by count cannot be aggregated in part: they need their records one by one",
        ),
        (
            |words| drop(words.key_by(|word| word).window(global()).every(Duration::from_secs(1)).count()),
            "`every` is for windows of a length in time: leave it out",
        ),
        (
            |words| {
                let windows = words.key_by(|word| word).window(Duration::from_secs(1));
                drop(windows.trigger(Trigger::watermark().early_count(0)).count());
            },
            "a trigger's count cannot be that many records: give it a number from 1 to 2^62",
        ),
    ];
    for (misuse, sentence) in misuses {
        let topology = Topology::new("test");
        let words = [Timed { at: 0, value: "a".to_owned() }];
        misuse(&DataStream::of(&topology.spout("words", topo::testing::given(words))));
        assert_eq!(topology.check().expect_err("it cannot be").to_string(), sentence);
    }

    let (one, other) = (Topology::new("one"), Topology::new("other"));
    let ones = one.spout("numbers", topo::testing::given(vec![Timed { at: 0, value: 1_u64 }]));
    let others = other.spout("numbers", topo::testing::given(vec![Timed { at: 0, value: 1_u64 }]));
    DataStream::of(&ones).merge(&DataStream::of(&others)).for_each(drop);
    assert!(matches!(one.check(), Err(BuildError::ForeignStream { .. })));
}
