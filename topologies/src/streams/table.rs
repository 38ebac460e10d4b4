//! A topic as a table, in which the values of a stream are looked up.
//!
//! Invariant: what the topic held when a task began is found by its first input, and what the topic has held for
//! [`FOLLOW_EVERY`] is found by every input, as long as the log answers.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use topo_core::log::{Consumed, Log, LogError, TopicPartition};
use topo_core::schedule::Moment;
use topo_core::state::{Key, TableError, TableReader};
use topo_core::{Bolt, DataStream, Emitter, Fail, Fault, TaskContext, Timed, Tuple};

use super::record::unpacked;

/// How old what is known of the topic may be when an input is looked up.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// As [`FOLLOW_EVERY`], where the key is not there.
const SEEK_EVERY: Duration = Duration::from_millis(10);
/// How often the topic is read while no input comes, so that the next one need not wait for what has gathered.
const IDLE_EVERY: Duration = Duration::from_secs(1);

/// A topic as a table: of each key, what was written last. Made by [`Streams::table`](super::Streams::table); clones are
/// the same table.
///
/// Each task that looks up in it reads the topic whole before its first input, and follows it; all rows are in its memory.
/// Partitions that the topic gets later are read after a restart.
///
/// ```no_run
/// use topo::prelude::*;
///
/// fn main() -> ExitCode {
///     topo::stream("names", |log| {
///         let names = log.table::<u64, String>("names");
///         let visits = log.topic::<u64>("visits").lookup(&names, |user| *user);
///         visits.map(|(user, name)| name.unwrap_or_else(|| format!("user {user}"))).to("visitors");
///     })
/// }
/// ```
pub struct Table<K, V> {
    log: Arc<dyn Log>,
    topic: Arc<str>,
    rows: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Tuple> Table<K, V> {
    /// The table that `topic` of `log` is, which has to be there when the topology starts: for topologies that are built
    /// outside of an application.
    pub fn of(log: Arc<dyn Log>, topic: &str) -> Self {
        Self { log, topic: topic.into(), rows: PhantomData }
    }

    /// Reads it whole; what is no row is noted in `refused`, and passed over.
    async fn load(&self, refused: &Arc<Refused>) -> Result<TableReader<K, V>, TableError> {
        let info = self.log.topic(&self.topic).await?;
        let info = info.ok_or_else(|| LogError::UnknownTopic(Arc::clone(&self.topic)))?;
        let refused = Arc::clone(refused);
        let decode = move |at: &TopicPartition, record: &Consumed| {
            Ok(row(record).inspect_err(|why| refused.note(at, record.offset, why)).ok())
        };
        TableReader::load(Arc::clone(&self.log), &self.topic, 0..info.partitions, decode, |_, _| {}).await
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { log: Arc::clone(&self.log), topic: Arc::clone(&self.topic), rows: PhantomData }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// A record as what it says of a row.
fn row<K: Key, V: Tuple>(record: &Consumed) -> Result<(K, Option<V>), Fail> {
    let key = record.key.as_deref().ok_or_else(|| Fail::reject("it has no key"))?;
    let value = record.value.as_deref().map(unpacked).transpose()?;
    Ok((unpacked(key)?, value))
}

/// Records that are no rows, since they were last told of.
#[derive(Debug, Default)]
struct Refused(Mutex<Option<(String, u64)>>);

impl Refused {
    fn note(&self, at: &TopicPartition, offset: i64, why: &Fail) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = || {
            let why = why.reason();
            (format!("{at} at offset {offset} is no row of the table, and is passed over: {why}"), 0)
        };
        noted.get_or_insert_with(first).1 += 1;
    }

    /// The first of them, and how many there are beside it.
    fn tell(&self, task: &TaskContext) {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some((first, 1)) => task.report(&first),
            Some((first, count)) => task.report(&format!("{first} (as are {} others)", count - 1)),
            None => {}
        }
    }
}

/// Looks values up in a table.
pub trait Lookup<T> {
    /// Puts beside each value the row of `table` that has the key which `key` finds in it; `None` where there is none
    /// (Kafka Streams' left join with a global table).
    ///
    /// Rows are found as they are when the value passes, at most 100 ms old; a key that is not there is looked for in the
    /// topic again, so that one which was written before the value is found but for at most 10 ms. A value that is replayed
    /// may find a newer row. A record of the topic that is no row is passed over, and is named as the step's last error.
    ///
    /// While the log is away, rows that are there are found as they were; values whose key is not there wait.
    fn lookup<K: Key, V: Tuple>(
        &self,
        table: &Table<K, V>,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> DataStream<(T, Option<V>)>;
}

impl<T: Tuple> Lookup<T> for DataStream<T> {
    fn lookup<K: Key, V: Tuple>(
        &self,
        table: &Table<K, V>,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> DataStream<(T, Option<V>)> {
        let (table, key) = (table.clone(), Arc::new(key));
        let step = self.bolt(&self.step_name("lookup"), move || Looking {
            table: table.clone(),
            key: Arc::clone(&key),
            rows: None,
            values: PhantomData,
        });
        DataStream::of(&step.tick_every(IDLE_EVERY))
    }
}

/// A step that looks up.
struct Looking<T, K, V, F> {
    table: Table<K, V>,
    key: Arc<F>,
    /// What is known of the table, once the step is prepared.
    rows: Option<Rows<K, V>>,
    values: PhantomData<fn(T)>,
}

impl<T, K, V, F> Bolt for Looking<T, K, V, F>
where
    T: Tuple,
    K: Key,
    V: Tuple,
    F: Fn(&T) -> K + Send + Sync + 'static,
{
    type In = Timed<T>;
    type Out = Timed<(T, Option<V>)>;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        let refused = Arc::default();
        let read = task.now();
        let reader = self.table.load(&refused).await?;
        refused.tell(task);
        self.rows = Some(Rows { reader, refused, read, tried: read, task: task.clone() });
        Ok(())
    }

    async fn execute(&mut self, timed: Timed<T>, out: &mut Emitter<Self::Out>) -> Result<(), Fail> {
        let rows = self.rows.as_mut().ok_or_else(|| Fail::retry("the step is not prepared"))?;
        let row = rows.find(&(self.key)(&timed.value)).await?.cloned();
        out.emit(Timed { at: timed.at, value: (timed.value, row) });
        Ok(())
    }

    async fn tick(&mut self, _out: &mut Emitter<Self::Out>) -> Result<(), Fault> {
        if let Some(rows) = &mut self.rows {
            rows.follow().await;
        }
        Ok(())
    }
}

/// What a task knows of a table.
struct Rows<K, V> {
    reader: TableReader<K, V>,
    refused: Arc<Refused>,
    /// All that was in the topic by then is known.
    read: Moment,
    /// When it was last tried to read more.
    tried: Moment,
    task: TaskContext,
}

impl<K: Key, V> Rows<K, V> {
    /// The row of `key`. Where it is not there, waits for a log that is away.
    async fn find(&mut self, key: &K) -> Result<Option<&V>, Fail> {
        self.follow().await;
        while self.reader.get(key).is_none() && self.task.now() >= self.read.after(SEEK_EVERY) {
            if self.catch_up().await {
                break;
            }
            if self.task.is_aborting() {
                return Err(Fail::retry("the topology stops before the table can be read on"));
            }
            self.task.sleep(FOLLOW_EVERY).await;
        }
        Ok(self.reader.get(key))
    }

    /// Takes in what is new, unless that was tried just now.
    async fn follow(&mut self) {
        if self.task.now() >= self.tried.after(FOLLOW_EVERY) {
            self.catch_up().await;
        }
    }

    /// Takes in what is new; whether that went well. What did not is reported, and tried again.
    async fn catch_up(&mut self) -> bool {
        let begun = self.task.now();
        let caught_up = self.reader.catch_up().await;
        self.refused.tell(&self.task);
        self.tried = self.task.now();
        match caught_up {
            Ok(()) => self.read = begun,
            Err(ref error) => self.task.report(&format!("the table cannot be read on: {error}")),
        }
        caught_up.is_ok()
    }
}
