//! Which partition a key goes to, as Kafka's own producers decide it: murmur2, positive, modulo.
//!
//! Invariant: the same key and count give the same partition here and in every client that uses Kafka's default.

/// The partition for `key` among `partitions`, the one Kafka's default partitioner picks.
///
/// # Panics
/// If `partitions` is 0.
///
/// ```
/// assert_eq!(topo_protocol::partition_for_key(b"foobar", 12), 6);
/// ```
pub fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    assert!(partitions > 0, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// 32-bit murmur2 with the seed that Kafka uses.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;

    // Kafka mixes in the length as a 32-bit number; no key is longer.
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |rest, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_java_client() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn partitions_are_below_the_count() {
        for partitions in 1..50 {
            for key in 0_u32..50 {
                assert!(partition_for_key(&key.to_be_bytes(), partitions) < partitions);
            }
        }
        assert_eq!(partition_for_key(b"", 1), 0);
    }
}
