//! One member of a group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Ticket;
use crate::groups::request::JoinRequest;

/// What a group knows about a member.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// The preferred one first.
    pub(super) protocols: Vec<(Arc<str>, Bytes)>,
    pub(super) assignment: Bytes,
    /// Its join, which waits for the others'.
    pub(super) joining: Option<Ticket>,
    /// Its sync, which waits for the assignments.
    pub(super) syncing: Option<Ticket>,
    /// Not in any generation yet.
    pub(super) fresh: bool,
    /// In a generation, and has not asked for its assignment.
    pub(super) owes_sync: bool,
    /// When it is no member any more, if nothing is heard of it.
    pub(super) deadline: Duration,
}

impl Member {
    pub(super) fn new(request: &JoinRequest, deadline: Duration) -> Self {
        Self {
            instance_id: request.instance_id.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: owned(&request.protocols),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            fresh: true,
            owes_sync: false,
            deadline,
        }
    }

    /// Takes over what a later join says.
    pub(super) fn update(&mut self, request: &JoinRequest) {
        self.client_id = request.client_id.clone();
        self.client_host = request.client_host.clone();
        self.session_timeout = request.session_timeout;
        self.rebalance_timeout = request.rebalance_timeout;
        self.protocols = owned(&request.protocols);
    }

    /// Something was heard of it.
    pub(super) fn heard(&mut self, now: Duration) {
        self.deadline = now.saturating_add(self.session_timeout);
    }

    /// Whether it is waiting for an answer of the group's, and so need not send heartbeats.
    pub(super) fn is_parked(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| **name == *protocol)
    }

    /// What it says about itself to those of that protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| **name == *protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        FIXED_BYTES
            + text_bytes(&self.client_id, &self.client_host)
            + protocol_bytes(&self.protocols)
            + self.assignment.len()
    }
}

/// A copy that does not keep the request alive which it is a part of.
fn owned(protocols: &[(Arc<str>, Bytes)]) -> Vec<(Arc<str>, Bytes)> {
    protocols.iter().map(|(name, metadata)| (name.clone(), Bytes::copy_from_slice(metadata))).collect()
}

/// A member's own struct, its id and the maps' entries.
const FIXED_BYTES: usize = 512;

fn text_bytes(client_id: &str, client_host: &str) -> usize {
    client_id.len() + client_host.len()
}

fn protocol_bytes(protocols: &[(Arc<str>, Bytes)]) -> usize {
    protocols.iter().map(|(name, metadata)| 64 + name.len() + metadata.len()).sum()
}

/// About how much memory a member takes that joins like this.
pub(super) fn bytes_of(request: &JoinRequest) -> usize {
    FIXED_BYTES + text_bytes(&request.client_id, &request.client_host) + protocol_bytes(&request.protocols)
}
