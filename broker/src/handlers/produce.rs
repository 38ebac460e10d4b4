//! Produce: batches into partitions, in the order in which a connection sends them.
//!
//! Invariant: offsets are given as the request is read, before the next one of the connection is; so requests keep their
//! order while their acknowledgements wait, together, for one sync.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, TopicName};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout_at};
use topo_protocol::{BatchHeader, Compression};

use super::code::code;
use super::transaction_code::{instance, transaction_code};
use super::{Handler, text, topic_partition, wall_ms};
use crate::broker::Appending;
use crate::error::BrokerError;
use crate::partition::Appended;
use crate::server::{Call, Order, Reply};
use crate::topic::TopicPartition;
use crate::transactions::TransactionError;

/// The API.
pub(crate) struct Produce;

/// The client waits for nothing.
const ACKS_NONE: i16 = 0;
/// The client waits for the leader to have written.
const ACKS_LEADER: i16 = 1;
/// The client waits for all replicas, of which there is one: for the topic's durability.
const ACKS_ALL: i16 = -1;

/// The first version that is served: those before it hold records in forms that nobody writes any more.
pub(crate) const SERVED_FROM: i16 = 3;
/// The first version whose clients know Zstandard.
const ZSTD_FROM: i16 = 7;

/// Bytes of a batch whose checksum, copy and writing take long.
const LONG: usize = 256 << 10;

/// What became of one partition's batch so far.
struct Started {
    index: i32,
    append: Result<Appending, Failure>,
}

/// Why a batch is not acknowledged.
struct Failure {
    code: ResponseError,
    reason: String,
}

impl Handler for Produce {
    type Request = ProduceRequest;
    type Response = ProduceResponse;
    const KEY: ApiKey = ApiKey::Produce;
    const ORDER: Order = Order::Pipelined;

    fn handle(
        call: Call,
        request: ProduceRequest,
    ) -> impl Future<Output = Reply<ProduceResponse>> + Send + 'static {
        let ProduceRequest { acks, timeout_ms, .. } = request;
        let transactional_id = request.transactional_id;
        let refusal = refusal(acks);
        let now_ms = wall_ms();
        let start = |topic: TopicProduceData| {
            let start = |data: PartitionProduceData| {
                let PartitionProduceData { index, records, .. } = data;
                let append = match &refusal {
                    Some((code, reason)) => Err(Failure { code: *code, reason: (*reason).to_owned() }),
                    None => append(
                        &call,
                        now_ms,
                        transactional_id.as_ref().map(|id| id.as_str()),
                        &topic.name,
                        index,
                        records,
                    ),
                };
                Started { index, append }
            };
            (topic.name.clone(), topic.partition_data.into_iter().map(start).collect())
        };
        let started: Vec<(TopicName, Vec<Started>)> = request.topic_data.into_iter().map(start).collect();
        let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        answer(acks, call.version, started, timeout)
    }
}

/// Why nothing of a request is done.
fn refusal(acks: i16) -> Option<(ResponseError, &'static str)> {
    match acks {
        ACKS_NONE | ACKS_LEADER | ACKS_ALL => None,
        _ => Some((ResponseError::InvalidRequiredAcks, "acks are 0, 1 or -1, which is all")),
    }
}

/// Writes one partition's batch.
fn append(
    call: &Call,
    now_ms: i64,
    transactional_id: Option<&str>,
    topic: &str,
    index: i32,
    records: Option<Bytes>,
) -> Result<Appending, Failure> {
    let invalid = |reason: &str| Failure { code: ResponseError::InvalidRecord, reason: reason.to_owned() };
    let unknown = || Failure::from(BrokerError::UnknownTopic(topic.into()));
    let to: TopicPartition = topic_partition(topic, index).ok_or_else(unknown)?;
    let records =
        records.filter(|records| !records.is_empty()).ok_or_else(|| invalid("there are no records"))?;
    let header =
        BatchHeader::parse(&records).map_err(|error| Failure::from(BrokerError::InvalidBatch(error)))?;
    if header.total_bytes() < records.len() {
        return Err(invalid("there must be exactly one batch for each partition"));
    }
    if call.version < ZSTD_FROM && header.attributes.compression() == Ok(Compression::Zstd) {
        let code = ResponseError::UnsupportedCompressionType;
        return Err(Failure { code, reason: "zstd takes Produce 7 or later".to_owned() });
    }
    let broker = &call.server.broker;
    let takes_long =
        records.len() >= LONG || header.attributes.compression().is_ok_and(|it| broker.recompresses(&to, it));
    let append = || {
        // The log places the batch in its own copy; the request's bytes are shared.
        let copy = BytesMut::from(&records[..]);
        match transactional_id {
            None => broker.start_append(&to, vec![copy], now_ms).map_err(Failure::from),
            Some(id) => {
                let producer = instance(header.producer_id.into(), header.producer_epoch);
                let started = broker.transactions().start_append(id, producer, &to, vec![copy], now_ms);
                started.map_err(Failure::from)
            }
        }
    };
    if takes_long { aside(append) } else { append() }
}

/// Does what may take milliseconds, in its place and yet not at the cost of the other connections: where there are other
/// threads, they get the tasks of this one meanwhile.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => block_in_place(work),
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        Self { code: code(&error), reason: error.to_string() }
    }
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        let code = match &error {
            TransactionError::Broker(error) => code(error),
            // What a client waits for and then sends the same again, in whichever version.
            TransactionError::Unavailable => ResponseError::NotEnoughReplicas,
            error => transaction_code(error, false),
        };
        Self { code, reason: error.to_string() }
    }
}

/// Waits for what the client waits for.
async fn answer(
    acks: i16,
    version: i16,
    started: Vec<(TopicName, Vec<Started>)>,
    timeout: Duration,
) -> Reply<ProduceResponse> {
    if acks == ACKS_NONE {
        let failed = started.into_iter().flat_map(|(_, partitions)| partitions).find_map(|s| s.append.err());
        // All that such a client can be told: its next metadata may show what is wrong.
        return failed.map_or_else(Reply::none, |failure| Reply::failed(failure.reason));
    }
    let deadline = Instant::now() + timeout;
    let mut responses = Vec::with_capacity(started.len());
    for (name, partitions) in started {
        let mut answered = Vec::with_capacity(partitions.len());
        for Started { index, append } in partitions {
            let acknowledged = match append {
                Ok(appending) => acknowledge(acks, appending, version, deadline).await,
                Err(failure) => Err(failure),
            };
            answered.push(acknowledged.unwrap_or_else(|failure| refuse(failure, version)).with_index(index));
        }
        let topic = TopicProduceResponse::default().with_name(name);
        responses.push(topic.with_partition_responses(answered));
    }
    ProduceResponse::default().with_responses(responses).into()
}

async fn acknowledge(
    acks: i16,
    appending: Appending,
    version: i16,
    deadline: Instant,
) -> Result<PartitionProduceResponse, Failure> {
    let Appended { base_offset, log_append_time_ms, .. } = appending.appended();
    let log_start = appending.partition().offsets().map_or(-1, |held| held.log_start);
    if acks == ACKS_ALL {
        let late = |_| Failure {
            code: ResponseError::RequestTimedOut,
            reason: "the records are written, and not yet synced".to_owned(),
        };
        timeout_at(deadline, appending.durable()).await.map_err(late)??;
    }
    let acknowledged = PartitionProduceResponse::default()
        .with_base_offset(base_offset)
        .with_log_append_time_ms(log_append_time_ms.unwrap_or(-1));
    Ok(if version >= 5 { acknowledged.with_log_start_offset(log_start) } else { acknowledged })
}

fn refuse(failure: Failure, version: i16) -> PartitionProduceResponse {
    let refused =
        PartitionProduceResponse::default().with_error_code(failure.code.code()).with_base_offset(-1);
    if version >= 8 { refused.with_error_message(Some(text(failure.reason))) } else { refused }
}
