//! The coordinator of transactions over the wire, in every version.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest,
    FindCoordinatorRequest, GroupId, InitProducerIdRequest, ListTransactionsRequest, OffsetFetchRequest,
    ProducerId, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;
use topo_protocol::{BatchBuilder, BatchProducer, Compression, NewRecord, Room};
use topo_tests::wire_client::WireClient;

use super::Served;
use super::requests::*;

const OK: i16 = 0;
const READ_COMMITTED: i8 = 1;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(text(id))
}

async fn serve() -> (Served, WireClient) {
    let served = Served::start().await;
    served.broker.create_topic("lines", 2, Default::default()).await.expect("a new topic");
    let client = served.client().await;
    (served, client)
}

/// A producer id and an epoch.
type Instance = (i64, i16);

fn init_as(id: &str, expected: Option<Instance>) -> InitProducerIdRequest {
    let (producer_id, epoch) = expected.unwrap_or((-1, -1));
    InitProducerIdRequest::default()
        .with_transactional_id(Some(transactional(id)))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(producer_id))
        .with_producer_epoch(epoch)
}

async fn init(client: &mut WireClient, version: i16, id: &str) -> Instance {
    let response = client.ask(version, &init_as(id, None)).await;
    assert_eq!(response.error_code, OK, "{version}");
    (response.producer_id.0, response.producer_epoch)
}

/// The codes of all partitions, in order.
async fn add(
    client: &mut WireClient,
    version: i16,
    (producer_id, epoch): Instance,
    topics: &[(&str, &[i32])],
) -> Vec<i16> {
    let topic = |(name, partitions): &(&str, &[i32])| {
        AddPartitionsToTxnTopic::default().with_name(topic_name(name)).with_partitions(partitions.to_vec())
    };
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(transactional("t"))
        .with_v3_and_below_producer_id(ProducerId(producer_id))
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(topics.iter().map(topic).collect());
    let response = client.ask(version, &request).await;
    let topics = response.results_by_topic_v3_and_below.into_iter();
    topics.flat_map(|topic| topic.results_by_partition).map(|result| result.partition_error_code).collect()
}

async fn add_offsets(client: &mut WireClient, version: i16, (id, epoch): Instance, group: &str) -> i16 {
    let request = AddOffsetsToTxnRequest::default()
        .with_transactional_id(transactional("t"))
        .with_producer_id(ProducerId(id))
        .with_producer_epoch(epoch)
        .with_group_id(GroupId(text(group)));
    client.ask(version, &request).await.error_code
}

async fn commit_offsets(
    client: &mut WireClient,
    version: i16,
    (id, epoch): Instance,
    generation: i32,
    offset: i64,
) -> Vec<i16> {
    let partition = |index| {
        TxnOffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("note")))
    };
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic_name("lines"))
        .with_partitions(vec![partition(0), partition(9)]);
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(transactional("t"))
        .with_group_id(GroupId(text("g")))
        .with_producer_id(ProducerId(id))
        .with_producer_epoch(epoch)
        .with_generation_id(generation)
        .with_topics(vec![topic]);
    let response = client.ask(version, &request).await;
    response.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
}

async fn end(client: &mut WireClient, version: i16, (id, epoch): Instance, committed: bool) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(transactional("t"))
        .with_producer_id(ProducerId(id))
        .with_producer_epoch(epoch)
        .with_committed(committed);
    client.ask(version, &request).await.error_code
}

fn of_transaction(value: &str, (id, epoch): Instance, base_sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new(1 << 10);
    let record = NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() };
    assert_eq!(builder.append(&record).expect("a small record"), Room::Taken);
    let producer = BatchProducer { id, epoch, base_sequence, is_transactional: true };
    builder.finish_as(Compression::None, &producer).expect("a record").freeze()
}

/// The code, where `id` writes to a partition of `lines`.
async fn write(
    client: &mut WireClient,
    version: i16,
    id: Option<&str>,
    partition: i32,
    records: Bytes,
) -> i16 {
    let request = produce("lines", partition, ACKS_ALL, records).with_transactional_id(id.map(transactional));
    produced(&client.ask(version, &request).await).error_code
}

/// What is read of a partition where only what is committed is, those aborted not left out.
async fn read_committed(client: &mut WireClient, partition: i32) -> (usize, i64, Vec<i64>) {
    let request = fetch("lines", vec![from(partition, 0, 1 << 20)], 0).with_isolation_level(READ_COMMITTED);
    let response = client.ask(11, &request).await;
    let data = fetched(&response, 0);
    let aborted = data.aborted_transactions.iter().flatten().map(|aborted| aborted.first_offset).collect();
    (data.records.as_ref().map_or(0, Bytes::len), data.last_stable_offset, aborted)
}

/// What the group has committed, and the partition's error.
async fn fetch_offset(client: &mut WireClient, version: i16, require_stable: bool) -> (i64, i16) {
    let group = GroupId(text("g"));
    let mut request = OffsetFetchRequest::default();
    if version >= 7 {
        request = request.with_require_stable(require_stable);
    }
    if version < 8 {
        let topic =
            OffsetFetchRequestTopic::default().with_name(topic_name("lines")).with_partition_indexes(vec![0]);
        let response =
            client.ask(version, &request.with_group_id(group).with_topics(Some(vec![topic]))).await;
        let partition = &response.topics[0].partitions[0];
        return (partition.committed_offset, partition.error_code);
    }
    let topic =
        OffsetFetchRequestTopics::default().with_name(topic_name("lines")).with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default().with_group_id(group).with_topics(Some(vec![topic]));
    let response = client.ask(version, &request.with_groups(vec![group])).await;
    let partition = &response.groups[0].topics[0].partitions[0];
    (partition.committed_offset, partition.error_code)
}

#[tokio::test]
async fn transactions_are_written_and_ended_in_every_version() {
    let (served, mut client) = serve().await;
    let find = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text("t")]);
    assert_eq!(client.ask(4, &find).await.coordinators[0].error_code, OK);
    let (mut sequence, mut committed) = (0, -1);
    let mut instance = (-1, -1);
    for round in 0..=8_i16 {
        if round <= 4 {
            let before = std::mem::replace(&mut instance, init(&mut client, round, "t").await);
            assert_eq!(instance.1, before.1 + 1, "each instance has an epoch of its own");
            sequence = 0;
        }
        let upto = |last: i16| round.min(last);
        assert_eq!(add(&mut client, upto(3), instance, &[("lines", &[0, 1])]).await, [OK, OK]);
        let records = of_transaction("v", instance, sequence);
        assert_eq!(write(&mut client, 3 + round, Some("t"), 0, records).await, OK);
        sequence += 1;
        let (_, stable, _) = read_committed(&mut client, 0).await;
        assert_eq!(stable, i64::from(round) * 2, "it is open");
        assert_eq!(add_offsets(&mut client, upto(3), instance, "g").await, OK);
        let codes = commit_offsets(&mut client, upto(4), instance, -1, i64::from(round)).await;
        assert_eq!(codes, [OK, ResponseError::UnknownTopicOrPartition.code()]);
        assert_eq!(fetch_offset(&mut client, 5, false).await, (committed, OK));
        let commit = round != 7;
        for _ in 0..2 {
            assert_eq!(
                end(&mut client, upto(4), instance, commit).await,
                OK,
                "the second time it is sent again"
            );
        }
        assert_eq!(end(&mut client, upto(4), instance, !commit).await, ResponseError::InvalidTxnState.code());
        if commit {
            committed = i64::from(round);
        }
        assert_eq!(fetch_offset(&mut client, 5, false).await, (committed, OK));
    }
    let (bytes, stable, aborted) = read_committed(&mut client, 0).await;
    assert!(bytes > 0);
    assert_eq!((stable, aborted), (18, vec![14]));
    served.stop().await;
}

#[tokio::test]
async fn offsets_of_an_open_transaction_are_unstable_until_it_ends() {
    let (mut served, mut client) = serve().await;
    let instance = init(&mut client, 4, "t").await;
    let mut before = -1;
    for (offset, committed) in [(1, true), (2, true), (3, false)] {
        assert_eq!(add_offsets(&mut client, 3, instance, "g").await, OK);
        assert_eq!(commit_offsets(&mut client, 3, instance, -1, offset).await[0], OK);
        // Also after a restart.
        let dir = served.stop().await;
        served = Served::start_in(dir, |_| {}).await;
        client = served.client().await;
        for version in 1..=8 {
            assert_eq!(fetch_offset(&mut client, version, false).await, (before, OK), "{version}");
        }
        let unstable = (-1, ResponseError::UnstableOffsetCommit.code());
        for version in [7, 8] {
            assert_eq!(fetch_offset(&mut client, version, true).await, unstable, "{version}");
        }
        assert_eq!(end(&mut client, 3, instance, committed).await, OK);
        before = if committed { offset } else { before };
        for version in [7, 8] {
            assert_eq!(fetch_offset(&mut client, version, true).await, (before, OK), "{version}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn who_is_fenced_is_told_so_in_its_versions_words() {
    let (served, mut client) = serve().await;
    let old = init(&mut client, 4, "t").await;
    assert_eq!(add(&mut client, 3, old, &[("lines", &[0])]).await, [OK]);
    assert_eq!(write(&mut client, 9, Some("t"), 0, of_transaction("old", old, 0)).await, OK);
    // What is open is aborted first.
    let concurrent = client.ask(2, &init_as("t", None)).await;
    assert_eq!(concurrent.error_code, ResponseError::ConcurrentTransactions.code());
    assert_eq!((concurrent.producer_id.0, concurrent.producer_epoch), (-1, -1));
    let new = init(&mut client, 2, "t").await;
    assert_eq!((new.0, new.1), (old.0, old.1 + 2));

    let (fenced, older) = (ResponseError::ProducerFenced.code(), ResponseError::InvalidProducerEpoch.code());
    for version in 0..=4 {
        let expected = if version >= 2 { fenced } else { older };
        let last = version.min(3);
        assert_eq!(add(&mut client, last, old, &[("lines", &[0])]).await, [expected], "{version}");
        assert_eq!(add_offsets(&mut client, last, old, "g").await, expected, "{version}");
        assert_eq!(end(&mut client, version, old, true).await, expected, "{version}");
        assert_eq!(commit_offsets(&mut client, version, old, -1, 7).await[0], older, "{version}");
    }
    assert_eq!(write(&mut client, 9, Some("t"), 0, of_transaction("zombie", old, 1)).await, older);
    for (version, expected) in [(3, older), (4, fenced)] {
        assert_eq!(client.ask(version, &init_as("t", Some(old))).await.error_code, expected);
    }
    let next = client.ask(4, &init_as("t", Some(new))).await;
    assert_eq!((next.error_code, next.producer_epoch), (OK, new.1 + 1));
    let again = client.ask(4, &init_as("t", Some(new))).await;
    assert_eq!((again.error_code, again.producer_epoch), (OK, new.1 + 1), "the answer was lost");
    let mapping = ResponseError::InvalidProducerIdMapping.code();
    assert_eq!(end(&mut client, 4, (old.0 + 5, 0), true).await, mapping);
    served.stop().await;
}

#[tokio::test]
async fn nothing_is_written_outside_of_the_transaction() {
    let (served, mut client) = serve().await;
    let instance = init(&mut client, 4, "t").await;
    let state = ResponseError::InvalidTxnState.code();
    let records = |sequence| of_transaction("v", instance, sequence);
    assert_eq!(write(&mut client, 9, Some("t"), 0, records(0)).await, state, "none is open");
    assert_eq!(commit_offsets(&mut client, 3, instance, -1, 1).await[0], state);
    assert_eq!(end(&mut client, 3, instance, true).await, state);
    assert_eq!(add(&mut client, 3, instance, &[("lines", &[0])]).await, [OK]);
    assert_eq!(write(&mut client, 9, Some("t"), 1, records(0)).await, state, "another partition");
    assert_eq!(write(&mut client, 9, None, 0, records(0)).await, state, "no transactional id");
    assert_eq!(write(&mut client, 9, Some("t"), 0, batch(&["plain"])).await, {
        ResponseError::InvalidProducerIdMapping.code()
    });
    assert_eq!(write(&mut client, 9, Some("t"), 0, sequenced("v", instance.0, instance.1, 0)).await, state);
    assert_eq!(commit_offsets(&mut client, 3, instance, -1, 1).await[0], state, "no group was added");
    assert_eq!(write(&mut client, 9, Some("t"), 0, records(0)).await, OK);
    assert_eq!(write(&mut client, 9, Some("t"), 0, records(0)).await, OK, "sent again");
    assert_eq!(add_offsets(&mut client, 3, instance, "g").await, OK);
    let generation = ResponseError::IllegalGeneration.code();
    assert_eq!(commit_offsets(&mut client, 3, instance, 5, 1).await[0], generation);
    assert_eq!(end(&mut client, 3, instance, true).await, OK);
    assert_eq!(write(&mut client, 9, Some("t"), 0, records(1)).await, state, "late");
    assert_eq!(read_committed(&mut client, 0).await.1, 2, "a record and its marker");

    let unknown = ResponseError::UnknownTopicOrPartition.code();
    let (internal, other) =
        (ResponseError::InvalidTopicException.code(), ResponseError::OperationNotAttempted.code());
    let topics: &[(&str, &[i32])] =
        &[("lines", &[0, 7, -1]), ("none", &[0]), ("__consumer_offsets", &[0]), ("lines", &[1])];
    let codes = add(&mut client, 3, instance, topics).await;
    assert_eq!(codes, [other, unknown, unknown, unknown, internal, other]);
    assert_eq!(end(&mut client, 3, instance, false).await, state, "none was begun");

    for (request, expected) in [
        (init_as("", None), ResponseError::InvalidRequest),
        (init_as("t", Some((5, -1))), ResponseError::InvalidRequest),
        (init_as("t", None).with_transaction_timeout_ms(0), ResponseError::InvalidTransactionTimeout),
        (init_as("t", None).with_transaction_timeout_ms(900_001), ResponseError::InvalidTransactionTimeout),
    ] {
        assert_eq!(client.ask(4, &request).await.error_code, expected.code(), "{request:?}");
    }
    served.stop().await;
}

#[tokio::test]
async fn transactional_ids_are_described_and_listed_across_a_restart() {
    let (served, mut client) = serve().await;
    let instance = init(&mut client, 4, "t").await;
    let idle = init(&mut client, 4, "idle").await;
    assert_eq!(add(&mut client, 3, instance, &[("lines", &[1, 0])]).await, [OK, OK]);
    assert_eq!(add_offsets(&mut client, 3, instance, "g").await, OK);
    let dir = served.stop().await;
    let served = Served::start_in(dir, |_| {}).await;
    let mut client = served.client().await;

    let ids = ["t", "idle", "none", "t"].map(transactional).to_vec();
    let described = client.ask(0, &DescribeTransactionsRequest::default().with_transactional_ids(ids)).await;
    let [t, other, none] = &described.transaction_states[..] else { panic!("{described:?}") };
    assert_eq!((t.error_code, &*t.transaction_state, t.transaction_timeout_ms), (OK, "Ongoing", 60_000));
    assert_eq!((t.producer_id.0, t.producer_epoch), instance);
    assert!(t.transaction_start_time_ms > 0);
    let topics: Vec<_> = t.topics.iter().map(|topic| (topic.topic.as_str(), &topic.partitions[..])).collect();
    assert_eq!(topics, [("__consumer_offsets", &[0][..]), ("lines", &[0, 1])]);
    assert_eq!((&*other.transaction_state, other.transaction_start_time_ms), ("Empty", -1));
    assert_eq!(none.error_code, ResponseError::TransactionalIdNotFound.code());

    let list = async |client: &mut WireClient, version, request: ListTransactionsRequest| {
        let response = client.ask(version, &request).await;
        let listed = response.transaction_states.iter().map(|state| state.transactional_id.to_string());
        let unknown = response.unknown_state_filters.iter().map(|filter| filter.to_string());
        (listed.collect::<Vec<_>>(), unknown.collect::<Vec<_>>())
    };
    let all = ListTransactionsRequest::default;
    let none: Vec<String> = Vec::new();
    assert_eq!(list(&mut client, 0, all()).await, (vec!["idle".into(), "t".into()], none.clone()));
    let states = all().with_state_filters(vec![text("Ongoing"), text("Sleeping")]);
    assert_eq!(list(&mut client, 1, states).await, (vec!["t".into()], vec!["Sleeping".into()]));
    let unknown = all().with_state_filters(vec![text("Sleeping")]);
    assert_eq!(list(&mut client, 0, unknown).await, (none.clone(), vec!["Sleeping".into()]));
    let producers = all().with_producer_id_filters(vec![ProducerId(idle.0), ProducerId(999)]);
    assert_eq!(list(&mut client, 0, producers).await, (vec!["idle".into()], none.clone()));
    for (duration, expected) in [(0, vec!["t".to_owned()]), (3_600_000, none.clone())] {
        let listed = list(&mut client, 1, all().with_duration_filter(duration)).await;
        assert_eq!(listed, (expected, none.clone()));
    }
    assert_eq!(end(&mut client, 3, instance, true).await, OK, "it was open all the time");
    let completed = all().with_state_filters(vec![text("CompleteCommit")]);
    assert_eq!(list(&mut client, 0, completed).await.0, ["t"]);
    served.stop().await;
}
