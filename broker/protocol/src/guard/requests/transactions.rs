//! Transactions: what a producer tells the coordinator of its transactional id, and what administrators ask of it.

use crate::guard::shape::*;

pub(super) const ADD_PARTITIONS_TO_TXN: Request = Request {
    key: 24,
    name: "AddPartitionsToTxn",
    versions: Versions { first: 0, last: 3 },
    flexible_from: 3,
    body: message(&[
        f("v3_and_below_transactional_id", Kind::String),
        f("v3_and_below_producer_id", INT64),
        f("v3_and_below_producer_epoch", INT16),
        f("v3_and_below_topics", structures(&ADDED_TOPIC)),
    ]),
};
const ADDED_TOPIC: Structure = element(80, &[f("name", Kind::String), f("partitions", INT32S)]);

pub(super) const ADD_OFFSETS_TO_TXN: Request = Request {
    key: 25,
    name: "AddOffsetsToTxn",
    versions: Versions { first: 0, last: 3 },
    flexible_from: 3,
    body: message(&[
        f("transactional_id", Kind::String),
        f("producer_id", INT64),
        f("producer_epoch", INT16),
        f("group_id", Kind::String),
    ]),
};

pub(super) const END_TXN: Request = Request {
    key: 26,
    name: "EndTxn",
    versions: Versions { first: 0, last: 4 },
    flexible_from: 3,
    body: message(&[
        f("transactional_id", Kind::String),
        f("producer_id", INT64),
        f("producer_epoch", INT16),
        f("committed", BOOL),
    ]),
};

pub(super) const TXN_OFFSET_COMMIT: Request = Request {
    key: 28,
    name: "TxnOffsetCommit",
    versions: Versions { first: 0, last: 4 },
    flexible_from: 3,
    body: message(&[
        f("transactional_id", Kind::String),
        f("group_id", Kind::String),
        f("producer_id", INT64),
        f("producer_epoch", INT16),
        f("generation_id", INT32).from(3),
        f("member_id", Kind::String).from(3),
        f("group_instance_id", Kind::NullableString).from(3),
        f("topics", structures(&COMMITTED_TOPIC)),
    ]),
};
const COMMITTED_TOPIC: Structure =
    element(80, &[f("name", Kind::String), f("partitions", structures(&COMMITTED_PARTITION))]);
const COMMITTED_PARTITION: Structure = element(
    72,
    &[
        f("partition_index", INT32),
        f("committed_offset", INT64),
        f("committed_leader_epoch", INT32).from(2),
        f("committed_metadata", Kind::NullableString),
    ],
);

pub(super) const DESCRIBE_TRANSACTIONS: Request = Request {
    key: 65,
    name: "DescribeTransactions",
    versions: Versions { first: 0, last: 0 },
    flexible_from: 0,
    body: message(&[f("transactional_ids", STRINGS)]),
};

pub(super) const LIST_TRANSACTIONS: Request = Request {
    key: 66,
    name: "ListTransactions",
    versions: Versions { first: 0, last: 1 },
    flexible_from: 0,
    body: message(&[
        f("state_filters", STRINGS),
        f("producer_id_filters", INT64S),
        f("duration_filter", INT64).from(1),
    ]),
};
