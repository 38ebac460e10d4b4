//! Records in and out.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::{FetchRequest, InitProducerIdRequest, ListOffsetsRequest, ProduceRequest};
use topo_protocol::{BatchHeader, Compression};
use topo_tests::wire_client::WireClient;

use super::Served;
use super::requests::*;

async fn served() -> (Served, WireClient) {
    let served = Served::start().await;
    served.broker.create_topic("lines", 3, [].into()).await.expect("a new topic");
    let client = served.client().await;
    (served, client)
}

#[tokio::test]
async fn what_any_version_and_codec_produces_every_version_fetches() {
    let (served, mut client) = served().await;
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut expected = Vec::new();
    for version in 3..=11 {
        for codec in codecs {
            let value = format!("{version} {codec}");
            let request = produce("lines", 1, ACKS_ALL, batch_at(&[&value, "and"], 0, codec).freeze());
            let response = client.ask(version, &request).await;
            if version < 7 && codec == Compression::Zstd {
                let code = ResponseError::UnsupportedCompressionType.code();
                assert_eq!(produced(&response).error_code, code);
                continue;
            }
            assert_eq!(
                (produced(&response).error_code, produced(&response).base_offset),
                (0, expected.len() as i64)
            );
            if version >= 5 {
                assert_eq!(produced(&response).log_start_offset, 0);
            }
            expected.extend([value, "and".to_owned()]);
        }
    }
    for version in 4..=12 {
        let response = client.ask(version, &fetch("lines", vec![from(1, 0, 1 << 20)], 0)).await;
        let data = fetched(&response, 0);
        // Up to what Zstandard compressed, or all.
        let zstd = expected.iter().position(|value| value.ends_with("zstd")).expect("some is");
        let known = if version < 10 { zstd } else { expected.len() };
        assert_eq!(values(data), expected[..known], "{version}");
        let response = client.ask(version, &fetch("lines", vec![from(1, zstd as i64, 1 << 20)], 0)).await;
        let from_there = fetched(&response, 0);
        let refused = if version < 10 { ResponseError::UnsupportedCompressionType.code() } else { 0 };
        assert_eq!(from_there.error_code, refused);
        assert_eq!(values(from_there), expected[if version < 10 { expected.len() } else { zstd }..]);
        assert_eq!((data.error_code, data.high_watermark), (0, expected.len() as i64));
        assert_eq!(data.last_stable_offset, data.high_watermark);
        assert_eq!((response.session_id, data.preferred_read_replica.0), (0, -1));
        assert_eq!(data.aborted_transactions, None);
    }
    let committed = fetch("lines", vec![from(1, 0, 1 << 20)], 0).with_isolation_level(1);
    let response = client.ask(11, &committed).await;
    assert_eq!(fetched(&response, 0).aborted_transactions, Some(vec![]));
    // From within a batch on, the whole batch.
    let response = client.ask(11, &fetch("lines", vec![from(1, 1, 1)], 0)).await;
    assert_eq!(values(fetched(&response, 0)), expected[..2]);
    served.stop().await;
}

#[tokio::test]
async fn requests_in_flight_keep_their_order_and_an_earlier_fetch_does_not_hold_up_what_it_waits_for() {
    let (served, mut client) = served().await;
    let waiting = client.send(11, &fetch("lines", vec![from(0, 0, 1 << 20)], 60_000)).await;
    let mut ids = Vec::new();
    for number in 0..200 {
        // The last one is all's: what only the leader has to have is read once it is synced, some time later.
        let acks = [1, ACKS_ALL][number % 2];
        ids.push(client.send(9, &produce("lines", 0, acks, batch(&[&number.to_string()]))).await);
        if ids.len() > 20 {
            // Never more under way than the server takes in before it waits for its answers to be read.
            if ids.len() == 21 {
                let first = client.receive::<FetchRequest>(11, waiting).await;
                assert_eq!(values(fetched(&first, 0))[0], "0");
            }
            let next = ids.len() - 21;
            let response = client.receive::<ProduceRequest>(9, ids[next]).await;
            assert_eq!((produced(&response).error_code, produced(&response).base_offset), (0, next as i64));
        }
    }
    for (next, id) in ids.into_iter().enumerate().skip(180) {
        let response = client.receive::<ProduceRequest>(9, id).await;
        assert_eq!((produced(&response).error_code, produced(&response).base_offset), (0, next as i64));
    }
    let response = client.ask(11, &fetch("lines", vec![from(0, 0, 1 << 20)], 0)).await;
    let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    assert_eq!(values(fetched(&response, 0)), expected);
    served.stop().await;
}

#[tokio::test]
async fn who_wants_no_acknowledgement_gets_no_answer_and_is_cut_off_where_it_should_know_better() {
    let (served, mut client) = served().await;
    client.send(9, &produce("lines", 0, 0, batch(&["quiet"]))).await;
    // The next answer is the fetch's.
    let response = client.ask(11, &fetch("lines", vec![from(0, 0, 1 << 20)], 60_000)).await;
    assert_eq!(values(fetched(&response, 0)), ["quiet"]);
    client.send(9, &produce("none", 0, 0, batch(&["lost"]))).await;
    assert!(client.receive_bytes().await.is_none());
    served.stop().await;
}

#[tokio::test]
async fn what_cannot_be_appended_is_refused_for_its_partition_alone() {
    let (served, mut client) = served().await;
    let small = [("max.message.bytes".to_owned(), "100".to_owned())].into();
    served.broker.create_topic("small", 1, small).await.unwrap();
    let sound = batch(&["sound"]);
    let mut flipped = BytesMut::from(&sound[..]);
    *flipped.last_mut().unwrap() ^= 1;
    let mut old = BytesMut::from(&sound[..]);
    old[16] = 1;
    let twice = Bytes::from([&sound[..], &sound[..]].concat());
    let control = {
        let mut control = BytesMut::from(&sound[..]);
        control[22] |= 0x20;
        let crc = crc32c::crc32c(&control[21..]);
        control[17..21].copy_from_slice(&crc.to_be_bytes());
        control.freeze()
    };
    for (topic, partition, acks, records, code) in [
        ("none", 0, ACKS_ALL, sound.clone(), ResponseError::UnknownTopicOrPartition),
        ("lines", 3, ACKS_ALL, sound.clone(), ResponseError::UnknownTopicOrPartition),
        ("lines", -1, ACKS_ALL, sound.clone(), ResponseError::UnknownTopicOrPartition),
        ("lines", 0, 2, sound.clone(), ResponseError::InvalidRequiredAcks),
        ("lines", 0, ACKS_ALL, Bytes::new(), ResponseError::InvalidRecord),
        ("lines", 0, ACKS_ALL, flipped.freeze(), ResponseError::CorruptMessage),
        ("lines", 0, ACKS_ALL, sound.slice(..sound.len() - 1), ResponseError::CorruptMessage),
        ("lines", 0, ACKS_ALL, old.freeze(), ResponseError::UnsupportedForMessageFormat),
        ("lines", 0, ACKS_ALL, twice, ResponseError::InvalidRecord),
        ("lines", 0, ACKS_ALL, control, ResponseError::InvalidRecord),
        ("small", 0, ACKS_ALL, batch(&["x".repeat(100).as_str()]), ResponseError::MessageTooLarge),
        ("__consumer_offsets", 0, ACKS_ALL, sound.clone(), ResponseError::InvalidTopicException),
    ] {
        let mut request = produce(topic, partition, acks, records);
        let good = produce("lines", 2, acks, sound.clone()).topic_data;
        request.topic_data.extend(good);
        let response = client.ask(9, &request).await;
        assert_eq!(produced(&response).error_code, code.code(), "{topic} {partition} {code:?}");
        assert!(produced(&response).error_message.is_some());
        let beside = response.responses[1].partition_responses[0].error_code;
        assert_eq!(beside == 0, code != ResponseError::InvalidRequiredAcks, "{topic} {partition}");
    }
    let response = client.ask(11, &fetch("lines", vec![from(0, 0, 1 << 20)], 0)).await;
    assert!(values(fetched(&response, 0)).is_empty());
    served.stop().await;
}

#[tokio::test]
async fn a_fetch_without_news_returns_no_records_which_is_not_null() {
    let (served, mut client) = served().await;
    for version in 4..=12 {
        let response = client.ask(version, &fetch("lines", vec![from(0, 0, 1 << 20)], 1)).await;
        let data = fetched(&response, 0);
        assert_eq!((data.error_code, data.high_watermark), (0, 0));
        assert_eq!(data.records, Some(Bytes::new()));
    }
    served.stop().await;
}

#[tokio::test]
async fn a_fetch_is_bounded_in_each_partition_and_in_all_but_makes_progress() {
    let (served, mut client) = served().await;
    let bytes = batch(&["0123456789"]).len() as i32;
    for partition in 0..3 {
        for _ in 0..5 {
            client.ask(9, &produce("lines", partition, ACKS_ALL, batch(&["0123456789"]))).await;
        }
    }
    let counts = async |client: &mut WireClient, each: i32, all: i32| {
        let partitions = (0..3).map(|partition| from(partition, 0, each)).collect();
        let response = client.ask(11, &fetch("lines", partitions, 0).with_max_bytes(all)).await;
        (0..3).map(|at| values(fetched(&response, at)).len()).collect::<Vec<_>>()
    };
    assert_eq!(counts(&mut client, 1 << 20, 1 << 20).await, [5, 5, 5]);
    assert_eq!(counts(&mut client, bytes * 2, 1 << 20).await, [2, 2, 2]);
    assert_eq!(counts(&mut client, 1 << 20, bytes * 7).await, [5, 2, 0]);
    // Too little for a batch: the first one all the same, and no other.
    assert_eq!(counts(&mut client, 1, 1 << 20).await, [1, 0, 0]);
    assert_eq!(counts(&mut client, 1 << 20, 1).await, [1, 0, 0]);
    served.stop().await;
}

#[tokio::test]
async fn a_fetch_waits_for_as_many_bytes_as_it_wants_over_all_its_partitions() {
    let (served, mut client) = served().await;
    let bytes = batch(&["0123456789"]).len() as i32;
    let partitions = (0..3).map(|partition| from(partition, 0, 1 << 20)).collect();
    let wanted = fetch("lines", partitions, 60_000).with_min_bytes(bytes * 4);
    let waiting = client.send(11, &wanted).await;
    let mut producer = served.client().await;
    for partition in [0, 1, 1, 2] {
        producer.ask(9, &produce("lines", partition, ACKS_ALL, batch(&["0123456789"]))).await;
    }
    let response = client.receive::<FetchRequest>(11, waiting).await;
    let counts: Vec<usize> = (0..3).map(|at| values(fetched(&response, at)).len()).collect();
    assert_eq!(counts, [1, 2, 1]);
    served.stop().await;
}

#[tokio::test]
async fn what_cannot_be_fetched_is_said_at_once() {
    let (served, mut client) = served().await;
    client.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["only"]))).await;
    for (topic, from, code) in [
        ("none", from(0, 0, 1000), ResponseError::UnknownTopicOrPartition),
        ("lines", from(3, 0, 1000), ResponseError::UnknownTopicOrPartition),
        ("lines", from(0, 2, 1000), ResponseError::OffsetOutOfRange),
        ("lines", from(0, -1, 1000), ResponseError::OffsetOutOfRange),
        ("lines", from(0, 0, 1000).with_current_leader_epoch(1), ResponseError::UnknownLeaderEpoch),
    ] {
        let response = client.ask(11, &fetch(topic, vec![from], 3_600_000)).await;
        assert_eq!(fetched(&response, 0).error_code, code.code(), "{topic} {code:?}");
        assert_eq!(fetched(&response, 0).records, Some(Bytes::new()));
    }
    let known = fetch("lines", vec![from(0, 0, 1000).with_current_leader_epoch(0)], 0);
    assert_eq!(fetched(&client.ask(11, &known).await, 0).error_code, 0);
    let in_session = fetch("lines", vec![], 3_600_000).with_session_id(7).with_session_epoch(3);
    let response = client.ask(11, &in_session).await;
    assert_eq!(response.error_code, ResponseError::FetchSessionIdNotFound.code());
    served.stop().await;
}

#[tokio::test]
async fn a_waiting_fetch_ends_with_its_topic_and_with_the_server() {
    let (served, mut client) = served().await;
    served.broker.create_topic("short", 1, [].into()).await.unwrap();
    let waiting = client.send(11, &fetch("short", vec![from(0, 0, 1000)], 3_600_000)).await;
    // Answered behind the fetch, so the fetch has been started by the time that it was read.
    served.client().await.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["x"]))).await;
    served.broker.delete_topic("short").await.unwrap();
    let response = client.receive::<FetchRequest>(11, waiting).await;
    assert_eq!(fetched(&response, 0).error_code, ResponseError::UnknownTopicOrPartition.code());

    let waiting = client.send(11, &fetch("lines", vec![from(1, 0, 1000)], 3_600_000)).await;
    let (_, response) = tokio::join!(served.stop(), client.receive_bytes());
    // Answered, or closed where it was not begun; never left waiting.
    drop((response, waiting));
}

async fn list(client: &mut WireClient, version: i16, at: i64) -> ListOffsetsPartitionResponse {
    let partition = ListOffsetsPartition::default().with_timestamp(at);
    let topic = ListOffsetsTopic::default().with_name(topic_name("lines")).with_partitions(vec![partition]);
    let response = client.ask(version, &ListOffsetsRequest::default().with_topics(vec![topic])).await;
    response.topics[0].partitions[0].clone()
}

#[tokio::test]
async fn offsets_are_found_by_time_and_at_both_ends() {
    let (served, mut client) = served().await;
    for (values, time) in [(["a", "b"], 1_000), (["c", "d"], 3_000), (["e", "f"], 2_000)] {
        let records = batch_at(&values, time, Compression::None).freeze();
        client.ask(9, &produce("lines", 0, ACKS_ALL, records)).await;
    }
    for version in 1..=7 {
        for (at, offset, time) in
            [(-1, 6, -1), (-2, 0, -1), (0, 0, 1_000), (1_001, 1, 1_001), (2_000, 2, 3_000), (3_002, -1, -1)]
        {
            let found = list(&mut client, version, at).await;
            assert_eq!(
                (found.error_code, found.offset, found.timestamp),
                (0, offset, time),
                "{version} {at}"
            );
            if version >= 4 {
                assert_eq!(found.leader_epoch, if offset < 0 { -1 } else { 0 });
            }
        }
    }
    let found = list(&mut client, 7, -3).await;
    assert_eq!((found.offset, found.timestamp), (3, 3_001));
    assert_eq!(list(&mut client, 6, -3).await.error_code, ResponseError::UnsupportedVersion.code());
    served.stop().await;
}

async fn producer_id(client: &mut WireClient, version: i16) -> i64 {
    let request = InitProducerIdRequest::default().with_transactional_id(None);
    let response = client.ask(version, &request).await;
    assert_eq!((response.error_code, response.producer_epoch), (0, 0));
    response.producer_id.0
}

#[tokio::test]
async fn what_an_idempotent_producer_sends_twice_is_stored_once_across_a_restart() {
    let (served, mut client) = served().await;
    let mut ids = HashSet::new();
    for version in 0..=4 {
        assert!(ids.insert(producer_id(&mut client, version).await));
    }
    let id = producer_id(&mut client, 4).await;
    let send = async |client: &mut WireClient, sequence: i32, epoch: i16| {
        let records = sequenced(&sequence.to_string(), id, epoch, sequence);
        let response = client.ask(9, &produce("lines", 0, ACKS_ALL, records)).await;
        (produced(&response).error_code, produced(&response).base_offset)
    };
    for sequence in 0..6 {
        assert_eq!(send(&mut client, sequence, 0).await, (0, i64::from(sequence)));
    }
    assert_eq!(send(&mut client, 4, 0).await, (0, 4), "sent again");
    assert_eq!(send(&mut client, 7, 0).await.0, ResponseError::OutOfOrderSequenceNumber.code());
    let dir = served.stop().await;

    let served = Served::start_in(dir, |_| {}).await;
    let mut client = served.client().await;
    assert_eq!(send(&mut client, 5, 0).await, (0, 5), "sent again after a restart");
    assert_eq!(send(&mut client, 6, 0).await, (0, 6));
    assert_eq!(send(&mut client, 0, 1).await, (0, 7), "a new epoch begins anew");
    assert_eq!(send(&mut client, 7, 0).await.0, ResponseError::InvalidProducerEpoch.code());
    assert!(ids.insert(producer_id(&mut client, 4).await), "given out before the restart");
    served.stop().await;
}

#[tokio::test]
async fn batches_are_stored_as_they_were_sent() {
    let (served, mut client) = served().await;
    let sent = batch_at(&["a", "b"], 5, Compression::Lz4);
    for _ in 0..2 {
        client.ask(9, &produce("lines", 0, ACKS_ALL, sent.clone().freeze())).await;
    }
    let response = client.ask(11, &fetch("lines", vec![from(0, 0, 1 << 20)], 0)).await;
    let records = fetched(&response, 0).records.clone().unwrap();
    let second = &records[sent.len()..];
    assert_eq!(BatchHeader::parse(second).unwrap().base_offset, 2);
    // Base offset and leader epoch apart.
    assert_eq!((&second[8..12], &second[16..]), (&sent[8..12], &sent[16..]));
    served.stop().await;
}
