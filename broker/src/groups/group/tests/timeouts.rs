//! Silence, slowness, and a process that stood still.

use super::bench::*;
use crate::config::GroupConfig;
use crate::groups::error::GroupError;
use crate::groups::group::*;
use crate::groups::request::JoinRequest;

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_silent_member_is_removed_after_its_session_timeout() {
    let mut bench = Bench::new(GroupConfig::default());
    let members = bench.stable(vec![request(""), request("")]);
    bench.pass(SESSION - MOMENT);
    assert!(bench.heartbeat(&claim(&members[0])).is_ok());
    bench.pass(MOMENT);
    assert!(matches!(bench.heartbeat(&claim(&members[1])), Err(GroupError::UnknownMember)));
    assert!(matches!(bench.heartbeat(&claim(&members[0])), Err(GroupError::RebalanceInProgress)));
    let alone = bench.join(request(&members[0].member_id));
    assert_eq!(bench.joined(alone).unwrap().members.len(), 1);
}

#[test]
fn who_does_not_join_again_in_time_is_removed_though_it_lives() {
    let mut bench = Bench::new(GroupConfig::default());
    let members = bench.stable(vec![request(""), request("")]);
    let third = bench.join(request(""));
    let again = bench.join(request(&members[0].member_id));
    for _ in 0..5 {
        bench.pass(SESSION / 2);
        assert!(matches!(bench.heartbeat(&claim(&members[1])), Err(GroupError::RebalanceInProgress)));
        assert!(bench.waits(third) && bench.waits(again), "those who wait need no heartbeats");
    }
    bench.pass(REBALANCE - 5 * (SESSION / 2));
    assert_eq!(bench.joined(third).unwrap().generation, 3);
    assert_eq!(bench.joined(again).unwrap().members.len(), 2);
    assert!(matches!(bench.heartbeat(&claim(&members[1])), Err(GroupError::UnknownMember)));
}

#[test]
fn who_does_not_sync_in_time_is_removed_though_it_lives() {
    let mut bench = Bench::new(GroupConfig::default());
    let members = bench.stable(vec![request(""), request("")]);
    let (leader, follower) = (bench.join(request(&members[0].member_id)), request(&members[1].member_id));
    let follower = bench.join(JoinRequest { rebalance_timeout: REBALANCE, ..follower });
    let (leader, follower) = (bench.joined(leader).unwrap(), bench.joined(follower).unwrap());
    let sync = bench.sync(&claim(&leader), &[]);
    assert!(bench.synced(sync).is_ok());
    let mut left = REBALANCE;
    while left > SESSION / 2 {
        bench.pass(SESSION / 2);
        left -= SESSION / 2;
        assert!(bench.heartbeat(&claim(&leader)).is_ok() && bench.heartbeat(&claim(&follower)).is_ok());
    }
    bench.pass(left);
    assert!(matches!(bench.heartbeat(&claim(&follower)), Err(GroupError::UnknownMember)));
    assert!(matches!(bench.heartbeat(&claim(&leader)), Err(GroupError::RebalanceInProgress)));
}

#[test]
fn a_leader_that_vanishes_before_it_assigns_keeps_nobody() {
    let mut bench = Bench::new(GroupConfig::default());
    let members = bench.stable(vec![request(""), request("")]);
    let leader = bench.join(request(&members[0].member_id));
    let follower = bench.join(request(&members[1].member_id));
    let (leader, follower) = (bench.joined(leader).unwrap(), bench.joined(follower).unwrap());
    let waiting = bench.sync(&claim(&follower), &[]);
    bench.pass(SESSION);
    assert!(matches!(bench.synced(waiting), Err(GroupError::RebalanceInProgress)));
    assert!(matches!(bench.heartbeat(&claim(&leader)), Err(GroupError::UnknownMember)));
    let again = bench.join(request(&follower.member_id));
    assert!(bench.joined(again).unwrap().is_leader());
}

#[test]
fn a_new_member_that_waits_for_a_slow_one_is_kept_for_five_minutes() {
    let mut bench = Bench::new(GroupConfig::default());
    let slow = JoinRequest { rebalance_timeout: Duration::from_hours(1), ..request("") };
    let slow = bench.stable(vec![slow]).remove(0);
    let new = bench.join(request(""));
    for _ in 0..59 {
        bench.pass(Duration::from_secs(5));
        assert!(bench.heartbeat(&claim(&slow)).is_err() && bench.waits(new));
    }
    bench.pass(Duration::from_secs(5));
    assert!(matches!(bench.joined(new), Err(GroupError::UnknownMember)));
}

#[test]
fn whose_connection_is_gone_is_not_taken_for_waiting() {
    let mut bench = Bench::new(GroupConfig::default());
    let first = bench.stable(vec![request("")]).remove(0);
    let gone = bench.join(request(""));
    bench.group.abandon(gone, bench.now);
    // It never was in a generation: nobody waits for it.
    let again = bench.join(request(&first.member_id));
    assert_eq!((bench.joined(again).unwrap().members.len(), bench.waits(gone)), (1, true));

    let mut bench = Bench::new(GroupConfig::default());
    let members = bench.stable(vec![request(""), request("")]);
    let gone = bench.join(request(&members[0].member_id));
    bench.group.abandon(gone, bench.now);
    let leaving = Leaving { member_id: "nobody".into(), instance_id: None };
    assert!(bench.group.leave(&[leaving], bench.now)[0].is_err());
    let again = bench.join(request(&members[1].member_id));
    assert!(bench.waits(again), "it may yet come again");
    bench.pass(SESSION);
    assert_eq!(bench.joined(again).unwrap().members.len(), 1);
}

#[test]
fn session_timeouts_are_within_bounds() {
    let mut bench = Bench::new(GroupConfig::default());
    for (millis, good) in [(0, false), (5_999, false), (6_000, true), (1_800_000, true), (1_800_001, false)] {
        let session_timeout = Duration::from_millis(millis);
        let ticket = bench.join(JoinRequest { session_timeout, ..request("") });
        let refused = !bench.waits(ticket)
            && matches!(bench.joined(ticket), Err(GroupError::InvalidSessionTimeout { .. }));
        assert_eq!(refused, !good, "{millis}");
    }
}

#[test]
fn the_first_members_wait_for_each_other_where_that_is_wanted() {
    let delay = Duration::from_secs(3);
    let mut bench = Bench::new(GroupConfig { initial_rebalance_delay: delay, ..GroupConfig::default() });
    let first = bench.join(request(""));
    bench.pass(delay - MOMENT);
    let second = bench.join(request(""));
    bench.pass(MOMENT);
    assert!(bench.waits(first), "somebody came: some more may");
    bench.pass(delay);
    assert_eq!(bench.joined(first).unwrap().members.len(), 2);
    assert!(bench.joined(second).is_ok());
    // Not longer than the rebalance timeout.
    let mut bench = Bench::new(GroupConfig { initial_rebalance_delay: delay, ..GroupConfig::default() });
    let first = bench.join(request(""));
    let mut waited = Duration::ZERO;
    while bench.waits(first) {
        bench.join(request(""));
        bench.pass(Duration::from_secs(1));
        waited += Duration::from_secs(1);
    }
    assert_eq!(waited, REBALANCE);
}

#[test]
fn a_process_that_stood_still_blames_nobody() {
    let mut bench = Bench::new(GroupConfig::default());
    let members = bench.stable(vec![request(""), request("")]);
    bench.pause(Duration::from_mins(1));
    assert!(members.iter().all(|member| bench.heartbeat(&claim(member)).is_ok()));
    // In the middle of a rebalance too.
    let third = bench.join(request(""));
    bench.pause(Duration::from_hours(1));
    let first = bench.join(request(&members[0].member_id));
    let second = bench.join(request(&members[1].member_id));
    assert_eq!(bench.joined(first).unwrap().members.len(), 3);
    assert!(bench.joined(second).is_ok() && bench.joined(third).is_ok());
    // Who is silent from then on is removed all the same.
    bench.pause(Duration::from_mins(1));
    bench.pass(SESSION);
    assert_eq!(bench.group.describe().members.len(), 0);
}
