//! Messages, browsed and searched.
//!
//! Invariant: an answer is bounded, and so is what is read for it: so many records, so many bytes of each, so many bytes
//! scanned in a search, so long a time. Where a search ends early it says where it goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use topo_core::log::{Consumed, FetchLimit, Header, Isolation, Log, LogError, Offsets, TopicPartition};

use super::readable::Readable;

/// Messages that are shown at once where nothing is said, and at the most.
const USUAL: usize = 50;
const MOST: usize = 500;
/// Bytes of a key or value that a list shows.
const LISTED_BYTES: usize = 2 << 10;
/// Bytes of a key or value that is looked at alone.
const FULL_BYTES: usize = 1 << 20;
/// Bytes of a message that a search looks at.
const SEARCHED_BYTES: usize = 64 << 10;
/// Bytes of records that are read for one answer.
const MOST_SCANNED: usize = 32 << 20;
/// Bytes of one fetch.
const FETCH_BYTES: usize = 256 << 10;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Headers that are shown of a message; their names and values share as many bytes as are shown of its value.
const MOST_HEADERS: usize = 64;

/// What is asked of a topic's messages.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Browse {
    /// This partition only.
    partition: Option<u32>,
    /// Where to begin: `start`, `end` (the last messages), `offset:N`, `time:MS` (milliseconds since 1970), or `next:` and
    /// what an answer said of where it goes on.
    from: Option<String>,
    /// How many at the most.
    limit: Option<usize>,
    /// Only those that have this in their key, value or headers, in whatever case.
    search: Option<String>,
}

/// What there is of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Browsed {
    messages: Vec<Message>,
    /// Where it goes on, to be asked for as `from`; `null` at the end.
    next: Option<String>,
    /// Records that were looked at.
    scanned: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    partition: u32,
    offset: i64,
    time_ms: i64,
    key: Readable,
    value: Readable,
    headers: Vec<(String, Readable)>,
    /// Headers that are not shown.
    headers_left: usize,
}

/// Which message is looked at alone.
#[derive(Debug, Deserialize)]
pub(crate) struct Full {
    partition: u32,
    offset: i64,
}

/// A place to read from in each partition.
type Places = BTreeMap<u32, i64>;

/// What is wrong with a question.
fn refused(sentence: impl Into<String>) -> LogError {
    LogError::Invalid(sentence.into())
}

impl Message {
    fn of(partition: u32, record: &Consumed, most: usize) -> Self {
        let headers = shown(&record.headers, most);
        Self {
            partition,
            offset: record.offset,
            time_ms: record.timestamp_ms,
            key: Readable::of(record.key.as_deref(), most),
            value: Readable::of(record.value.as_deref(), most),
            headers_left: record.headers.len() - headers.len(),
            headers,
        }
    }

    fn has(&self, sought: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(sought);
        has(&self.key.text)
            || has(&self.value.text)
            || self.headers.iter().any(|(key, value)| has(key) || has(&value.text))
    }
}

/// The first of `headers`, with `most` bytes of all their names and values.
fn shown(headers: &[Header], most: usize) -> Vec<(String, Readable)> {
    let mut room = most;
    let mut shown = Vec::new();
    for header in headers.iter().take(MOST_HEADERS) {
        if room == 0 {
            break;
        }
        let name = &header.key[..header.key.floor_char_boundary(room)];
        room -= name.len();
        let value = Readable::of(header.value.as_deref(), room);
        room -= value.text.len();
        shown.push((name.to_owned(), value));
    }
    shown
}

/// The messages of `topic` that are asked for, in the order of their times.
///
/// # Errors
/// Those of the log; [`LogError::Invalid`] where the question means nothing.
pub(crate) async fn browse(log: &dyn Log, topic: &str, asked: &Browse) -> Result<Browsed, LogError> {
    let info = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.into()))?;
    let numbers = match asked.partition {
        Some(number) if number >= info.partitions => {
            return Err(LogError::UnknownPartition(TopicPartition::new(topic, number)));
        }
        Some(number) => number..number + 1,
        None => 0..info.partitions,
    };
    let limit = asked.limit.unwrap_or(USUAL).clamp(1, MOST);
    let search = asked.search.as_deref().map(str::to_lowercase).filter(|sought| !sought.is_empty());
    let from = asked.from.as_deref().unwrap_or("end");
    // A search goes through all that is held, unless it is said where it begins.
    let is_tail = from == "end" && search.is_none();
    let (mut starts, mut ends) = (Places::new(), Places::new());
    let room = MOST_SCANNED / numbers.len().max(1);
    let deadline = Instant::now() + PATIENCE;
    for number in numbers {
        let at = TopicPartition::new(topic, number);
        let held = log.offsets(&at).await?;
        let start = match from {
            "start" => held.log_start,
            "end" if search.is_some() => held.log_start,
            "end" => tail(log, &at, held, limit, room).await?,
            _ => place(log, &at, from).await?.unwrap_or(held.high_watermark),
        };
        starts.insert(number, start.clamp(held.log_start, held.high_watermark));
        ends.insert(number, held.high_watermark);
    }
    let mut scan = Scan { log, topic, limit, search, room, scanned: 0, deadline };
    let mut found = Vec::new();
    for (number, start) in &mut starts {
        let of_it = scan.partition(*number, start, ends[number]).await?;
        // Times need not rise with offsets, but no message comes before one of a lower offset.
        let mut newest = i64::MIN;
        found.extend(of_it.into_iter().map(|one| {
            newest = newest.max(one.time_ms);
            (newest, one)
        }));
    }
    found.sort_by_key(|(newest, one)| (*newest, one.partition, one.offset));
    let mut found: Vec<Message> = found.into_iter().map(|(_, one)| one).collect();
    if is_tail {
        found.drain(..found.len().saturating_sub(limit));
    } else if found.len() > limit {
        // Those that are left for later begin where their partition goes on.
        for left in found.drain(limit..).rev() {
            starts.insert(left.partition, left.offset);
        }
    }
    let is_more = starts.iter().any(|(number, next)| *next < ends[number]);
    let next = is_more.then(|| {
        let places: Vec<String> = starts.iter().map(|(number, next)| format!("{number}-{next}")).collect();
        format!("next:{}", places.join(","))
    });
    Ok(Browsed { messages: found, next, scanned: scan.scanned })
}

/// Where a partition is read from, as `from` says it; `None` for its end.
async fn place(log: &dyn Log, at: &TopicPartition, from: &str) -> Result<Option<i64>, LogError> {
    let wrong =
        || refused("`from` is start, end, offset:N, time:MILLISECONDS, or what an answer gave as `next`");
    let (kind, rest) = from.split_once(':').ok_or_else(wrong)?;
    match kind {
        "offset" => rest.parse().map(Some).map_err(|_| wrong()),
        "time" => log.offset_for_time(at, rest.parse().map_err(|_| wrong())?).await,
        "next" => {
            let mut places = rest.split(',').filter_map(|place| place.split_once('-'));
            let own = places.find(|(number, _)| number.parse() == Ok(at.partition));
            own.map(|(_, offset)| offset.parse().map_err(|_| wrong())).transpose()
        }
        _ => Err(wrong()),
    }
}

/// An offset with at least `limit` records behind it, or the start: where records were compacted away or aborted, it lies
/// further back. Looks no further than `room` bytes go.
async fn tail(
    log: &dyn Log,
    at: &TopicPartition,
    held: Offsets,
    limit: usize,
    room: usize,
) -> Result<i64, LogError> {
    let (start, end) = (held.log_start, held.high_watermark);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (mut back, mut read) = (limit, 0);
    loop {
        let from = end.saturating_sub(back).max(start);
        let (mut next, mut records) = (from, 0);
        while next < end && records < limit && read < room {
            let fetched = log.fetch(at, next, fetch_limit(room)).await?;
            records += fetched.records.len() as i64;
            read += fetched.records.iter().map(size).sum::<usize>().max(1);
            if fetched.next_offset <= next {
                break;
            }
            next = fetched.next_offset;
        }
        if from == start || records >= limit || read >= room {
            return Ok(from);
        }
        back *= 4;
    }
}

fn fetch_limit(room: usize) -> FetchLimit {
    FetchLimit {
        max_bytes: room.min(FETCH_BYTES),
        max_wait: Duration::ZERO,
        isolation: Isolation::ReadCommitted,
    }
}

/// A look through the partitions of a topic.
struct Scan<'a> {
    log: &'a dyn Log,
    topic: &'a str,
    limit: usize,
    search: Option<String>,
    /// Bytes that may be read of each partition.
    room: usize,
    scanned: u64,
    deadline: Instant,
}

impl Scan<'_> {
    /// What is found in a partition from `next` on, which is left where it goes on.
    async fn partition(&mut self, number: u32, next: &mut i64, end: i64) -> Result<Vec<Message>, LogError> {
        let at = TopicPartition::new(self.topic, number);
        let (mut found, mut read) = (Vec::new(), 0);
        while *next < end && read < self.room && Instant::now() < self.deadline {
            let fetched = self.log.fetch(&at, *next, fetch_limit(self.room)).await?;
            for record in &fetched.records {
                if found.len() == self.limit {
                    *next = record.offset;
                    return Ok(found);
                }
                self.scanned += 1;
                read += size(record);
                found.extend(self.look_at(number, record));
            }
            if fetched.next_offset <= *next {
                break;
            }
            *next = fetched.next_offset;
        }
        Ok(found)
    }

    fn look_at(&self, partition: u32, record: &Consumed) -> Option<Message> {
        if let Some(sought) = &self.search
            && !Message::of(partition, record, SEARCHED_BYTES).has(sought)
        {
            return None;
        }
        Some(Message::of(partition, record, LISTED_BYTES))
    }
}

/// About how many bytes a record takes in memory.
fn size(record: &Consumed) -> usize {
    let of = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers = record.headers.iter().map(|one| one.key.len() + of(&one.value) + 32).sum::<usize>();
    of(&record.key) + of(&record.value) + headers + 64
}

/// One message with all that is readable of it, up to a mebibyte; `None` where there is none at that offset.
///
/// # Errors
/// Those of the log.
pub(crate) async fn full(
    log: &dyn Log,
    topic: &str,
    asked: &Full,
) -> Result<Option<impl Serialize>, LogError> {
    let at = TopicPartition::new(topic, asked.partition);
    let limit = fetch_limit(1);
    let fetched = log.fetch(&at, asked.offset, limit).await?;
    let record = fetched.records.into_iter().find(|record| record.offset == asked.offset);
    Ok(record.map(|record| Message::of(asked.partition, &record, FULL_BYTES)))
}
