//! Every API in every version that is advertised: answered when asked for nothing, and unharmed by damage.

use std::collections::BTreeSet;

use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use topo_tests::wire_client::{frame, try_frame};

use super::Served;

/// Asks in every advertised version for what the default request asks for, and gathers the requests.
async fn ask<T: Request + Default>(served: &Served, frames: &mut Vec<Vec<u8>>, asked: &mut BTreeSet<i16>) {
    let mut client = served.client().await;
    let apis = client.ask(0, &ApiVersionsRequest::default()).await.api_keys;
    let Some(api) = apis.iter().find(|api| api.api_key == T::KEY) else { return };
    asked.insert(T::KEY);
    for version in api.min_version..=api.max_version {
        // Some defaults cannot be said in every version.
        let Some(frame) = try_frame(1, version, &T::default()) else { continue };
        frames.push(frame.to_vec());
        // By default it wants no answer.
        if T::KEY != ProduceRequest::KEY {
            client.ask(version, &T::default()).await;
        }
    }
}

macro_rules! ask_all {
    ($served:expr, $frames:expr, $asked:expr, $($request:ty),* $(,)?) => {
        $(ask::<$request>($served, $frames, $asked).await;)*
    };
}

#[tokio::test]
async fn every_api_answers_in_every_version_and_damaged_requests_harm_nobody() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let served = Served::start().await;
    let (mut frames, mut asked) = (Vec::new(), BTreeSet::new());
    ask_all!(
        &served,
        &mut frames,
        &mut asked,
        ProduceRequest,
        FetchRequest,
        ListOffsetsRequest,
        MetadataRequest,
        OffsetCommitRequest,
        OffsetFetchRequest,
        FindCoordinatorRequest,
        HeartbeatRequest,
        LeaveGroupRequest,
        JoinGroupRequest,
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
        DescribeTopicPartitionsRequest,
        DescribeProducersRequest,
        AddPartitionsToTxnRequest,
        AddOffsetsToTxnRequest,
        EndTxnRequest,
        TxnOffsetCommitRequest,
        DescribeTransactionsRequest,
        ListTransactionsRequest,
    );
    let apis = served.client().await.ask(0, &ApiVersionsRequest::default()).await.api_keys;
    let advertised: BTreeSet<i16> = apis.iter().map(|api| api.api_key).collect();
    assert_eq!(asked, advertised, "whatever is advertised is asked for");

    for _ in 0..1000 {
        let mut bytes = frames[random.random_range(0..frames.len())].clone();
        for _ in 0..random.random_range(1..4) {
            // Behind length and API, so that the version, the header and the body are hit.
            let at = random.random_range(7..bytes.len());
            bytes[at] = random.random();
        }
        let mut client = served.client().await;
        client.send_bytes(&bytes).await;
        client.finish().await;
        // An answer, or the end; for none of them does anybody wait.
        client.receive_bytes().await;
    }
    served.client().await.send_bytes(&frame(1, 0, &ApiVersionsRequest::default())).await;
    assert_eq!(served.client().await.ask(0, &ApiVersionsRequest::default()).await.error_code, 0);
    served.stop().await;
}
