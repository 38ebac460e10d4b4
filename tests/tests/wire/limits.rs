//! What clients may cost, and that nobody pays for another.

use std::time::Duration;

use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use topo_broker::Limits;
use topo_tests::wire_client::WireClient;

use super::Served;
use super::requests::*;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);

async fn limited(change: impl FnOnce(&mut Limits)) -> Served {
    let served = Served::start_with(|config| change(&mut config.limits)).await;
    served.broker.create_topic("lines", 1, [].into()).await.expect("a new topic");
    served
}

/// Whether the connection is closed by the server, unanswered.
async fn is_closed(client: &mut WireClient) -> bool {
    client.receive_bytes().await.is_none()
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_free_places_are_taken() {
    let served = limited(|limits| limits.connections = 2).await;
    let mut first = served.client().await;
    let mut second = served.client().await;
    for client in [&mut first, &mut second] {
        client.ask(0, &ApiVersionsRequest::default()).await;
    }
    assert!(is_closed(&mut served.client().await).await);
    drop(second);
    // As soon as the server has noticed.
    loop {
        let mut third = served.client().await;
        third.try_send(0, &ApiVersionsRequest::default()).await;
        if third.receive_bytes().await.is_some() {
            break;
        }
    }
    first.ask(0, &ApiVersionsRequest::default()).await;
    served.stop().await;
}

#[tokio::test]
async fn who_says_nothing_is_closed_and_who_waits_for_an_answer_is_not() {
    let soon = Duration::from_millis(50);
    let served = limited(|limits| (limits.first_request, limits.idle) = (soon, LONG)).await;
    assert!(is_closed(&mut served.client().await).await);
    served.stop().await;

    let served = limited(|limits| (limits.first_request, limits.idle) = (LONG, soon)).await;
    let mut idle = served.client().await;
    idle.ask(0, &ApiVersionsRequest::default()).await;
    assert!(is_closed(&mut idle).await);
    let mut waiting = served.client().await;
    let id = waiting.send(11, &fetch("lines", vec![from(0, 0, 1000)], 3_600_000)).await;
    // Idle much longer than it might be, but for the request under way.
    tokio::time::sleep(soon * 6).await;
    served.client().await.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["late"]))).await;
    let response = waiting.receive::<FetchRequest>(11, id).await;
    assert_eq!(values(fetched(&response, 0)), ["late"]);
    served.stop().await;
}

#[tokio::test]
async fn a_request_that_is_too_long_or_too_slow_is_not_read_to_its_end() {
    let served = limited(|limits| {
        (limits.request_bytes, limits.transfer) = (1000, Duration::from_millis(100));
    })
    .await;
    let mut large = served.client().await;
    large.try_send(9, &produce("lines", 0, ACKS_ALL, batch(&["x".repeat(1000).as_str()]))).await;
    assert!(is_closed(&mut large).await);
    let mut slow = served.client().await;
    slow.send_bytes(b"\x00\x00\x03\x00\x00\x03").await;
    assert!(is_closed(&mut slow).await);
    served.client().await.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["x"]))).await;
    served.stop().await;
}

#[tokio::test]
async fn requests_that_hold_the_memory_and_do_not_come_make_way() {
    let served = limited(|limits| {
        limits.request_memory = 1 << 20;
        limits.wanted_grace = Duration::from_millis(100);
    })
    .await;
    let mut hogs = Vec::new();
    for _ in 0..64 {
        let mut hog = served.client().await;
        // Half a MiB is announced; of each one 60 KiB come, which is four times the memory in all.
        hog.send_bytes(&(512_i32 << 10).to_be_bytes()).await;
        hog.send_bytes(&vec![0; 60 << 10]).await;
        hogs.push(hog);
    }
    let mut client = served.client().await;
    for number in 0..100 {
        let value = format!("{number} {}", "x".repeat(50_000));
        let response = client.ask(9, &produce("lines", 0, ACKS_ALL, batch(&[&value]))).await;
        assert_eq!(produced(&response).error_code, 0);
    }
    let response = client.ask(11, &fetch("lines", vec![from(0, 99, 1 << 20)], 0)).await;
    assert_eq!(values(fetched(&response, 0)).len(), 1);
    served.stop().await;
}

#[tokio::test]
async fn responses_that_nobody_takes_make_way() {
    let served = limited(|limits| {
        limits.response_memory = 1 << 20;
        limits.wanted_grace = Duration::from_millis(100);
    })
    .await;
    let mut client = served.client().await;
    for _ in 0..20 {
        client.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["x".repeat(500_000).as_str()]))).await;
    }
    let rest = |offset| fetch("lines", vec![from(0, offset, 20 << 20)], 0);
    let mut deaf = Vec::new();
    for _ in 0..10 {
        let mut client = served.client().await;
        client.send(11, &rest(0)).await;
        deaf.push(client);
    }
    // Answers may be short while memory is, and each brings something.
    let mut next = 0;
    while next < 20 {
        let response = client.ask(11, &rest(next)).await;
        let brought = values(fetched(&response, 0)).len() as i64;
        assert!(brought > 0, "at {next}");
        next += brought;
    }
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_without_end_and_takes_no_answer_is_held() {
    let served = limited(|limits| limits.requests_per_connection = 2).await;
    let mut client = served.client().await;
    let waiting = client.send(11, &fetch("lines", vec![from(0, 0, 1000)], 3_600_000)).await;
    let second = client.send(4, &MetadataRequest::default()).await;
    // More than may be under way: written only once the first is answered.
    let third = client.send(9, &produce("lines", 0, ACKS_ALL, batch(&["third"]))).await;
    let fourth = client.send(9, &produce("lines", 0, ACKS_ALL, batch(&["fourth"]))).await;
    served.client().await.ask(9, &produce("lines", 0, ACKS_ALL, batch(&["other"]))).await;
    client.receive::<FetchRequest>(11, waiting).await;
    client.receive::<MetadataRequest>(4, second).await;
    for id in [third, fourth] {
        assert_eq!(produced(&client.receive::<ProduceRequest>(9, id).await).error_code, 0);
    }
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place_however_long_it_wanted_to_wait() {
    let served = limited(|limits| limits.connections = 1).await;
    let mut client = served.client().await;
    client.send(11, &fetch("lines", vec![from(0, 0, 1000)], i32::MAX)).await;
    client.finish().await;
    let data = client.receive::<FetchRequest>(11, 1).await;
    assert_eq!(fetched(&data, 0).error_code, 0);
    assert!(is_closed(&mut client).await);
    drop(client);
    loop {
        let mut next = served.client().await;
        next.try_send(0, &ApiVersionsRequest::default()).await;
        if next.receive_bytes().await.is_some() {
            break;
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_nobody_who_is_half_way_through_a_request() {
    let served = limited(|limits| limits.shutdown = LONG).await;
    let mut half = served.client().await;
    half.ask(0, &ApiVersionsRequest::default()).await;
    half.send_bytes(b"\x00\x00\x03\x00\x00\x03").await;
    let mut waiting = served.client().await;
    let id = waiting.send(11, &fetch("lines", vec![from(0, 0, 1000)], i32::MAX)).await;
    // Behind it on the same connection, so that the fetch is under way once this one has been read.
    waiting.send(4, &MetadataRequest::default()).await;
    let mut other = served.client().await;
    other.ask(4, &MetadataRequest::default()).await;
    let (_, answer) = tokio::join!(served.stop(), waiting.receive_bytes());
    // Answered where it was begun in time.
    drop((answer, id));
    assert!(is_closed(&mut half).await);
}
