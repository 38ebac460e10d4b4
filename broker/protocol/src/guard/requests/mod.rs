//! The shapes of the requests that topo's broker serves, by family.

mod admin;
mod cluster;
mod groups;
mod records;
mod transactions;

use super::shape::Request;

/// All of them, by key.
pub const ALL: &[&Request] = &[
    &records::PRODUCE,
    &records::FETCH,
    &records::LIST_OFFSETS,
    &cluster::METADATA,
    &groups::OFFSET_COMMIT,
    &groups::OFFSET_FETCH,
    &groups::FIND_COORDINATOR,
    &groups::JOIN_GROUP,
    &groups::HEARTBEAT,
    &groups::LEAVE_GROUP,
    &groups::SYNC_GROUP,
    &groups::DESCRIBE_GROUPS,
    &groups::LIST_GROUPS,
    &cluster::API_VERSIONS,
    &admin::CREATE_TOPICS,
    &admin::DELETE_TOPICS,
    &admin::DELETE_RECORDS,
    &records::INIT_PRODUCER_ID,
    &records::OFFSET_FOR_LEADER_EPOCH,
    &transactions::ADD_PARTITIONS_TO_TXN,
    &transactions::ADD_OFFSETS_TO_TXN,
    &transactions::END_TXN,
    &transactions::TXN_OFFSET_COMMIT,
    &admin::DESCRIBE_CONFIGS,
    &admin::ALTER_CONFIGS,
    &admin::DESCRIBE_LOG_DIRS,
    &admin::CREATE_PARTITIONS,
    &groups::DELETE_GROUPS,
    &admin::INCREMENTAL_ALTER_CONFIGS,
    &groups::OFFSET_DELETE,
    &cluster::DESCRIBE_CLUSTER,
    &records::DESCRIBE_PRODUCERS,
    &transactions::DESCRIBE_TRANSACTIONS,
    &transactions::LIST_TRANSACTIONS,
    &cluster::DESCRIBE_TOPIC_PARTITIONS,
];

/// The shape of the API with that number.
pub fn request(key: i16) -> Option<&'static Request> {
    ALL.binary_search_by_key(&key, |request| request.key).ok().map(|at| ALL[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_by_their_keys() {
        for shape in ALL {
            assert_eq!(request(shape.key).map(|found| found.name), Some(shape.name));
            assert!(shape.versions.first <= shape.versions.last, "{}", shape.name);
        }
        assert!(request(4).is_none() && request(-1).is_none());
    }
}
