//! What fuzz targets and the seeds of their corpora share: how an input is divided, and what makes damage get past
//! checksums.

use topo_protocol::guard::{self, Request};

/// The files of a partition, in the order of the parts that hold their bytes.
pub const FILES: [&str; 6] = [
    "00000000000000000000.log",
    "00000000000000000003.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000003.snapshot",
    "checkpoint",
];

/// Every request in every version that is decoded, in a fixed order.
pub fn all() -> Vec<(&'static Request, i16)> {
    // Older versions of Produce are walked, and never decoded.
    let decoded_from = |request: &Request| if request.key == 0 { 3 } else { 0 };
    let of = |request: &'static Request| request.versions.range().map(move |version| (request, version));
    guard::ALL
        .iter()
        .copied()
        .flat_map(of)
        .filter(|(request, version)| *version >= decoded_from(request))
        .collect()
}

/// Splits off a part that has its length in front, in two bytes; as much as there is where that is less.
pub fn part<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, rest)) = data.split_first_chunk() else { return std::mem::take(data) };
    let (part, rest) = rest.split_at(rest.len().min(u16::from_be_bytes(*length).into()));
    *data = rest;
    part
}

/// Appends a part, as [`part`] reads it.
///
/// # Panics
/// Where it is longer than two bytes can say.
pub fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    out.extend(u16::try_from(part.len()).expect("a short part").to_be_bytes());
    out.extend(part);
}

/// Gives every batch in `bytes` the magic byte and the checksum that let the rest of it be looked at. The last one gets its
/// length as well.
pub fn repair(mut bytes: &mut [u8]) {
    while bytes.len() > 21 {
        let length = i32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let total = usize::try_from(length).map_or(bytes.len(), |length| length.saturating_add(12));
        let total = if (22..=bytes.len()).contains(&total) { total } else { bytes.len() };
        let (batch, rest) = bytes.split_at_mut(total);
        batch[8..12].copy_from_slice(&(total as u32 - 12).to_be_bytes());
        batch[16] = 2;
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes = rest;
    }
}
