//! Members come, share, and go.

use super::bench::*;
use crate::config::GroupConfig;
use crate::groups::error::GroupError;
use crate::groups::group::*;
use crate::groups::request::JoinRequest;

#[test]
fn one_member_gets_what_it_assigns_itself() {
    let mut bench = Bench::new(GroupConfig::default());
    let joined = bench.join(request(""));
    let joined = bench.joined(joined).unwrap();
    assert_eq!((joined.generation, &*joined.protocol, joined.is_leader()), (1, "range", true));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, "all");
    bench.hold_stores = true;
    let sync = bench.sync(&claim(&joined), &[(&joined.member_id, b"a-0")]);
    assert!(bench.waits(sync), "not before it is stored");
    assert_eq!(bench.group.describe().state, GroupState::CompletingRebalance);
    let (number, stored) = bench.to_store.remove(0);
    assert_eq!((stored.generation, &stored.members[0].assignment[..]), (1, &b"a-0"[..]));
    bench.group.stored(number, Ok(()), bench.now);
    bench.settle();
    assert_eq!(bench.synced(sync).unwrap(), "a-0");
    assert!(bench.heartbeat(&claim(&joined)).is_ok());
    let again = bench.sync(&claim(&joined), &[]);
    assert_eq!(bench.synced(again).unwrap(), "a-0", "and may ask again");
}

#[test]
fn a_second_member_makes_the_first_join_again() {
    let mut bench = Bench::new(GroupConfig::default());
    let first = bench.stable(vec![request("")]).remove(0);
    let second = bench.join(request(""));
    assert!(bench.waits(second));
    let told = bench.heartbeat(&claim(&first)).unwrap_err();
    assert!(matches!(told, GroupError::RebalanceInProgress));
    // What it has read so far it may still commit.
    assert!(bench.group.check_commit(&claim(&first), bench.now).is_ok());
    let again = bench.join(request(&first.member_id));
    let (again, second) = (bench.joined(again).unwrap(), bench.joined(second).unwrap());
    assert_eq!((again.generation, second.generation), (2, 2));
    assert!(again.is_leader() && !second.is_leader() && second.members.is_empty());
    assert_eq!(again.members.len(), 2);
    let refused = bench.group.check_commit(&claim(&again), bench.now).unwrap_err();
    assert!(matches!(refused, GroupError::RebalanceInProgress), "{refused}");
    let refused = bench.group.check_commit(&claim(&first), bench.now).unwrap_err();
    assert!(matches!(refused, GroupError::IllegalGeneration { asked: 1, current: 2 }), "{refused}");
    let follower = bench.sync(&claim(&second), &[]);
    assert!(bench.waits(follower));
    let leader =
        bench.sync(&claim(&again), &[(&again.member_id, b"a"), (&second.member_id, b"b"), ("x", b"c")]);
    assert_eq!((bench.synced(leader).unwrap(), bench.synced(follower).unwrap()), ("a".into(), "b".into()));
    assert!(bench.group.check_commit(&claim(&second), bench.now).is_ok());
}

#[test]
fn a_member_without_id_is_given_one_first() {
    let mut bench = Bench::new(GroupConfig::default());
    let known = JoinRequest { needs_known_id: true, ..request("") };
    let ticket = bench.join(known.clone());
    let Err(GroupError::MemberIdRequired(id)) = bench.joined(ticket) else { panic!("no id is required") };
    assert_eq!(bench.group.state(), GroupState::Empty);
    let ticket = bench.join(JoinRequest { member_id: id.clone(), ..known.clone() });
    assert_eq!(bench.joined(ticket).unwrap().member_id, id);
    // An id that is not used expires.
    let ticket = bench.join(known.clone());
    let Err(GroupError::MemberIdRequired(id)) = bench.joined(ticket) else { panic!("no id is required") };
    bench.pass(SESSION);
    let ticket = bench.join(JoinRequest { member_id: id, ..known });
    assert!(matches!(bench.joined(ticket), Err(GroupError::UnknownMember)));
}

#[test]
fn members_that_were_given_an_id_are_waited_for() {
    let mut bench = Bench::new(GroupConfig::default());
    let known = JoinRequest { needs_known_id: true, ..request("") };
    let ids: Vec<Arc<str>> = (0..2)
        .map(|_| {
            let ticket = bench.join(known.clone());
            let Err(GroupError::MemberIdRequired(id)) = bench.joined(ticket) else { panic!("no id") };
            id
        })
        .collect();
    let first = bench.join(request(&ids[0]));
    assert!(bench.waits(first));
    let second = bench.join(request(&ids[1]));
    assert_eq!(bench.joined(first).unwrap().generation, bench.joined(second).unwrap().generation);
}

#[test]
fn the_protocol_that_all_have_and_most_prefer_is_chosen() {
    let with = |names: &[&'static str]| JoinRequest {
        protocols: names.iter().map(|name| ((*name).into(), Bytes::from(*name))).collect(),
        ..request("")
    };
    let mut bench =
        Bench::new(GroupConfig { initial_rebalance_delay: Duration::from_secs(3), ..GroupConfig::default() });
    let first = bench.join(with(&["sticky", "range", "roundrobin"]));
    let second = bench.join(with(&["roundrobin", "range"]));
    let third = bench.join(with(&["roundrobin", "range", "sticky"]));
    let refused = bench.join(with(&["sticky"]));
    assert!(matches!(bench.joined(refused), Err(GroupError::InconsistentProtocol)));
    let refused = bench.join(JoinRequest { protocol_type: "connect".into(), ..with(&["range"]) });
    assert!(matches!(bench.joined(refused), Err(GroupError::InconsistentProtocol)));
    let refused = bench.join(JoinRequest { protocols: Vec::new(), ..request("") });
    assert!(matches!(bench.joined(refused), Err(GroupError::InconsistentProtocol)));
    bench.pass(Duration::from_secs(6));
    for ticket in [first, second, third] {
        let joined = bench.joined(ticket).unwrap();
        assert_eq!(&*joined.protocol, "roundrobin");
        assert!(joined.members.iter().all(|member| member.metadata == "roundrobin"));
    }
}

#[test]
fn leaving_makes_the_others_share_anew_and_the_last_leaves_it_empty() {
    let mut bench = Bench::new(GroupConfig::default());
    let members = bench.stable(vec![request(""), request("")]);
    let leave = |id: &Arc<str>| Leaving { member_id: id.clone(), instance_id: None };
    let results = bench.group.leave(&[leave(&members[0].member_id), leave(&"nobody".into())], bench.now);
    assert!(results[0].is_ok() && matches!(results[1], Err(GroupError::UnknownMember)));
    assert!(matches!(bench.heartbeat(&claim(&members[0])), Err(GroupError::UnknownMember)));
    assert!(matches!(bench.heartbeat(&claim(&members[1])), Err(GroupError::RebalanceInProgress)));
    assert!(bench.group.is_active());
    let alone = bench.join(request(&members[1].member_id));
    assert!(bench.joined(alone).unwrap().is_leader());
    bench.hold_stores = true;
    bench.group.leave(&[leave(&members[1].member_id)], bench.now);
    bench.settle();
    assert_eq!(bench.group.state(), GroupState::Empty);
    let (_, stored) = bench.to_store.pop().unwrap();
    assert_eq!((stored.generation, stored.members.len(), stored.protocol), (4, 0, None));
    assert!(bench.group.check_commit(&Claim::nobody(), bench.now).is_ok());
    let late = bench.group.check_commit(&claim(&members[1]), bench.now);
    assert!(matches!(late, Err(GroupError::UnknownMember)));
    assert!(!bench.group.is_active());
    bench.group.end();
    let dead = bench.join(request(""));
    assert!(matches!(bench.joined(dead), Err(GroupError::Unavailable)));
}

#[test]
fn who_is_no_member_commits_only_while_there_is_none() {
    let mut bench = Bench::new(GroupConfig::default());
    assert!(bench.group.check_commit(&Claim::nobody(), bench.now).is_ok());
    let foreign = Claim { generation: 3, member_id: "m".into(), instance_id: None };
    assert!(matches!(bench.group.check_commit(&foreign, bench.now), Err(GroupError::UnknownMember)));
    bench.stable(vec![request("")]);
    let refused = bench.group.check_commit(&Claim::nobody(), bench.now);
    assert!(matches!(refused, Err(GroupError::UnknownMember)));
}

#[test]
fn a_join_whose_answer_was_lost_is_answered_again() {
    let mut bench = Bench::new(GroupConfig::default());
    let members = bench.stable(vec![request(""), request("")]);
    let again = bench.join(request(&members[1].member_id));
    assert_eq!(bench.joined(again).unwrap().generation, members[1].generation);
    // The leader's means that it wants the work shared anew.
    let anew = bench.join(request(&members[0].member_id));
    assert!(bench.waits(anew));
    // And so does other metadata.
    let changed = JoinRequest {
        protocols: vec![("range".into(), Bytes::from_static(b"other"))],
        ..request(&members[1].member_id)
    };
    let changed = bench.join(changed);
    let (leader, follower) = (bench.joined(anew).unwrap(), bench.joined(changed).unwrap());
    assert_eq!((leader.generation, follower.generation), (3, 3));
    // Its answer is lost while the group waits for assignments.
    let again = bench.join(request(&members[0].member_id));
    assert_eq!(bench.joined(again).unwrap(), leader);
}

#[test]
fn a_member_that_asks_twice_is_answered_twice() {
    let mut bench = Bench::new(GroupConfig::default());
    let first = bench.stable(vec![request("")]).remove(0);
    let second = bench.join(request(""));
    let Joined { member_id, .. } = first;
    let twice = bench.join(request(&member_id));
    let (leader, second) = (bench.joined(twice).unwrap(), bench.joined(second).unwrap());
    let sync = bench.sync(&claim(&second), &[]);
    let sync_again = bench.sync(&claim(&second), &[]);
    assert!(matches!(bench.synced(sync), Err(GroupError::RebalanceInProgress)));
    let assigned = bench.sync(&claim(&leader), &[(&second.member_id, b"b")]);
    assert_eq!((bench.synced(assigned).unwrap(), bench.synced(sync_again).unwrap()), ("".into(), "b".into()));
    bench.join(request(""));
    let join = bench.join(request(&second.member_id));
    let join_again = bench.join(request(&second.member_id));
    assert!(matches!(bench.joined(join), Err(GroupError::RebalanceInProgress)));
    assert!(bench.waits(join_again));
}

#[test]
fn a_record_that_cannot_be_stored_fails_the_syncs_and_begins_anew() {
    let mut bench = Bench::new(GroupConfig::default());
    bench.hold_stores = true;
    let joined = bench.join(request(""));
    let joined = bench.joined(joined).unwrap();
    let sync = bench.sync(&claim(&joined), &[(&joined.member_id, b"a")]);
    let (number, _) = bench.to_store.remove(0);
    bench.group.stored(number, Err(GroupError::Unavailable), bench.now);
    bench.settle();
    assert!(matches!(bench.synced(sync), Err(GroupError::Unavailable)));
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn what_is_stored_too_late_is_not_told() {
    let mut bench = Bench::new(GroupConfig::default());
    bench.hold_stores = true;
    let joined = bench.join(request(""));
    let joined = bench.joined(joined).unwrap();
    let sync = bench.sync(&claim(&joined), &[(&joined.member_id, b"a")]);
    bench.join(request(""));
    assert!(matches!(bench.synced(sync), Err(GroupError::RebalanceInProgress)));
    let (number, _) = bench.to_store.remove(0);
    bench.group.stored(number, Ok(()), bench.now);
    bench.settle();
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn members_and_their_bytes_are_bounded() {
    let config = GroupConfig { max_size: 2, max_group_bytes: 4096, ..GroupConfig::default() };
    let mut bench = Bench::new(config);
    let joined = bench.join(request(""));
    let joined = bench.joined(joined).unwrap();
    let pending = bench.join(JoinRequest { needs_known_id: true, ..request("") });
    assert!(matches!(bench.joined(pending), Err(GroupError::MemberIdRequired(_))));
    for needs_known_id in [false, true] {
        let full = bench.join(JoinRequest { needs_known_id, ..request("") });
        assert!(matches!(bench.joined(full), Err(GroupError::GroupFull { max: 2 })));
    }
    let large =
        JoinRequest { protocols: vec![("range".into(), vec![0; 4096].into())], ..request(&joined.member_id) };
    let large = bench.join(large);
    assert!(matches!(bench.joined(large), Err(GroupError::TooLarge { max: 4096 })));
    let sync = bench.sync(&claim(&joined), &[(&joined.member_id, &[0; 4096])]);
    assert!(matches!(bench.synced(sync), Err(GroupError::TooLarge { max: 4096 })));
    assert!(bench.group.bytes() <= 4096);
}
