//! What is no request ends its connection, and nobody else's.

use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use topo_tests::wire_client::{WireClient, frame};

use super::Served;

/// Whether the server still answers.
async fn is_served(served: &Served) -> bool {
    served.client().await.ask(0, &ApiVersionsRequest::default()).await.error_code == 0
}

/// Sends bytes on a connection of their own, which has to be closed unanswered.
async fn closed(served: &Served, bytes: &[u8]) {
    let mut client = served.client().await;
    client.send_bytes(bytes).await;
    let answer = client.receive_bytes().await;
    assert!(answer.is_none(), "{bytes:02x?} is answered with {answer:02x?}");
}

#[tokio::test]
async fn what_is_no_request_closes_its_connection() {
    let served = Served::start().await;
    let metadata = frame(1, 4, &MetadataRequest::default());
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = metadata.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    for bytes in [
        b"\xff\xff\xff\xff".to_vec(),
        b"\x7f\xff\xff\xff".to_vec(),
        b"\x00\x00\x00\x00".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        // Key 71 is telemetry, which nobody is to be told of.
        with(4, &71_i16.to_be_bytes()),
        with(4, &(-1_i16).to_be_bytes()),
        with(6, &99_i16.to_be_bytes()),
        with(12, &i16::MAX.to_be_bytes()),
    ] {
        closed(&served, &bytes).await;
    }
    assert!(is_served(&served).await);
    served.stop().await;
}

/// librdkafka asks for all topics with three bytes too many.
#[tokio::test]
async fn stray_bytes_behind_a_request_are_let_through() {
    let served = Served::start().await;
    let metadata = frame(1, 9, &MetadataRequest::default());
    let stray = [&(metadata.len() as i32 - 1).to_be_bytes(), &metadata[4..], &[0; 3]].concat();
    let mut client = served.client().await;
    client.send_bytes(&stray).await;
    assert!(client.receive_bytes().await.is_some());
    served.stop().await;
}

#[tokio::test]
async fn what_was_asked_before_is_answered_first() {
    let served = Served::start().await;
    let mut client = served.client().await;
    let id = client.send(4, &MetadataRequest::default()).await;
    client.send_bytes(b"\xff\xff\xff\xff").await;
    client.receive::<MetadataRequest>(4, id).await;
    assert!(client.receive_bytes().await.is_none());
    served.stop().await;
}

#[tokio::test]
async fn random_bytes_harm_nobody() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let served = Served::start().await;
    let sound = frame(1, 9, &MetadataRequest::default());
    for _ in 0..300 {
        let mut bytes = sound.to_vec();
        for _ in 0..random.random_range(1..4) {
            // Behind the length.
            let at = random.random_range(4..bytes.len());
            bytes[at] = random.random();
        }
        let mut client = WireClient::connect(served.address()).await;
        client.send_bytes(&bytes).await;
        client.finish().await;
        client.receive_bytes().await;
    }
    assert!(is_served(&served).await);
    served.stop().await;
}

/// A Produce as it was before version 3, of one empty set of records.
fn old_produce(version: i16, acks: i16) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend([0, 0]);
    body.extend(version.to_be_bytes());
    body.extend(b"\x00\x00\x00\x07\xff\xff");
    body.extend(acks.to_be_bytes());
    body.extend(b"\x00\x00\x00\x64\x00\x00\x00\x01\x00\x05lines");
    body.extend(b"\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00\x00");
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

#[tokio::test]
async fn a_produce_of_the_first_versions_is_told_that_they_are_not_served() {
    let served = Served::start().await;
    for version in 0..=2 {
        let mut client = served.client().await;
        client.send_bytes(&old_produce(version, 1)).await;
        let mut expected = b"\x00\x00\x00\x07\x00\x00\x00\x01\x00\x05lines\x00\x00\x00\x01".to_vec();
        // Partition 3, error 35, no offset; a time from version 2 on, and from version 1 on how long to wait.
        expected.extend(b"\x00\x00\x00\x03\x00\x23\xff\xff\xff\xff\xff\xff\xff\xff");
        expected.extend(vec![0xff; if version >= 2 { 8 } else { 0 }]);
        expected.extend(vec![0; if version >= 1 { 4 } else { 0 }]);
        assert_eq!(client.receive_bytes().await.as_deref(), Some(&expected[..]), "{version}");
        closed(&served, &old_produce(version, 0)).await;
        let whole = old_produce(version, 1);
        let cut = [&(whole.len() as u32 - 5).to_be_bytes()[..], &whole[4..whole.len() - 1]].concat();
        closed(&served, &cut).await;
    }
    served.stop().await;
}
