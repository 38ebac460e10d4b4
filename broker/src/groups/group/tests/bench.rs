//! A group, a clock that is moved by hand, and the answers that came.

use std::collections::BTreeMap;

use super::super::*;
use crate::groups::request::{JoinRequest, SyncRequest};

pub(super) const SESSION: Duration = Duration::from_secs(10);
pub(super) const REBALANCE: Duration = Duration::from_secs(30);

/// What a ticket was answered.
#[derive(Debug)]
pub(super) enum Answer {
    Join(Result<Joined, GroupError>),
    Sync(Result<Synced, GroupError>),
}

#[derive(Debug)]
pub(super) struct Bench {
    pub(super) group: Group,
    pub(super) now: Duration,
    pub(super) answers: BTreeMap<Ticket, Answer>,
    /// Records to be stored, in order; those of [`Bench::sync`] and others are stored at once unless this is held.
    pub(super) to_store: Vec<(u64, GroupMetadata)>,
    pub(super) hold_stores: bool,
    next: u64,
}

pub(super) fn request(id: &str) -> JoinRequest {
    JoinRequest {
        member_id: id.into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"all"))],
        needs_known_id: false,
        can_skip_assignment: false,
    }
}

pub(super) fn r#static(instance: &str) -> JoinRequest {
    JoinRequest { instance_id: Some(instance.into()), ..request("") }
}

pub(super) fn claim(joined: &Joined) -> Claim {
    Claim { member_id: joined.member_id.clone(), instance_id: None, generation: joined.generation }
}

impl Bench {
    pub(super) fn new(config: GroupConfig) -> Self {
        Self::with(Group::new(config))
    }

    pub(super) fn with(group: Group) -> Self {
        Self {
            group,
            now: Duration::from_secs(1000),
            answers: BTreeMap::new(),
            to_store: Vec::new(),
            hold_stores: false,
            next: 0,
        }
    }

    /// Sorts out what the group wants done.
    pub(super) fn settle(&mut self) {
        loop {
            let effects = self.group.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Join(ticket, answer) => self.answered(ticket, Answer::Join(answer)),
                    Effect::Sync(ticket, answer) => self.answered(ticket, Answer::Sync(answer)),
                    Effect::Store(number, metadata) => self.to_store.push((number, metadata)),
                }
            }
            if !self.hold_stores {
                for (number, _) in std::mem::take(&mut self.to_store) {
                    self.group.stored(number, Ok(()), self.now);
                }
            }
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Answer) {
        assert!(self.answers.insert(ticket, answer).is_none(), "{ticket:?} is answered twice");
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }

    pub(super) fn join(&mut self, request: JoinRequest) -> Ticket {
        let ticket = self.ticket();
        self.group.join(ticket, &request, format!("m{}", ticket.0).into(), self.now);
        self.settle();
        ticket
    }

    pub(super) fn sync(&mut self, claim: &Claim, assignments: &[(&str, &'static [u8])]) -> Ticket {
        let ticket = self.ticket();
        let assignments =
            assignments.iter().map(|(id, bytes)| ((*id).into(), Bytes::from_static(bytes))).collect();
        let request = SyncRequest { claim: claim.clone(), protocol_type: None, protocol: None, assignments };
        self.group.sync(ticket, &request, self.now);
        self.settle();
        ticket
    }

    pub(super) fn joined(&mut self, ticket: Ticket) -> Result<Joined, GroupError> {
        match self.answers.remove(&ticket) {
            Some(Answer::Join(answer)) => answer,
            other => panic!("{ticket:?} is not a join that was answered: {other:?}"),
        }
    }

    pub(super) fn synced(&mut self, ticket: Ticket) -> Result<Bytes, GroupError> {
        match self.answers.remove(&ticket) {
            Some(Answer::Sync(answer)) => answer.map(|synced| synced.assignment),
            other => panic!("{ticket:?} is not a sync that was answered: {other:?}"),
        }
    }

    pub(super) fn waits(&self, ticket: Ticket) -> bool {
        !self.answers.contains_key(&ticket)
    }

    /// Lets time pass, with a tick whenever one is due.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.group.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.group.tick(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// Lets time pass while the process stands still.
    pub(super) fn pause(&mut self, time: Duration) {
        self.now += time;
        self.group.tick(self.now);
        self.settle();
    }

    pub(super) fn heartbeat(&mut self, claim: &Claim) -> Result<(), GroupError> {
        self.group.heartbeat(claim, self.now)
    }

    /// A stable group of members of which the first leads.
    pub(super) fn stable(&mut self, requests: Vec<JoinRequest>) -> Vec<Joined> {
        let mut tickets: Vec<Ticket> = requests.into_iter().map(|request| self.join(request)).collect();
        // The first was alone at first: it joins again with the others.
        if tickets.len() > 1 {
            let first = self.joined(tickets[0]).unwrap();
            tickets[0] = self.join(JoinRequest { instance_id: None, ..request(&first.member_id) });
        }
        let joined: Vec<Joined> = tickets.iter().map(|ticket| self.joined(*ticket).unwrap()).collect();
        for (index, member) in joined.iter().enumerate() {
            let assignments: Vec<(&str, &'static [u8])> = match index {
                0 => joined.iter().map(|member| (&*member.member_id, &b"part"[..])).collect(),
                _ => Vec::new(),
            };
            let synced = self.sync(&claim(member), &assignments);
            assert_eq!(self.synced(synced).unwrap(), "part");
        }
        assert_eq!(self.group.state(), GroupState::Stable);
        joined
    }
}
