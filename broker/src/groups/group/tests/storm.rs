//! Rebalance storms: clients that come, go, die, hang and lose answers, on a clock that jumps and a store that lags,
//! against invariants. The seed is printed where one fails, and makes the same storm again.

use std::collections::{BTreeMap, HashMap};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::bench::*;
use crate::config::GroupConfig;
use crate::groups::error::GroupError;
use crate::groups::group::*;
use crate::groups::request::{JoinRequest, SyncRequest};

const PARTITIONS: u8 = 12;

/// What a client is waiting for or doing.
#[derive(Debug, Clone)]
enum Doing {
    Nothing,
    Joining(Ticket),
    Syncing(Ticket, Joined),
    Working(Joined),
}

#[derive(Debug)]
struct Client {
    instance: Option<Arc<str>>,
    id: Arc<str>,
    known_first: bool,
    doing: Doing,
    /// It hangs until then: no requests, and answers are not looked at.
    hangs_until: Duration,
    next_heartbeat: Duration,
}

struct Storm {
    rng: StdRng,
    bench: Bench,
    clients: Vec<Client>,
    asked: HashMap<Ticket, Duration>,
    /// Who was told to own a partition in a generation.
    owners: BTreeMap<(i32, u8), Arc<str>>,
    /// Claims of all generations that were.
    claims: Vec<Claim>,
    generation: i32,
    rebalances: i32,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let config = GroupConfig { max_size: 10, max_group_bytes: 16 << 10, ..GroupConfig::default() };
        let mut bench = Bench::new(config);
        bench.hold_stores = true;
        Self {
            rng: StdRng::seed_from_u64(seed),
            bench,
            clients: Vec::new(),
            asked: HashMap::new(),
            owners: BTreeMap::new(),
            claims: Vec::new(),
            generation: 0,
            rebalances: 0,
        }
    }

    fn step(&mut self) {
        self.spawn_or_end();
        for index in 0..self.clients.len() {
            if self.clients[index].hangs_until <= self.bench.now {
                self.forget_answered();
                self.advance(index);
            }
        }
        self.store_some();
        self.commit_stale();
        self.pass();
        self.check();
    }

    fn spawn_or_end(&mut self) {
        match self.rng.random_range(0..100) {
            0..8 if self.clients.len() < 14 => {
                let instance =
                    self.rng.random_bool(0.3).then(|| format!("i{}", self.rng.random_range(0..3)).into());
                let known_first = self.rng.random_bool(0.5);
                self.clients.push(Client {
                    instance,
                    id: "".into(),
                    known_first,
                    doing: Doing::Nothing,
                    hangs_until: Duration::ZERO,
                    next_heartbeat: Duration::ZERO,
                });
            }
            8..12 if !self.clients.is_empty() => {
                let index = self.rng.random_range(0..self.clients.len());
                let client = self.clients.swap_remove(index);
                match self.rng.random_range(0..3) {
                    // Killed: not a word. Or killed, and its connection's end is noticed.
                    0 => {}
                    1 => self.abandon(&client),
                    _ => {
                        let leaving = Leaving { member_id: client.id, instance_id: client.instance };
                        self.bench.group.leave(&[leaving], self.bench.now);
                        self.bench.settle();
                    }
                }
            }
            12..15 if !self.clients.is_empty() => {
                let index = self.rng.random_range(0..self.clients.len());
                let millis = self.rng.random_range(0..60_000);
                self.clients[index].hangs_until = self.bench.now + Duration::from_millis(millis);
            }
            // An answer is lost; the client asks again.
            15..17 if !self.clients.is_empty() => {
                let index = self.rng.random_range(0..self.clients.len());
                self.clients[index].doing = Doing::Nothing;
            }
            _ => {}
        }
    }

    fn forget_answered(&mut self) {
        self.asked.retain(|ticket, _| self.bench.waits(*ticket));
    }

    fn abandon(&mut self, client: &Client) {
        if let Doing::Joining(ticket) | Doing::Syncing(ticket, _) = &client.doing {
            self.asked.remove(ticket);
            self.bench.group.abandon(*ticket, self.bench.now);
            self.bench.settle();
        }
    }

    fn claim(&self, index: usize, joined: &Joined) -> Claim {
        Claim { instance_id: self.clients[index].instance.clone(), ..claim(joined) }
    }

    fn advance(&mut self, index: usize) {
        match self.clients[index].doing.clone() {
            Doing::Nothing => self.join(index),
            Doing::Joining(ticket) if !self.bench.waits(ticket) => match self.bench.joined(ticket) {
                Ok(joined) => self.has_joined(index, joined),
                Err(error) => self.refused(index, error),
            },
            Doing::Syncing(ticket, joined) if !self.bench.waits(ticket) => match self.bench.synced(ticket) {
                Ok(assignment) => self.has_synced(index, joined, &assignment),
                Err(error) => self.refused(index, error),
            },
            Doing::Working(joined) if self.clients[index].next_heartbeat <= self.bench.now => {
                self.clients[index].next_heartbeat = self.bench.now + Duration::from_secs(3);
                let claim = self.claim(index, &joined);
                let commit = self.bench.group.check_commit(&claim, self.bench.now);
                if let Err(error) = commit.and_then(|()| self.bench.group.heartbeat(&claim, self.bench.now)) {
                    self.refused(index, error);
                }
            }
            _ => {}
        }
    }

    fn join(&mut self, index: usize) {
        let client = &self.clients[index];
        let bytes = if self.rng.random_bool(0.9) { 10 } else { self.rng.random_range(0..3000) };
        let request = JoinRequest {
            instance_id: client.instance.clone(),
            needs_known_id: client.known_first,
            can_skip_assignment: client.known_first,
            protocols: vec![("range".into(), vec![0; bytes].into())],
            ..request(&client.id)
        };
        let ticket = self.bench.join(request);
        self.asks(ticket);
        self.clients[index].doing = Doing::Joining(ticket);
    }

    fn asks(&mut self, ticket: Ticket) {
        if self.bench.waits(ticket) {
            self.asked.insert(ticket, self.bench.now);
        }
    }

    fn has_joined(&mut self, index: usize, joined: Joined) {
        let claim = self.claim(index, &joined);
        self.claims.push(claim.clone());
        self.clients[index].id = joined.member_id.clone();
        let mut assignments = Vec::new();
        if joined.is_leader() && !joined.skip_assignment {
            assert!(joined.members.iter().any(|member| member.member_id == joined.member_id));
            let mut shares = vec![Vec::new(); joined.members.len()];
            for partition in 0..PARTITIONS {
                shares[self.rng.random_range(0..joined.members.len())].push(partition);
            }
            let members = joined.members.iter().zip(shares);
            assignments.extend(members.map(|(member, share)| (member.member_id.clone(), Bytes::from(share))));
        }
        let ticket = self.bench.ticket();
        self.asks(ticket);
        let request = SyncRequest {
            claim,
            protocol_type: Some(joined.protocol_type.clone()),
            protocol: Some(joined.protocol.clone()),
            assignments,
        };
        self.bench.group.sync(ticket, &request, self.bench.now);
        self.bench.settle();
        self.clients[index].doing = Doing::Syncing(ticket, joined);
    }

    fn has_synced(&mut self, index: usize, joined: Joined, assignment: &[u8]) {
        let who = self.clients[index].instance.clone().unwrap_or_else(|| joined.member_id.clone());
        for partition in assignment {
            let owner = self.owners.entry((joined.generation, *partition)).or_insert_with(|| who.clone());
            assert_eq!(*owner, who, "partition {partition} of generation {}", joined.generation);
        }
        self.clients[index].next_heartbeat = self.bench.now;
        self.clients[index].doing = Doing::Working(joined);
    }

    fn refused(&mut self, index: usize, error: GroupError) {
        let client = &mut self.clients[index];
        client.doing = Doing::Nothing;
        match error {
            GroupError::MemberIdRequired(id) => client.id = id,
            GroupError::UnknownMember | GroupError::FencedInstance => client.id = "".into(),
            GroupError::GroupFull { .. } | GroupError::TooLarge { .. } => {
                client.hangs_until = self.bench.now + Duration::from_secs(1);
            }
            GroupError::IllegalGeneration { .. }
            | GroupError::RebalanceInProgress
            | GroupError::Unavailable => {}
            other => panic!("{other}"),
        }
    }

    /// In order, and seldom not at all.
    fn store_some(&mut self) {
        while !self.bench.to_store.is_empty() && self.rng.random_bool(0.7) {
            let (number, _) = self.bench.to_store.remove(0);
            let result = if self.rng.random_bool(0.02) { Err(GroupError::Unavailable) } else { Ok(()) };
            self.bench.group.stored(number, result, self.bench.now);
            self.bench.settle();
        }
    }

    /// Every claim that was ever made, but for those of the generation that is, is refused.
    fn commit_stale(&mut self) {
        let current = self.bench.group.generation;
        self.claims.retain(|claim| current - claim.generation < 20);
        for claim in &self.claims {
            if claim.generation < current {
                let refused = self.bench.group.check_commit(claim, self.bench.now);
                assert!(refused.is_err(), "{claim:?} commits in generation {current}");
            }
        }
    }

    fn pass(&mut self) {
        if self.rng.random_bool(0.01) {
            // All stand still, or the broker alone: nobody is removed for that.
            let before = self.bench.group.describe();
            let millis = self.rng.random_range(20_000..3_600_000);
            self.bench.pause(Duration::from_millis(millis));
            for asked in self.asked.values_mut() {
                *asked += Duration::from_millis(millis);
            }
            assert_eq!(self.bench.group.describe(), before);
        } else {
            let millis = self.rng.random_range(0..3000);
            self.bench.pass(Duration::from_millis(millis));
        }
    }

    fn check(&mut self) {
        let group = &self.bench.group;
        assert!(group.generation >= self.generation, "the generation went back");
        self.rebalances += group.generation - self.generation;
        self.generation = group.generation;
        assert!(group.members.len() + group.pending.len() <= group.config.max_size);
        assert!(group.bytes() <= group.config.max_group_bytes);
        assert!(group.storing.len() <= self.bench.to_store.len());
        assert_eq!(group.statics.len(), group.members.values().filter(|m| m.instance_id.is_some()).count());
        assert!(group.statics.values().all(|id| group.members.contains_key(id)));
        assert!(group.leader.as_ref().is_none_or(|leader| group.members.contains_key(leader)));
        assert!(group.next_deadline().is_none_or(|due| due >= self.bench.now), "a deadline is over");
        self.forget_answered();
        let now = self.bench.now;
        // The rebalance, after the sync before it, a session that had to end, and the store's lag.
        let longest = 2 * REBALANCE + 2 * SESSION;
        let forgotten = self.asked.iter().find(|(_, asked)| now - **asked > longest);
        assert!(forgotten.is_none(), "{forgotten:?} waits since, and it is {now:?}");
        self.owners = self.owners.split_off(&(self.generation - 20, 0));
    }
}

fn storm(seed: u64, rebalances: i32) {
    let mut storm = Storm::new(seed);
    while storm.rebalances < rebalances {
        storm.step();
    }
}

/// Runs and, should it fail, says with which seed.
fn seeded(seed: u64, rebalances: i32) {
    let outcome = std::panic::catch_unwind(|| storm(seed, rebalances));
    if let Err(panic) = outcome {
        eprintln!("seed {seed}");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn ten_thousand_rebalances_in_one_group() {
    seeded(rand::random(), 10_000);
}

#[test]
fn many_groups_weather_a_storm() {
    for seed in 0..100 {
        seeded(seed, 20);
    }
}
