//! A record batch: its header, its records through every codec, and what the broker may rebuild it as. Once as it came, and
//! once with a checksum that fits.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use topo_protocol::{BatchHeader, Compression, check, place, recompress, records, stamp_append_time};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// The most that a batch may decompress to.
const CAP: usize = 64 << 10;
/// What a codec works in: blocks of LZ4 of up to 8 MiB, one as it came and one as it was.
const CODEC_BYTES: usize = 20 << 20;
/// Bytes of memory for each byte of records: a header of two bytes has a name and a value.
const BYTES_PER_BYTE: usize = 128;

fuzz_target!(|data: &[u8]| {
    read(data);
    let mut repaired = data.to_vec();
    topo_fuzz::repair(&mut repaired);
    read(&repaired);
});

fn read(bytes: &[u8]) {
    let _ = BatchHeader::parse(bytes);
    let Ok(header) = check(bytes) else { return };
    assert_eq!(header.total_bytes(), bytes.len());
    let batch = Bytes::copy_from_slice(bytes);
    let region = Region::new(ALLOCATOR);
    let mut is_sound = false;
    if let Ok(records) = records(batch.clone(), CAP) {
        assert!(records.size_hint().1.is_some_and(|most| most <= CAP));
        let mut next = header.base_offset;
        is_sound = true;
        for record in records {
            let Ok(record) = record else {
                is_sound = false;
                break;
            };
            assert!(record.offset >= next && record.offset <= header.last_offset());
            next = record.offset + 1;
        }
    }
    let most = CODEC_BYTES + BYTES_PER_BYTE * (CAP + bytes.len());
    let allocated = region.change().bytes_allocated;
    assert!(allocated <= most, "{allocated} bytes for {} of a batch", bytes.len());
    if is_sound {
        rebuild(&batch);
    }
}

/// Whatever is rebuilt has the same records.
fn rebuild(batch: &Bytes) {
    let read = |batch: Bytes| records(batch, CAP).map(Iterator::collect::<Result<Vec<_>, _>>);
    let before = read(batch.clone()).expect("it was read before").expect("it was read before");
    for to in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let rebuilt = recompress(batch, to, CAP).expect("what was read is written");
        let after = read(rebuilt.freeze()).expect("it is a batch").expect("its records are sound");
        assert_eq!(before, after, "{to}");
    }
    let mut placed = BytesMut::from(&batch[..]);
    stamp_append_time(&mut placed, 7).expect("it is a batch");
    if place(&mut placed, 1 << 40, 0).is_ok() {
        let after = read(placed.freeze()).expect("it is a batch").expect("its records are sound");
        assert!(after.iter().all(|record| record.offset >= 1 << 40 && record.timestamp_ms == 7));
    }
}
