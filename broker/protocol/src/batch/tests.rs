//! Record batches against the specification: golden bytes, round trips, and every kind of damage.

use super::{
    BatchBuilder, BatchError, BatchHeader, Compression, DecodedRecord, HEADER_BYTES, NewHeader, NewRecord,
    Room, TimestampType, check, place, recompress, records,
};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
const ENOUGH: usize = 1 << 20;

/// Two records at offsets 7 and 8: `k` = `hello`, and a null key and value with headers `h` = `x` and `n` = null.
///
/// Written out by hand; the checksum comes from a bitwise CRC32C (reflected polynomial 82f63b78).
#[rustfmt::skip]
const GOLDEN: [u8; 88] = [
    0, 0, 0, 0, 0, 0, 0, 7,                         // base offset
    0, 0, 0, 76,                                    // bytes that follow
    0, 0, 0, 0,                                     // leader epoch
    2,                                              // magic
    0x90, 0x65, 0xe3, 0x1c,                         // CRC32C of what follows
    0, 0,                                           // attributes
    0, 0, 0, 1,                                     // last offset delta
    0x00, 0x00, 0x01, 0x74, 0x87, 0x6e, 0x80, 0x00, // base timestamp 1,600,000,000,000
    0x00, 0x00, 0x01, 0x74, 0x87, 0x6e, 0x80, 0x05, // maximum timestamp
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // producer id -1
    0xff, 0xff,                                     // producer epoch -1
    0xff, 0xff, 0xff, 0xff,                         // base sequence -1
    0, 0, 0, 2,                                     // records
    24, 0, 0, 0, 2, b'k', 10, b'h', b'e', b'l', b'l', b'o', 0,
    26, 0, 10, 2, 1, 1, 4, 2, b'h', 2, b'x', 2, b'n', 1,
];

fn golden_records() -> [NewRecord<'static>; 2] {
    const HEADERS: &[NewHeader<'static>] =
        &[NewHeader { key: "h", value: Some(b"x") }, NewHeader { key: "n", value: None }];
    let timestamp_ms = 1_600_000_000_000;
    [
        NewRecord { timestamp_ms, key: Some(b"k"), value: Some(b"hello"), headers: &[] },
        NewRecord { timestamp_ms: timestamp_ms + 5, key: None, value: None, headers: HEADERS },
    ]
}

fn build(compression: Compression, records: &[NewRecord<'_>]) -> BytesMut {
    let mut builder = BatchBuilder::new(usize::MAX);
    for record in records {
        assert_eq!(builder.append(record).unwrap(), Room::Taken);
    }
    builder.finish(compression).unwrap()
}

fn decode(batch: impl Into<Bytes>) -> Result<Vec<DecodedRecord>, BatchError> {
    records(batch.into(), ENOUGH)?.collect()
}

/// A batch around arbitrary record bytes, its length and checksum right.
fn sealed(attributes: i16, record_count: i32, section: &[u8]) -> Vec<u8> {
    let mut batch = GOLDEN[..HEADER_BYTES].to_vec();
    batch.extend_from_slice(section);
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[23..27].copy_from_slice(&(record_count - 1).max(0).to_be_bytes());
    batch[57..61].copy_from_slice(&record_count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn the_golden_batch_is_written_byte_for_byte() {
    let mut batch = build(Compression::None, &golden_records());
    place(&mut batch, 7, 0).unwrap();
    assert_eq!(batch[..], GOLDEN);
}

#[test]
fn the_golden_batch_is_read() {
    let header = check(&GOLDEN).unwrap();
    assert_eq!((header.base_offset, header.last_offset(), header.next_offset()), (7, 8, 9));
    assert_eq!((header.total_bytes(), header.record_count, header.is_dense()), (88, 2, true));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (-1, -1, -1));
    assert_eq!(header.attributes.timestamp_type(), TimestampType::CreateTime);

    let read = decode(GOLDEN.to_vec()).unwrap();
    assert_eq!(read.iter().map(|r| r.offset).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(read[1].timestamp_ms, 1_600_000_000_005);
    assert_eq!((read[0].key.as_deref(), read[0].value.as_deref()), (Some(&b"k"[..]), Some(&b"hello"[..])));
    assert_eq!((&read[1].key, &read[1].value), (&None, &None));
    let headers: Vec<_> = read[1].headers.iter().map(|h| (&*h.key, h.value.as_deref())).collect();
    assert_eq!(headers, [("h", Some(&b"x"[..])), ("n", None)]);
}

#[test]
fn keys_and_values_share_the_batchs_buffer() {
    let batch = Bytes::from_static(&GOLDEN);
    let read = decode(batch.clone()).unwrap();
    let value = read[0].value.as_ref().unwrap();
    assert!(batch.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn under_log_append_time_every_record_carries_the_batchs_timestamp() {
    let read = decode(sealed(0b1000, 2, &GOLDEN[HEADER_BYTES..])).unwrap();
    assert!(read.iter().all(|r| r.timestamp_ms == 1_600_000_000_005));
}

#[test]
fn every_truncation_is_refused() {
    for end in 0..GOLDEN.len() {
        let refused = check(&GOLDEN[..end]).unwrap_err();
        let needed = if end < HEADER_BYTES { HEADER_BYTES } else { GOLDEN.len() };
        assert_eq!(refused, BatchError::Truncated { needed, available: end });
    }
    let mut longer = GOLDEN.to_vec();
    longer.push(0);
    assert_eq!(check(&longer), Err(BatchError::TrailingBytes { batch_bytes: 88, extra: 1 }));
    assert_eq!(BatchHeader::parse(&longer), check(&GOLDEN));
}

/// The base offset's sign: the one bit outside the checksum that no batch may have.
const SIGN: usize = 7;

#[test]
fn every_flipped_bit_is_found_or_lies_outside_the_checksum() {
    for compression in CODECS {
        let whole = build(compression, &golden_records());
        let records = decode(whole.clone()).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut batch = whole.clone();
            batch[bit / 8] ^= 1 << (bit % 8);
            // Base offset and leader epoch are the log's own, patched without touching the checksum.
            let outside = matches!(bit / 8, 0..8 | 12..16);
            match check(&batch) {
                Err(_) => assert!(!outside || bit == SIGN, "{compression}: bit {bit}"),
                Ok(header) => {
                    assert!(outside, "{compression}: bit {bit}");
                    let read = decode(batch.clone()).unwrap();
                    assert_eq!(read[1].value, records[1].value);
                    assert_eq!(read[1].offset, header.base_offset + 1);
                    place(&mut batch, 0, -1).unwrap();
                    assert_eq!(batch, whole);
                }
            }
        }
    }
}

#[test]
fn offsets_that_run_out_and_counts_that_cannot_be_are_refused() {
    let mut batch = GOLDEN;
    place(&mut batch, i64::MAX - 1, 0).unwrap();
    let last_offset_delta = 1;
    assert_eq!(check(&batch), Err(BatchError::Offsets { base_offset: i64::MAX - 1, last_offset_delta }));
    place(&mut batch, -1, 0).unwrap();
    assert_eq!(check(&batch), Err(BatchError::Offsets { base_offset: -1, last_offset_delta }));
    batch = GOLDEN;
    batch[60] = 3;
    assert_eq!(BatchHeader::parse(&batch), Err(BatchError::Count { record_count: 3, last_offset_delta }));
    batch[57] = 0xff;
    assert!(matches!(BatchHeader::parse(&batch), Err(BatchError::Count { .. })));
    batch = GOLDEN;
    batch[11] = 48;
    assert_eq!(BatchHeader::parse(&batch), Err(BatchError::Length(48)));
    batch[16] = 1;
    assert_eq!(BatchHeader::parse(&batch), Err(BatchError::Magic(1)));
    assert!(place(&mut batch[..60], 0, 0).is_err());
}

#[test]
fn a_compacted_batch_keeps_its_offsets() {
    let mut batch = sealed(0, 2, &GOLDEN[HEADER_BYTES..]);
    batch[26] = 9; // last offset delta
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    let header = check(&batch).unwrap();
    assert_eq!((header.is_dense(), header.next_offset()), (false, 17));
    assert_eq!(decode(batch).unwrap().len(), 2);
}

#[test]
fn malformed_records_are_refused_by_what_is_wrong_with_them() {
    let reason = |count, section: &[u8]| match decode(sealed(0, count, section)).unwrap_err() {
        BatchError::Record { reason, .. } => reason,
        other => panic!("{other}"),
    };
    assert_eq!(reason(1, &[]), "it has no length");
    assert_eq!(reason(1, &[1]), "its length is negative");
    assert_eq!(reason(1, &[200, 1, 0]), "it is longer than the batch");
    assert_eq!(reason(1, &[12, 0, 0, 0, 10, 1, 0]), "its key is longer than the record");
    assert_eq!(reason(1, &[12, 0, 0, 0, 3, 1, 0]), "a length in it is negative");
    assert_eq!(reason(1, &[12, 0, 0, 0, 1, 1, 200]), "its header count is no varint");
    assert_eq!(reason(1, &[12, 0, 0, 0, 1, 1, 100]), "it claims more headers than it has bytes for");
    assert_eq!(reason(1, &[14, 0, 0, 0, 1, 1, 0, 0]), "it is shorter than its length");
    assert_eq!(reason(1, &[12, 0, 0, 2, 1, 1, 0]), "its offset is out of order");
    assert_eq!(reason(2, &[12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 0, 1, 1, 0]), "its offset is out of order");
    let extra = decode(sealed(0, 1, &[12, 0, 0, 0, 1, 1, 0, 99]));
    assert_eq!(extra, Err(BatchError::ExtraRecordBytes { record_count: 1, extra: 1 }));
}

#[test]
fn an_error_ends_the_records() {
    let mut read = records(sealed(0, 3, &[12, 0, 0, 0, 1, 1, 0, 99]).into(), ENOUGH).unwrap();
    assert!(read.next().unwrap().is_ok());
    assert!(read.next().unwrap().is_err());
    assert!(read.next().is_none() && read.next().is_none());
}

#[test]
fn a_decompression_bomb_is_refused() {
    let value = vec![0; 8 << 20];
    for compression in &CODECS[1..] {
        let bomb = build(*compression, &[NewRecord { value: Some(&value), ..NewRecord::default() }]);
        assert_eq!(decode(bomb), Err(BatchError::DecompressedTooLarge { max: ENOUGH }));
    }
}

#[test]
fn records_that_do_not_decompress_pass_the_check_and_are_refused_on_reading() {
    for (codec, compression) in (0..).zip(CODECS).skip(1) {
        let batch = sealed(codec, 1, b"anything");
        assert!(check(&batch).is_ok());
        let refused = decode(batch).unwrap_err();
        assert!(matches!(refused, BatchError::Decompress { codec, .. } if codec == compression), "{refused}");
    }
    assert_eq!(decode(sealed(7, 1, b"anything")), Err(BatchError::UnknownCodec(7)));
}

/// Sections of the golden records by other hands: Python's gzip, and Snappy's literal as its format is described.
#[test]
fn golden_records_compressed_elsewhere_are_read() {
    let records = decode(GOLDEN.to_vec()).unwrap();
    let gzip = [
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x93, 0x60, 0x60, 0x60, 0x60, 0xca, 0xe6,
        0xca, 0x48, 0xcd, 0xc9, 0xc9, 0x67, 0x90, 0x62, 0xe0, 0x62, 0x62, 0x64, 0x64, 0x61, 0xca, 0x60, 0xaa,
        0x60, 0xca, 0x63, 0x04, 0x00, 0x57, 0xb8, 0xd8, 0x77, 0x1b, 0x00, 0x00, 0x00,
    ];
    let plain = &GOLDEN[HEADER_BYTES..];
    let bare = [&[27, 26 << 2], plain].concat();
    let framed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x1d"[..], &bare].concat();
    for (codec, section) in [(1, &gzip[..]), (2, &bare), (2, &framed)] {
        assert_eq!(decode(sealed(codec, 2, section)).unwrap(), records, "codec {codec}");
    }
}

#[test]
fn recompressing_keeps_records_and_header() {
    for from in CODECS {
        for to in CODECS {
            let mut batch = build(from, &golden_records());
            place(&mut batch, 7, 0).unwrap();
            let before = check(&batch).unwrap();
            let rebuilt = recompress(&batch.clone().freeze(), to, ENOUGH).unwrap();
            let after = check(&rebuilt).unwrap();
            assert_eq!(after.attributes.compression(), Ok(to));
            let BatchHeader { batch_length, crc, attributes, .. } = after;
            assert_eq!(after, BatchHeader { batch_length, crc, attributes, ..before });
            assert_eq!(decode(rebuilt), decode(batch));
        }
    }
}

#[test]
fn a_builder_fills_batches_up_to_its_size() {
    let max_bytes = 200;
    let mut builder = BatchBuilder::new(max_bytes);
    let record = NewRecord { value: Some(&[7; 30]), ..NewRecord::default() };
    let mut batches = Vec::new();
    for _ in 0..10 {
        if builder.append(&record).unwrap() == Room::Full {
            batches.push(builder.finish(Compression::None).unwrap());
            assert_eq!(builder.append(&record).unwrap(), Room::Taken);
        }
    }
    batches.push(builder.finish(Compression::None).unwrap());
    let counts: Vec<_> = batches.iter().map(|b| check(b).unwrap().record_count).collect();
    assert_eq!(counts, [3, 3, 3, 1]);
    assert!(batches.iter().all(|b| b.len() <= max_bytes));

    let large = NewRecord { value: Some(&[7; 500]), ..NewRecord::default() };
    assert_eq!(builder.append(&large).unwrap(), Room::Taken, "alone, a large record has room");
    assert_eq!(builder.append(&record).unwrap(), Room::Full);
    assert_eq!(check(&builder.finish(Compression::Gzip).unwrap()).unwrap().record_count, 1);
    assert_eq!(builder.finish(Compression::None), Err(BatchError::Empty));
}

type OwnedRecord = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn arbitrary_record() -> impl Strategy<Value = OwnedRecord> {
    let header = (".{0,8}", option::of(vec(any::<u8>(), 0..20)));
    (
        any::<i64>(),
        option::of(vec(any::<u8>(), 0..40)),
        option::of(vec(any::<u8>(), 0..200)),
        vec(header, 0..3),
    )
}

fn build_owned(compression: Compression, owned: &[OwnedRecord]) -> BytesMut {
    let headers: Vec<Vec<NewHeader<'_>>> = owned
        .iter()
        .map(|(_, _, _, headers)| {
            headers.iter().map(|(key, value)| NewHeader { key, value: value.as_deref() }).collect()
        })
        .collect();
    let records: Vec<_> = std::iter::zip(owned, &headers)
        .map(|((timestamp_ms, key, value, _), headers)| NewRecord {
            timestamp_ms: *timestamp_ms,
            key: key.as_deref(),
            value: value.as_deref(),
            headers,
        })
        .collect();
    build(compression, &records)
}

proptest! {
    #[test]
    fn what_is_built_is_read(owned in vec(arbitrary_record(), 1..50), base_offset in 0..i64::MAX - 50) {
        for compression in CODECS {
            let mut batch = build_owned(compression, &owned);
            place(&mut batch, base_offset, 3).unwrap();
            let header = check(&batch).unwrap();
            prop_assert_eq!(header.record_count as usize, owned.len());
            prop_assert_eq!(header.max_timestamp, owned.iter().map(|r| r.0).max().unwrap());
            prop_assert_eq!(header.partition_leader_epoch, 3);
            let read = decode(batch).unwrap();
            for (i, (read, (timestamp_ms, key, value, headers))) in read.iter().zip(&owned).enumerate() {
                prop_assert_eq!(read.offset, base_offset + i as i64);
                prop_assert_eq!(read.timestamp_ms, *timestamp_ms);
                prop_assert_eq!(read.key.as_deref(), key.as_deref());
                prop_assert_eq!(read.value.as_deref(), value.as_deref());
                let read: Vec<_> = read.headers.iter().map(|h| (&*h.key, h.value.as_deref())).collect();
                let written: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
                prop_assert_eq!(read, written);
            }
            prop_assert_eq!(read.len(), owned.len());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = BatchHeader::parse(&bytes);
        prop_assert!(check(&bytes).is_err());
        prop_assert!(decode(bytes).is_err());
    }

    /// Behind a right checksum, the decoders themselves meet the damage.
    #[test]
    fn random_records_behind_a_right_checksum_never_panic(
        codec in 0_i16..8, count in 0_i32..100, section in vec(any::<u8>(), 0..300),
    ) {
        let _ = decode(sealed(codec, count, &section));
    }

    #[test]
    fn damaged_records_behind_a_right_checksum_never_panic(
        owned in vec(arbitrary_record(), 1..10), at in any::<prop::sample::Index>(), byte: u8,
    ) {
        for (codec, compression) in (0..).zip(CODECS) {
            let batch = build_owned(compression, &owned);
            let mut section = batch[HEADER_BYTES..].to_vec();
            let at = at.index(section.len());
            section[at] = byte;
            if let Ok(read) = decode(sealed(codec, owned.len() as i32, &section)) {
                prop_assert_eq!(read.len(), owned.len());
            }
        }
    }
}
