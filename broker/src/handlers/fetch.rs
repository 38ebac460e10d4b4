//! Fetch: whole batches of several partitions at once; waits for records to come.
//!
//! Invariant: what a response holds is charged before it is read, and is at most what the client and the broker allow, but
//! for its first batch, which is returned whole however large it is. Where memory is short, responses are short: more is
//! waited for only by who would get nothing otherwise.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest, FetchResponse, TopicName};
use tokio::time::{Instant, sleep_until};
use topo_log::AbortedTransaction;

use super::code::code;
use super::fetch_round::{Outcome, Part, Round};
use super::{Handler, fetch_encoding, isolation, partition};
use crate::broker::Broker;
use crate::partition::{Isolation, Offsets, Partition};
use crate::server::{Call, Charge, Order, Parts, Reply, SMALL, Shared};

/// The API.
pub(crate) struct Fetch;

/// A client that wants no session has this id and one of the last two epochs.
const NO_SESSION: i32 = 0;
const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;
/// The first version whose clients know Zstandard.
const ZSTD_FROM: i16 = 10;
/// Of no replica.
const NO_REPLICA: BrokerId = BrokerId(-1);

impl Handler for Fetch {
    type Request = FetchRequest;
    type Response = FetchResponse;
    const KEY: ApiKey = ApiKey::Fetch;
    const ORDER: Order = Order::Pipelined;

    async fn handle(call: Call, request: FetchRequest) -> Reply<FetchResponse> {
        // Sessions are never begun, by answering 0; so there is none to go on with.
        let is_sessionless =
            request.session_id == NO_SESSION && matches!(request.session_epoch, FINAL_EPOCH | INITIAL_EPOCH);
        if !is_sessionless {
            return FetchResponse::default()
                .with_error_code(ResponseError::FetchSessionIdNotFound.code())
                .into();
        }
        let limits = &call.server.config.limits;
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        // However long the client would wait, nobody knows by then whether it is still there.
        let deadline = Instant::now() + wait.min(limits.fetch_wait);
        let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(limits.fetch_bytes);
        let isolation = isolation(request.isolation_level);

        let asked = request.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>();
        let mut charge = call.server.responses.charge(0);
        charge.grow(asked * size_of::<Slot>()).await;
        let slots = slots(&call.server.broker, &request, isolation);
        let mut reading = Reading { slots, bytes: 0, max_bytes, takes_zstd: call.version >= ZSTD_FROM };
        loop {
            reading.read(&call.server, &mut charge).await;
            if reading.bytes >= min_bytes || !reading.can_grow() || Instant::now() >= deadline {
                break;
            }
            tokio::select! {
                biased;
                () = reading.news() => {}
                () = sleep_until(deadline) => {}
                () = call.ending() => break,
                never = charge.settle() => match never {},
            }
        }
        Reply::charged(reading.response(request), charge)
    }

    fn encoding_bytes(response: &FetchResponse, version: i16) -> Result<usize, String> {
        fetch_encoding::bytes(response, version)
    }

    fn encode(response: FetchResponse, version: i16) -> Result<Parts, String> {
        fetch_encoding::encode(response, version)
    }
}

/// One partition of a request.
struct Slot {
    index: i32,
    /// Where it is; or why nothing of it is read.
    partition: Result<Arc<Partition>, ResponseError>,
    /// From where to read on.
    offset: i64,
    isolation: Isolation,
    /// How many bytes more may be read of it.
    room: usize,
    chunks: Vec<Bytes>,
    /// The aborted transactions that the chunks hold records of.
    aborted: Vec<AbortedTransaction>,
    /// What it held when it was looked at last.
    held: Option<Offsets>,
}

/// A response in the making.
struct Reading {
    /// In the order of the request.
    slots: Vec<Slot>,
    /// Bytes of records so far.
    bytes: usize,
    max_bytes: usize,
    /// Whether the client knows Zstandard.
    takes_zstd: bool,
}

fn slots(broker: &Broker, request: &FetchRequest, isolation: Isolation) -> Vec<Slot> {
    let slot = |topic: &TopicName, asked: &FetchPartition| {
        let FetchPartition { partition: index, fetch_offset: offset, .. } = *asked;
        let found = partition(broker, topic, index, asked.current_leader_epoch).and_then(|partition| {
            let check = || partition.check_range(offset, partition.offsets()?);
            check().map_err(|error| code(&error))?;
            Ok(partition)
        });
        let room = usize::try_from(asked.partition_max_bytes).unwrap_or(0);
        let (chunks, aborted) = (Vec::new(), Vec::new());
        Slot { index, partition: found, offset, isolation, room, chunks, aborted, held: None }
    };
    let topics = request.topics.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|asked| slot(&topic.topic, asked))).collect()
}

impl Reading {
    /// Reads what there is, within bounds.
    async fn read(&mut self, server: &Shared, charge: &mut Charge) {
        self.slots.iter_mut().for_each(Slot::look);
        let parts = self.parts();
        if parts.is_empty() {
            return;
        }
        let left = self.max_bytes.saturating_sub(self.bytes);
        let is_first = self.bytes == 0;
        let mut paid = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.room)).min(left);
        if !charge.try_grow(paid) {
            if !is_first {
                // What there is has to do.
                self.max_bytes = self.bytes;
                return;
            }
            // What is sent is charged as well, with its names.
            paid = paid.min(SMALL / 2);
            charge.grow(paid).await;
        }
        loop {
            // The semaphore is never closed.
            let unpaid = server.unpaid.acquire().await;
            let round = Round::new(parts.clone(), left.min(paid), is_first, self.takes_zstd);
            let read = round.read().await;
            let bytes = read.iter().map(|(_, outcome)| outcome.bytes()).sum::<usize>();
            if bytes > paid && !charge.try_grow(bytes - paid) {
                // Nothing is held while memory is waited for.
                drop((read, unpaid));
                charge.shrink(paid);
                charge.grow(bytes).await;
                paid = bytes;
                continue;
            }
            charge.shrink(paid.saturating_sub(bytes));
            self.bytes += bytes;
            let aborted: usize = read.into_iter().map(|(slot, outcome)| self.take(slot, outcome)).sum();
            drop(unpaid);
            return charge.grow(aborted * size_of::<AbortedTransaction>()).await;
        }
    }

    /// What there is to read now.
    fn parts(&self) -> Vec<Part> {
        let part = |(slot, asked): (usize, &Slot)| {
            let partition = asked.partition.as_ref().ok()?;
            let is_there = asked.room > 0 && partition.readable_end(asked.isolation) > asked.offset;
            let Slot { offset, isolation, room, .. } = *asked;
            is_there.then(|| Part { slot, partition: partition.clone(), offset, isolation, room })
        };
        self.slots.iter().enumerate().filter_map(part).collect()
    }

    /// Takes what became of one part; how many aborted transactions came with it.
    fn take(&mut self, slot: usize, outcome: Outcome) -> usize {
        let slot = &mut self.slots[slot];
        match outcome {
            Outcome::Read { batches, aborted, next_offset, held } => {
                // Those that began before were told with what was read before.
                let is_first = slot.chunks.is_empty();
                let known = slot.aborted.len();
                let is_new = |aborted: &AbortedTransaction| is_first || aborted.first_offset >= slot.offset;
                slot.aborted.extend(aborted.into_iter().filter(is_new));
                slot.room = slot.room.saturating_sub(batches.len());
                slot.offset = next_offset;
                slot.held = Some(held);
                slot.chunks.push(batches);
                return slot.aborted.len() - known;
            }
            Outcome::Full => slot.room = 0,
            // What was read before is told first, and the failure with the next request.
            Outcome::Failed(_) if !slot.chunks.is_empty() => slot.room = 0,
            Outcome::Failed(code) => slot.partition = Err(code),
        }
        0
    }

    /// Whether waiting could bring more: nothing failed, which is told at once, and there is room somewhere.
    fn can_grow(&self) -> bool {
        let is_sound = self.slots.iter().all(|slot| slot.partition.is_ok());
        is_sound && self.bytes < self.max_bytes && self.slots.iter().any(|slot| slot.room > 0)
    }

    /// Waits until one of the partitions has more.
    async fn news(&self) {
        let open = self.slots.iter().filter(|slot| slot.room > 0);
        let news =
            open.filter_map(|slot| Some(slot.partition.as_ref().ok()?.news(slot.offset, slot.isolation)));
        news.collect::<FuturesUnordered<_>>().next().await;
    }

    fn response(self, request: FetchRequest) -> FetchResponse {
        let mut slots = self.slots.into_iter();
        let topics = request.topics.into_iter().map(|topic| {
            let answered = slots.by_ref().take(topic.partitions.len());
            let partitions = answered.map(Slot::response).collect();
            FetchableTopicResponse::default().with_topic(topic.topic).with_partitions(partitions)
        });
        FetchResponse::default().with_responses(topics.collect())
    }
}

impl Slot {
    /// Notes what the partition holds now, or that it is gone.
    fn look(&mut self) {
        let Ok(partition) = &self.partition else { return };
        match partition.offsets() {
            Ok(held) => self.held = Some(held),
            Err(error) => self.partition = Err(code(&error)),
        }
    }

    fn response(self) -> PartitionData {
        let aborted = self.aborted.into_iter().map(aborted).collect();
        let data = PartitionData::default()
            .with_partition_index(self.index)
            .with_high_watermark(-1)
            .with_last_stable_offset(-1)
            .with_log_start_offset(-1)
            .with_preferred_read_replica(NO_REPLICA)
            .with_aborted_transactions((self.isolation == Isolation::ReadCommitted).then_some(aborted))
            // Null would be no empty set of records to some clients.
            .with_records(Some(joined(self.chunks)));
        match (self.partition, self.held) {
            (Err(code), _) => data.with_error_code(code.code()),
            (Ok(_), held) => {
                let Some(held) = held else { return data };
                data.with_high_watermark(held.high_watermark)
                    .with_last_stable_offset(held.last_stable_offset)
                    .with_log_start_offset(held.log_start)
            }
        }
    }
}

fn aborted(transaction: AbortedTransaction) -> kafka_protocol::messages::fetch_response::AbortedTransaction {
    kafka_protocol::messages::fetch_response::AbortedTransaction::default()
        .with_producer_id(transaction.producer_id.into())
        .with_first_offset(transaction.first_offset)
}

/// Chunks behind each other.
fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() < 2 {
        return chunks.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    whole.freeze()
}
