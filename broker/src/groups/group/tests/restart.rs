//! A group goes on from its last record.

use super::bench::*;
use crate::config::GroupConfig;
use crate::groups::error::GroupError;
use crate::groups::group::*;
use crate::groups::membership::IN_PROCESS;
use crate::groups::request::JoinRequest;

#[test]
fn members_generation_and_assignments_are_there_again() {
    let mut bench = Bench::new(GroupConfig::default());
    let members = bench.stable(vec![request(""), r#static("one")]);
    let before = bench.group.describe();
    let stored = bench.group.metadata(None);
    let mut bench = Bench::with(Group::restored(GroupConfig::default(), stored, bench.now));
    assert_eq!(bench.group.describe(), before);
    for member in &members {
        assert!(bench.heartbeat(&claim(member)).is_ok());
        assert!(bench.group.check_commit(&claim(member), bench.now).is_ok());
        let sync = bench.sync(&claim(member), &[]);
        assert_eq!(bench.synced(sync).unwrap(), "part");
    }
    let back = bench.join(r#static("one"));
    assert_eq!(bench.joined(back).unwrap().generation, members[1].generation);
    // The one that does not show itself is removed.
    bench.pass(SESSION / 2);
    assert!(bench.heartbeat(&claim(&members[0])).is_ok());
    bench.pass(SESSION / 2);
    assert_eq!(bench.group.describe().members.len(), 1);
    assert!(matches!(bench.heartbeat(&claim(&members[0])), Err(GroupError::RebalanceInProgress)));
}

#[test]
fn an_empty_group_keeps_counting() {
    let mut bench = Bench::new(GroupConfig::default());
    bench.hold_stores = true;
    let joined = bench.join(request(""));
    let joined = bench.joined(joined).unwrap();
    bench.group.leave(&[Leaving { member_id: joined.member_id, instance_id: None }], bench.now);
    bench.settle();
    let (_, stored) = bench.to_store.pop().unwrap();
    let mut bench = Bench::with(Group::restored(GroupConfig::default(), stored, bench.now));
    assert_eq!((bench.group.state(), bench.group.next_deadline()), (GroupState::Empty, None));
    let joined = bench.join(request(""));
    assert_eq!(bench.joined(joined).unwrap().generation, 3);
}

#[test]
fn members_that_lived_in_the_process_ended_with_it() {
    let inside = || JoinRequest { client_host: IN_PROCESS.into(), ..request("") };
    for others in [0, 1] {
        let mut bench = Bench::new(GroupConfig::default());
        let members = bench.stable(vec![request(""); 2 + others]);
        let mut stored = bench.group.metadata(None);
        let inner = [&members[0].member_id, &members[1].member_id];
        for member in stored.members.iter_mut().filter(|member| inner.contains(&&member.member_id)) {
            member.client_host = IN_PROCESS.into();
        }
        let mut bench = Bench::with(Group::restored(GroupConfig::default(), stored, bench.now));
        assert_eq!(bench.group.describe().members.len(), others);
        let back = bench.join(inside());
        if others == 1 {
            assert!(matches!(bench.heartbeat(&claim(&members[2])), Err(GroupError::RebalanceInProgress)));
            bench.join(request(&members[2].member_id));
        }
        assert_eq!(bench.joined(back).unwrap().generation, members[0].generation + 1);
        assert_eq!(bench.group.describe().members.len(), others + 1, "nobody waits for who is gone");
    }
}
