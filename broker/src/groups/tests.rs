//! Groups on a broker: members in the process, deletions, limits, and what a restart finds. The clock is tokio's, and
//! stands until everybody waits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use topo_log::storage::{Fault, MemoryStorage, SimulatedDisk, Storage};

use super::*;
use crate::broker::Broker;
use crate::config::{BrokerConfig, GroupConfig};
use crate::offsets::CommittedOffset;
use crate::topic::TopicPartition;

fn open(storage: impl Storage + 'static, groups: GroupConfig) -> Broker {
    let config = BrokerConfig { groups, ..BrokerConfig::default() };
    Broker::open_on(Arc::new(storage), Path::new("/data"), config).unwrap()
}

async fn with_lines(partitions: u32) -> Broker {
    let broker = open(MemoryStorage::new(), GroupConfig::default());
    broker.create_topic("lines", partitions, BTreeMap::new()).await.unwrap();
    broker
}

fn lines(partition: u32) -> TopicPartition {
    TopicPartition::new("lines", partition)
}

fn member(broker: &Broker) -> Membership {
    broker.groups().member(MemberConfig::new("g", vec!["lines".into()]))
}

fn at(offset: i64) -> CommittedOffset {
    CommittedOffset { offset, leader_epoch: 0, metadata: "m".to_owned(), commit_timestamp_ms: 7 }
}

fn request(member_id: &str, metadata: &[u8]) -> JoinRequest {
    JoinRequest {
        member_id: member_id.into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/h".into(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(30),
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::copy_from_slice(metadata))],
        needs_known_id: false,
        can_skip_assignment: false,
    }
}

/// Joins a group of one and syncs.
async fn alone(groups: &Groups, group: &str) -> Result<(Claim, Bytes), GroupError> {
    let joined = groups.join(group, request("", b"x")).await?;
    let claim =
        Claim { member_id: joined.member_id.clone(), instance_id: None, generation: joined.generation };
    let assignments = vec![(joined.member_id, Bytes::from_static(b"all"))];
    let request = SyncRequest { claim: claim.clone(), protocol_type: None, protocol: None, assignments };
    Ok((claim, groups.sync(group, request).await?.assignment))
}

fn assigned(change: Change) -> BTreeSet<TopicPartition> {
    match change {
        Change::Assigned(partitions) => partitions.into_iter().collect(),
        other => panic!("{other:?} is no assignment"),
    }
}

#[tokio::test(start_paused = true)]
async fn members_share_a_topic_and_take_over_from_each_other() {
    let broker = with_lines(5).await;
    let mut first = member(&broker);
    assert_eq!(assigned(first.next().await.unwrap()).len(), 5);
    first.commit(&[(lines(0), at(1))]).await.unwrap();
    let mut second = member(&broker);
    let (share, rest) = tokio::join!(second.next(), async {
        assert_eq!(first.next().await.unwrap(), Change::Revoked);
        // What was done until now may still be committed.
        first.commit(&[(lines(4), at(2))]).await.unwrap();
        first.next().await.unwrap()
    });
    let (share, rest) = (assigned(share.unwrap()), assigned(rest));
    assert_eq!((share.len().abs_diff(rest.len()), share.union(&rest).count()), (1, 5));
    assert_eq!(broker.committed("g", &lines(4)).unwrap().unwrap().offset, 2);
    drop(second);
    assert_eq!(first.next().await.unwrap(), Change::Revoked);
    assert_eq!(assigned(first.next().await.unwrap()).len(), 5);
    first.leave().unwrap();
    assert_eq!(broker.groups().describe("g").unwrap().state, GroupState::Empty);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_hangs_loses_its_partitions_and_cannot_commit() {
    let broker = with_lines(2).await;
    let mut hung = member(&broker);
    hung.next().await.unwrap();
    let claim = hung.claim().unwrap().clone();
    let mut other = member(&broker);
    // It does not give back what it has, though its heartbeats go on: the rebalance timeout decides.
    assert_eq!(assigned(other.next().await.unwrap()).len(), 2);
    let refused = hung.commit(&[(lines(0), at(9))]).await.unwrap_err();
    assert!(matches!(refused, GroupError::UnknownMember), "{refused}");
    let refused = broker.groups().commit("g", &claim, &[(lines(0), at(9))]).await.unwrap_err();
    assert!(matches!(refused, GroupError::UnknownMember), "{refused}");
    let nobody = broker.groups().commit("g", &Claim::nobody(), &[(lines(0), at(9))]).await.unwrap_err();
    assert!(matches!(nobody, GroupError::UnknownMember), "{nobody}");
    assert_eq!(broker.committed("g", &lines(0)).unwrap(), None);
    assert_eq!(hung.next().await.unwrap(), Change::Lost);
    let (share, _) = tokio::join!(hung.next(), async {
        assert_eq!(other.next().await.unwrap(), Change::Revoked);
        other.next().await.unwrap()
    });
    assert_eq!(assigned(share.unwrap()).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_notices_that_topics_change() {
    let broker = with_lines(1).await;
    let config = MemberConfig::new("g", vec!["lines".into(), "later".into()]);
    let mut member = broker.groups().member(config);
    assert_eq!(assigned(member.next().await.unwrap()).len(), 1);
    broker.create_topic("later", 3, BTreeMap::new()).await.unwrap();
    assert_eq!(member.next().await.unwrap(), Change::Revoked);
    assert_eq!(assigned(member.next().await.unwrap()).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_static_member_is_back_with_what_it_had() {
    let broker = with_lines(4).await;
    let named = |name: &str| MemberConfig {
        instance_id: Some(name.into()),
        ..MemberConfig::new("g", vec!["lines".into()])
    };
    let mut one = broker.groups().member(named("one"));
    one.next().await.unwrap();
    let mut two = broker.groups().member(named("two"));
    let (had, kept) = tokio::join!(two.next(), async {
        one.next().await.unwrap();
        one.next().await.unwrap()
    });
    let had = assigned(had.unwrap());
    let generation = one.claim().unwrap().generation;
    drop(two);
    let mut two = broker.groups().member(named("two"));
    assert_eq!(assigned(two.next().await.unwrap()), had);
    assert_eq!(
        (two.claim().unwrap().generation, kept),
        (generation, Change::Assigned(vec![lines(0), lines(1)]))
    );
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_has_not_joined() {
    let broker = with_lines(1).await;
    let groups = broker.groups();
    let (claim, _) = alone(&groups, "g").await.unwrap();
    let second = tokio::time::timeout(Duration::from_secs(1), groups.join("g", request("", b"x"))).await;
    assert!(second.is_err(), "the first has to join again");
    let again = groups.join("g", request(&claim.member_id, b"x"));
    let joined = again.await.unwrap();
    assert_eq!(joined.members.len(), 1, "the second is gone after its session timeout");
}

#[test]
fn a_member_may_outlive_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (broker, member) = runtime.block_on(async {
        let broker = with_lines(1).await;
        let mut member = member(&broker);
        member.next().await.unwrap();
        (broker, member)
    });
    drop(runtime);
    drop(member);
    drop(broker);
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_described_and_deleted() {
    let broker = with_lines(2).await;
    let groups = broker.groups();
    let mut busy = member(&broker);
    busy.next().await.unwrap();
    busy.commit(&[(lines(0), at(1))]).await.unwrap();
    groups.commit("simple", &Claim::nobody(), &[(lines(0), at(3)), (lines(1), at(4))]).await.unwrap();
    let listed = |groups: &Groups| -> Vec<(String, String, GroupState)> {
        let listed = groups.list().unwrap().into_iter();
        listed.map(|group| (group.group.to_string(), group.protocol_type.to_string(), group.state)).collect()
    };
    let expected = [("g", "consumer", GroupState::Stable), ("simple", "", GroupState::Empty)];
    assert_eq!(
        listed(&groups),
        expected.map(|(name, kind, state)| (name.to_owned(), kind.to_owned(), state))
    );
    let described = groups.describe("g").unwrap();
    assert_eq!((described.generation, &*described.protocol, described.members.len()), (1, "range", 1));
    assert_eq!(groups.describe("none").unwrap().state, GroupState::Dead);

    let kept = groups.delete_offsets("g", &[lines(0)]).await.unwrap();
    assert_eq!(kept, BTreeSet::from(["lines".into()]), "a member reads it");
    assert!(matches!(groups.delete("g").await, Err(GroupError::NotEmpty)));
    assert!(matches!(groups.delete("none").await, Err(GroupError::NotFound(_))));
    assert!(groups.delete_offsets("simple", &[lines(0)]).await.unwrap().is_empty());
    let all = groups.fetch_all("simple").unwrap();
    assert_eq!(all, [(lines(1), at(4))]);
    groups.delete("simple").await.unwrap();
    assert!(matches!(groups.delete("simple").await, Err(GroupError::NotFound(_))));
    busy.leave().unwrap();
    groups.delete("g").await.unwrap();
    assert_eq!((listed(&groups), groups.fetch("g", &lines(0)).unwrap()), (Vec::new(), None));
    assert_eq!(alone(&groups, "g").await.unwrap().0.generation, 1, "of the name, another");
}

#[tokio::test(start_paused = true)]
async fn groups_that_nobody_uses_are_forgotten_and_positions_are_not() {
    let storage = MemoryStorage::new();
    let broker = open(storage.clone(), GroupConfig::default());
    broker.create_topic("lines", 1, BTreeMap::new()).await.unwrap();
    broker.keep_retention(|| 0);
    let groups = broker.groups();
    for name in ["looked", "read"] {
        let (claim, _) = alone(&groups, name).await.unwrap();
        if name == "read" {
            groups.commit(name, &claim, &[(lines(0), at(1))]).await.unwrap();
        }
        let leaving = Leaving { member_id: claim.member_id, instance_id: None };
        groups.leave(name, &[leaving]).unwrap();
    }
    let (_busy, _) = alone(&groups, "busy").await.unwrap();
    let names = |groups: &Groups| -> Vec<String> {
        groups.list().unwrap().into_iter().map(|group| group.group.to_string()).collect()
    };
    tokio::time::sleep(Duration::from_mins(9)).await;
    assert_eq!(names(&groups), ["busy", "looked", "read"]);
    tokio::time::sleep(Duration::from_mins(6)).await;
    assert_eq!(names(&groups), ["busy", "read"], "busy has been without members for less");
    broker.close().await.unwrap();
    let broker = open(storage, GroupConfig::default());
    assert_eq!(names(&broker.groups()), ["busy", "read"]);
}

#[tokio::test(start_paused = true)]
async fn what_groups_take_is_bounded() {
    let limits = GroupConfig { max_groups: 2, max_total_bytes: 10_000, ..GroupConfig::default() };
    let broker = open(MemoryStorage::new(), limits);
    let groups = broker.groups();
    alone(&groups, "a").await.unwrap();
    let (claim, _) = alone(&groups, "b").await.unwrap();
    assert!(matches!(alone(&groups, "c").await, Err(GroupError::TooManyGroups { max: 2 })));
    let large = groups.join("a", request("", &[0; 10_000])).await;
    assert!(matches!(large, Err(GroupError::TooLarge { max: 10_000 })));
    let leaving = Leaving { member_id: claim.member_id, instance_id: None };
    assert!(groups.leave("b", &[leaving]).unwrap()[0].is_ok());
    alone(&groups, "c").await.unwrap();
    let long = "x".repeat(40_000);
    assert!(matches!(alone(&groups, &long).await, Err(GroupError::InvalidGroup(_))));
    assert!(matches!(alone(&groups, "").await, Err(GroupError::InvalidGroup(_))));
    let long = JoinRequest { client_id: long.into(), ..request("", b"x") };
    assert!(matches!(groups.join("a", long).await, Err(GroupError::TooLarge { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_closes_answers_who_waits() {
    let broker = with_lines(1).await;
    let groups = broker.groups();
    alone(&groups, "g").await.unwrap();
    let (waited, closed) = tokio::join!(groups.join("g", request("", b"x")), broker.close());
    assert!(matches!(waited, Err(GroupError::Unavailable)));
    closed.unwrap();
    let late = groups.join("g", request("", b"x")).await;
    assert!(matches!(late, Err(GroupError::Unavailable | GroupError::Broker(_))));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_removes_nobody() {
    let broker = with_lines(1).await;
    let groups = broker.groups();
    let (short, _) = alone(&groups, "short").await.unwrap();
    for stopped in [9, 60, 3600] {
        // All of it at once: nobody is woken in between.
        tokio::time::advance(Duration::from_secs(stopped)).await;
        tokio::time::sleep(Duration::from_secs(9)).await;
        groups.heartbeat("short", &short).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(matches!(groups.heartbeat("short", &short), Err(GroupError::UnknownMember)));
}

/// Members that come, work, hang, leave and die, as tasks: no partition has two owners in one generation, and what is
/// committed under a claim is what that claim's generation was given.
#[tokio::test(start_paused = true)]
async fn a_storm_of_members_in_the_process() {
    const PARTITIONS: u32 = 7;
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let broker = with_lines(PARTITIONS).await;
    let owners = Owners::default();
    let tasks: Vec<_> = (0..8)
        .map(|index| {
            let (broker, owners) = (broker.clone(), owners.clone());
            tokio::spawn(live(broker, owners, StdRng::seed_from_u64(seed.wrapping_add(index))))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut generations = BTreeMap::<i32, u32>::new();
    owners
        .lock()
        .unwrap()
        .keys()
        .for_each(|(generation, _)| *generations.entry(*generation).or_default() += 1);
    assert!(generations.len() > 20, "{} generations", generations.len());
    assert!(generations.values().any(|owned| *owned == PARTITIONS));
    // Whoever is left over is given up, and one alone gets everything.
    let mut last = member(&broker);
    let mut share = assigned(last.next().await.unwrap());
    while share.len() < PARTITIONS as usize {
        assert_eq!(last.next().await.unwrap(), Change::Revoked);
        share = assigned(last.next().await.unwrap());
    }
}

/// Who was assigned a partition in a generation.
type Owners = Arc<Mutex<BTreeMap<(i32, TopicPartition), Arc<str>>>>;

async fn live(broker: Broker, owners: Owners, mut rng: StdRng) {
    for _ in 0..40 {
        let mut member = member(&broker);
        let mut stale: Vec<Claim> = Vec::new();
        for _ in 0..rng.random_range(1..6) {
            // Giving up now and then is as good as anything.
            let patience = Duration::from_secs(rng.random_range(1..60));
            let Ok(change) = tokio::time::timeout(patience, member.next()).await else { continue };
            let change = change.unwrap();
            let Some(claim) = member.claim().cloned() else { continue };
            if let Change::Assigned(partitions) = change {
                for partition in partitions {
                    let mut owners = owners.lock().unwrap();
                    let owner =
                        owners.entry((claim.generation, partition)).or_insert(claim.member_id.clone());
                    assert_eq!(*owner, claim.member_id);
                }
            }
            for stale in &stale {
                let refused = broker.groups().commit("g", stale, &[(lines(0), at(1))]).await;
                assert!(refused.is_err() || *stale == claim, "{stale:?} commits after {claim:?}");
            }
            // An answer to who hangs may be an error; what counts is that it is one once another generation is.
            let _ = member.commit(&[(lines(0), at(i64::from(claim.generation)))]).await;
            stale.push(claim);
            let pause = if rng.random_bool(0.03) { 100 } else { rng.random_range(0..3) };
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        if rng.random_bool(0.2) {
            // Dead without a word.
            member.die();
        }
    }
}

/// What the members of a group of one were told before the power went.
#[derive(Debug, Default)]
struct Told {
    synced: Option<Claim>,
    committed: Option<i64>,
    left: bool,
}

/// Works until the disk fails.
async fn work(disk: &SimulatedDisk) -> Told {
    let mut told = Told::default();
    let config = BrokerConfig::default();
    let Ok(broker) = Broker::open_on(Arc::new(disk.clone()), Path::new("/data"), config) else { return told };
    if broker.create_topic("lines", 1, BTreeMap::new()).await.is_err() {
        return told;
    }
    let groups = broker.groups();
    for round in 1..=3 {
        let Ok((claim, _)) = alone(&groups, "g").await else { return told };
        (told.synced, told.left) = (Some(claim.clone()), false);
        if groups.commit("g", &claim, &[(lines(0), at(round))]).await.is_err() {
            return told;
        }
        told.committed = Some(round);
        let leaving = Leaving { member_id: claim.member_id, instance_id: None };
        if round < 3 && groups.leave("g", &[leaving]).is_ok() {
            // Nobody is told when that is durable.
            told.left = true;
        }
    }
    drop(broker.close().await);
    told
}

#[tokio::test(start_paused = true)]
async fn the_power_may_go_at_any_operation() {
    let disk = SimulatedDisk::new(0);
    assert_eq!(work(&disk).await.committed, Some(3));
    for after in 0..disk.operations() {
        for seed in 0..3 {
            let disk = SimulatedDisk::new(seed);
            disk.inject(Fault::PowerLoss { after });
            let told = work(&disk).await;
            disk.crash();
            let broker = open(disk, GroupConfig::default());
            let groups = broker.groups();
            let found = groups.fetch("g", &lines(0)).unwrap().map(|committed| committed.offset);
            // One more may have been committed than was said.
            let fits = found == told.committed || found == Some(told.committed.unwrap_or(0) + 1);
            assert!(fits, "after {after}, seed {seed}: {found:?}, {told:?}");
            let Some(claim) = told.synced else { continue };
            let group = groups.describe("g").unwrap();
            assert!(group.generation >= claim.generation, "after {after}, seed {seed}: {group:?}");
            if group.generation == claim.generation && !told.left {
                assert_eq!(group.state, GroupState::Stable, "after {after}, seed {seed}");
                assert_eq!(group.members[0].assignment, "all");
                assert!(groups.heartbeat("g", &claim).is_ok());
                groups.commit("g", &claim, &[(lines(0), at(10))]).await.unwrap();
            }
            // And the group goes on, once whoever is gone is given up.
            let (next, _) = alone(&groups, "g").await.unwrap();
            assert!(next.generation > claim.generation, "after {after}, seed {seed}");
        }
    }
}
