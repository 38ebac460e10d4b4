//! The guard against the decoder that it stands in front of, for every API and version.
//!
//! Requests are made at random along the guard's shapes. The decoder of messages, and its encoder, know nothing of those:
//! if they read every byte and write the same ones again, the shapes are the protocol's.

use std::str::Utf8Error;

use bytes::Bytes;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request as Message, StrBytes};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use topo_protocol::guard::{self, Element, Kind, Request, Structure, check, most_decoded_bytes};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// What the decoder takes for a body whatever is in it: the shared handle on its bytes.
const HANDLE_BYTES: usize = 64;
const ROUNDS: usize = 60;

/// One request type of the decoder's.
struct Messages {
    key: i16,
    /// Decodes, and says how many bytes are left, how many were allocated meanwhile, and what it is encoded as; else why
    /// not.
    recode: fn(Bytes, i16) -> Result<Recoded, Refused>,
    /// The default message; `None` where a version cannot say it.
    default: fn(i16) -> Option<Vec<u8>>,
}

enum Refused {
    NoText,
    Other(String),
}

struct Recoded {
    left: usize,
    allocated: usize,
    encoded: Vec<u8>,
}

fn messages<T: Message + Default>() -> Messages {
    Messages {
        key: T::KEY,
        recode: |mut body, version| {
            let region = Region::new(ALLOCATOR);
            let message = T::decode(&mut body, version).map_err(|error| match error.is::<Utf8Error>() {
                true => Refused::NoText,
                false => Refused::Other(error.to_string()),
            })?;
            let allocated = region.change().bytes_allocated;
            let mut encoded = Vec::new();
            message.encode(&mut encoded, version).expect("what was decoded is encoded");
            Ok(Recoded { left: body.len(), allocated, encoded })
        },
        default: |version| {
            let mut encoded = Vec::new();
            T::default().encode(&mut encoded, version).ok().map(|()| encoded)
        },
    }
}

fn all() -> [Messages; 35] {
    [
        messages::<ProduceRequest>(),
        messages::<FetchRequest>(),
        messages::<ListOffsetsRequest>(),
        messages::<MetadataRequest>(),
        messages::<OffsetCommitRequest>(),
        messages::<OffsetFetchRequest>(),
        messages::<FindCoordinatorRequest>(),
        messages::<JoinGroupRequest>(),
        messages::<HeartbeatRequest>(),
        messages::<LeaveGroupRequest>(),
        messages::<SyncGroupRequest>(),
        messages::<DescribeGroupsRequest>(),
        messages::<ListGroupsRequest>(),
        messages::<ApiVersionsRequest>(),
        messages::<CreateTopicsRequest>(),
        messages::<DeleteTopicsRequest>(),
        messages::<DeleteRecordsRequest>(),
        messages::<InitProducerIdRequest>(),
        messages::<OffsetForLeaderEpochRequest>(),
        messages::<AddPartitionsToTxnRequest>(),
        messages::<AddOffsetsToTxnRequest>(),
        messages::<EndTxnRequest>(),
        messages::<TxnOffsetCommitRequest>(),
        messages::<DescribeConfigsRequest>(),
        messages::<AlterConfigsRequest>(),
        messages::<DescribeLogDirsRequest>(),
        messages::<CreatePartitionsRequest>(),
        messages::<DeleteGroupsRequest>(),
        messages::<IncrementalAlterConfigsRequest>(),
        messages::<OffsetDeleteRequest>(),
        messages::<DescribeClusterRequest>(),
        messages::<DescribeProducersRequest>(),
        messages::<DescribeTransactionsRequest>(),
        messages::<ListTransactionsRequest>(),
        messages::<DescribeTopicPartitionsRequest>(),
    ]
}

/// Writes requests at random along a shape.
struct Writer<'a> {
    random: &'a mut StdRng,
    version: i16,
    is_flexible: bool,
    /// Whether fields that nobody knows are put in.
    is_tagged: bool,
    out: Vec<u8>,
    /// Where lengths and counts stand.
    lengths: Vec<usize>,
}

impl Writer<'_> {
    fn structure(&mut self, structure: &Structure) {
        let version = self.version;
        for field in structure.fields.iter().filter(|field| field.versions.contains(version)) {
            self.value(&field.kind);
        }
        if self.is_flexible {
            self.tags(structure);
        }
    }

    fn value(&mut self, kind: &Kind) {
        let is_null = self.random.random_ratio(1, 4);
        match kind {
            // As a boolean, 1 and 0 are written as they were read.
            Kind::Fixed(1) => self.out.push(u8::from(is_null)),
            Kind::Fixed(bytes) => self.out.extend((0..*bytes).map(|_| self.random.random::<u8>())),
            Kind::NullableString if is_null => self.length(None, true),
            Kind::String | Kind::NullableString => self.bytes(true),
            Kind::NullableBytes if is_null => self.length(None, false),
            Kind::Bytes | Kind::NullableBytes => self.bytes(false),
            Kind::NullableArray(_) if is_null => self.length(None, false),
            Kind::Array(element) | Kind::NullableArray(element) => {
                let count = self.random.random_range(0..4);
                self.length(Some(count), false);
                (0..count).for_each(|_| self.element(element));
            }
            Kind::Optional(_) if is_null => self.out.push(0xff),
            Kind::Optional(structure) => {
                self.out.push(1);
                self.structure(structure);
            }
        }
    }

    fn element(&mut self, element: &Element) {
        match element {
            Element::Int32 => self.value(&Kind::Fixed(4)),
            Element::Int64 => self.value(&Kind::Fixed(8)),
            Element::String => self.value(&Kind::String),
            Element::Structure(structure) => self.structure(structure),
        }
    }

    fn bytes(&mut self, is_text: bool) {
        let length = if self.random.random_ratio(1, 20) { 200 } else { self.random.random_range(0..6) };
        self.length(Some(length), is_text);
        self.out.extend((0..length).map(|_| self.random.random_range(b'a'..=b'z')));
    }

    /// A length as it is written before texts, or before everything else.
    fn length(&mut self, length: Option<usize>, is_text: bool) {
        self.lengths.push(self.out.len());
        match (self.is_flexible, is_text) {
            (true, _) => self.varint(length.map_or(0, |length| length + 1)),
            (false, true) => self.out.extend(length.map_or(-1, |length| length as i16).to_be_bytes()),
            (false, false) => self.out.extend(length.map_or(-1, |length| length as i32).to_be_bytes()),
        }
    }

    fn tags(&mut self, structure: &Structure) {
        let unknown = if self.is_tagged { self.random.random_range(0..3) } else { 0 };
        let known = structure.tagged.len();
        self.lengths.push(self.out.len());
        self.varint(known + unknown);
        for (tag, kind) in structure.tagged {
            self.varint(*tag as usize);
            // The decoder leaves out what is null by default.
            let from = self.out.len();
            self.value(if matches!(kind, Kind::NullableString) { &Kind::String } else { kind });
            let value = self.out.split_off(from);
            self.lengths.retain(|at| *at < from);
            self.varint(value.len());
            self.out.extend(value);
        }
        for tag in 0..unknown {
            self.varint(100 + tag);
            let length = self.random.random_range(0..3);
            self.varint(length);
            self.out.extend(vec![7; length]);
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

/// A request, and where its lengths and counts stand.
fn write(random: &mut StdRng, request: &Request, version: i16, is_tagged: bool) -> (Vec<u8>, Vec<usize>) {
    let is_flexible = version >= request.flexible_from;
    let mut writer = Writer { random, version, is_flexible, is_tagged, out: Vec::new(), lengths: Vec::new() };
    writer.structure(&request.body);
    (writer.out, writer.lengths)
}

/// What passes the guard is decoded within what it said.
///
/// One test, without the harness: what is allocated is counted for the whole process, and its threads allocate as well.
fn main() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let all = all();
    assert_eq!(all.len(), guard::ALL.len());
    for (messages, request) in all.iter().zip(guard::ALL) {
        assert_eq!(messages.key, request.key, "{}", request.name);
        // Older versions of Produce are walked, and never decoded.
        let decoded_from = if request.key == ProduceRequest::KEY { 3 } else { 0 };
        for version in request.versions.range().filter(|version| *version >= decoded_from) {
            if let Some(body) = (messages.default)(version) {
                assert!(check(request, version, &body).is_ok(), "{} {version} by default", request.name);
            }
            for round in 0..ROUNDS {
                let (body, lengths) = write(&mut random, request, version, round % 4 == 0);
                sound(messages, request, version, &body, round % 4 != 0);
                truncated(request, version, &body);
                blown_up(request, version, &body, &lengths);
                damaged(&mut random, messages, request, version, &body);
            }
        }
        for version in [request.versions.first - 1, request.versions.last + 1] {
            assert!(matches!(check(request, version, &[]), Err(guard::GuardError::Version { .. })));
        }
    }
    short_names(&all);
    bombs();
    println!("{} APIs are guarded as they are decoded", guard::ALL.len());
}

/// A request is accepted, decoded whole, written again as it was, and takes what the guard said.
fn sound(messages: &Messages, request: &Request, version: i16, body: &[u8], is_exact: bool) {
    let at = format!("{} {version} {body:02x?}", request.name);
    let said = check(request, version, body).unwrap_or_else(|error| panic!("{at}: {error}"));
    let decoded = (messages.recode)(Bytes::copy_from_slice(body), version);
    let Ok(decoded) = decoded else { panic!("{at}: not decoded") };
    assert_eq!((decoded.left, &decoded.encoded[..]), (0, body), "{at}");
    assert!(decoded.allocated <= said + HANDLE_BYTES, "{at}: {} instead of {said}", decoded.allocated);
    if is_exact {
        assert!(decoded.allocated >= said, "{at}: {} instead of {said}", decoded.allocated);
    }
}

fn truncated(request: &Request, version: i16, body: &[u8]) {
    for end in 0..body.len() {
        assert!(check(request, version, &body[..end]).is_err(), "{} {version} {end}", request.name);
    }
    // What follows is let through: clients send stray bytes.
    assert_eq!(check(request, version, &[body, &[0; 3]].concat()), check(request, version, body));
}

/// Every length and count claims far more than there is.
fn blown_up(request: &Request, version: i16, body: &[u8], lengths: &[usize]) {
    let huge: &[u8] =
        if version >= request.flexible_from { b"\xff\xff\xff\xff\x0f" } else { b"\x7f\xff\xff\xff" };
    for at in lengths {
        let mut blown = body[..*at].to_vec();
        blown.extend(huge);
        blown.extend(&body[*at + 1..]);
        assert!(check(request, version, &blown).is_err(), "{} {version} {blown:02x?}", request.name);
    }
}

/// Whatever is accepted all the same is decoded within bounds, to the last byte, or is no text.
fn damaged(random: &mut StdRng, messages: &Messages, request: &Request, version: i16, body: &[u8]) {
    for _ in 0..20 {
        let mut body = body.to_vec();
        if body.is_empty() {
            return;
        }
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..body.len());
            body[at] = random.random();
        }
        let Ok(said) = check(request, version, &body) else { continue };
        assert!(said <= most_decoded_bytes(body.len()));
        let at = format!("{} {version} {body:02x?}", request.name);
        match (messages.recode)(Bytes::from(body), version) {
            Ok(decoded) => {
                assert!(decoded.allocated <= said + HANDLE_BYTES, "{at}: {} of {said}", decoded.allocated);
            }
            Err(Refused::NoText) => {}
            // A tag of later versions.
            Err(Refused::Other(error)) => assert!(error.starts_with("Tag "), "{at}: {error}"),
        }
    }
}

/// Requests that name thousands of things in a letter or three pass, in every version that says them.
fn short_names(all: &[Messages]) {
    let pass = |key: i16, version: i16, encoded: Vec<u8>| {
        let messages = all.iter().find(|one| one.key == key).expect("it is served");
        let request = guard::request(key).expect("it is served");
        let said = check(request, version, &encoded);
        let said = said.unwrap_or_else(|error| panic!("{} {version}: {error}", request.name));
        let decoded = (messages.recode)(Bytes::from(encoded), version);
        let Ok(decoded) = decoded else { panic!("{} {version}: not decoded", request.name) };
        assert!(
            decoded.allocated <= said + HANDLE_BYTES && said <= 1 << 20,
            "{} {version}: {said}",
            request.name
        );
    };
    let names = || (0..5_000_u32).map(|number| StrBytes::from_string(short_name(number)));
    let one_letter = || (0..5_000).map(|_| StrBytes::from_static_str("t"));
    for version in 0..=13 {
        for names in [names().collect::<Vec<_>>(), one_letter().collect()] {
            let topic = |name| MetadataRequestTopic::default().with_name(Some(TopicName(name)));
            let topics = names.into_iter().map(topic).collect();
            let request = MetadataRequest::default().with_topics(Some(topics));
            pass(MetadataRequest::KEY, version, encode(&request, version));
        }
    }
    for version in 1..=7 {
        let topic = |name| {
            OffsetFetchRequestTopic::default().with_name(TopicName(name)).with_partition_indexes(vec![0])
        };
        let topics = names().map(topic).collect();
        let request = OffsetFetchRequest::default().with_topics(Some(topics));
        pass(OffsetFetchRequest::KEY, version, encode(&request, version));
        let whole = OffsetFetchRequestTopic::default().with_partition_indexes((0..5_000).collect());
        let request = OffsetFetchRequest::default().with_topics(Some(vec![whole]));
        pass(OffsetFetchRequest::KEY, version, encode(&request, version));
    }
    let topic =
        |name| OffsetFetchRequestTopics::default().with_name(TopicName(name)).with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default().with_topics(Some(names().map(topic).collect()));
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    pass(OffsetFetchRequest::KEY, 8, encode(&request, 8));
    for version in 0..=5 {
        let request = DescribeGroupsRequest::default().with_groups(names().map(GroupId).collect());
        pass(DescribeGroupsRequest::KEY, version, encode(&request, version));
    }
    let request = FindCoordinatorRequest::default().with_coordinator_keys(one_letter().collect());
    pass(FindCoordinatorRequest::KEY, 4, encode(&request, 4));
}

/// A name of one letter, two or three.
fn short_name(mut number: u32) -> String {
    let mut name = String::new();
    loop {
        name.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            return name;
        }
    }
}

fn encode<T: Message>(request: &T, version: i16) -> Vec<u8> {
    let mut encoded = Vec::new();
    request.encode(&mut encoded, version).expect("it can be said in that version");
    encoded
}

/// What is cheap to send and dear to decode is refused.
fn bombs() {
    let find_coordinator = guard::request(10).expect("FindCoordinator is served");
    let keys = |count: usize| [b"\x00\xff\xff\x03".as_slice(), &vec![1; count - 1], b"\x00"].concat();
    // The count is a varint of three bytes: 65,534.
    let refused = check(find_coordinator, 4, &keys(65_535));
    assert!(matches!(refused, Err(guard::GuardError::TooCostly { .. })), "{refused:?}");
    let metadata = guard::request(3).expect("Metadata is served");
    // No topics, and a thousand tagged fields of nothing.
    let mut tags = b"\x01\x00\x00\xe8\x07".to_vec();
    (0..1000_u32).for_each(|tag| tags.extend([tag as u8 | 0x80, (tag >> 7) as u8, 0]));
    let refused = check(metadata, 12, &tags);
    assert!(matches!(refused, Err(guard::GuardError::TooCostly { .. })), "{refused:?}");
}
