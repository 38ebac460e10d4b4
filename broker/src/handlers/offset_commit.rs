//! OffsetCommit: what a group goes on from, from a member of the generation that is, or while there are no members.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetCommitRequest, OffsetCommitResponse};

use super::Handler;
use super::code::code;
use super::group_code::result_code;
use super::join_group::arc;
use crate::broker::Broker;
use crate::clock::wall_ms;
use crate::groups::Claim;
use crate::offsets::CommittedOffset;
use crate::server::{Call, Reply};
use crate::topic::TopicPartition;

/// The API.
pub(crate) struct OffsetCommit;

/// `offset.metadata.max.bytes`.
const MAX_METADATA_BYTES: usize = 4096;

impl Handler for OffsetCommit {
    type Request = OffsetCommitRequest;
    type Response = OffsetCommitResponse;
    const KEY: ApiKey = ApiKey::OffsetCommit;

    async fn handle(call: Call, request: OffsetCommitRequest) -> Reply<OffsetCommitResponse> {
        let broker = &call.server.broker;
        let now_ms = wall_ms();
        let mut offsets = Vec::new();
        // What cannot be committed keeps nothing else from it.
        let refused: Vec<Vec<Option<ResponseError>>> = request
            .topics
            .iter()
            .map(|topic| {
                let check = |partition| match offset(broker, &asked(topic, partition), now_ms) {
                    Ok(offset) => {
                        offsets.push(offset);
                        None
                    }
                    Err(error) => Some(error),
                };
                topic.partitions.iter().map(check).collect()
            })
            .collect();
        let claim = Claim {
            member_id: arc(&request.member_id),
            instance_id: request.group_instance_id.as_ref().map(arc),
            generation: request.generation_id_or_member_epoch,
        };
        let committed = result_code(&broker.groups().commit(&request.group_id, &claim, &offsets).await);
        let topics = request.topics.into_iter().zip(refused);
        let topics = topics.map(|(topic, refused)| answer(topic, refused, committed));
        OffsetCommitResponse::default().with_topics(topics.collect()).into()
    }
}

/// What one partition is to be gone on from.
pub(super) struct Asked<'a> {
    pub(super) topic: &'a str,
    pub(super) index: i32,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: Option<&'a str>,
}

fn asked<'a>(topic: &'a OffsetCommitRequestTopic, partition: &'a OffsetCommitRequestPartition) -> Asked<'a> {
    Asked {
        topic: &topic.name,
        index: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_deref(),
    }
}

/// The same, if it can be committed.
pub(super) fn offset(
    broker: &Broker,
    asked: &Asked<'_>,
    now_ms: i64,
) -> Result<(TopicPartition, CommittedOffset), ResponseError> {
    let index = u32::try_from(asked.index).map_err(|_| ResponseError::UnknownTopicOrPartition)?;
    let known = broker.topic(asked.topic).and_then(|known| known.partition(index).map(|_| known.clone()));
    let known = known.map_err(|error| code(&error))?;
    let metadata = asked.metadata.unwrap_or("");
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    if asked.offset < 0 {
        return Err(ResponseError::OffsetOutOfRange);
    }
    let committed = CommittedOffset {
        offset: asked.offset,
        leader_epoch: asked.leader_epoch,
        metadata: metadata.to_owned(),
        commit_timestamp_ms: now_ms,
    };
    Ok((TopicPartition::new(known.name().clone(), index), committed))
}

fn answer(
    topic: OffsetCommitRequestTopic,
    refused: Vec<Option<ResponseError>>,
    committed: i16,
) -> OffsetCommitResponseTopic {
    let partitions = topic.partitions.into_iter().zip(refused).map(|(partition, refused)| {
        OffsetCommitResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(refused.map_or(committed, |error| error.code()))
    });
    OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
}
