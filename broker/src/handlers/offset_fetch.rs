//! OffsetFetch: what groups have committed, for the partitions asked for, or all.
//!
//! Who wants only what is stable is told to ask again of a partition for which a commit is under way.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
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

/// A partition, and what was committed for it; [`Unstable`] where that may be about to change.
type Committed = (TopicPartition, Result<Option<CommittedOffset>, Unstable>);

/// A commit is under way.
struct Unstable;

/// Each partition once, however often it is asked for: an answer is bounded by what was committed and what was sent.
fn committed(
    groups: &Groups,
    group: &str,
    topics: Option<Vec<(Arc<str>, Vec<i32>)>>,
    require_stable: bool,
) -> Result<Vec<Committed>, GroupError> {
    // Asked first: what is committed is then no older than the answer.
    let is_unstable =
        |of: &TopicPartition| Ok::<_, GroupError>(require_stable && groups.is_commit_pending(group, of)?);
    let one = |of: TopicPartition| {
        let committed = if is_unstable(&of)? { Err(Unstable) } else { Ok(groups.fetch(group, &of)?) };
        Ok((of, committed))
    };
    let Some(topics) = topics else {
        return groups.fetch_all(group)?.into_iter().map(|(of, _)| one(of)).collect();
    };
    let partitions: BTreeSet<TopicPartition> = topics
        .into_iter()
        .flat_map(|(topic, indexes)| {
            let indexes = indexes.into_iter().filter_map(|index| u32::try_from(index).ok());
            indexes.map(move |index| TopicPartition::new(topic.clone(), index))
        })
        .collect();
    partitions.into_iter().map(one).collect()
}

/// Neighbours of one topic under its name.
fn by_topic<P>(
    committed: Vec<Committed>,
    partition: impl Fn(u32, Result<Option<CommittedOffset>, Unstable>) -> P,
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

/// Offset, epoch, metadata and error. Where nothing was committed, offset -1 and no metadata, as Kafka says it.
fn fields(committed: Result<Option<CommittedOffset>, Unstable>) -> (i64, i32, Option<StrBytes>, i16) {
    let unstable = ResponseError::UnstableOffsetCommit.code();
    let code = committed.as_ref().map_or(unstable, |_| 0);
    match committed {
        Ok(Some(CommittedOffset { offset, leader_epoch, metadata, .. })) => {
            (offset, leader_epoch, Some(StrBytes::from_string(metadata)), code)
        }
        Ok(None) | Err(Unstable) => (-1, -1, Some(StrBytes::default()), code),
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
    let topics = match committed(groups, &request.group_id, request.topics.map(named), request.require_stable)
    {
        Ok(committed) => by_topic(committed, |index, committed| {
            let (offset, epoch, metadata, code) = fields(committed);
            let partition = OffsetFetchResponsePartition::default()
                .with_partition_index(index as i32)
                .with_committed_offset(offset)
                .with_metadata(metadata)
                .with_error_code(code);
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
    let stable = request.require_stable;
    let asked = request.groups.into_iter().filter(|group| seen.insert(group.group_id.clone()));
    OffsetFetchResponse::default().with_groups(asked.map(|group| of_group(groups, group, stable)).collect())
}

fn of_group(
    groups: &Groups,
    group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let named = |topics: Vec<OffsetFetchRequestTopics>| {
        topics.into_iter().map(|topic| (arc(&topic.name), topic.partition_indexes)).collect()
    };
    let committed = committed(groups, &group.group_id, group.topics.map(named), require_stable);
    let response = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
    let topics = match committed {
        Ok(committed) => by_topic(committed, |index, committed| {
            let (offset, epoch, metadata, code) = fields(committed);
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index as i32)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(metadata)
                .with_error_code(code)
        }),
        Err(error) => return response.with_error_code(group_code(&error).code()),
    };
    let topic =
        |(name, partitions)| OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions);
    response.with_topics(topics.into_iter().map(topic).collect())
}
