//! One transactional id on a clock that is told.

use super::*;
use crate::transactions::request::TransactionState::*;

const MINUTE: Duration = Duration::from_secs(60);
const COMMIT: TransactionResult = TransactionResult::Commit;
const ABORT: TransactionResult = TransactionResult::Abort;

/// A transactional id whose records are stored as soon as they are to be, unless something else is said.
struct Driven {
    transaction: Transaction,
    now: Moment,
    next_id: i64,
    /// All that was stored, oldest first.
    log: Vec<TransactionMetadata>,
}

impl Driven {
    fn new() -> Self {
        let now = Moment { elapsed: Duration::ZERO, wall_ms: 1_000_000 };
        let config = TransactionConfig { max_partitions: 3, ..TransactionConfig::default() };
        Self { transaction: Transaction::new(config, now), now, next_id: 100, log: Vec::new() }
    }

    /// As after a restart.
    fn restored(self) -> Self {
        self.restored_knowing(-1)
    }

    /// As after a restart, where a partition knows an epoch of the producer.
    fn restored_knowing(self, known_epoch: i16) -> Self {
        let stored = self.log.last().expect("something was stored").clone();
        let transaction = Transaction::restored(self.transaction.config, stored, known_epoch, self.now);
        Self { transaction, ..self }
    }

    fn pass(&mut self, time: Duration) {
        self.now.elapsed += time;
        self.now.wall_ms += time.as_millis() as i64;
    }

    /// Stores what a step wants stored; the markers to write.
    fn store(&mut self, step: Step) -> (ProducerInstance, Option<Markers>) {
        match step {
            Step::Done(producer) => (producer, None),
            Step::NeedsProducerId => panic!("an id was given"),
            Step::Store(next) => {
                self.log.push(next.clone());
                (next.producer, self.transaction.stored(true, self.now))
            }
        }
    }

    fn step(&mut self, expected: Option<ProducerInstance>) -> Result<Step, TransactionError> {
        let mut init = Init { timeout: MINUTE, expected, fresh: None };
        let step = self.transaction.init(init, self.now)?;
        if step != Step::NeedsProducerId {
            return Ok(step);
        }
        init.fresh = Some(self.next_id);
        self.next_id += 1;
        self.transaction.init(init, self.now)
    }

    fn init(&mut self, expected: Option<ProducerInstance>) -> Result<ProducerInstance, TransactionError> {
        let step = self.step(expected)?;
        match self.store(step) {
            (producer, None) => Ok(producer),
            (_, Some(markers)) => {
                self.complete(&markers);
                Err(TransactionError::Concurrent)
            }
        }
    }

    fn begin(&mut self, producer: ProducerInstance) {
        let step = self.transaction.add(producer, &[at(0)], self.now).unwrap();
        assert_eq!(self.store(step), (producer, None));
    }

    fn end(
        &mut self,
        producer: ProducerInstance,
        result: TransactionResult,
    ) -> Result<Option<Markers>, TransactionError> {
        let step = self.transaction.end(producer, result, self.now)?;
        Ok(self.store(step).1)
    }

    fn complete(&mut self, markers: &Markers) {
        let completed = self.transaction.completion(markers, self.now).expect("it is news");
        self.log.push(completed.clone());
        self.transaction.complete(completed, self.now);
    }
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition::new("lines", partition)
}

fn instance(producer_id: i64, epoch: i16) -> ProducerInstance {
    ProducerInstance { producer_id, epoch }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, TransactionError>, expected: &str) {
    let error = result.unwrap_err();
    let kind = format!("{error:?}");
    assert!(kind.starts_with(expected), "{kind}, not {expected}");
}

#[test]
fn a_transaction_is_begun_written_and_committed_again_and_again() {
    let mut driven = Driven::new();
    let producer = driven.init(None).unwrap();
    assert_eq!(producer, instance(100, 0));
    refused(driven.end(producer, COMMIT), "InvalidState");
    for round in 0..3 {
        refused(driven.transaction.check_write(producer, &at(0)), "InvalidState");
        driven.begin(producer);
        assert_eq!(driven.transaction.add(producer, &[at(0)], driven.now).unwrap(), Step::Done(producer));
        driven.transaction.check_write(producer, &at(0)).unwrap();
        refused(driven.transaction.check_write(producer, &at(1)), "NotAdded");
        let step = driven.transaction.add(producer, &[at(0), at(1)], driven.now).unwrap();
        // What is in the transaction is written to meanwhile; what is about to be is not.
        driven.transaction.check_write(producer, &at(0)).unwrap();
        refused(driven.transaction.check_write(producer, &at(1)), "NotAdded");
        driven.store(step);
        driven.transaction.check_write(producer, &at(1)).unwrap();

        let result = if round == 1 { ABORT } else { COMMIT };
        let markers = driven.end(producer, result).unwrap().unwrap();
        assert_eq!(markers, Markers { producer, result, partitions: vec![at(0), at(1)] });
        refused(driven.transaction.check_write(producer, &at(0)), "InvalidState");
        refused(driven.transaction.add(producer, &[at(0)], driven.now), "Concurrent");
        refused(driven.end(producer, result), "Concurrent");
        refused(driven.end(producer, if round == 1 { COMMIT } else { ABORT }), "InvalidState");
        refused(driven.init(None), "Concurrent");
        driven.complete(&markers);
        assert_eq!(driven.end(producer, result).unwrap(), None, "sent again");
        refused(driven.end(producer, if round == 1 { COMMIT } else { ABORT }), "InvalidState");
        assert_eq!(driven.transaction.describe().unwrap().started_ms, None);
    }
}

#[test]
fn while_a_step_is_stored_nothing_else_is_done() {
    let mut driven = Driven::new();
    let step = driven.step(None).unwrap();
    refused(driven.step(None), "Concurrent");
    let producer = driven.store(step).0;
    let step = driven.transaction.add(producer, &[at(0)], driven.now).unwrap();
    refused(driven.transaction.check_write(producer, &at(0)), "InvalidState");
    refused(driven.transaction.end(producer, COMMIT, driven.now), "Concurrent");
    refused(driven.transaction.add(producer, &[at(1)], driven.now), "Concurrent");
    driven.store(step);
    let step = driven.transaction.end(producer, COMMIT, driven.now).unwrap();
    refused(driven.transaction.check_write(producer, &at(0)), "InvalidState");
    refused(driven.transaction.end(producer, COMMIT, driven.now), "Concurrent");
    assert!(driven.transaction.is_settling());
    let markers = driven.store(step).1.unwrap();
    driven.complete(&markers);
    assert!(!driven.transaction.is_settling());
    assert_eq!(driven.transaction.completion(&markers, driven.now), None, "markers that come twice");
}

#[test]
fn a_later_instance_fences_and_aborts() {
    let mut driven = Driven::new();
    let old = driven.init(None).unwrap();
    driven.begin(old);
    let step = driven.step(None).unwrap();
    let (fenced, markers) = driven.store(step);
    assert_eq!(fenced, instance(100, 1), "an epoch of nobody's");
    let markers = markers.unwrap();
    assert_eq!((markers.producer, markers.result), (fenced, ABORT));
    refused(driven.init(None), "Concurrent");
    refused(driven.transaction.check_write(old, &at(0)), "Fenced");
    driven.complete(&markers);
    let new = driven.init(None).unwrap();
    assert_eq!(new, instance(100, 2));
    for zombie in [old, fenced] {
        refused(driven.transaction.add(zombie, &[at(0)], driven.now), "Fenced");
        refused(driven.end(zombie, COMMIT), "Fenced");
        refused(driven.init(Some(zombie)), "Fenced");
    }
    refused(driven.transaction.add(instance(7, 0), &[at(0)], driven.now), "UnknownProducer");
    // Nor can a zombie end what the new instance has begun.
    driven.begin(new);
    refused(driven.init(Some(old)), "Fenced");
    assert_eq!(driven.transaction.state(), Ongoing);
}

#[test]
fn an_instance_goes_on_after_an_error_and_its_retry_is_answered_alike() {
    let mut driven = Driven::new();
    let first = driven.init(None).unwrap();
    let second = driven.init(Some(first)).unwrap();
    assert_eq!(second, instance(100, 1));
    let mut driven = driven.restored();
    assert_eq!(driven.init(Some(first)).unwrap(), second, "the answer was lost, and the broker restarted");
    driven.begin(second);
    assert_eq!(driven.init(Some(first)).unwrap(), second, "a request that was late");
    assert_eq!(driven.transaction.state(), Ongoing);
    // With a transaction that is open, it is aborted first.
    refused(driven.init(Some(second)), "Concurrent");
    assert_eq!(driven.transaction.state(), CompleteAbort);
    let third = driven.init(Some(second)).unwrap();
    assert_eq!(third, instance(100, 2), "of nobody else's");
    refused(driven.init(Some(first)), "Fenced");
    let other = driven.init(None).unwrap();
    refused(driven.init(Some(third)), "Fenced");
    assert_eq!(driven.init(Some(other)).unwrap().epoch, 4);
}

#[test]
fn epochs_that_are_used_up_give_way_to_another_producer_id() {
    let mut driven = Driven::new();
    let mut last = driven.init(None).unwrap();
    while last.producer_id == 100 {
        assert!(last.epoch < i16::MAX, "one is left to fence it with");
        driven.begin(last);
        let expected = (last.epoch % 2 == 0).then_some(last);
        let next = match driven.init(expected) {
            Err(TransactionError::Concurrent) => driven.init(expected).unwrap(),
            other => panic!("{other:?}"),
        };
        assert!(next.epoch > last.epoch || next == instance(101, 0), "{next} after {last}");
        last = next;
    }
    refused(driven.transaction.add(instance(100, i16::MAX - 1), &[at(0)], driven.now), "UnknownProducer");
    driven.begin(last);
    // The change to another id can be asked for again.
    let mut driven = Driven::new();
    let mut last = driven.init(None).unwrap();
    while last.producer_id == 100 {
        let next = driven.init(Some(last)).unwrap();
        assert_eq!(driven.init(Some(last)).unwrap(), next);
        last = next;
    }
    assert_eq!(last, instance(101, 0));
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let mut driven = Driven::new();
    let producer = driven.init(None).unwrap();
    driven.pass(MINUTE * 10);
    assert_eq!(driven.transaction.tick(driven.now), None, "nothing is open");
    driven.begin(producer);
    driven.pass(MINUTE / 2);
    let step = driven.transaction.add(producer, &[at(1)], driven.now).unwrap();
    driven.store(step);
    driven.transaction.stood_still(MINUTE);
    driven.pass(MINUTE + MINUTE / 2 - Duration::from_millis(1));
    assert_eq!(driven.transaction.tick(driven.now), None, "more partitions give no more time, a pause does");
    assert_eq!(driven.transaction.next_deadline(), Some(driven.now.elapsed + Duration::from_millis(1)));
    driven.pass(Duration::from_millis(1));
    let Some(Due::Store(next)) = driven.transaction.tick(driven.now) else { panic!("it is due") };
    assert_eq!((next.state, next.producer), (PrepareAbort, instance(100, 1)));
    assert_eq!(driven.transaction.tick(driven.now), None);
    let markers = driven.store(Step::Store(next)).1.unwrap();
    driven.complete(&markers);
    refused(driven.end(producer, COMMIT), "Fenced");
    refused(driven.init(Some(producer)), "Fenced");
    assert_eq!(driven.init(None).unwrap(), instance(100, 2));
    for timeout in [Duration::ZERO, Duration::from_mins(15) + Duration::from_millis(1)] {
        let init = Init { timeout, expected: None, fresh: None };
        refused(driven.transaction.init(init, driven.now), "InvalidTimeout");
    }
}

#[test]
fn what_was_decided_is_done_after_a_restart() {
    let mut driven = Driven::new();
    let producer = driven.init(None).unwrap();
    driven.begin(producer);
    let markers = driven.end(producer, COMMIT).unwrap().unwrap();
    let mut driven = driven.restored();
    refused(driven.transaction.add(producer, &[at(0)], driven.now), "Concurrent");
    assert_eq!(driven.transaction.tick(driven.now), Some(Due::Mark(markers.clone())));
    assert_eq!(driven.transaction.tick(driven.now), None, "once");
    driven.transaction.unmarked(driven.now);
    assert_eq!(driven.transaction.tick(driven.now), None, "not at once");
    driven.pass(RETRY);
    assert_eq!(driven.transaction.tick(driven.now), Some(Due::Mark(markers.clone())));
    driven.complete(&markers);
    assert_eq!(driven.end(producer, COMMIT).unwrap(), None);

    // What was open stays so, for a whole timeout.
    driven.begin(producer);
    driven.pass(MINUTE - Duration::from_millis(1));
    let mut driven = driven.restored();
    driven.transaction.check_write(producer, &at(0)).unwrap();
    assert_eq!(driven.transaction.next_deadline(), Some(driven.now.elapsed + MINUTE));
    driven.end(producer, ABORT).unwrap().unwrap();
}

#[test]
fn a_step_that_was_not_written_was_not_taken_and_one_that_may_have_been_ends_everything() {
    let mut driven = Driven::new();
    let producer = driven.init(None).unwrap();
    driven.begin(producer);
    driven.transaction.end(producer, COMMIT, driven.now).unwrap();
    driven.transaction.refused(driven.now);
    driven.transaction.check_write(producer, &at(0)).unwrap();
    driven.pass(MINUTE);
    assert!(matches!(driven.transaction.tick(driven.now), Some(Due::Store(_))));
    driven.transaction.refused(driven.now);
    assert_eq!(driven.transaction.tick(driven.now), None, "not at once");
    driven.pass(RETRY);
    assert!(matches!(driven.transaction.tick(driven.now), Some(Due::Store(_))));
    assert_eq!(driven.transaction.stored(false, driven.now), None);
    refused(driven.transaction.check_write(producer, &at(0)), "Unavailable");
    refused(driven.transaction.add(producer, &[at(0)], driven.now), "Unavailable");
    refused(driven.end(producer, COMMIT), "Unavailable");
    refused(driven.init(None), "Unavailable");
    assert!(driven.transaction.next_deadline().is_none() && !driven.transaction.is_settling());
    // Whichever it is that was stored.
    driven.restored().transaction.check_write(producer, &at(0)).unwrap();
}

#[test]
fn partitions_are_bounded_and_ids_expire() {
    let mut driven = Driven::new();
    assert!(driven.transaction.is_new());
    let producer = driven.init(None).unwrap();
    let four: Vec<_> = (0..4).map(at).collect();
    refused(driven.transaction.add(producer, &four, driven.now), "TooManyPartitions { max: 3 }");
    assert_eq!(driven.transaction.add(producer, &[], driven.now).unwrap(), Step::Done(producer));
    assert_eq!(driven.transaction.state(), Empty, "nothing begins with nothing");
    driven.begin(producer);
    let week = TransactionConfig::default().id_expiration;
    driven.pass(week * 2);
    assert!(!matches!(driven.transaction.tick(driven.now), Some(Due::Expire)), "a transaction was open");
    let markers = driven.transaction.stored(true, driven.now).unwrap();
    driven.complete(&markers);
    driven.pass(week - MINUTE);
    let mut driven = driven.restored();
    assert_eq!(driven.transaction.tick(driven.now), None);
    driven.pass(MINUTE);
    assert_eq!(driven.transaction.tick(driven.now), Some(Due::Expire));
    driven.transaction.end_life();
    assert_eq!((driven.transaction.state(), driven.transaction.tick(driven.now)), (Dead, None));
}

#[test]
fn an_epoch_that_a_partition_knows_is_not_given_again() {
    let mut driven = Driven::new();
    assert_eq!(driven.init(None).unwrap(), instance(100, 0));
    let mut driven = driven.restored_knowing(3);
    // Whoever has the epochs between was forgotten, and may not write any more either.
    for epoch in [1, 3] {
        refused(driven.transaction.check_write(instance(100, epoch), &at(0)), "Fenced");
    }
    assert_eq!(driven.init(None).unwrap(), instance(100, 4));
    let mut driven = driven.restored_knowing(i16::MAX - 1);
    assert_eq!(driven.init(None).unwrap(), instance(101, 0), "there is no epoch left");
    assert_eq!(driven.init(None).unwrap(), instance(101, 1), "which says nothing of another producer id");
}
