//! Writes a topic and acknowledges what is durable.
//!
//! Inputs are held while their records are gathered into one append per partition; the whole group is acknowledged when
//! the log says that it is durable, and fails together when the log fails. A record that the log calls invalid is found
//! and rejected alone. While an append waits for the disk, the next inputs gather in the queue, so the more there is to
//! do, the more records share one sync.
//!
//! Invariant: the records of a partition are appended in the order of their inputs, one append at a time.

use std::sync::Arc;

use futures_util::future::join_all;
use topo_core::log::{Log, LogError, Record, TopicPartition};
use topo_core::{Emitter, Fail, Fault, Input, RichBolt, TaskContext, Tuple};

/// Picks the partition for a key among so many partitions.
pub type Partitioner = fn(&[u8], u32) -> u32;

/// Records that are appended together at the most; a sink that is busy does not wait for more.
const RECORDS_PER_APPEND: usize = 16_384;
/// Bytes of keys and values that are appended together at the most.
const BYTES_PER_APPEND: usize = 4 << 20;

/// A bolt that appends each tuple, made into a record by a function, to a topic.
///
/// Records with a key go to the partition that the partitioner picks for it, the others to the partitions in turn.
pub struct LogSink<T, E> {
    log: Arc<dyn Log>,
    topic: Arc<str>,
    encode: E,
    partitioner: Partitioner,
    /// What is gathered, by partition.
    gathered: Vec<Gathered<T>>,
    records: usize,
    bytes: usize,
    turn: u32,
}

#[derive(Debug)]
struct Gathered<T> {
    records: Vec<Record>,
    inputs: Vec<Input<T>>,
}

impl<T, E> LogSink<T, E>
where
    T: Tuple,
    E: Fn(&T) -> Record + Send + 'static,
{
    /// A sink to `topic`, to be made in a topology's factory.
    pub fn new(log: Arc<dyn Log>, topic: &str, partitioner: Partitioner, encode: E) -> Self {
        let (gathered, topic) = (Vec::new(), topic.into());
        Self { log, topic, encode, partitioner, gathered, records: 0, bytes: 0, turn: 0 }
    }

    fn partition_of(&mut self, record: &Record) -> usize {
        let partitions = self.gathered.len() as u32;
        match &record.key {
            Some(key) => (self.partitioner)(key, partitions) as usize,
            None => {
                self.turn = (self.turn + 1) % partitions;
                self.turn as usize
            }
        }
    }

    /// Appends all that was gathered, all partitions at once, and answers for it.
    async fn append(&mut self) {
        (self.records, self.bytes) = (0, 0);
        let (log, topic) = (&self.log, &self.topic);
        let gathered = self.gathered.iter_mut().enumerate().filter(|(_, one)| !one.inputs.is_empty());
        let appends = gathered.map(|(number, one)| {
            let at = TopicPartition::new(Arc::clone(topic), number as u32);
            let (records, inputs) = (std::mem::take(&mut one.records), std::mem::take(&mut one.inputs));
            async move { (log.append(&at, records).await, at, inputs) }
        });
        for (appended, at, inputs) in join_all(appends).await {
            match appended {
                Err(LogError::Invalid(_)) if inputs.len() > 1 => self.append_halves(at, inputs).await,
                appended => answer(inputs, &appended),
            }
        }
    }

    /// Finds the records that the log calls invalid, so that no other is refused with them: appends in ever smaller
    /// halves, in order.
    async fn append_halves(&mut self, at: TopicPartition, inputs: Vec<Input<T>>) {
        let mut groups = vec![inputs];
        while let Some(mut inputs) = groups.pop() {
            if inputs.len() > 1 {
                let later = inputs.split_off(inputs.len() / 2);
                groups.push(later);
            }
            let records = inputs.iter().map(|input| (self.encode)(input)).collect();
            match self.log.append(&at, records).await {
                Err(LogError::Invalid(_)) if inputs.len() > 1 => groups.push(inputs),
                appended => answer(inputs, &appended),
            }
        }
    }
}

fn answer<T>(inputs: Vec<Input<T>>, appended: &Result<i64, LogError>) {
    match appended {
        Ok(_) => inputs.into_iter().for_each(Input::ack),
        // What the log calls invalid stays so; whatever else it says may pass.
        Err(LogError::Invalid(reason)) => inputs.into_iter().for_each(|one| one.fail(Fail::reject(reason))),
        Err(error) => inputs.into_iter().for_each(|one| one.fail(Fail::retry(error))),
    }
}

impl<T, E> RichBolt for LogSink<T, E>
where
    T: Tuple,
    E: Fn(&T) -> Record + Send + 'static,
{
    type In = T;
    type Out = ();

    async fn prepare(&mut self, _task: &TaskContext) -> Result<(), Fault> {
        let Some(info) = self.log.topic(&self.topic).await? else {
            return Err(LogError::UnknownTopic(Arc::clone(&self.topic)).into());
        };
        self.gathered =
            (0..info.partitions).map(|_| Gathered { records: Vec::new(), inputs: Vec::new() }).collect();
        Ok(())
    }

    async fn execute(&mut self, input: Input<T>, _out: &mut Emitter<()>) -> Result<(), Fault> {
        let record = (self.encode)(&input);
        self.records += 1;
        self.bytes +=
            [&record.key, &record.value].into_iter().flatten().map(|bytes| bytes.len()).sum::<usize>();
        let partition = self.partition_of(&record);
        let gathered = &mut self.gathered[partition];
        gathered.records.push(record);
        gathered.inputs.push(input);
        if self.records >= RECORDS_PER_APPEND || self.bytes >= BYTES_PER_APPEND {
            self.append().await;
        }
        Ok(())
    }

    async fn idle(&mut self, _out: &mut Emitter<()>) -> Result<(), Fault> {
        if self.records > 0 {
            self.append().await;
        }
        Ok(())
    }

    async fn cleanup(&mut self) {
        if self.records > 0 {
            self.append().await;
        }
    }
}
