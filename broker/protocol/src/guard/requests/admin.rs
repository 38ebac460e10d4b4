//! Topics and settings, as administrators change them.

use crate::guard::shape::*;

pub(super) const CREATE_TOPICS: Request = Request {
    key: 19,
    name: "CreateTopics",
    versions: Versions { first: 2, last: 7 },
    flexible_from: 5,
    body: message(&[
        f("topics", structures(&CREATABLE_TOPIC)),
        f("timeout_ms", INT32),
        f("validate_only", BOOL),
    ]),
};
const CREATABLE_TOPIC: Structure = element(
    112,
    &[
        f("name", Kind::String),
        f("num_partitions", INT32),
        f("replication_factor", INT16),
        f("assignments", structures(&REPLICA_ASSIGNMENT)),
        f("configs", structures(&TOPIC_CONFIG)),
    ],
);
const REPLICA_ASSIGNMENT: Structure = element(56, &[f("partition_index", INT32), f("broker_ids", INT32S)]);
const TOPIC_CONFIG: Structure = element(88, &[f("name", Kind::String), f("value", Kind::NullableString)]);

pub(super) const DELETE_TOPICS: Request = Request {
    key: 20,
    name: "DeleteTopics",
    versions: Versions { first: 1, last: 6 },
    flexible_from: 4,
    body: message(&[
        f("topics", structures(&DELETED_TOPIC)).from(6),
        f("topic_names", STRINGS).until(5),
        f("timeout_ms", INT32),
    ]),
};
const DELETED_TOPIC: Structure = element(72, &[f("name", Kind::NullableString), f("topic_id", UUID)]);

pub(super) const DELETE_RECORDS: Request = Request {
    key: 21,
    name: "DeleteRecords",
    versions: Versions { first: 0, last: 2 },
    flexible_from: 2,
    body: message(&[f("topics", structures(&DELETE_RECORDS_TOPIC)), f("timeout_ms", INT32)]),
};
const DELETE_RECORDS_TOPIC: Structure =
    element(80, &[f("name", Kind::String), f("partitions", structures(&DELETE_RECORDS_PARTITION))]);
const DELETE_RECORDS_PARTITION: Structure = element(40, &[f("partition_index", INT32), f("offset", INT64)]);

pub(super) const DESCRIBE_CONFIGS: Request = Request {
    key: 32,
    name: "DescribeConfigs",
    versions: Versions { first: 1, last: 4 },
    flexible_from: 4,
    body: message(&[
        f("resources", structures(&DESCRIBED_RESOURCE)),
        f("include_synonyms", BOOL),
        f("include_documentation", BOOL).from(3),
    ]),
};
const DESCRIBED_RESOURCE: Structure = element(
    88,
    &[
        f("resource_type", INT8),
        f("resource_name", Kind::String),
        f("configuration_keys", Kind::NullableArray(Element::String)),
    ],
);

pub(super) const ALTER_CONFIGS: Request = Request {
    key: 33,
    name: "AlterConfigs",
    versions: Versions { first: 0, last: 2 },
    flexible_from: 2,
    body: message(&[f("resources", structures(&REPLACED_RESOURCE)), f("validate_only", BOOL)]),
};
const REPLACED_RESOURCE: Structure = element(
    88,
    &[f("resource_type", INT8), f("resource_name", Kind::String), f("configs", structures(&REPLACED_CONFIG))],
);
const REPLACED_CONFIG: Structure = element(88, &[f("name", Kind::String), f("value", Kind::NullableString)]);

pub(super) const DESCRIBE_LOG_DIRS: Request = Request {
    key: 35,
    name: "DescribeLogDirs",
    versions: Versions { first: 1, last: 4 },
    flexible_from: 2,
    body: message(&[f("topics", nullable_structures(&LOG_DIR_TOPIC))]),
};
const LOG_DIR_TOPIC: Structure = element(80, &[f("topic", Kind::String), f("partitions", INT32S)]);

pub(super) const CREATE_PARTITIONS: Request = Request {
    key: 37,
    name: "CreatePartitions",
    versions: Versions { first: 0, last: 3 },
    flexible_from: 2,
    body: message(&[
        f("topics", structures(&CREATE_PARTITIONS_TOPIC)),
        f("timeout_ms", INT32),
        f("validate_only", BOOL),
    ]),
};
const CREATE_PARTITIONS_TOPIC: Structure = element(
    88,
    &[
        f("name", Kind::String),
        f("count", INT32),
        f("assignments", nullable_structures(&PARTITION_ASSIGNMENT)),
    ],
);
const PARTITION_ASSIGNMENT: Structure = element(48, &[f("broker_ids", INT32S)]);

pub(super) const INCREMENTAL_ALTER_CONFIGS: Request = Request {
    key: 44,
    name: "IncrementalAlterConfigs",
    versions: Versions { first: 0, last: 1 },
    flexible_from: 1,
    body: message(&[f("resources", structures(&ALTERED_RESOURCE)), f("validate_only", BOOL)]),
};
const ALTERED_RESOURCE: Structure = element(
    88,
    &[f("resource_type", INT8), f("resource_name", Kind::String), f("configs", structures(&ALTERED_CONFIG))],
);
const ALTERED_CONFIG: Structure =
    element(96, &[f("name", Kind::String), f("config_operation", INT8), f("value", Kind::NullableString)]);
