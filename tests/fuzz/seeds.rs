//! Writes the corpora that are checked in, from what really goes over the wire and onto the disk:
//! `cargo run --manifest-path tests/fuzz/Cargo.toml --example seeds`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use topo_broker::{Assignment, Subscription, TopicPartition};
use topo_fuzz::put_part;
use topo_log::storage::{MemoryStorage, Storage};
use topo_log::{Partition, PartitionConfig};
use topo_protocol::{BatchBuilder, Compression, NewHeader, NewRecord};

/// The seeds by target and name.
#[derive(Default)]
struct Seeds(BTreeMap<(&'static str, String), Vec<u8>>);

impl Seeds {
    fn add(&mut self, target: &'static str, name: impl Into<String>, bytes: Vec<u8>) {
        self.0.insert((target, name.into()), bytes);
    }

    /// A request in its last version: for the decoder, and as a frame on a connection.
    fn request<T: Request>(&mut self, request: T) {
        let all = topo_fuzz::all();
        let of = |(shape, _): &(&topo_protocol::guard::Request, i16)| shape.key == T::KEY;
        let at = all.iter().rposition(of).expect("it is served");
        let (shape, version) = all[at];
        let mut body = BytesMut::new();
        request.encode(&mut body, version).expect("it can be said in its last version");
        let choice = u16::try_from(at).expect("there are fewer").to_be_bytes();
        self.add("request", shape.name, [&choice[..], &body].concat());
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(T::KEY)
            .with_request_api_version(version)
            .with_correlation_id(1)
            .with_client_id(Some(StrBytes::from_static_str("seed")));
        header.encode(&mut frame, T::header_version(version)).expect("a header");
        self.add(
            "request_header",
            if T::header_version(version) > 1 { "flexible" } else { "plain" },
            frame.to_vec(),
        );
        frame.extend(body);
        let mut parts = vec![1];
        put_part(&mut parts, &frame);
        self.add("connection", shape.name, parts);
    }

    fn batches(&mut self) {
        for codec in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            self.add("batch", codec.to_string(), batch(codec).to_vec());
        }
    }

    fn groups(&mut self) {
        let partitions = vec![TopicPartition::new("lines", 0), TopicPartition::new("lines", 1)];
        let assignment = Assignment { partitions: partitions.clone(), user_data: None };
        let subscription = Subscription {
            topics: vec!["lines".into()],
            owned: partitions,
            generation: Some(3),
            rack: Some("rack".into()),
            ..Subscription::default()
        };
        self.add("group_bytes", "subscription", [&[0], &subscription.encode()[..]].concat());
        self.add("group_bytes", "assignment", [&[1], &assignment.encode()[..]].concat());
        // GroupMetadataKey 2 and GroupMetadataValue 3 with one member; OffsetCommitKey 1 and OffsetCommitValue 3.
        let mut group = vec![2];
        put_part(&mut group, b"\x00\x02\x00\x05group");
        let mut value = b"\x00\x03\x00\x08consumer\x00\x00\x00\x02\x00\x05range\x00\x01m\
            \x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x01\x00\x01m\xff\xff\x00\x01c\x00\x01h\
            \x00\x00\x10\x00\x00\x00\x10\x00"
            .to_vec();
        for bytes in [subscription.encode(), assignment.encode()] {
            value.extend((bytes.len() as u32).to_be_bytes());
            value.extend(bytes);
        }
        put_part(&mut group, &value);
        self.add("group_bytes", "group", group);
        let mut offset = vec![2];
        put_part(&mut offset, b"\x00\x01\x00\x05group\x00\x05lines\x00\x00\x00\x00");
        put_part(&mut offset, b"\x00\x03\x00\x00\x00\x00\x00\x00\x00\x05\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07");
        self.add("group_bytes", "offset", offset);
    }

    /// The files of a partition that was closed, and the same without its recovery point.
    fn transactions(&mut self) {
        let id = || StrBytes::from_static_str("id");
        let topic = || StrBytes::from_static_str("lines");
        let group = || StrBytes::from_static_str("group");
        let init = InitProducerIdRequest::default().with_transactional_id(Some(id().into()));
        self.request(init.with_transaction_timeout_ms(60_000));
        let partitions = add_partitions_to_txn_request::AddPartitionsToTxnTopic::default()
            .with_name(topic().into())
            .with_partitions(vec![0, 1]);
        let add = AddPartitionsToTxnRequest::default().with_v3_and_below_transactional_id(id().into());
        self.request(add.with_v3_and_below_topics(vec![partitions]));
        let add = AddOffsetsToTxnRequest::default().with_transactional_id(id().into());
        self.request(add.with_group_id(group().into()));
        let committed = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default()
            .with_committed_offset(7)
            .with_committed_metadata(Some(StrBytes::from_static_str("m")));
        let committed = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default()
            .with_name(topic().into())
            .with_partitions(vec![committed]);
        let commit = TxnOffsetCommitRequest::default().with_transactional_id(id().into());
        self.request(commit.with_group_id(group().into()).with_topics(vec![committed]));
        self.request(EndTxnRequest::default().with_transactional_id(id().into()).with_committed(true));
        let described = describe_producers_request::TopicRequest::default()
            .with_name(topic().into())
            .with_partition_indexes(vec![0]);
        self.request(DescribeProducersRequest::default().with_topics(vec![described]));
        self.request(DescribeTransactionsRequest::default().with_transactional_ids(vec![id().into()]));
        let ongoing = StrBytes::from_static_str("Ongoing");
        self.request(ListTransactionsRequest::default().with_state_filters(vec![ongoing]));
    }

    fn segments(&mut self) {
        let storage = Arc::new(MemoryStorage::new());
        let dir = Path::new("/lines-0");
        // The first batch fills the first segment.
        let config =
            PartitionConfig { segment_bytes: 300, index_interval_bytes: 64, ..PartitionConfig::default() };
        let (mut partition, _) = Partition::open(storage.clone(), dir, config).expect("memory");
        for codec in [Compression::None, Compression::Lz4] {
            partition.append(&mut batch(codec)).expect("memory");
        }
        partition.close().expect("memory");
        for (name, kept) in [("closed", 6), ("without-a-recovery-point", 5), ("one-log", 1)] {
            let mut seed = vec![1];
            for file in topo_fuzz::FILES.iter().take(kept) {
                let bytes = storage.open(&dir.join(file)).map(|file| {
                    let mut bytes = vec![0; file.length().expect("memory") as usize];
                    file.read_exact_at(&mut bytes, 0).expect("memory");
                    bytes
                });
                put_part(&mut seed, &bytes.unwrap_or_default());
            }
            self.add("segment", name, seed);
        }
    }
}

/// Three records, the first of them with a key and a header.
fn batch(codec: Compression) -> BytesMut {
    let mut builder = BatchBuilder::new(1 << 10);
    let headers = [NewHeader { key: "h", value: Some(b"v") }];
    let lines: [&[u8]; 3] = [b"to be or not to be", b"that is the question", b"to be to be to be to be"];
    for (at, line) in lines.into_iter().enumerate() {
        let (key, headers) = if at == 0 { (Some(&b"key"[..]), &headers[..]) } else { (None, &[][..]) };
        let record = NewRecord { timestamp_ms: 7, key, value: Some(line), headers };
        let _ = builder.append(&record).expect("it is small");
    }
    builder.finish(codec).expect("it has records")
}

fn main() {
    let mut seeds = Seeds::default();
    seeds.batches();
    seeds.groups();
    seeds.segments();
    let lines = || StrBytes::from_static_str("lines");
    let produced = produce_request::PartitionProduceData::default()
        .with_records(Some(batch(Compression::Zstd).freeze()));
    let produced = produce_request::TopicProduceData::default()
        .with_name(lines().into())
        .with_partition_data(vec![produced]);
    seeds.request(
        ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![produced]),
    );
    let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(lines().into()));
    seeds.request(
        MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true),
    );
    let created = create_topics_request::CreatableTopic::default()
        .with_name(lines().into())
        .with_num_partitions(2)
        .with_replication_factor(1);
    seeds.request(CreateTopicsRequest::default().with_topics(vec![created]).with_timeout_ms(1000));
    let protocol = join_group_request::JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Subscription { topics: vec!["lines".into()], ..Subscription::default() }.encode());
    let join = JoinGroupRequest::default()
        .with_group_id(StrBytes::from_static_str("group").into())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    seeds.request(join);
    let key = StrBytes::from_static_str("group");
    seeds.request(FindCoordinatorRequest::default().with_coordinator_keys(vec![key]));
    seeds.request(FetchRequest::default().with_max_bytes(1 << 20));
    seeds.request(ApiVersionsRequest::default());
    seeds.request(OffsetCommitRequest::default());
    seeds.request(OffsetFetchRequest::default());
    seeds.request(DescribeConfigsRequest::default());
    seeds.request(ListOffsetsRequest::default());
    seeds.transactions();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for ((target, name), bytes) in seeds.0 {
        let dir = corpus.join(target);
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join(name), bytes))
            .expect("the tree can be written to");
    }
}
