//! Who is there, what is spoken, and which topics exist.

use crate::guard::shape::*;

pub(super) const METADATA: Request = Request {
    key: 3,
    name: "Metadata",
    versions: Versions { first: 0, last: 13 },
    flexible_from: 9,
    body: message(&[
        f("topics", nullable_structures(&METADATA_TOPIC)),
        f("allow_auto_topic_creation", BOOL).from(4),
        f("include_cluster_authorized_operations", BOOL).from(8).until(10),
        f("include_topic_authorized_operations", BOOL).from(8),
    ]),
};
/// The name may be null where an id can stand for it.
const METADATA_TOPIC: Structure =
    element(72, &[f("topic_id", UUID).from(10), f("name", Kind::NullableString)]);

pub(super) const API_VERSIONS: Request = Request {
    key: 18,
    name: "ApiVersions",
    versions: Versions { first: 0, last: 4 },
    flexible_from: 3,
    body: message(&[
        f("client_software_name", Kind::String).from(3),
        f("client_software_version", Kind::String).from(3),
    ]),
};

pub(super) const DESCRIBE_CLUSTER: Request = Request {
    key: 60,
    name: "DescribeCluster",
    versions: Versions { first: 0, last: 1 },
    flexible_from: 0,
    body: message(&[f("include_cluster_authorized_operations", BOOL), f("endpoint_type", INT8).from(1)]),
};

pub(super) const DESCRIBE_TOPIC_PARTITIONS: Request = Request {
    key: 75,
    name: "DescribeTopicPartitions",
    versions: Versions { first: 0, last: 0 },
    flexible_from: 0,
    body: message(&[
        f("topics", structures(&TOPIC_REQUEST)),
        f("response_partition_limit", INT32),
        f("cursor", Kind::Optional(&CURSOR)),
    ]),
};
const TOPIC_REQUEST: Structure = element(56, &[f("name", Kind::String)]);
const CURSOR: Structure = element(0, &[f("topic_name", Kind::String), f("partition_index", INT32)]);
