//! Consumer groups over the wire, in every version.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use topo_broker::{Change, MemberConfig, Subscription, TopicPartition};
use topo_tests::wire_client::WireClient;

use super::Served;

const OK: i16 = 0;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

async fn serve() -> Served {
    let served = Served::start().await;
    served.broker.create_topic("lines", 2, Default::default()).await.expect("a new topic");
    served
}

fn join_as(version: i16, id: &str, instance: Option<&str>) -> JoinGroupRequest {
    let subscription = Subscription { topics: vec!["lines".into()], ..Subscription::default() };
    let range =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(subscription.encode());
    let request = JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(10_000)
        .with_member_id(text(id))
        .with_group_instance_id(instance.map(text))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![range]);
    let request = if version >= 1 { request.with_rebalance_timeout_ms(30_000) } else { request };
    if version >= 8 { request.with_reason(Some(text("because"))) } else { request }
}

/// Joins, with the id that is required where one is.
async fn join(client: &mut WireClient, version: i16) -> JoinGroupResponse {
    let first = client.ask(version, &join_as(version, "", None)).await;
    if version < 4 {
        return first;
    }
    assert_eq!(first.error_code, ResponseError::MemberIdRequired.code());
    assert!(first.member_id.starts_with("wire-client-"), "{}", first.member_id.as_str());
    client.ask(version, &join_as(version, &first.member_id, None)).await
}

fn sync_as(joined: &JoinGroupResponse, instance: Option<&str>) -> SyncGroupRequest {
    let given = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"all"));
    SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_group_instance_id(instance.map(text))
        .with_assignments(if joined.leader == joined.member_id { vec![given] } else { Vec::new() })
}

fn heartbeat_as(joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
}

fn commit_as(name: &str, generation: i32, member: &str, offset: i64) -> OffsetCommitRequest {
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("note")))
    };
    let of = |name: &str| {
        OffsetCommitRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![partition(0), partition(9)])
    };
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(text(member))
        .with_topics(vec![of("lines"), of("none")])
}

/// The codes of `lines-0`, `lines-9`, and the topic that does not exist.
async fn commit(client: &mut WireClient, version: i16, request: OffsetCommitRequest) -> [i16; 3] {
    let response = client.ask(version, &request).await;
    let code = |topic: usize, partition: usize| response.topics[topic].partitions[partition].error_code;
    assert_eq!(code(1, 0), code(1, 1));
    [code(0, 0), code(0, 1), code(1, 0)]
}

#[tokio::test]
async fn the_coordinator_is_this_broker_in_every_version() {
    let served = serve().await;
    let mut client = served.client().await;
    let port = i32::from(served.address().port());
    for version in 0..=4 {
        let request = match version {
            4 => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g"), text("h")]),
            _ => FindCoordinatorRequest::default().with_key(text("g")),
        };
        let response = client.ask(version, &request).await;
        if version < 4 {
            assert_eq!((response.error_code, response.node_id.0, response.port), (OK, 0, port));
            continue;
        }
        let keys: Vec<&str> = response.coordinators.iter().map(|found| found.key.as_str()).collect();
        assert_eq!(keys, ["g", "h"]);
        assert!(response.coordinators.iter().all(|found| (found.error_code, found.port) == (OK, port)));
    }
    let shares = FindCoordinatorRequest::default().with_key(text("g")).with_key_type(2);
    assert_eq!(client.ask(3, &shares).await.error_code, ResponseError::InvalidRequest.code());
    served.stop().await;
}

#[tokio::test]
async fn a_member_lives_through_every_version_of_every_request() {
    let served = serve().await;
    let mut client = served.client().await;
    for version in 0..=9 {
        let joined = join(&mut client, version).await;
        assert_eq!((joined.error_code, joined.leader.clone()), (OK, joined.member_id.clone()), "{version}");
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
        assert_eq!(joined.members.len(), 1);
        let sync_version = version.min(5);
        let sync = sync_as(&joined, None);
        let sync = match sync_version {
            5 => sync.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range"))),
            _ => sync,
        };
        let synced = client.ask(sync_version, &sync).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (OK, &b"all"[..]), "{version}");
        assert_eq!(client.ask(version.min(4), &heartbeat_as(&joined)).await.error_code, OK);
        let stale = JoinGroupResponse::default()
            .with_member_id(joined.member_id.clone())
            .with_generation_id(joined.generation_id - 1);
        let code = client.ask(version.min(4), &heartbeat_as(&stale)).await.error_code;
        assert_eq!(code, ResponseError::IllegalGeneration.code());

        let unknown = ResponseError::UnknownTopicOrPartition.code();
        let commit_version = version.clamp(2, 8);
        let request = commit_as("g", joined.generation_id, &joined.member_id, i64::from(version));
        assert_eq!(commit(&mut client, commit_version, request).await, [OK, unknown, unknown]);
        let request = commit_as("g", joined.generation_id - 1, &joined.member_id, 99);
        let illegal = ResponseError::IllegalGeneration.code();
        assert_eq!(commit(&mut client, commit_version, request).await, [illegal, unknown, unknown]);
        let request = commit_as("g", -1, "", 99);
        let code = ResponseError::UnknownMemberId.code();
        assert_eq!(commit(&mut client, commit_version, request).await, [code, unknown, unknown]);
        let lines = TopicPartition::new("lines", 0);
        let committed = served.broker.committed("g", &lines).unwrap().unwrap();
        assert_eq!((committed.offset, &*committed.metadata), (i64::from(version), "note"));

        let leave_version = version.min(5);
        let leave = LeaveGroupRequest::default().with_group_id(group("g"));
        if leave_version < 3 {
            let leave = leave.with_member_id(joined.member_id.clone());
            assert_eq!(client.ask(leave_version, &leave).await.error_code, OK);
            let again = client.ask(leave_version, &leave).await.error_code;
            assert_eq!(again, ResponseError::UnknownMemberId.code());
        } else {
            let reason = (leave_version >= 5).then(|| text("done"));
            let identity =
                MemberIdentity::default().with_member_id(joined.member_id.clone()).with_reason(reason);
            let leave = leave.with_members(vec![identity.clone(), identity]);
            let left = client.ask(leave_version, &leave).await;
            let codes: Vec<i16> = left.members.iter().map(|member| member.error_code).collect();
            assert_eq!((left.error_code, codes), (OK, vec![OK, ResponseError::UnknownMemberId.code()]));
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn nobody_waits_for_a_client_that_went_away_while_it_joined() {
    let served = serve().await;
    let mut client = served.client().await;
    let joined = join(&mut client, 3).await;
    let mut gone = served.client().await;
    gone.send(3, &join_as(3, "", None)).await;
    let told = ResponseError::RebalanceInProgress.code();
    while client.ask(3, &heartbeat_as(&joined)).await.error_code != told {
        tokio::task::yield_now().await;
    }
    drop(gone);
    while served.broker.groups().describe("g").unwrap().members.len() > 1 {
        tokio::task::yield_now().await;
    }
    let again = client.ask(3, &join_as(3, &joined.member_id, None)).await;
    assert_eq!((again.error_code, again.members.len()), (OK, 1));
    served.stop().await;
}

#[tokio::test]
async fn static_members_are_fenced_and_leave_by_name() {
    let served = serve().await;
    let mut client = served.client().await;
    let old = client.ask(5, &join_as(5, "", Some("one"))).await;
    assert_eq!((old.error_code, old.members[0].group_instance_id.as_deref()), (OK, Some("one")));
    assert_eq!(client.ask(3, &sync_as(&old, Some("one"))).await.error_code, OK);
    let new = client.ask(9, &join_as(9, "", Some("one"))).await;
    assert_eq!((new.error_code, new.generation_id, new.skip_assignment), (OK, old.generation_id, true));
    let fenced = ResponseError::FencedInstanceId.code();
    let heartbeat = heartbeat_as(&old).with_group_instance_id(Some(text("one")));
    assert_eq!(client.ask(4, &heartbeat).await.error_code, fenced);
    let synced = client.ask(5, &sync_as(&new, Some("one"))).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (OK, &b"all"[..]));
    let leave = |id: &StrBytes| {
        let identity =
            MemberIdentity::default().with_member_id(id.clone()).with_group_instance_id(Some(text("one")));
        LeaveGroupRequest::default().with_group_id(group("g")).with_members(vec![identity])
    };
    assert_eq!(client.ask(3, &leave(&old.member_id)).await.members[0].error_code, fenced);
    assert_eq!(client.ask(3, &leave(&StrBytes::default())).await.members[0].error_code, OK);
    served.stop().await;
}

#[tokio::test]
async fn offsets_are_fetched_in_every_version() {
    let served = serve().await;
    let mut client = served.client().await;
    let request = commit_as("simple", -1, "", 7);
    assert_eq!(commit(&mut client, 2, request).await[0], OK);
    for version in 1..=8 {
        for all in [false, true] {
            if all && version < 2 {
                continue;
            }
            let (names, indexes) = (["lines", "none"], vec![1, 0, 0]);
            let request = if version < 8 {
                let one = |name: &str| {
                    OffsetFetchRequestTopic::default()
                        .with_name(topic(name))
                        .with_partition_indexes(indexes.clone())
                };
                let topics = (!all).then(|| names.map(one).to_vec());
                OffsetFetchRequest::default().with_group_id(group("simple")).with_topics(topics)
            } else {
                let one = |name: &str| {
                    OffsetFetchRequestTopics::default()
                        .with_name(topic(name))
                        .with_partition_indexes(indexes.clone())
                };
                let topics = (!all).then(|| names.map(one).to_vec());
                let asked =
                    OffsetFetchRequestGroup::default().with_group_id(group("simple")).with_topics(topics);
                OffsetFetchRequest::default().with_groups(vec![asked.clone(), asked])
            };
            let response = client.ask(version, &request).await;
            let mut found: Vec<(String, i32, i64, Option<String>)> = Vec::new();
            for topic in response.topics {
                found.extend(topic.partitions.into_iter().map(|partition| {
                    let metadata = partition.metadata.map(|metadata| metadata.to_string());
                    (topic.name.to_string(), partition.partition_index, partition.committed_offset, metadata)
                }));
            }
            for topic in response.groups.into_iter().flat_map(|group| group.topics) {
                found.extend(topic.partitions.into_iter().map(|partition| {
                    let metadata = partition.metadata.map(|metadata| metadata.to_string());
                    (topic.name.to_string(), partition.partition_index, partition.committed_offset, metadata)
                }));
            }
            let row = |name: &str, index, offset, note: &str| {
                (name.to_owned(), index, offset, Some(note.to_owned()))
            };
            let mut expected = vec![row("lines", 0, 7, "note")];
            if !all {
                expected.extend([row("lines", 1, -1, ""), row("none", 0, -1, ""), row("none", 1, -1, "")]);
            }
            assert_eq!(found, expected, "version {version}");
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn groups_are_listed_described_and_deleted_in_every_version() {
    let served = serve().await;
    let mut client = served.client().await;
    let joined = join(&mut client, 5).await;
    assert_eq!(client.ask(3, &sync_as(&joined, None)).await.error_code, OK);
    assert_eq!(commit(&mut client, 8, commit_as("simple", -1, "", 7)).await[0], OK);
    for version in 0..=5 {
        let asked = vec![group("g"), group("simple"), group("none"), group("g")];
        let response = client.ask(version, &DescribeGroupsRequest::default().with_groups(asked)).await;
        let states: Vec<&str> = response.groups.iter().map(|group| group.group_state.as_str()).collect();
        assert_eq!(states, ["Stable", "Empty", "Dead"]);
        let described = &response.groups[0];
        assert_eq!((&*described.protocol_type, &*described.protocol_data), ("consumer", "range"));
        let member = &described.members[0];
        assert_eq!((&member.member_id, &*member.client_id), (&joined.member_id, "wire-client"));
        assert_eq!((&*member.client_host, &member.member_assignment[..]), ("/127.0.0.1", &b"all"[..]));
    }
    for version in 0..=4 {
        let mut request = ListGroupsRequest::default();
        let listed = client.ask(version, &request).await;
        let names: Vec<&str> = listed.groups.iter().map(|group| group.group_id.as_str()).collect();
        assert_eq!(names, ["g", "simple"]);
        if version == 4 {
            request.states_filter = vec![text("stable")];
            let listed = client.ask(version, &request).await;
            let states: Vec<&str> = listed.groups.iter().map(|group| group.group_state.as_str()).collect();
            assert_eq!(states, ["Stable"]);
        }
    }
    let delete = |name: &str, group_name: &str| {
        let partitions = vec![OffsetDeleteRequestPartition::default().with_partition_index(0)];
        let of = OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(partitions);
        OffsetDeleteRequest::default().with_group_id(group(group_name)).with_topics(vec![of])
    };
    let subscribed = client.ask(0, &delete("lines", "g")).await.topics[0].partitions[0].error_code;
    assert_eq!(subscribed, ResponseError::GroupSubscribedToTopic.code());
    assert_eq!(client.ask(0, &delete("lines", "simple")).await.topics[0].partitions[0].error_code, OK);
    let unknown = client.ask(0, &delete("lines", "none")).await.error_code;
    assert_eq!(unknown, ResponseError::GroupIdNotFound.code());
    for version in 0..=2 {
        assert_eq!(commit(&mut client, 8, commit_as("simple", -1, "", 7)).await[0], OK);
        let asked = vec![group("simple"), group("g"), group("none")];
        let deleted = client.ask(version, &DeleteGroupsRequest::default().with_groups_names(asked)).await;
        let codes: Vec<i16> = deleted.results.iter().map(|result| result.error_code).collect();
        let (busy, none) = (ResponseError::NonEmptyGroup.code(), ResponseError::GroupIdNotFound.code());
        assert_eq!(codes, [OK, busy, none]);
    }
    served.stop().await;
}

#[tokio::test]
async fn a_member_in_the_process_and_one_outside_share() {
    let served = serve().await;
    let mut inside = served.broker.groups().member(MemberConfig::new("g", vec!["lines".into()]));
    let Change::Assigned(all) = inside.next().await.unwrap() else { panic!("nothing is assigned") };
    assert_eq!(all.len(), 2);
    let mut client = served.client().await;
    let (joined, half) = tokio::join!(join(&mut client, 7), async {
        assert_eq!(inside.next().await.unwrap(), Change::Revoked);
        inside.next().await.unwrap()
    });
    let Change::Assigned(half) = half else { panic!("nothing is assigned") };
    let synced = client.ask(5, &sync_as(&joined, None).with_assignments(Vec::new())).await;
    assert_eq!(synced.error_code, OK);
    let mut shares = topo_broker::Assignment::decode(synced.assignment).unwrap().partitions;
    assert_eq!((shares.len(), half.len()), (1, 1));
    shares.extend(half);
    shares.sort_unstable();
    assert_eq!(shares, all);
    served.stop().await;
}
