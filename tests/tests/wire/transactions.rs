//! Transactions in the log as readers see them: what is stable, and what was aborted.

use bytes::BytesMut;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{DescribeProducersRequest, FetchRequest, ListOffsetsRequest, ProduceRequest};
use topo_broker::{EndTransactionMarker, TopicPartition, TransactionResult};
use topo_protocol::{BatchBuilder, BatchProducer, Compression, NewRecord, Room};
use topo_tests::wire_client::WireClient;

use super::Served;
use super::requests::*;

const COMMIT: TransactionResult = TransactionResult::Commit;
const ABORT: TransactionResult = TransactionResult::Abort;

async fn served() -> (Served, WireClient) {
    let served = Served::start().await;
    served.broker.create_topic("lines", 1, [].into()).await.expect("a new topic");
    let client = served.client().await;
    (served, client)
}

fn lines() -> TopicPartition {
    TopicPartition::new("lines", 0)
}

fn in_transaction(value: &str, id: i64, base_sequence: i32) -> BytesMut {
    let mut builder = BatchBuilder::new(1 << 20);
    let record = NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() };
    assert_eq!(builder.append(&record).expect("a small record"), Room::Taken);
    let producer = BatchProducer { id, epoch: 0, base_sequence, is_transactional: true };
    builder.finish_as(Compression::None, &producer).expect("a record")
}

impl Served {
    /// Appends in a producer's transaction, as its coordinator would let it.
    async fn append(&self, value: &str, id: i64, sequence: i32) {
        let batches = vec![in_transaction(value, id, sequence)];
        let appending = self.broker.start_append_in_transaction(&lines(), batches, 0).expect("it is open");
        appending.durable().await.expect("it is synced");
    }

    async fn end(&self, of: &TopicPartition, producer_id: i64, result: TransactionResult) {
        let marker = EndTransactionMarker { producer_id, producer_epoch: 0, coordinator_epoch: 3, result };
        let appending = self.broker.append_marker(of, &marker, 0).expect("nobody is fenced");
        appending.durable().await.expect("it is synced");
    }
}

/// A fetch that returns what is committed.
fn committed(offset: i64, max_wait_ms: i32) -> FetchRequest {
    fetch("lines", vec![from(0, offset, 1 << 20)], max_wait_ms).with_isolation_level(1)
}

#[tokio::test]
async fn who_reads_what_is_committed_waits_at_an_open_transaction_and_is_told_what_was_aborted() {
    let (served, mut client) = served().await;
    client.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["before"]))).await;
    served.append("aborted", 7, 0).await;
    served.append("open", 8, 0).await;
    client.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["behind"]))).await;
    for version in 4..=12 {
        let response = client.ask(version, &committed(0, 0)).await;
        let data = fetched(&response, 0);
        assert_eq!(values(data), ["before"], "{version}");
        assert_eq!((data.high_watermark, data.last_stable_offset), (4, 1), "{version}");
        assert_eq!(data.aborted_transactions, Some(vec![]), "{version}");
        let response = client.ask(version, &fetch("lines", vec![from(0, 0, 1 << 20)], 0)).await;
        let data = fetched(&response, 0);
        assert_eq!(values(data), ["before", "aborted", "open", "behind"], "{version}");
        assert_eq!((data.last_stable_offset, &data.aborted_transactions), (1, &None), "{version}");
    }

    // Who waits there is woken by the marker alone.
    let mut waiting = served.client().await;
    let waits = waiting.send(11, &committed(1, 60_000)).await;
    served.end(&lines(), 7, ABORT).await;
    let response = waiting.receive::<FetchRequest>(11, waits).await;
    let data = fetched(&response, 0);
    assert_eq!((values(data), data.last_stable_offset), (vec!["aborted".to_owned()], 2));
    let named = |data: &kafka_protocol::messages::fetch_response::PartitionData| -> Vec<(i64, i64)> {
        let aborted = data.aborted_transactions.iter().flatten();
        aborted.map(|aborted| (aborted.producer_id.0, aborted.first_offset)).collect()
    };
    assert_eq!(named(data), [(7, 1)]);

    // Bytes that may not be read yet satisfy nobody.
    let wants = committed(2, 60_000).with_min_bytes(1);
    let waits = waiting.send(11, &wants).await;
    client.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["later"]))).await;
    served.end(&lines(), 8, COMMIT).await;
    let response = waiting.receive::<FetchRequest>(11, waits).await;
    let data = fetched(&response, 0);
    assert_eq!((data.high_watermark, data.last_stable_offset), (7, 7));
    assert!(named(data).iter().all(|(producer, _)| *producer == 7));

    let response = client.ask(11, &committed(0, 0)).await;
    assert_eq!(named(fetched(&response, 0)), [(7, 1)]);
    served.stop().await;
}

#[tokio::test]
async fn offsets_are_listed_up_to_what_is_stable_for_who_reads_what_is_committed() {
    let (served, mut client) = served().await;
    client.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["before"]))).await;
    served.append("open", 7, 0).await;
    for (isolation, latest) in [(0, 2), (1, 1)] {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let topic =
            ListOffsetsTopic::default().with_name(topic_name("lines")).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_isolation_level(isolation)
            .with_topics(vec![topic]);
        for version in 2..=7 {
            let response = client.ask(version, &request).await;
            assert_eq!(response.topics[0].partitions[0].offset, latest, "{version}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn batches_of_transactions_and_others_are_kept_apart() {
    let (served, mut client) = served().await;
    let outside = produce("lines", 0, ACKS_ALL, in_transaction("outside", 7, 0).freeze());
    assert_ne!(produced(&client.ask(9, &outside).await).error_code, 0);
    let refused =
        served.broker.start_append_in_transaction(&lines(), vec![batch(&["plain"]).into()], 0).unwrap_err();
    assert!(refused.to_string().contains("part of no transaction"), "{refused}");
    served.append("open", 7, 0).await;
    let plain = produce("lines", 0, ACKS_ALL, sequenced("plain", 7, 0, 1));
    let response = client.ask::<ProduceRequest>(9, &plain).await;
    assert_eq!(produced(&response).error_code, ResponseError::InvalidTxnState.code());
    let _ = client.ask(9, &produce("lines", 0, ACKS_ALL, sequenced("another's", 9, 2, 5))).await;

    let topic = TopicRequest::default().with_name(topic_name("lines")).with_partition_indexes(vec![0, 1]);
    let described = client.ask(0, &DescribeProducersRequest::default().with_topics(vec![topic])).await;
    let partitions = &described.topics[0].partitions;
    let told: Vec<_> = partitions[0]
        .active_producers
        .iter()
        .map(|p| {
            (
                p.producer_id.0,
                p.producer_epoch,
                p.last_sequence,
                p.coordinator_epoch,
                p.current_txn_start_offset,
            )
        })
        .collect();
    assert_eq!(told, [(7, 0, 0, -1, 0), (9, 2, 5, -1, -1)]);
    assert_eq!(partitions[1].error_code, ResponseError::UnknownTopicOrPartition.code());
    served.stop().await;
}
