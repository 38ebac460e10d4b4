//! Queues that fill and drain, and markers that pass them.

use super::*;
use crate::runtime::envelope::Anchor;
use crate::time::{EventTime, Watermark};

fn batch(tuples: usize, bytes: usize) -> Batch<u8> {
    let envelopes = vec![Envelope { anchor: Anchor::UNTRACKED, tuple: 0 }; tuples];
    Batch {
        envelopes,
        joints: Vec::new(),
        bytes,
        sent: Moment::default(),
        from: 0,
        signal: None,
        marker: None,
    }
}

fn signal(from: u32, ms: i64) -> Batch<u8> {
    let signal = Some(Signal::Time(EventTime::at(Watermark(ms))));
    Batch { from, signal, ..batch(0, 100) }
}

fn rung(bell: &Bell) -> bool {
    let notified = std::pin::pin!(bell.notified());
    let waker = std::task::Waker::noop();
    notified.poll(&mut std::task::Context::from_waker(waker)).is_ready()
}

#[test]
fn a_full_queue_hands_the_batch_back_and_rings_its_sender_once_half_is_drained() {
    let sender = Bell::default();
    let inbox = Inbox::new(Bell::default(), 10, 1_000);
    assert!(inbox.try_push(batch(5, 1), &sender).is_ok());
    assert!(inbox.try_push(batch(5, 1), &sender).is_ok());
    assert!(inbox.try_push(batch(1, 1), &sender).is_err());
    assert!(inbox.try_push(batch(1, 1), &sender).is_err());
    assert!(!rung(&sender));
    inbox.pop().expect("a batch");
    assert!(rung(&sender));
    assert!(inbox.try_push(batch(5, 1), &sender).is_ok());
}

#[test]
fn bytes_fill_a_queue_as_tuples_do() {
    let sender = Bell::default();
    let inbox = Inbox::new(Bell::default(), 100, 10);
    assert!(inbox.try_push(batch(1, 8), &sender).is_ok());
    assert!(inbox.try_push(batch(1, 8), &sender).is_err());
}

#[test]
fn an_empty_queue_takes_a_batch_larger_than_itself() {
    let inbox = Inbox::new(Bell::default(), 4, 10);
    assert!(inbox.try_push(batch(100, 1_000), &Bell::default()).is_ok());
    assert_eq!(inbox.fill().tuples, 100);
}

#[test]
fn feedback_passes_the_capacity_and_stops_at_its_budget() {
    let inbox = Inbox::new(Bell::default(), 1, 1);
    for _ in 0..5 {
        assert!(inbox.push_feedback(batch(10, 20), 100).is_ok());
    }
    assert!(inbox.push_feedback(batch(10, 20), 100).is_err());
}

#[test]
fn only_the_first_push_rings_and_buffers_come_back() {
    let receiver = Bell::default();
    let inbox = Inbox::new(Arc::clone(&receiver), 100, 1_000);
    let sender = Bell::default();
    assert!(inbox.try_push(batch(1, 1), &sender).is_ok());
    assert!(rung(&receiver));
    assert!(inbox.try_push(batch(1, 1), &sender).is_ok());
    assert!(!rung(&receiver));
    let mut first = inbox.pop().expect("a batch").envelopes;
    first.clear();
    let address = first.as_ptr();
    inbox.recycle(first);
    let spare = inbox.try_push(batch(1, 1), &sender).expect("space");
    assert_eq!(spare.as_ptr(), address);
}

#[test]
fn a_signal_right_behind_another_of_its_sender_takes_its_place() {
    let inbox = Inbox::new(Bell::default(), 10, 1_000);
    let push = |batch| assert!(inbox.try_push(batch, &Bell::default()).is_ok());
    push(signal(0, 1));
    push(signal(0, 2));
    push(batch(1, 1));
    push(signal(0, 3));
    push(signal(1, 4));
    push(signal(0, 5));
    let heard = std::iter::from_fn(|| inbox.pop()).map(|batch| (batch.envelopes.len(), batch.signal));
    let at = |ms| Some(Signal::Time(EventTime::at(Watermark(ms))));
    assert_eq!(heard.collect::<Vec<_>>(), [(0, at(2)), (1, at(3)), (0, at(4)), (0, at(5))]);
    assert_eq!(inbox.fill().bytes, 0);
}

#[test]
fn signals_without_tuples_fill_a_queue_as_well() {
    let inbox = Inbox::new(Bell::default(), 10, 250);
    let push = |from| inbox.try_push(signal(from, 1), &Bell::default()).is_ok();
    assert_eq!([push(0), push(1), push(2), push(1)], [true, true, false, true]);
}

fn from(sender: u32, tuples: usize) -> Batch<u8> {
    Batch { from: sender, ..batch(tuples, tuples) }
}

fn marker(sender: u32) -> Batch<u8> {
    Batch { from: sender, marker: Some(1), ..batch(0, 1) }
}

#[test]
fn what_is_behind_a_marker_waits_for_the_markers_of_the_others() {
    let inbox = Inbox::new(Bell::default(), 20, 1_000);
    assert_eq!([inbox.open_sender(), inbox.open_sender()], [0, 1]);
    let push = |batch| assert!(inbox.try_push(batch, &Bell::default()).is_ok());
    push(from(0, 1));
    push(marker(0));
    push(from(0, 2));
    push(from(1, 3));
    push(marker(1));
    push(from(1, 4));
    assert_eq!(inbox.fill().tuples, 10);
    let taken = |inbox: &Inbox<u8>| {
        let all = std::iter::from_fn(|| inbox.pop());
        all.map(|batch| (batch.from, batch.envelopes.len(), batch.marker.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(taken(&inbox), [(0, 1, true), (1, 3, true)]);
    assert!(inbox.is_empty() && !inbox.is_finished());
    assert_eq!(inbox.pass_marker(Moment::default()), Duration::ZERO);
    push(from(0, 5));
    assert_eq!(taken(&inbox), [(0, 2, false), (1, 4, false), (0, 5, false)]);
}

#[test]
fn who_is_ahead_is_held_by_a_queue_of_its_own_and_those_behind_find_room() {
    let (fast, slow) = (Bell::default(), Bell::default());
    let inbox = Inbox::new(Bell::default(), 10, 1_000);
    (inbox.open_sender(), inbox.open_sender());
    assert!(inbox.try_push(marker(0), &fast).is_ok());
    assert!(inbox.try_push(from(0, 10), &fast).is_ok());
    let late = Batch { sent: Moment::from_nanos(5), ..from(0, 1) };
    assert!(inbox.try_push(late, &fast).is_err());
    for _ in 0..3 {
        assert!(inbox.try_push(from(1, 8), &slow).is_ok(), "the queue of the batch in work is its own");
        while inbox.pop().is_some() {}
    }
    assert!(!rung(&fast), "no space came where it waits");
    assert!(inbox.try_push(marker(1), &slow).is_ok());
    assert!(inbox.pop().is_some_and(|batch| batch.marker.is_some()));
    assert_eq!(inbox.pass_marker(Moment::from_nanos(12)), Duration::from_nanos(7));
    assert!(!rung(&fast), "what it sent is still there");
    inbox.pop().expect("a batch");
    assert!(rung(&fast));
}

#[test]
fn what_is_cleared_is_gone_with_its_markers() {
    let sender = Bell::default();
    let inbox = Inbox::new(Bell::default(), 10, 1_000);
    (inbox.open_sender(), inbox.open_sender());
    assert!(inbox.try_push(marker(0), &sender).is_ok());
    assert!(inbox.try_push(from(0, 10), &sender).is_ok());
    assert!(inbox.try_push(from(0, 1), &sender).is_err());
    inbox.clear();
    assert!(rung(&sender));
    assert!(inbox.try_push(from(0, 1), &sender).is_ok());
    assert_eq!((inbox.fill().tuples, inbox.pop().map(|batch| batch.envelopes.len())), (1, Some(1)));
}
