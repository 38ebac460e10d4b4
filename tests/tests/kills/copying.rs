//! Load in transactions: what comes to the loaded topic is copied, each record to two partitions, with how far that is read.
//!
//! One of [`Copiers`] copies each partition, under a transactional id of its own. Some of its transactions it aborts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::load::TOPIC;
use crate::process::PATIENCE;
use crate::reading::{check_order, consumer, ends, position, read};

/// Where copies go: those of each partition of the loaded topic to two.
pub(crate) const COPIES: &str = "copies";
/// Who copies, as far as what is read is concerned.
pub(crate) const GROUP: &str = "copiers";
/// A step that takes longer is asked for again.
const STEP: Duration = Duration::from_millis(500);
/// One of so many transactions is aborted first.
const ABORTED_OF: u64 = 3;

/// One that copies a partition.
#[derive(Debug)]
pub(crate) struct Copier {
    address: SocketAddr,
    /// The partition that is copied, of so many.
    from: i32,
    partitions: i32,
    /// Records in one transaction.
    most: usize,
    /// Transactions that it has committed.
    committed: AtomicU64,
    /// Records that are copied for sure.
    copied: AtomicI64,
    /// Once the instance is to end as if it were killed, so that another takes over.
    is_ended: AtomicBool,
    /// The end of what there is to copy, once that is known.
    end: AtomicI64,
}

type Transactional = ThreadedProducer<DefaultProducerContext>;

/// Why a transaction was not committed.
#[derive(Debug)]
enum Failed {
    /// It is to be aborted, and done again.
    Abort,
    /// The instance ends.
    Ended,
}

impl Copier {
    pub(crate) fn new(address: SocketAddr, from: i32, partitions: i32, most: usize) -> Self {
        let (committed, copied) = (AtomicU64::new(0), AtomicI64::new(0));
        let (is_ended, end) = (AtomicBool::new(false), AtomicI64::new(i64::MAX));
        Self { address, from, partitions, most, committed, copied, is_ended, end }
    }

    /// Has the instance end in the midst of what it does.
    pub(crate) fn take_over(&self) {
        self.is_ended.store(true, Ordering::SeqCst);
    }

    /// Says where what there is to copy ends.
    pub(crate) fn end_at(&self, end: i64) {
        self.end.store(end, Ordering::SeqCst);
    }

    /// How many transactions it has committed.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    /// Copies to the end, in as many instances as it takes.
    pub(crate) fn copy(&self) {
        while self.copy_as_one().is_err() {
            self.is_ended.store(false, Ordering::SeqCst);
        }
    }

    fn copy_as_one(&self) -> Result<(), Failed> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address.to_string()).set("log_level", "0").set("linger.ms", "1");
        config.set("transactional.id", format!("copier-{}", self.from));
        config.set("reconnect.backoff.ms", "5").set("reconnect.backoff.max.ms", "20");
        config.set("retry.backoff.ms", "5").set("retry.backoff.max.ms", "20");
        let producer: Transactional = config.create().unwrap();
        self.step("init", || producer.init_transactions(STEP))?;
        let consumer = consumer(self.address, GROUP);
        let mut next = position(&consumer, self.from);
        // What the instance before has left is all there or not at all, and no part of it is still open.
        self.check(next);
        self.seek(&consumer, next);
        let mut began = Instant::now();
        while next < self.end.load(Ordering::SeqCst) {
            assert!(began.elapsed() < PATIENCE, "nothing is committed any more");
            let records = self.poll(&consumer);
            let Some(last) = records.last() else {
                self.go_on()?;
                continue;
            };
            if self.committed() % ABORTED_OF == 1 {
                if let Err(Failed::Ended) = self.transaction(&producer, &consumer, &records, false) {
                    return Err(Failed::Ended);
                }
                self.abort(&producer)?;
            }
            let done = self.transaction(&producer, &consumer, &records, true);
            match done.and_then(|()| self.step("commit", || producer.commit_transaction(STEP))) {
                Ok(()) => {
                    (next, began) = (last.offset() + 1, Instant::now());
                    self.copied.store(next, Ordering::SeqCst);
                    self.committed.fetch_add(1, Ordering::SeqCst);
                }
                Err(Failed::Abort) => {
                    self.abort(&producer)?;
                    self.seek(&consumer, next);
                }
                Err(Failed::Ended) => return Err(Failed::Ended),
            }
        }
        Ok(())
    }

    /// What there is to copy, of any of which there may be none yet.
    fn poll<'a>(&self, consumer: &'a BaseConsumer) -> Vec<BorrowedMessage<'a>> {
        let mut records = Vec::new();
        while records.len() < self.most {
            let wait = Duration::from_millis(if records.is_empty() { 100 } else { 0 });
            match consumer.poll(wait) {
                Some(Ok(record)) => records.push(record),
                Some(Err(_)) => {}
                None => break,
            }
        }
        records
    }

    /// All of a transaction but its end; one that is to be aborted holds what nobody may see.
    fn transaction(
        &self,
        producer: &Transactional,
        consumer: &BaseConsumer,
        records: &[BorrowedMessage<'_>],
        is_wanted: bool,
    ) -> Result<(), Failed> {
        self.step("begin", || producer.begin_transaction())?;
        for record in records {
            let value = if is_wanted { record.payload().unwrap() } else { b"aborted" };
            for partition in [self.from, self.from + self.partitions] {
                let copy = BaseRecord::<(), _>::to(COPIES).partition(partition).payload(value);
                producer.send(copy).map_err(|(error, _)| error).unwrap();
            }
        }
        // What is aborted should be in the log; a commit sees to that itself.
        if !is_wanted {
            self.step("flush", || producer.flush(STEP))?;
        }
        let next = if is_wanted { records.last().unwrap().offset() + 1 } else { i64::MAX / 2 };
        let group = consumer.group_metadata().unwrap();
        self.step("offsets", || producer.send_offsets_to_transaction(&offsets(self.from, next), &group, STEP))
    }

    fn abort(&self, producer: &Transactional) -> Result<(), Failed> {
        self.step("abort", || producer.abort_transaction(STEP))
    }

    /// Asks until it is answered. The broker's kills are no reason to give a producer up.
    fn step(&self, what: &str, ask: impl Fn() -> KafkaResult<()>) -> Result<(), Failed> {
        let began = Instant::now();
        loop {
            self.go_on()?;
            match ask() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                    return Err(Failed::Abort);
                }
                Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
                Err(KafkaError::Flush(_)) => {}
                Err(error) => panic!("{what}: {error}"),
            }
            assert!(began.elapsed() < PATIENCE, "{what} is not answered");
        }
    }

    fn go_on(&self) -> Result<(), Failed> {
        if self.is_ended.load(Ordering::SeqCst) { Err(Failed::Ended) } else { Ok(()) }
    }

    fn seek(&self, consumer: &BaseConsumer, to: i64) {
        consumer.assign(&offsets(self.from, to)).unwrap();
    }

    /// Each of the first `copied` records is there once in both partitions, and nothing else; no transaction is open.
    pub(crate) fn check(&self, copied: i64) {
        for partition in [self.from, self.from + self.partitions] {
            let (stable, high) = ends(self.address, COPIES, partition);
            assert_eq!(stable, high, "a transaction of {COPIES}-{partition} has no end");
            let records = read(self.address, COPIES, partition..partition + 1);
            check_order(&records);
            assert_eq!(records.len() as i64, copied, "copies in {partition}");
        }
    }
}

fn offsets(partition: i32, next: i64) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, partition, Offset::Offset(next)).unwrap();
    list
}

/// One copier for each partition, at work until all is copied.
pub(crate) struct Copiers {
    copiers: Vec<Arc<Copier>>,
    threads: Vec<JoinHandle<()>>,
}

impl Copiers {
    pub(crate) fn begin(address: SocketAddr, partitions: i32, most: usize) -> Self {
        let copier = |from| Arc::new(Copier::new(address, from, partitions, most));
        let copiers: Vec<_> = (0..partitions).map(copier).collect();
        let begin = |copier: &Arc<Copier>| {
            let copier = Arc::clone(copier);
            std::thread::spawn(move || copier.copy())
        };
        let threads = copiers.iter().map(begin).collect();
        Self { copiers, threads }
    }

    /// How many transactions were committed.
    pub(crate) fn committed(&self) -> u64 {
        self.copiers.iter().map(|copier| copier.committed()).sum()
    }

    /// How many records are copied.
    pub(crate) fn copied(&self) -> u64 {
        self.copiers.iter().map(|copier| copier.copied.load(Ordering::SeqCst).unsigned_abs()).sum()
    }

    /// Has an instance end, and another one go on.
    pub(crate) fn take_over(&self, copier: usize) {
        self.copiers[copier].take_over();
    }

    /// Waits until all of so many records per partition is copied, and looks. Returns how many transactions were committed.
    pub(crate) fn end(self, ends: &[i64]) -> u64 {
        for (copier, end) in self.copiers.iter().zip(ends) {
            copier.end_at(*end);
        }
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        for (copier, end) in self.copiers.iter().zip(ends) {
            copier.check(*end);
        }
        self.copiers.iter().map(|copier| copier.committed()).sum()
    }
}
