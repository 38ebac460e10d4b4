//! OffsetFetch: what groups have committed, for the partitions asked for, or all.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{ApiKey, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Handler;
use super::group_code::group_code;
use super::join_group::arc;
use crate::groups::{GroupError, Groups};
use crate::offsets::CommittedOffset;
use crate::server::{Call, Reply};
use crate::topic::TopicPartition;

/// The API.
pub(crate) struct OffsetFetch;

impl Handler for OffsetFetch {
    type Request = OffsetFetchRequest;
    type Response = OffsetFetchResponse;
    const KEY: ApiKey = ApiKey::OffsetFetch;

    fn handle(
        call: Call,
        request: OffsetFetchRequest,
    ) -> impl Future<Output = Reply<OffsetFetchResponse>> + Send + 'static {
        let groups = call.server.broker.groups();
        let response =
            if call.version >= 8 { of_many(&groups, request) } else { of_one(&call, &groups, request) };
        std::future::ready(response.into())
    }
}

/// A partition, and what was committed for it.
type Committed = (TopicPartition, Option<CommittedOffset>);

/// Each partition once, however often it is asked for: an answer is bounded by what was committed and what was sent.
fn committed(
    groups: &Groups,
    group: &str,
    topics: Option<Vec<(Arc<str>, Vec<i32>)>>,
) -> Result<Vec<Committed>, GroupError> {
    let Some(topics) = topics else {
        let all = groups.fetch_all(group)?;
        return Ok(all.into_iter().map(|(of, committed)| (of, Some(committed))).collect());
    };
    let partitions: BTreeSet<TopicPartition> = topics
        .into_iter()
        .flat_map(|(topic, indexes)| {
            let indexes = indexes.into_iter().filter_map(|index| u32::try_from(index).ok());
            indexes.map(move |index| TopicPartition::new(topic.clone(), index))
        })
        .collect();
    let one = |of: TopicPartition| groups.fetch(group, &of).map(|committed| (of, committed));
    partitions.into_iter().map(one).collect()
}

/// Neighbours of one topic under its name.
fn by_topic<P>(
    committed: Vec<Committed>,
    partition: impl Fn(u32, Option<CommittedOffset>) -> P,
) -> Vec<(TopicName, Vec<P>)> {
    let mut topics: Vec<(Arc<str>, Vec<P>)> = Vec::new();
    for (of, committed) in committed {
        let partition = partition(of.partition, committed);
        match topics.last_mut() {
            Some((topic, partitions)) if *topic == of.topic => partitions.push(partition),
            _ => topics.push((of.topic, vec![partition])),
        }
    }
    let name = |topic: &Arc<str>| TopicName(StrBytes::from_string(topic.to_string()));
    topics.into_iter().map(|(topic, partitions)| (name(&topic), partitions)).collect()
}

/// Where nothing was committed, offset -1 and no metadata, as Kafka says it.
fn fields(committed: Option<CommittedOffset>) -> (i64, i32, Option<StrBytes>) {
    match committed {
        Some(committed) => {
            (committed.offset, committed.leader_epoch, Some(StrBytes::from_string(committed.metadata)))
        }
        None => (-1, -1, Some(StrBytes::default())),
    }
}

fn of_one(call: &Call, groups: &Groups, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let named = |topics: Vec<_>| {
        let topics = topics.into_iter();
        topics
            .map(|topic: kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
                (arc(&topic.name), topic.partition_indexes)
            })
            .collect()
    };
    // Before version 2 there is no null, and an error is said of each partition, of which there are none to be said of.
    let response = OffsetFetchResponse::default();
    let topics = match committed(groups, &request.group_id, request.topics.map(named)) {
        Ok(committed) => by_topic(committed, |index, committed| {
            let (offset, epoch, metadata) = fields(committed);
            let partition = OffsetFetchResponsePartition::default()
                .with_partition_index(index as i32)
                .with_committed_offset(offset)
                .with_metadata(metadata);
            if call.version >= 5 { partition.with_committed_leader_epoch(epoch) } else { partition }
        }),
        Err(error) if call.version >= 2 => return response.with_error_code(group_code(&error).code()),
        Err(_) => Vec::new(),
    };
    let topic =
        |(name, partitions)| OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions);
    response.with_topics(topics.into_iter().map(topic).collect())
}

fn of_many(groups: &Groups, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let mut seen = BTreeSet::new();
    let asked = request.groups.into_iter().filter(|group| seen.insert(group.group_id.clone()));
    OffsetFetchResponse::default().with_groups(asked.map(|group| of_group(groups, group)).collect())
}

fn of_group(groups: &Groups, group: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let named = |topics: Vec<OffsetFetchRequestTopics>| {
        topics.into_iter().map(|topic| (arc(&topic.name), topic.partition_indexes)).collect()
    };
    let committed = committed(groups, &group.group_id, group.topics.map(named));
    let response = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
    let topics = match committed {
        Ok(committed) => by_topic(committed, |index, committed| {
            let (offset, epoch, metadata) = fields(committed);
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index as i32)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(metadata)
        }),
        Err(error) => return response.with_error_code(group_code(&error).code()),
    };
    let topic =
        |(name, partitions)| OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions);
    response.with_topics(topics.into_iter().map(topic).collect())
}
