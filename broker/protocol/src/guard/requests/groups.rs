//! Consumer groups: members, and what they committed. What members tell each other is opaque.

use crate::guard::shape::*;

pub(super) const OFFSET_COMMIT: Request = Request {
    key: 8,
    name: "OffsetCommit",
    versions: Versions { first: 2, last: 8 },
    flexible_from: 8,
    body: message(&[
        f("group_id", Kind::String),
        f("generation_id", INT32),
        f("member_id", Kind::String),
        f("group_instance_id", Kind::NullableString).from(7),
        f("retention_time_ms", INT64).until(4),
        f("topics", structures(&COMMIT_TOPIC)),
    ]),
};
const COMMIT_TOPIC: Structure =
    element(96, &[f("name", Kind::String), f("partitions", structures(&COMMIT_PARTITION))]);
const COMMIT_PARTITION: Structure = element(
    72,
    &[
        f("partition_index", INT32),
        f("committed_offset", INT64),
        f("committed_leader_epoch", INT32).from(6),
        f("committed_metadata", Kind::NullableString),
    ],
);

pub(super) const OFFSET_FETCH: Request = Request {
    key: 9,
    name: "OffsetFetch",
    versions: Versions { first: 1, last: 8 },
    flexible_from: 6,
    body: message(&[
        f("group_id", Kind::String).until(7),
        f("topics", nullable_structures(&FETCH_TOPIC)).until(7),
        f("groups", structures(&FETCH_GROUP)).from(8),
        f("require_stable", BOOL).from(7),
    ]),
};
const FETCH_TOPIC: Structure = element(80, &[f("name", Kind::String), f("partition_indexes", INT32S)]);
const FETCH_GROUP: Structure =
    element(120, &[f("group_id", Kind::String), f("topics", nullable_structures(&GROUP_TOPIC))]);
const GROUP_TOPIC: Structure = element(96, &[f("name", Kind::String), f("partition_indexes", INT32S)]);

pub(super) const FIND_COORDINATOR: Request = Request {
    key: 10,
    name: "FindCoordinator",
    versions: Versions { first: 0, last: 4 },
    flexible_from: 3,
    body: message(&[
        f("key", Kind::String).until(3),
        f("key_type", INT8).from(1),
        f("coordinator_keys", STRINGS).from(4),
    ]),
};

pub(super) const JOIN_GROUP: Request = Request {
    key: 11,
    name: "JoinGroup",
    versions: Versions { first: 0, last: 9 },
    flexible_from: 6,
    body: message(&[
        f("group_id", Kind::String),
        f("session_timeout_ms", INT32),
        f("rebalance_timeout_ms", INT32).from(1),
        f("member_id", Kind::String),
        f("group_instance_id", Kind::NullableString).from(5),
        f("protocol_type", Kind::String),
        f("protocols", structures(&GROUP_PROTOCOL)),
        f("reason", Kind::NullableString).from(8),
    ]),
};
const GROUP_PROTOCOL: Structure = element(88, &[f("name", Kind::String), f("metadata", Kind::Bytes)]);

pub(super) const HEARTBEAT: Request = Request {
    key: 12,
    name: "Heartbeat",
    versions: Versions { first: 0, last: 4 },
    flexible_from: 4,
    body: message(&[
        f("group_id", Kind::String),
        f("generation_id", INT32),
        f("member_id", Kind::String),
        f("group_instance_id", Kind::NullableString).from(3),
    ]),
};

pub(super) const LEAVE_GROUP: Request = Request {
    key: 13,
    name: "LeaveGroup",
    versions: Versions { first: 0, last: 5 },
    flexible_from: 4,
    body: message(&[
        f("group_id", Kind::String),
        f("member_id", Kind::String).until(2),
        f("members", structures(&LEAVING_MEMBER)).from(3),
    ]),
};
const LEAVING_MEMBER: Structure = element(
    120,
    &[
        f("member_id", Kind::String),
        f("group_instance_id", Kind::NullableString),
        f("reason", Kind::NullableString).from(5),
    ],
);

pub(super) const SYNC_GROUP: Request = Request {
    key: 14,
    name: "SyncGroup",
    versions: Versions { first: 0, last: 5 },
    flexible_from: 4,
    body: message(&[
        f("group_id", Kind::String),
        f("generation_id", INT32),
        f("member_id", Kind::String),
        f("group_instance_id", Kind::NullableString).from(3),
        f("protocol_type", Kind::NullableString).from(5),
        f("protocol_name", Kind::NullableString).from(5),
        f("assignments", structures(&ASSIGNMENT)),
    ]),
};
const ASSIGNMENT: Structure = element(88, &[f("member_id", Kind::String), f("assignment", Kind::Bytes)]);

pub(super) const DESCRIBE_GROUPS: Request = Request {
    key: 15,
    name: "DescribeGroups",
    versions: Versions { first: 0, last: 5 },
    flexible_from: 5,
    body: message(&[f("groups", STRINGS), f("include_authorized_operations", BOOL).from(3)]),
};

pub(super) const LIST_GROUPS: Request = Request {
    key: 16,
    name: "ListGroups",
    versions: Versions { first: 0, last: 4 },
    flexible_from: 3,
    body: message(&[f("states_filter", STRINGS).from(4)]),
};

pub(super) const DELETE_GROUPS: Request = Request {
    key: 42,
    name: "DeleteGroups",
    versions: Versions { first: 0, last: 2 },
    flexible_from: 2,
    body: message(&[f("groups_names", STRINGS)]),
};

pub(super) const OFFSET_DELETE: Request = Request {
    key: 47,
    name: "OffsetDelete",
    versions: Versions { first: 0, last: 0 },
    flexible_from: i16::MAX,
    body: message(&[f("group_id", Kind::String), f("topics", structures(&OFFSET_DELETE_TOPIC))]),
};
const OFFSET_DELETE_TOPIC: Structure = element(56, &[f("name", Kind::String), f("partitions", INT32S)]);
