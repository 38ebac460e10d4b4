//! Members with a `group.instance.id`.

use super::bench::*;
use crate::config::GroupConfig;
use crate::groups::error::GroupError;
use crate::groups::group::*;
use crate::groups::request::JoinRequest;

fn fenced(joined: &Joined, instance: &str) -> Claim {
    Claim { instance_id: Some(instance.into()), ..claim(joined) }
}

/// A leader of its own and a static follower.
fn pair(bench: &mut Bench) -> (Joined, Joined) {
    let mut members = bench.stable(vec![request(""), r#static("one")]);
    let follower = members.pop().unwrap();
    (members.pop().unwrap(), follower)
}

#[test]
fn a_static_member_that_restarts_keeps_its_assignment_without_a_rebalance() {
    let mut bench = Bench::new(GroupConfig::default());
    let (leader, old) = pair(&mut bench);
    bench.hold_stores = true;
    let back = bench.join(r#static("one"));
    assert!(bench.waits(back), "its new id is stored first");
    let (number, stored) = bench.to_store.remove(0);
    assert!(stored.members.iter().any(|member| member.member_id != old.member_id
        && member.instance_id.as_deref() == Some("one")
        && member.assignment == "part"));
    bench.group.stored(number, Ok(()), bench.now);
    bench.settle();
    let back = bench.joined(back).unwrap();
    assert_eq!((back.generation, &back.leader), (old.generation, &leader.member_id));
    assert_ne!(back.member_id, old.member_id);
    let sync = bench.sync(&fenced(&back, "one"), &[]);
    assert_eq!(bench.synced(sync).unwrap(), "part");
    assert!(bench.heartbeat(&claim(&leader)).is_ok(), "nobody else notices");
    for refused in
        [bench.heartbeat(&fenced(&old, "one")), bench.group.check_commit(&fenced(&old, "one"), bench.now)]
    {
        assert!(matches!(refused, Err(GroupError::FencedInstance)));
    }
    assert!(matches!(bench.heartbeat(&claim(&old)), Err(GroupError::UnknownMember)));
    let sync = bench.sync(&fenced(&old, "one"), &[]);
    assert!(matches!(bench.synced(sync), Err(GroupError::FencedInstance)));
    let rejoin = bench.join(JoinRequest { member_id: old.member_id, ..r#static("one") });
    assert!(matches!(bench.joined(rejoin), Err(GroupError::FencedInstance)));
}

#[test]
fn a_static_leader_that_restarts_does_not_assign() {
    for can_skip_assignment in [false, true] {
        let mut bench = Bench::new(GroupConfig::default());
        let alone = r#static("one");
        let old = bench.stable(vec![alone.clone()]).remove(0);
        let back = bench.join(JoinRequest { can_skip_assignment, ..alone });
        let back = bench.joined(back).unwrap();
        assert_eq!(back.skip_assignment, can_skip_assignment);
        assert_eq!(back.is_leader(), can_skip_assignment);
        if can_skip_assignment {
            assert_eq!(back.members.len(), 1);
        } else {
            assert_eq!((&back.leader, back.members.len()), (&old.member_id, 0));
        }
        let sync = bench.sync(&fenced(&back, "one"), &[]);
        assert_eq!(bench.synced(sync).unwrap(), "part");
    }
}

#[test]
fn a_static_member_that_waits_is_fenced_by_its_successor() {
    let mut bench = Bench::new(GroupConfig::default());
    let (leader, old) = pair(&mut bench);
    bench.join(request(""));
    let waiting = bench.join(JoinRequest { member_id: old.member_id, ..r#static("one") });
    assert!(bench.waits(waiting));
    let successor = bench.join(r#static("one"));
    assert!(matches!(bench.joined(waiting), Err(GroupError::FencedInstance)));
    let again = bench.join(request(&leader.member_id));
    assert_eq!(bench.joined(again).unwrap().members.len(), 3);
    assert!(bench.joined(successor).is_ok());
}

#[test]
fn a_static_member_that_is_away_stays_until_its_session_ends() {
    let mut bench = Bench::new(GroupConfig::default());
    let (leader, _) = pair(&mut bench);
    let away = JoinRequest { session_timeout: Duration::from_mins(5), ..r#static("one") };
    let away = bench.join(away);
    let away = bench.joined(away).unwrap();
    let third = bench.join(request(""));
    let again = bench.join(request(&leader.member_id));
    bench.pass(REBALANCE);
    let again = bench.joined(again).unwrap();
    assert_eq!(again.members.len(), 3, "the one that is away is given work too");
    let third = bench.joined(third).unwrap();
    let sync = bench.sync(&claim(&again), &[(&away.member_id, b"kept")]);
    assert!(bench.synced(sync).is_ok());
    let sync = bench.sync(&claim(&third), &[]);
    assert!(bench.synced(sync).is_ok());
    let back = bench.join(r#static("one"));
    let back = bench.joined(back).unwrap();
    assert_eq!(back.generation, again.generation);
    let sync = bench.sync(&fenced(&back, "one"), &[]);
    assert_eq!(bench.synced(sync).unwrap(), "kept");
}

#[test]
fn where_all_are_static_and_away_the_generation_waits() {
    let mut bench = Bench::new(GroupConfig::default());
    let long = Duration::from_mins(5);
    let member = |instance| JoinRequest { session_timeout: long, ..r#static(instance) };
    let first = bench.join(member("one"));
    let first = bench.joined(first).unwrap();
    let second = bench.join(member("two"));
    bench.group.abandon(second, bench.now);
    bench.pass(REBALANCE * 2);
    assert_eq!(bench.group.state(), GroupState::PreparingRebalance);
    let back = bench.join(JoinRequest { member_id: first.member_id, ..member("one") });
    bench.pass(REBALANCE);
    let back = bench.joined(back).unwrap();
    assert_eq!((back.members.len(), back.is_leader()), (2, true));
    bench.pass(long);
    assert_eq!((bench.group.state(), bench.group.describe().members.len()), (GroupState::Empty, 0));
}

#[test]
fn static_members_leave_by_name() {
    let mut bench = Bench::new(GroupConfig::default());
    pair(&mut bench);
    let named = |id: &str, name: &str| Leaving { member_id: id.into(), instance_id: Some(name.into()) };
    let results = bench
        .group
        .leave(&[named("", "none"), named("other", "one"), named("", "one"), named("", "one")], bench.now);
    assert!(matches!(
        results[..],
        [
            Err(GroupError::UnknownMember),
            Err(GroupError::FencedInstance),
            Ok(()),
            Err(GroupError::UnknownMember)
        ]
    ));
    assert_eq!(bench.group.describe().members.len(), 1);
}

#[test]
fn an_instance_is_not_taken_over_under_an_id_that_was_given_to_another() {
    let mut bench = Bench::new(GroupConfig::default());
    pair(&mut bench);
    let pending = bench.join(JoinRequest { needs_known_id: true, ..request("") });
    let Err(GroupError::MemberIdRequired(id)) = bench.joined(pending) else { panic!("no id") };
    let refused = bench.join(JoinRequest { member_id: id, ..r#static("one") });
    assert!(matches!(bench.joined(refused), Err(GroupError::FencedInstance)));
}
