//! Groups of members of different languages: everybody's records are read, whoever is killed.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::Broker;
use crate::client::{Client, Member, PATIENCE, are_installed, wait_until};
use crate::record::{Without, corpus};

const PARTITIONS: i32 = 6;
const RECORDS: usize = 600;

fn topic(broker: &Broker) {
    broker.topo(&["topic", "create", "t", "--partitions", "6"]);
}

fn produce(broker: &Broker, seed: u64) {
    let mut records = corpus(seed, RECORDS, PARTITIONS, Without::default());
    records.retain(|record| record.value.as_ref().is_none_or(|value| value.len() < 10_000));
    records.resize(RECORDS, records[records.len() - 1].clone());
    // The one codec that every client has.
    Client::Confluent.produce(broker.address(), "t", "gzip", &records);
}

/// Which records, by partition and offset, were read by any of them.
fn read(members: &[&mut Member]) -> BTreeSet<(i32, i64)> {
    let records = members.iter().flat_map(|member| &member.records);
    records.map(|record| (record.partition, record.offset.unwrap())).collect()
}

fn is_divided(members: &[&mut Member]) -> bool {
    let mut all: Vec<i32> = members.iter().flat_map(|member| member.partitions.clone()).collect();
    all.sort_unstable();
    all == (0..PARTITIONS).collect::<Vec<_>>() && members.iter().all(|member| !member.partitions.is_empty())
}

/// Two members share a topic; one is killed; the other reads on alone, and a third comes.
fn survives_a_kill(first: Client, second: Client, assignor: &str) {
    if !are_installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    topic(&broker);
    let join = |client: Client, name: &str| {
        client.member(broker.address(), "t", "g", &["--name", name, "--assignor", assignor])
    };
    let (mut one, mut two) = (join(first, "one"), join(second, "two"));
    wait_until(&mut [&mut one, &mut two], "both have partitions", is_divided);
    produce(&broker, 1);
    wait_until(&mut [&mut one, &mut two], "all is read", |members| read(members).len() == RECORDS);
    assert!(!one.records.is_empty() && !two.records.is_empty());

    two.kill();
    produce(&broker, 2);
    wait_until(&mut [&mut one, &mut two], "one has taken over", |members| {
        members[0].partitions.len() == PARTITIONS as usize && read(members).len() == 2 * RECORDS
    });

    let mut three = join(second, "three");
    wait_until(&mut [&mut one, &mut three], "a third has its share", is_divided);
    produce(&broker, 3);
    wait_until(&mut [&mut one, &mut two, &mut three], "all is read", |members| {
        read(members).len() == 3 * RECORDS
    });
    one.leave();
    three.leave();
    let described = broker.topo(&["group", "describe", "g"]);
    assert!(described.contains("Empty"), "{described}");
}

#[test]
fn range_members_of_two_languages_survive_a_kill() {
    survives_a_kill(Client::Confluent, Client::KafkaPython, "range");
}

#[test]
fn round_robin_members_of_two_languages_survive_a_kill() {
    survives_a_kill(Client::Kafkajs, Client::Confluent, "roundrobin");
}

#[test]
fn cooperative_members_survive_a_kill() {
    survives_a_kill(Client::Confluent, Client::Confluent, "cooperative-sticky");
}

/// A group's position survives a broker's kill -9, and so does its membership.
#[test]
fn a_position_survives_a_kill_of_the_broker() {
    if !are_installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let address = broker.address();
    topic(&broker);
    produce(&broker, 1);
    let join = || Client::Confluent.member(address, "t", "g", &["--name", "one", "--instance", "static"]);
    let mut one = join();
    wait_until(&mut [&mut one], "all is read", |members| read(members).len() == RECORDS);
    wait_until_committed(&broker, "g", PARTITIONS);
    let before = read(&[&mut one]);
    broker.kill();
    one.kill();

    let broker = Broker::start_at(dir.path(), address);
    produce(&broker, 2);
    let mut one = join();
    wait_until(&mut [&mut one], "what came since is read", |members| read(members).len() >= RECORDS);
    assert!(read(&[&mut one]).is_disjoint(&before), "read again, though it was committed");
    drop(one);
    drop(broker);
}

/// Waits until nothing is left to read for the group in so many partitions, as `topo group describe` shows it.
pub(crate) fn wait_until_committed(broker: &Broker, group: &str, partitions: i32) {
    let begun = Instant::now();
    loop {
        // There may be no such group yet.
        let described = broker.try_topo(&["group", "describe", group, "--json"]).unwrap_or_default();
        let told: Value = serde_json::from_str(&described).unwrap_or_default();
        let all = told["partitions"].as_array();
        if all.into_iter().flatten().filter(|one| one["lag"] == 0).count() == partitions as usize {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{described}");
        sleep(Duration::from_millis(20));
    }
}
