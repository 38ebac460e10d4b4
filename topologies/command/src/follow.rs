//! Following a topic at a broker: what comes is printed as it comes, until somebody has enough.
//!
//! Invariant: records are on standard output before they are committed, and before the command waits for more.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use topo::launcher::Signals;
use topo_connectors::kafka::KafkaLog;
use topo_core::log::{Consumed, FetchLimit, Log, LogError, TopicPartition};

use crate::consume::Consume;
use crate::failure::Failure;
use crate::format::Printing;

/// How much is fetched of a partition at once, and how long one fetch waits.
const FETCH_BYTES: usize = 1 << 20;
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// How long a member waits for records before it looks whether the end is reached by the others.
const LOOK: Duration = Duration::from_millis(500);

/// Records of one partition.
type Batch = (TopicPartition, Vec<Consumed>);

/// Prints every partition from where its range begins.
pub(crate) async fn partitions(
    asked: &Consume,
    log: &Arc<dyn Log>,
    begin: Vec<(TopicPartition, Range<i64>)>,
    mut out: impl Write,
) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::System)?;
    let (sender, mut batches) = mpsc::channel(begin.len().max(1));
    let mut readers = JoinSet::new();
    let limit = FetchLimit { max_bytes: FETCH_BYTES, max_wait: FETCH_WAIT, isolation: asked.isolation() };
    for (at, offsets) in begin {
        readers.spawn(read(Arc::clone(log), at, offsets.start, limit, sender.clone()));
    }
    let printing = asked.printing();
    let mut left = asked.max_records.unwrap_or(u64::MAX);
    while left > 0 {
        let batch = match batches.try_recv() {
            Ok(batch) => batch,
            Err(_) => {
                out.flush().map_err(Failure::Output)?;
                tokio::select! {
                    () = signals.told_to_stop() => break,
                    batch = batches.recv() => match batch {
                        Some(batch) => batch,
                        None => break,
                    },
                }
            }
        };
        let (at, records) = batch?;
        left -= print(&printing, &mut out, &at, &records, left)?.0;
    }
    out.flush().map_err(Failure::Output)
}

/// Hands on what comes, until nobody wants it.
async fn read(
    log: Arc<dyn Log>,
    at: TopicPartition,
    mut offset: i64,
    limit: FetchLimit,
    batches: mpsc::Sender<Result<Batch, LogError>>,
) {
    loop {
        let fetched = log.fetch(&at, offset, limit).await;
        let batch = match fetched {
            Ok(fetched) => {
                offset = fetched.next_offset;
                if fetched.records.is_empty() {
                    continue;
                }
                Ok((at.clone(), fetched.records))
            }
            Err(error) => Err(error),
        };
        let failed = batch.is_err();
        if batches.send(batch).await.is_err() || failed {
            return;
        }
    }
}

/// Prints at most `most` records; returns how many, and the offset behind the last one.
fn print(
    printing: &Printing,
    out: &mut impl Write,
    at: &TopicPartition,
    records: &[Consumed],
    most: u64,
) -> Result<(u64, Option<i64>), Failure> {
    let (mut printed, mut behind) = (0, None);
    for record in records.iter().take(usize::try_from(most).unwrap_or(usize::MAX)) {
        printing.write(out, at, record).map_err(Failure::Output)?;
        (printed, behind) = (printed + 1, Some(record.offset + 1));
    }
    Ok((printed, behind))
}

/// Joins `group` and prints what the group gives this member, committing what is printed.
pub(crate) async fn as_member(
    asked: &Consume,
    log: &KafkaLog,
    group: &str,
    from_start: bool,
    until_end: bool,
    mut out: impl Write,
) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::System)?;
    let ends = ends(log, &asked.topic).await?;
    let member = log.member(group, &[&asked.topic], from_start)?;
    let printing = asked.printing();
    let mut left = asked.max_records.unwrap_or(u64::MAX);
    let ended = loop {
        if left == 0 {
            break Ok(());
        }
        let records = tokio::select! {
            () = signals.told_to_stop() => break Ok(()),
            records = tokio::time::timeout(LOOK, member.next()) => records,
        };
        let records = match records {
            Ok(Ok(records)) => records,
            Ok(Err(error)) => break Err(error.into()),
            Err(_) => {
                if until_end && is_done(asked, log, group, &ends, from_start).await? {
                    break Ok(());
                }
                continue;
            }
        };
        let mut places: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for (at, record) in records {
            let (printed, behind) = print(&printing, &mut out, &at, std::slice::from_ref(&record), left)?;
            left -= printed;
            places.extend(behind.map(|behind| (at, behind)));
        }
        out.flush().map_err(Failure::Output)?;
        let places: Vec<_> = places.into_iter().collect();
        if let Err(error) = member.commit(&places).await {
            break Err(error.into());
        }
    };
    member.leave().await;
    ended
}

/// From where to where each partition that holds anything does now.
async fn ends(log: &KafkaLog, topic: &str) -> Result<Vec<(TopicPartition, Range<i64>)>, LogError> {
    let info = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.into()))?;
    let mut ends = Vec::new();
    for number in 0..info.partitions {
        let at = TopicPartition::new(info.name.clone(), number);
        let held = log.offsets(&at).await?;
        if held.log_start < held.high_watermark {
            ends.push((at, held.log_start..held.high_watermark));
        }
    }
    Ok(ends)
}

/// Whether the group has committed all that can be printed up to these ends. Where it has committed nothing, it begins at the
/// end unless it begins at the start.
async fn is_done(
    asked: &Consume,
    log: &KafkaLog,
    group: &str,
    ends: &[(TopicPartition, Range<i64>)],
    from_start: bool,
) -> Result<bool, LogError> {
    let partitions: Vec<_> = ends.iter().map(|(at, _)| at.clone()).collect();
    let committed = log.committed_all(group, &partitions).await?;
    for ((at, held), committed) in ends.iter().zip(committed) {
        let otherwise = if from_start { held.start } else { held.end };
        let left = committed.unwrap_or(otherwise).max(held.start)..held.end;
        if !is_blank(asked, log, at, left).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether nothing there can be printed: markers, what was aborted, what compaction removed.
async fn is_blank(
    asked: &Consume,
    log: &KafkaLog,
    at: &TopicPartition,
    mut left: Range<i64>,
) -> Result<bool, LogError> {
    let limit = FetchLimit { max_bytes: FETCH_BYTES, max_wait: FETCH_WAIT, isolation: asked.isolation() };
    while left.start < left.end {
        let fetched = log.fetch(at, left.start, limit).await?;
        let is_printed = fetched.records.first().is_some_and(|record| record.offset < left.end);
        if is_printed || fetched.next_offset <= left.start {
            return Ok(false);
        }
        left.start = fetched.next_offset;
    }
    Ok(true)
}
