//! Records in and out, and where they lie.

use crate::guard::shape::*;

/// The decoder knows it from version 3 on; what came before is walked so that it can be refused in its own words.
pub(super) const PRODUCE: Request = Request {
    key: 0,
    name: "Produce",
    versions: Versions { first: 0, last: 11 },
    flexible_from: 9,
    body: message(&[
        f("transactional_id", Kind::NullableString).from(3),
        f("acks", INT16),
        f("timeout_ms", INT32),
        f("topic_data", structures(&PRODUCE_TOPIC)),
    ]),
};
const PRODUCE_TOPIC: Structure =
    element(96, &[f("name", Kind::String), f("partition_data", structures(&PRODUCE_PARTITION))]);
const PRODUCE_PARTITION: Structure = element(64, &[f("index", INT32), f("records", Kind::NullableBytes)]);

pub(super) const FETCH: Request = Request {
    key: 1,
    name: "Fetch",
    versions: Versions { first: 4, last: 12 },
    flexible_from: 12,
    body: Structure {
        bytes: 0,
        fields: &[
            f("replica_id", INT32),
            f("max_wait_ms", INT32),
            f("min_bytes", INT32),
            f("max_bytes", INT32),
            f("isolation_level", INT8),
            f("session_id", INT32).from(7),
            f("session_epoch", INT32).from(7),
            f("topics", structures(&FETCH_TOPIC)),
            f("forgotten_topics_data", structures(&FORGOTTEN_TOPIC)).from(7),
            f("rack_id", Kind::String).from(11),
        ],
        // The cluster's id.
        tagged: &[(0, Kind::NullableString)],
    },
};
const FETCH_TOPIC: Structure =
    element(96, &[f("topic", Kind::String), f("partitions", structures(&FETCH_PARTITION))]);
const FETCH_PARTITION: Structure = element(
    80,
    &[
        f("partition", INT32),
        f("current_leader_epoch", INT32).from(9),
        f("fetch_offset", INT64),
        f("last_fetched_epoch", INT32).from(12),
        f("log_start_offset", INT64).from(5),
        f("partition_max_bytes", INT32),
    ],
);
const FORGOTTEN_TOPIC: Structure = element(96, &[f("topic", Kind::String), f("partitions", INT32S)]);

pub(super) const LIST_OFFSETS: Request = Request {
    key: 2,
    name: "ListOffsets",
    versions: Versions { first: 1, last: 7 },
    flexible_from: 6,
    body: message(&[
        f("replica_id", INT32),
        f("isolation_level", INT8).from(2),
        f("topics", structures(&LIST_OFFSETS_TOPIC)),
    ]),
};
const LIST_OFFSETS_TOPIC: Structure =
    element(80, &[f("name", Kind::String), f("partitions", structures(&LIST_OFFSETS_PARTITION))]);
const LIST_OFFSETS_PARTITION: Structure = element(
    40,
    &[f("partition_index", INT32), f("current_leader_epoch", INT32).from(4), f("timestamp", INT64)],
);

pub(super) const INIT_PRODUCER_ID: Request = Request {
    key: 22,
    name: "InitProducerId",
    versions: Versions { first: 0, last: 4 },
    flexible_from: 2,
    body: message(&[
        f("transactional_id", Kind::NullableString),
        f("transaction_timeout_ms", INT32),
        f("producer_id", INT64).from(3),
        f("producer_epoch", INT16).from(3),
    ]),
};

pub(super) const OFFSET_FOR_LEADER_EPOCH: Request = Request {
    key: 23,
    name: "OffsetForLeaderEpoch",
    versions: Versions { first: 2, last: 4 },
    flexible_from: 4,
    body: message(&[f("replica_id", INT32).from(3), f("topics", structures(&LEADER_EPOCH_TOPIC))]),
};
const LEADER_EPOCH_TOPIC: Structure =
    element(80, &[f("topic", Kind::String), f("partitions", structures(&LEADER_EPOCH_PARTITION))]);
const LEADER_EPOCH_PARTITION: Structure =
    element(40, &[f("partition", INT32), f("current_leader_epoch", INT32), f("leader_epoch", INT32)]);

pub(super) const DESCRIBE_PRODUCERS: Request = Request {
    key: 61,
    name: "DescribeProducers",
    versions: Versions { first: 0, last: 0 },
    flexible_from: 0,
    body: message(&[f("topics", structures(&PRODUCERS_TOPIC))]),
};
const PRODUCERS_TOPIC: Structure = element(80, &[f("name", Kind::String), f("partition_indexes", INT32S)]);
