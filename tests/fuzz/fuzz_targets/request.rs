//! The guard, and the decoder behind it: two bytes choose the request and its version, the rest is its body. What the guard
//! lets through is decoded with at most the memory that it said.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request as Message;
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use topo_protocol::guard::{Request, check, most_decoded_bytes};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

static ALL: LazyLock<Vec<(&'static Request, i16)>> = LazyLock::new(topo_fuzz::all);

/// What the decoder takes for a body whatever is in it: the shared handle on its bytes.
const HANDLE_BYTES: usize = 64;
/// What it takes to say that a text is none.
const ERROR_BYTES: usize = 1 << 10;

/// Decodes, and says how many bytes were allocated meanwhile and how many are left; `None` where it is refused.
fn decode<T: Message>(body: &[u8], version: i16) -> (usize, Option<usize>) {
    let mut body = Bytes::copy_from_slice(body);
    let region = Region::new(ALLOCATOR);
    let message = T::decode(&mut body, version);
    let allocated = region.change().bytes_allocated;
    (allocated, message.is_ok().then_some(body.len()))
}

macro_rules! decoders {
    ($($request:ty),* $(,)?) => {
        fn decode_as(key: i16, body: &[u8], version: i16) -> (usize, Option<usize>) {
            match key {
                $(<$request as Message>::KEY => decode::<$request>(body, version),)*
                _ => panic!("no decoder for API {key}"),
            }
        }
    };
}

decoders!(
    ProduceRequest,
    FetchRequest,
    ListOffsetsRequest,
    MetadataRequest,
    OffsetCommitRequest,
    OffsetFetchRequest,
    FindCoordinatorRequest,
    JoinGroupRequest,
    HeartbeatRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
    DescribeGroupsRequest,
    ListGroupsRequest,
    ApiVersionsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
    DeleteRecordsRequest,
    InitProducerIdRequest,
    OffsetForLeaderEpochRequest,
    DescribeConfigsRequest,
    AlterConfigsRequest,
    DescribeLogDirsRequest,
    CreatePartitionsRequest,
    DeleteGroupsRequest,
    IncrementalAlterConfigsRequest,
    OffsetDeleteRequest,
    DescribeClusterRequest,
    DescribeProducersRequest,
    DescribeTopicPartitionsRequest,
    AddPartitionsToTxnRequest,
    AddOffsetsToTxnRequest,
    EndTxnRequest,
    TxnOffsetCommitRequest,
    DescribeTransactionsRequest,
    ListTransactionsRequest,
);

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first_chunk() else { return };
    let (request, version) = ALL[usize::from(u16::from_be_bytes(*choice)) % ALL.len()];
    let region = Region::new(ALLOCATOR);
    let said = check(request, version, body);
    assert_eq!(region.change().bytes_allocated, 0, "the guard reserves nothing");
    let Ok(said) = said else { return };
    assert!(said <= most_decoded_bytes(body.len()));
    let (allocated, left) = decode_as(request.key, body, version);
    let granted = said + HANDLE_BYTES + if left.is_none() { ERROR_BYTES } else { 0 };
    assert!(allocated <= granted, "{} {version}: {allocated} bytes of {granted}", request.name);
});
