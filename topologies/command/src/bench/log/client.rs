//! The least that is a Kafka client: it sends requests ahead and reads the answers to them, on one blocking thread.
//!
//! A full client queues, copies and accounts for every record, on the processors that the broker needs, so that the figures
//! would be partly the client's. This one builds its requests before the clock starts; sending one is a number put in and
//! a `write`.
//!
//! Invariant: every answer is that to the oldest request which has none, and says that it succeeded.

use std::collections::VecDeque;
use std::io::{self, BufReader, BufWriter, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::batches::Batch;
use super::read::Reader;
use super::tally::{Span, Tally};

/// What librdkafka and Java's client ask for in these versions is what is asked for here.
const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 12;
/// Where a frame holds its request's correlation id: behind the length, the API and its version.
const CORRELATION_AT: usize = 8;
const BUFFER_BYTES: usize = 64 << 10;
/// The most that all partitions of a fetch give together, Kafka's default.
const FETCH_MOST_BYTES: i32 = 50 << 20;

fn malformed(reason: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the broker's answer is none: {reason}"))
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    input: BufReader<TcpStream>,
    output: BufWriter<TcpStream>,
    sent: i32,
    received: i32,
    /// Reused for one answer after another.
    buffer: BytesMut,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// What the network says.
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let input = BufReader::with_capacity(BUFFER_BYTES, stream.try_clone()?);
        let output = BufWriter::with_capacity(BUFFER_BYTES, stream);
        Ok(Self { input, output, sent: 0, received: 0, buffer: BytesMut::new() })
    }

    /// Sends `frames`, each of which produces `batch`, in turn, `depth` requests ahead, each acknowledged as the topic's
    /// durability wants.
    ///
    /// # Errors
    /// What the network or the broker says.
    pub(super) fn produce(
        &mut self,
        frames: &[Bytes],
        batch: &Batch,
        depth: usize,
        span: Span,
    ) -> io::Result<Tally> {
        let (mut tally, mut ahead, mut turn) = (Tally::default(), VecDeque::with_capacity(depth), 0);
        let mut is_over = false;
        while !is_over || !ahead.is_empty() {
            while !is_over && ahead.len() < depth {
                ahead.push_back(Instant::now());
                self.send(&frames[turn])?;
                turn = (turn + 1) % frames.len();
            }
            self.output.flush()?;
            // All that came together is taken before more is sent.
            loop {
                self.receive(PRODUCE_VERSION, |answer: &ProduceResponse| {
                    let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
                    let partition = partitions.next().ok_or_else(|| malformed("it acknowledges nothing"))?;
                    succeeded(partition.error_code)
                })?;
                let begun = ahead.pop_front().ok_or_else(|| malformed("nothing was asked"))?;
                tally.add(batch.records, batch.bytes.len(), begun.elapsed());
                if ahead.is_empty() || self.input.buffer().is_empty() {
                    break;
                }
            }
            is_over = is_over || span.is_over(&tally);
        }
        Ok(span.end(tally))
    }

    /// Fetches from all partitions of `topic` at once, each from its start on once its end is reached.
    ///
    /// # Errors
    /// What the network or the broker says.
    pub(super) fn fetch(
        &mut self,
        topic: &str,
        mut readers: Vec<Reader>,
        partition_bytes: usize,
        span: Span,
    ) -> io::Result<Tally> {
        let mut tally = Tally::default();
        loop {
            let begun = Instant::now();
            self.send(&fetch_frame(topic, &readers, partition_bytes)?)?;
            self.output.flush()?;
            self.receive(FETCH_VERSION, |answer: &FetchResponse| {
                let took = begun.elapsed();
                succeeded(answer.error_code)?;
                let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
                let (mut records, mut bytes) = (0, 0);
                for (data, reader) in partitions.zip(&mut readers) {
                    succeeded(data.error_code)?;
                    let batches = data.records.as_deref().unwrap_or_default();
                    bytes += batches.len();
                    records += reader.take(batches);
                }
                tally.add(records, bytes, took);
                Ok(())
            })?;
            if span.is_past() {
                return Ok(span.end(tally));
            }
        }
    }

    /// Sends a request with a number of its own.
    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let (head, rest) = frame.split_at(CORRELATION_AT);
        let number = self.sent.to_be_bytes();
        self.sent = self.sent.wrapping_add(1);
        // In one go also where it is longer than the buffer, as from a client that builds it in one piece.
        let mut parts = [head, &number, &rest[number.len()..]].map(IoSlice::new);
        let mut parts = &mut parts[..];
        while !parts.is_empty() {
            match self.output.write_vectored(parts)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => IoSlice::advance_slices(&mut parts, written),
            }
        }
        Ok(())
    }

    /// Waits for the next answer, and has `look` at it before its memory serves for the one after.
    fn receive<R: Decodable + HeaderVersion>(
        &mut self,
        version: i16,
        look: impl FnOnce(&R) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(malformed)?;
        self.buffer.resize(length, 0);
        self.input.read_exact(&mut self.buffer)?;
        let answer = std::mem::take(&mut self.buffer).freeze();
        let mut bytes = answer.clone();
        let header = ResponseHeader::decode(&mut bytes, R::header_version(version)).map_err(malformed)?;
        if header.correlation_id != self.received {
            return Err(malformed("it is to another request"));
        }
        self.received = self.received.wrapping_add(1);
        let message = R::decode(&mut bytes, version).map_err(malformed)?;
        look(&message)?;
        drop((message, bytes));
        self.buffer = answer.try_into_mut().unwrap_or_default();
        Ok(())
    }
}

fn succeeded(code: i16) -> io::Result<()> {
    ResponseError::try_from_code(code)
        .map_or(Ok(()), |error| Err(io::Error::other(format!("the broker refuses: {error}"))))
}

fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// The requests that produce `batch` into each of the partitions of `topic`: built before the clock starts, since those of a
/// thousand partitions take as long as some of them take to be answered.
///
/// # Errors
/// What the encoder says.
pub(super) fn produce_frames(topic: &str, partitions: u32, batch: &Batch) -> io::Result<Arc<[Bytes]>> {
    (0..partitions).map(|partition| Ok(produce_frame(topic, partition, batch)?.freeze())).collect()
}

fn produce_frame(topic: &str, partition: u32, batch: &Batch) -> io::Result<BytesMut> {
    let data = PartitionProduceData::default()
        .with_index(partition.cast_signed())
        .with_records(Some(batch.bytes.clone()));
    let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(60_000).with_topic_data(vec![topic]);
    frame(ApiKey::Produce, PRODUCE_VERSION, &request)
}

fn fetch_frame(topic: &str, readers: &[Reader], partition_bytes: usize) -> io::Result<BytesMut> {
    let partition = |(index, reader): (usize, &Reader)| {
        FetchPartition::default()
            .with_partition(index as i32)
            .with_fetch_offset(reader.offset())
            .with_partition_max_bytes(i32::try_from(partition_bytes).unwrap_or(i32::MAX))
    };
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(readers.iter().enumerate().map(partition).collect());
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(FETCH_MOST_BYTES)
        .with_topics(vec![topic]);
    frame(ApiKey::Fetch, FETCH_VERSION, &request)
}

fn frame<R: Encodable + HeaderVersion>(api: ApiKey, version: i16, request: &R) -> io::Result<BytesMut> {
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("topo bench")));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let encoded = header.encode(&mut frame, R::header_version(version));
    encoded.and_then(|()| request.encode(&mut frame, version)).map_err(io::Error::other)?;
    let length = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}
