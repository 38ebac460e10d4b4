//! From a request's bytes to its handler, and from the handler's answer to bytes.
//!
//! To serve one more API, write its handler in a file of its own under `handlers/` and add one line to [`APIS`]: from then
//! on it is advertised and served, in the versions that the guard's shape describes.

use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use topo_protocol::guard::{self, GuardError, RequestHeader, Versions};

use super::connection::Peer;
use super::{Charge, Parts, Shared};
use crate::handlers::{self, Handler};

/// The APIs that are served.
pub(crate) static APIS: &[Api] = &[
    api::<handlers::metadata::Metadata>(),
    api::<handlers::offset_commit::OffsetCommit>(),
    api::<handlers::offset_fetch::OffsetFetch>(),
    api::<handlers::find_coordinator::FindCoordinator>(),
    api::<handlers::join_group::JoinGroup>(),
    api::<handlers::heartbeat::Heartbeat>(),
    api::<handlers::leave_group::LeaveGroup>(),
    api::<handlers::sync_group::SyncGroup>(),
    api::<handlers::describe_groups::DescribeGroups>(),
    api::<handlers::list_groups::ListGroups>(),
    api::<handlers::api_versions::ApiVersions>(),
    api::<handlers::delete_groups::DeleteGroups>(),
    api::<handlers::offset_delete::OffsetDelete>(),
    api::<handlers::produce::Produce>(),
    api::<handlers::fetch::Fetch>(),
    api::<handlers::list_offsets::ListOffsets>(),
    api::<handlers::create_topics::CreateTopics>(),
    api::<handlers::delete_topics::DeleteTopics>(),
    api::<handlers::delete_records::DeleteRecords>(),
    api::<handlers::init_producer_id::InitProducerId>(),
    api::<handlers::offset_for_leader_epoch::OffsetForLeaderEpoch>(),
    api::<handlers::describe_configs::DescribeConfigs>(),
    api::<handlers::alter_configs::AlterConfigs>(),
    api::<handlers::describe_log_dirs::DescribeLogDirs>(),
    api::<handlers::create_partitions::CreatePartitions>(),
    api::<handlers::incremental_alter_configs::IncrementalAlterConfigs>(),
    api::<handlers::describe_cluster::DescribeCluster>(),
    api::<handlers::describe_producers::DescribeProducers>(),
    api::<handlers::describe_topic_partitions::DescribeTopicPartitions>(),
    api::<handlers::add_partitions_to_txn::AddPartitionsToTxn>(),
    api::<handlers::add_offsets_to_txn::AddOffsetsToTxn>(),
    api::<handlers::end_txn::EndTxn>(),
    api::<handlers::txn_offset_commit::TxnOffsetCommit>(),
    api::<handlers::describe_transactions::DescribeTransactions>(),
    api::<handlers::list_transactions::ListTransactions>(),
];

/// One API that is served.
pub(crate) struct Api {
    /// Its number.
    pub(crate) key: i16,
    order: Order,
    start: fn(Call, Bytes) -> Result<Answer, Refused>,
}

/// What a request may be overtaken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The connection's next request is started when this one's answer is there, as in Kafka.
    Alone,
    /// The next one is started as soon as the handler has returned its future: what must happen in the order of requests
    /// happens before that.
    Pipelined,
}

/// A request under way.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Option<Response>, Refused>> + Send>>;

/// A response as it is sent, its length in front, and what is charged for it.
pub(crate) struct Response {
    pub(super) parts: Parts,
    _charge: Charge,
}

/// What a handler answers.
#[derive(Debug)]
pub(crate) struct Reply<R> {
    /// The message; `None` where the client wants no answer.
    message: Option<R>,
    /// What is charged for it already, of [`Shared::responses`].
    charge: Option<Charge>,
    /// What the client can be told only by closing the connection.
    failure: Option<String>,
}

impl<R> Reply<R> {
    /// The client wants no answer.
    pub(crate) fn none() -> Self {
        Self { message: None, charge: None, failure: None }
    }

    /// The client wants no answer and has to learn that something failed: the connection is closed.
    pub(crate) fn failed(failure: String) -> Self {
        Self { message: None, charge: None, failure: Some(failure) }
    }

    /// A message for which memory was charged.
    pub(crate) fn charged(message: R, charge: Charge) -> Self {
        Self { message: Some(message), charge: Some(charge), failure: None }
    }
}

impl<R> From<R> for Reply<R> {
    fn from(message: R) -> Self {
        Self { message: Some(message), charge: None, failure: None }
    }
}

/// What a handler knows besides the request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// What all connections share: the broker, settings, memory.
    pub(crate) server: Arc<Shared>,
    /// The connection.
    pub(crate) peer: Arc<Peer>,
    /// The version of the request, and of its response.
    pub(crate) version: i16,
    /// What the client calls itself; empty where it does not.
    pub(crate) client_id: StrBytes,
    correlation_id: i32,
}

impl Call {
    /// Completes when nobody waits for the answer any more, or the server stops: who waits for something that may never come
    /// waits for this as well, and then answers with what there is.
    pub(crate) async fn ending(&self) {
        tokio::select! {
            () = self.server.stopping() => {}
            () = self.peer.done() => {}
        }
    }
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// No handler.
    #[error("API {0} is not served")]
    Api(i16),
    /// No such version, or not what the guard lets through.
    #[error("{api}: {source}")]
    Guard {
        /// The API.
        api: &'static str,
        /// What the guard says.
        source: GuardError,
    },
    /// The header is none.
    #[error("the request's header is malformed: {0}")]
    Header(GuardError),
    /// The guard let through what the decoder refuses: text that is none.
    #[error("version {version} of API {api} does not decode: {reason}")]
    Decode {
        /// The API's number.
        api: i16,
        /// The version.
        version: i16,
        /// What the decoder says.
        reason: String,
    },
    /// A request that wants no answer failed.
    #[error("a request that wants no answer failed: {0}")]
    Unanswered(String),
    /// A handler answered what its version cannot say.
    #[error("an answer to version {version} of API {api} does not encode: {reason}")]
    Encode {
        /// The API's number.
        api: i16,
        /// The version.
        version: i16,
        /// What the encoder says.
        reason: String,
    },
}

/// The versions that clients are told of.
///
/// Among them are those of Produce that are only refused: clients of librdkafka before 2.11.1 take a Produce that does not
/// begin at 0 for a broker that knows no compression.
pub(crate) fn advertised(api: &Api) -> Option<Versions> {
    Some(guard::request(api.key)?.versions)
}

/// Starts the request in `frame`, for which `charge` also covers what it decodes to.
pub(super) async fn start(
    server: &Arc<Shared>,
    peer: &Arc<Peer>,
    frame: Bytes,
    charge: &mut Charge,
) -> Result<(Order, Answer), Refused> {
    let numbers = RequestHeader::parse_numbers(&frame).map_err(Refused::Header)?;
    let RequestHeader { api_key, api_version: version, correlation_id, .. } = numbers;
    let api = APIS.iter().find(|api| api.key == api_key).ok_or(Refused::Api(api_key))?;
    let shape = guard::request(api_key).ok_or(Refused::Api(api_key))?;
    let mut call = Call {
        server: server.clone(),
        peer: peer.clone(),
        version,
        client_id: StrBytes::default(),
        correlation_id,
    };
    if api_key == ApiKey::ApiVersions as i16 && !shape.versions.contains(version) {
        // Said in the oldest form, which every client reads, whatever form the request had.
        call.version = 0;
        let unsupported = handlers::api_versions::unsupported();
        let refused =
            answer::<handlers::api_versions::ApiVersions>(call, std::future::ready(unsupported.into()));
        return Ok((Order::Alone, Box::pin(refused)));
    }
    let guarded = |source| Refused::Guard { api: shape.name, source };
    if !shape.versions.contains(version) {
        return Err(guarded(GuardError::Version { api: shape.name, version }));
    }
    let is_flexible = version >= shape.flexible_from;
    let (header, body) = RequestHeader::parse(&frame, is_flexible).map_err(Refused::Header)?;
    if let Some(client_id) = header.client_id {
        let client_id = frame.slice_ref(client_id.as_bytes());
        call.client_id = StrBytes::try_from(client_id).unwrap_or_default();
    }
    let body = frame.slice(body..);
    let decoded = guard::check(shape, version, &body).map_err(guarded)?;
    if api_key == ApiKey::Produce as i16 && version < handlers::produce::SERVED_FROM {
        return Ok((Order::Alone, Box::pin(refuse_produce(call, body))));
    }
    charge.grow(decoded).await;
    Ok((api.order, (api.start)(call, body)?))
}

/// The line of the table for a handler.
const fn api<H: Handler + 'static>() -> Api {
    Api {
        key: H::KEY as i16,
        order: H::ORDER,
        start: |call, mut body| {
            let request = H::Request::decode(&mut body, call.version).map_err(|error| Refused::Decode {
                api: H::KEY as i16,
                version: call.version,
                reason: error.to_string(),
            })?;
            let handled = H::handle(call.clone(), request);
            Ok(Box::pin(answer::<H>(call, handled)))
        },
    }
}

/// Answers a Produce of the first versions, whose answers the encoder does not know.
async fn refuse_produce(call: Call, body: Bytes) -> Result<Option<Response>, Refused> {
    let unanswered = || Refused::Unanswered("Produce before version 3 is not served".to_owned());
    let answer = handlers::old_produce::refusal(call.version, body).ok_or_else(unanswered)?;
    let mut charge = call.server.responses.charge(answer.len());
    charge.grow(answer.len()).await;
    let mut out = BytesMut::with_capacity(8 + answer.len());
    out.put_u32(4 + answer.len() as u32);
    out.put_i32(call.correlation_id);
    out.put(answer);
    Ok(Some(Response { parts: out.freeze().into(), _charge: charge }))
}

async fn answer<H: Handler + 'static>(
    call: Call,
    handled: impl Future<Output = Reply<H::Response>>,
) -> Result<Option<Response>, Refused> {
    let Reply { message, charge, failure } = handled.await;
    if let Some(failure) = failure {
        return Err(Refused::Unanswered(failure));
    }
    let Some(message) = message else { return Ok(None) };
    let version = call.version;
    let refused = |reason: String| Refused::Encode { api: H::KEY as i16, version, reason };
    let bytes = H::encoding_bytes(&message, version).map_err(refused)?;
    let mut charge = charge.unwrap_or_else(|| call.server.responses.charge(bytes));
    charge.grow(bytes).await;
    let mut parts = H::encode(message, version).map_err(refused)?;
    let mut front = BytesMut::new();
    front.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(call.correlation_id);
    let encoded = header.encode(&mut front, H::Response::header_version(version));
    encoded.map_err(|error| refused(error.to_string()))?;
    let length = i32::try_from(front.len() - 4 + parts.remaining());
    let length = length.map_err(|_| refused("it is longer than 2 GiB".to_owned()))?;
    front[..4].copy_from_slice(&length.to_be_bytes());
    parts.push_front(front.freeze());
    Ok(Some(Response { parts, _charge: charge }))
}
