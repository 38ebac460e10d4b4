//! The file that makes a topic exist: a few lines of text, closed by their checksum.
//!
//! Invariant: what [`TopicMetadata::decode`] accepts is what [`TopicMetadata::encode`] wrote, byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::id::TopicId;
use super::name;
use crate::sealed_text::{seal, verified};

/// The first line; a later form of the file has another number and is refused by an older reader.
const FIRST_LINE: &str = "topo topic 1";

/// What a topic is, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicMetadata {
    pub(crate) id: TopicId,
    pub(crate) name: Arc<str>,
    pub(crate) partitions: u32,
    /// Configuration that differs from the defaults, by Kafka's keys. Invariant: no line breaks, no `=` in a key.
    pub(crate) config: BTreeMap<String, String>,
}

/// Why a metadata file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    /// Another first line, with a right checksum.
    #[error("it was written in another version of the format than `{FIRST_LINE}`")]
    Version,
    /// Not what was written.
    #[error("it is damaged")]
    Damaged,
}

impl TopicMetadata {
    pub(crate) fn encode(&self) -> String {
        let Self { id, name, partitions, config } = self;
        let mut text = format!("{FIRST_LINE}\nname={name}\nid={id}\npartitions={partitions}\n");
        for (key, value) in config {
            text.push_str(&format!("config.{key}={value}\n"));
        }
        seal(text)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, MetadataError> {
        let text = str::from_utf8(bytes).map_err(|_| MetadataError::Damaged)?;
        let body = verified(text).ok_or(MetadataError::Damaged)?;
        let mut lines = body.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(MetadataError::Version);
        }
        let metadata = Self::from_lines(lines).ok_or(MetadataError::Damaged)?;
        if metadata.encode() == text { Ok(metadata) } else { Err(MetadataError::Damaged) }
    }

    fn from_lines<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let topic = lines.next()?.strip_prefix("name=")?;
        name::validate(topic).ok()?;
        let id = lines.next()?.strip_prefix("id=")?.parse().ok()?;
        let partitions = lines.next()?.strip_prefix("partitions=")?.parse().ok()?;
        name::validate_partitions(partitions).ok()?;
        let config = lines
            .map(|line| {
                let (key, value) = line.strip_prefix("config.")?.split_once('=')?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect::<Option<_>>()?;
        Some(Self { id, name: topic.into(), partitions, config })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_topic() -> TopicMetadata {
        TopicMetadata {
            id: "00112233445566778899aabbccddeeff".parse().unwrap(),
            name: "lines".into(),
            partitions: 4,
            config: [("segment.bytes".to_owned(), "4096".to_owned())].into(),
        }
    }

    #[test]
    fn the_file_can_be_read_by_a_person() {
        let text = lines_topic().encode();
        let body = "topo topic 1\nname=lines\nid=00112233445566778899aabbccddeeff\npartitions=4\nconfig.segment.bytes=4096\n";
        assert_eq!(text, format!("{body}crc32c={:08x}\n", crc32c::crc32c(body.as_bytes())));
        assert_eq!(TopicMetadata::decode(text.as_bytes()), Ok(lines_topic()));
    }

    #[test]
    fn every_truncation_and_flipped_bit_is_found() {
        let whole = lines_topic().encode().into_bytes();
        for end in 0..whole.len() {
            assert_eq!(TopicMetadata::decode(&whole[..end]), Err(MetadataError::Damaged), "{end}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(TopicMetadata::decode(&bytes), Err(MetadataError::Damaged), "{bit}");
        }
    }

    #[test]
    fn another_version_is_refused_as_such() {
        let body = "topo topic 2\nanything\n";
        let text = format!("{body}crc32c={:08x}\n", crc32c::crc32c(body.as_bytes()));
        assert_eq!(TopicMetadata::decode(text.as_bytes()), Err(MetadataError::Version));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            id in 1_u128.., name in "[A-Za-z0-9_-]{1,249}", partitions in 1_u32..=1024,
            config in proptest::collection::btree_map("[a-z.]{1,20}", "[ -~]{0,20}", 0..4),
        ) {
            let id = format!("{id:032x}").parse().unwrap();
            let metadata = TopicMetadata { id, name: name.into(), partitions, config };
            prop_assert_eq!(TopicMetadata::decode(metadata.encode().as_bytes()), Ok(metadata));
        }

        #[test]
        fn random_text_never_panics(text in "(topo topic 1\n)?\\PC{0,200}(\ncrc32c=[0-9a-f]{8}\n)?") {
            prop_assert!(TopicMetadata::decode(text.as_bytes()).is_err());
        }
    }
}
