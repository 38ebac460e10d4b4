//! Browsing and resetting, on a log in memory.

use std::sync::Arc;

use serde_json::{Value, json};
use topo_core::log::{Header, Log, LogError, Record, TopicPartition, TopicSpec};
use topo_core::schedule::TokioScheduler;
use topo_tests::memory_log::MemoryLog;

use super::messages::Browse;
use super::{Full, browse, full};

/// A topic `t` of two partitions: value `P/OFFSET`, key `kP`, times that alternate between the two.
async fn log(records: i64) -> MemoryLog {
    let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
    log.create_topic("t", &TopicSpec { partitions: 2, ..TopicSpec::default() }).await.unwrap();
    for partition in 0..2 {
        let record = |offset| Record {
            key: Some(format!("k{partition}").into()),
            value: Some(format!("{partition}/{offset}").into()),
            headers: vec![Header { key: "from".into(), value: Some("Tests".into()) }],
            timestamp_ms: Some(1_000 + offset * 10 + i64::from(partition)),
        };
        log.append(&TopicPartition::new("t", partition), (0..records).map(record).collect()).await.unwrap();
    }
    log
}

fn asked(of: Value) -> Browse {
    serde_json::from_value(of).unwrap()
}

async fn told(log: &MemoryLog, of: Value) -> (Vec<String>, Value) {
    let told = serde_json::to_value(browse(log, "t", &asked(of)).await.unwrap()).unwrap();
    let texts = told["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["value"]["text"].as_str().unwrap().to_owned());
    (texts.collect(), told["next"].clone())
}

#[tokio::test]
async fn the_newest_messages_come_in_the_order_of_their_times() {
    let log = log(100).await;
    let (texts, next) = told(&log, json!({ "limit": 4 })).await;
    assert_eq!((texts, next), (["0/98", "1/98", "0/99", "1/99"].map(str::to_owned).to_vec(), Value::Null));
    let (texts, _) = told(&log, json!({ "limit": 2, "partition": 1 })).await;
    assert_eq!(texts, ["1/98", "1/99"]);
}

#[tokio::test]
async fn whatever_is_held_is_told_once_page_by_page() {
    let log = log(53).await;
    let (mut all, mut from) = (Vec::new(), json!("start"));
    while let Some(place) = from.as_str() {
        let (texts, next) = told(&log, json!({ "from": place, "limit": 7 })).await;
        assert!(texts.len() <= 7);
        all.extend(texts);
        from = next;
    }
    let expected: Vec<String> =
        (0..53).flat_map(|offset| [format!("0/{offset}"), format!("1/{offset}")]).collect();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn it_begins_at_an_offset_or_a_time() {
    let log = log(20).await;
    let (texts, _) = told(&log, json!({ "from": "offset:18", "partition": 0 })).await;
    assert_eq!(texts, ["0/18", "0/19"]);
    let (texts, _) = told(&log, json!({ "from": "time:1181" })).await;
    assert_eq!(texts, ["1/18", "0/19", "1/19"]);
    // What is not held is the nearest that is.
    assert_eq!(told(&log, json!({ "from": "offset:99", "partition": 0 })).await.0, [""; 0]);
}

#[tokio::test]
async fn a_search_looks_at_keys_values_and_headers() {
    let log = log(40).await;
    let (texts, next) = told(&log, json!({ "search": "/33" })).await;
    assert_eq!((texts, next), (vec!["0/33".to_owned(), "1/33".to_owned()], Value::Null));
    assert_eq!(told(&log, json!({ "search": "K1", "limit": 500 })).await.0.len(), 40);
    assert_eq!(told(&log, json!({ "search": "tests", "partition": 0, "limit": 500 })).await.0.len(), 40);
    assert_eq!(told(&log, json!({ "search": "nowhere" })).await.0, [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_is_said() {
    let log = log(1).await;
    for (of, sentence) in [
        (json!({ "from": "sideways" }), "`from` is start, end, offset:N"),
        (json!({ "from": "offset:x" }), "`from` is start, end, offset:N"),
        (json!({ "from": "next:0-x,1-0" }), "`from` is start, end, offset:N"),
        (json!({ "partition": 2 }), "topic `t` has no partition 2"),
    ] {
        let error = browse(&log, "t", &asked(of)).await.unwrap_err();
        assert!(error.to_string().starts_with(sentence), "{error}");
    }
    assert!(matches!(browse(&log, "u", &Browse::default()).await, Err(LogError::UnknownTopic(_))));
}

#[tokio::test]
async fn headers_are_bounded_however_many_and_long_they_are() {
    let log = log(0).await;
    let header = |number: usize| Header {
        key: format!("{number}{}", "n".repeat(300)).into(),
        value: Some("ä".repeat(400).into()),
    };
    let few =
        vec![Header { key: "k".into(), value: Some("v".into()) }, Header { key: "none".into(), value: None }];
    for headers in
        [few, (0..200).map(header).collect(), vec![Header { key: "ä".repeat(9_000).into(), value: None }]]
    {
        let record = Record { value: Some("v".into()), headers, ..Record::default() };
        log.append(&TopicPartition::new("t", 0), vec![record]).await.unwrap();
    }
    let listed = serde_json::to_value(browse(&log, "t", &Browse::default()).await.unwrap()).unwrap();
    let [few, many, long] = listed["messages"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!((&few["headers"][0][0], &few["headers"][1][1]["form"]), (&json!("k"), &json!("null")));
    assert_eq!(few["headersLeft"], 0);
    // 301 bytes of a name and 800 of a value twice, then what is left.
    let length =
        |header: &Value| header[0].as_str().unwrap().len() + header[1]["text"].as_str().unwrap().len();
    let lengths: Vec<usize> = many["headers"].as_array().unwrap().iter().map(length).collect();
    assert_eq!((&*lengths, &many["headersLeft"]), (&[1_101, 947][..], &json!(198)));
    assert_eq!((length(&long["headers"][0]), &long["headersLeft"]), (2_048, &json!(0)));
}

#[tokio::test]
async fn a_long_message_is_cut_in_the_list_and_whole_alone() {
    let log = log(0).await;
    let long = "x".repeat(100_000);
    let record = Record { value: Some(long.clone().into()), ..Record::default() };
    log.append(&TopicPartition::new("t", 0), vec![record]).await.unwrap();
    let listed = serde_json::to_value(browse(&log, "t", &Browse::default()).await.unwrap()).unwrap();
    let value = &listed["messages"][0]["value"];
    assert_eq!(
        (value["text"].as_str().unwrap().len(), &value["bytes"], &value["cut"]),
        (2_048, &json!(100_000), &json!(true))
    );
    let ask = |offset| serde_json::from_value::<Full>(json!({ "partition": 0, "offset": offset })).unwrap();
    let alone = serde_json::to_value(full(&log, "t", &ask(0)).await.unwrap().unwrap()).unwrap();
    assert_eq!(alone["value"]["text"], long);
    // Its end is the search's business, too.
    let found = browse(&log, "t", &asked(json!({ "search": "XXX" }))).await.unwrap();
    assert_eq!(serde_json::to_value(found).unwrap()["messages"].as_array().unwrap().len(), 1);
}
