//! Writes a topic and acknowledges what is durable.
//!
//! Inputs are held while their records are gathered into one append per partition; the whole group is acknowledged when
//! the log says that it is durable. A record that the log calls invalid is found and rejected alone. While an append waits
//! for the disk, the next inputs gather in the queue, so the more there is to do, the more records share one sync.
//!
//! That the log cannot be reached, or cannot write, is no fault of a record: to fail its inputs would use up their attempts
//! and send good records to the dead letters, for as long as the outage lasts. So the sink keeps what it has gathered and
//! appends it again, with growing waits, until the log takes it or the topology is stopped. Meanwhile its queue fills, and
//! those before it wait, up to the spouts; the task reports why. An append that was carried out although its answer was
//! lost is carried out twice then, which at least once allows.
//!
//! Where the topology's input goes through in micro-transactions, the records are staged for the one in work instead, and
//! appended with it.
//!
//! Invariant: the records of a partition are appended in the order of their inputs, one append at a time.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use topo_core::log::{Log, LogError, Record, TopicPartition};
use topo_core::{Emitter, Fail, Fault, Input, RichBolt, TaskContext, Tuple};

/// Picks the partition for a key among so many partitions.
pub type Partitioner = fn(&[u8], u32) -> u32;

/// Records that are appended together at the most; a sink that is busy does not wait for more.
const RECORDS_PER_APPEND: usize = 16_384;
/// Bytes of keys and values that are appended together at the most.
const BYTES_PER_APPEND: usize = 4 << 20;

/// How long the sink waits before it appends again what the log could not take: at first, and at the most.
const OUTAGE_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How often it looks meanwhile whether the topology is stopped.
const LOOK: Duration = Duration::from_millis(500);

/// A bolt that appends each tuple, made into a record by a function, to a topic. What the function refuses fails.
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
    task: Option<TaskContext>,
    /// The partitions, where records are not appended here but with the micro-transaction.
    stages: Option<Vec<TopicPartition>>,
}

#[derive(Debug)]
struct Gathered<T> {
    records: Vec<Record>,
    inputs: Vec<Input<T>>,
}

impl<T, E> LogSink<T, E>
where
    T: Tuple,
    E: Fn(&T) -> Result<Record, Fail> + Send + 'static,
{
    /// A sink to `topic`, to be made in a topology's factory.
    pub fn new(log: Arc<dyn Log>, topic: &str, partitioner: Partitioner, encode: E) -> Self {
        let (gathered, topic) = (Vec::new(), topic.into());
        let (task, stages) = (None, None);
        Self { log, topic, encode, partitioner, gathered, records: 0, bytes: 0, turn: 0, task, stages }
    }

    /// Has the record appended with the micro-transaction: for its input that is done.
    fn stage(&mut self, input: Input<T>, record: Record) -> Result<(), Fault> {
        let partition = self.partition_of(&record);
        let at = self.stages.as_ref().and_then(|partitions| partitions.get(partition));
        match (&self.task, at) {
            (Some(task), Some(at)) => match task.stage(at, record) {
                Ok(()) => input.ack(),
                Err(refused) => input.fail(refused),
            },
            _ => {
                input.fail(Fail::reject(format_args!("topic `{}` has no partition {partition}", self.topic)))
            }
        }
        Ok(())
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

    /// Appends all that was gathered, and answers for it, however long the log cannot take it. Where the topology is
    /// aborted meanwhile, the rest is left unanswered.
    async fn append(&mut self) {
        let mut wait = OUTAGE_WAITS.0;
        while let Err(outage) = self.try_append().await {
            let waiting = self.gathered.iter().map(|one| one.inputs.len()).sum::<usize>();
            self.report(&format!("{waiting} records wait for the log: {outage}"));
            if !pass(self.task.clone(), wait).await {
                return;
            }
            wait = (2 * wait).min(OUTAGE_WAITS.1);
        }
    }

    /// Appends what was gathered, all partitions at once. What the log could not take is gathered as before.
    async fn try_append(&mut self) -> Result<(), LogError> {
        (self.records, self.bytes) = (0, 0);
        let (log, topic, task) = (&self.log, &self.topic, self.task.clone());
        let gathered = self.gathered.iter_mut().enumerate().filter(|(_, one)| !one.inputs.is_empty());
        let appends = gathered.map(|(number, one)| {
            let at = TopicPartition::new(Arc::clone(topic), number as u32);
            let (records, inputs) = (std::mem::take(&mut one.records), std::mem::take(&mut one.inputs));
            async move { (log.append(&at, records).await, at, inputs) }
        });
        let mut outage = Ok(());
        for (appended, at, inputs) in unless_aborted(task, join_all(appends)).await.unwrap_or_default() {
            let left = match appended {
                Err(LogError::Invalid(_)) if inputs.len() > 1 => self.append_halves(&at, inputs).await,
                Err(error) if is_outage(&error) => Err((inputs, error)),
                appended => {
                    answer(inputs, &appended);
                    Ok(())
                }
            };
            if let Err((inputs, error)) = left {
                self.gathered[at.partition as usize] = self.encode_all(inputs);
                outage = Err(error);
            }
        }
        outage
    }

    /// Finds the records that the log calls invalid, so that no other is refused with them: appends in ever smaller
    /// halves, in order. Gives back what the log could not take.
    async fn append_halves(&mut self, at: &TopicPartition, inputs: Vec<Input<T>>) -> Result<(), Left<T>> {
        let mut groups = vec![inputs];
        while let Some(mut inputs) = groups.pop() {
            if inputs.len() > 1 {
                let later = inputs.split_off(inputs.len() / 2);
                groups.push(later);
            }
            let Gathered { records, mut inputs } = self.encode_all(inputs);
            match self.log.append(at, records).await {
                Err(LogError::Invalid(_)) if inputs.len() > 1 => groups.push(inputs),
                Err(error) if is_outage(&error) => {
                    inputs.extend(groups.into_iter().rev().flatten());
                    return Err((inputs, error));
                }
                appended => answer(inputs, &appended),
            }
        }
        Ok(())
    }

    /// The records of inputs that were encoded before.
    fn encode_all(&self, inputs: Vec<Input<T>>) -> Gathered<T> {
        let mut all = Gathered { records: Vec::with_capacity(inputs.len()), inputs: Vec::new() };
        for input in inputs {
            match (self.encode)(&input) {
                Ok(record) => {
                    all.records.push(record);
                    all.inputs.push(input);
                }
                Err(fail) => input.fail(fail),
            }
        }
        all
    }

    fn report(&self, trouble: &str) {
        if let Some(task) = &self.task {
            task.report(trouble);
        }
    }
}

/// Inputs that the log could not take, and why.
type Left<T> = (Vec<Input<T>>, LogError);

/// Lets time pass; `false` where the topology is aborted.
async fn pass(task: Option<TaskContext>, wait: Duration) -> bool {
    let Some(task) = task else { return false };
    let until = task.now().after(wait);
    while !task.is_aborting() {
        let left = until.since(task.now());
        if left.is_zero() {
            return true;
        }
        task.sleep(left.min(LOOK)).await;
    }
    false
}

/// The outcome of `work`; `None` where the topology is aborted before there is one.
async fn unless_aborted<O>(task: Option<TaskContext>, work: impl Future<Output = O>) -> Option<O> {
    let mut work = pin!(work);
    loop {
        let look = async {
            match &task {
                Some(task) => task.sleep(LOOK).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            outcome = &mut work => return Some(outcome),
            () = look => {}
        }
        if task.as_ref().is_some_and(TaskContext::is_aborting) {
            return None;
        }
    }
}

/// Whether it passes, whatever the records are.
fn is_outage(error: &LogError) -> bool {
    matches!(error, LogError::Storage(_) | LogError::Unavailable(_))
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
    E: Fn(&T) -> Result<Record, Fail> + Send + 'static,
{
    type In = T;
    type Out = ();
    // An outage of the log is no fault of a record's, however long it takes.
    const WAITS_OUTSIDE: bool = true;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        let Some(info) = self.log.topic(&self.topic).await? else {
            return Err(LogError::UnknownTopic(Arc::clone(&self.topic)).into());
        };
        self.gathered =
            (0..info.partitions).map(|_| Gathered { records: Vec::new(), inputs: Vec::new() }).collect();
        let at = |number| TopicPartition::new(Arc::clone(&self.topic), number);
        self.stages = task.is_exactly_once().then(|| (0..info.partitions).map(at).collect());
        Ok(())
    }

    async fn execute(&mut self, input: Input<T>, _out: &mut Emitter<()>) -> Result<(), Fault> {
        let record = match (self.encode)(&input) {
            Ok(record) => record,
            Err(fail) => {
                input.fail(fail);
                return Ok(());
            }
        };
        if self.stages.is_some() {
            return self.stage(input, record);
        }
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
