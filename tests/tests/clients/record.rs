//! Records as the client programs write and read them: lines of JSON, bytes in base64.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// Bytes that may be none, as base64.
type Text = Option<String>;

/// One record, as produced; as read, it has an offset, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<i64>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    pub(crate) key: Text,
    pub(crate) value: Text,
    pub(crate) headers: Vec<(String, Text)>,
}

pub(crate) fn text(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

pub(crate) fn bytes(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text).expect("client programs write base64")
}

/// What a corpus leaves out, because a client has no form for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Without {
    /// Nulls, empty keys and empty values, bytes that are no text, and what separates fields on a command line.
    pub(crate) binary: bool,
    /// Records with neither key nor value.
    pub(crate) neither: bool,
    /// Headers whose value is null.
    pub(crate) null_headers: bool,
    /// Headers of one name that do not follow each other.
    pub(crate) scattered_headers: bool,
}

/// So many seeded records for so many partitions, odd ones first.
pub(crate) fn corpus(seed: u64, records: usize, partitions: i32, without: Without) -> Vec<Record> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut corpus: Vec<Record> = odd(without);
    while corpus.len() < records {
        let key = (random.random_range(0..4) > 0).then(|| format!("key-{}", random.random_range(0..100)));
        let value = random_value(&mut random, without);
        let headers = (0..random.random_range(0..3))
            .map(|number| {
                (format!("h{number}"), Some(text(format!("v{}", random.random::<u16>()).as_bytes())))
            })
            .collect();
        corpus.push(Record {
            partition: 0,
            offset: None,
            timestamp: 1_500_000_000_000 + random.random_range(0..100_000_000_000),
            key: key.or_else(|| without.binary.then(|| "a key".into())).map(|key| text(key.as_bytes())),
            value: Some(text(&value)),
            headers,
        });
    }
    for (number, record) in corpus.iter_mut().enumerate() {
        record.partition = number as i32 % partitions;
    }
    corpus
}

fn random_value(random: &mut Xoshiro256PlusPlus, without: Without) -> Vec<u8> {
    let length = 1 + random.random_range(0.0..7.0_f64).exp() as usize;
    if without.binary {
        return (0..length).map(|_| random.random_range(b'a'..=b'z')).collect();
    }
    (0..length).map(|_| random.random()).collect()
}

/// Records that careless code gets wrong.
fn odd(without: Without) -> Vec<Record> {
    let record = |key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]| Record {
        partition: 0,
        offset: None,
        timestamp: 1_600_000_000_123,
        key: key.map(text),
        value: value.map(text),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.map(text))).collect(),
    };
    let mut odd = vec![
        record(Some("ключ".as_bytes()), Some("値".as_bytes()), &[]),
        record(Some(b"large"), Some(&[b'x'; 900_000]), &[]),
    ];
    if !without.binary && !without.neither {
        odd.push(record(None, None, &[]));
    }
    if !without.binary {
        odd.extend([
            record(Some(b""), Some(b""), &[("", Some(b""))]),
            record(None, Some(b"no key"), &[]),
            record(Some(b"a tombstone"), None, &[("why", Some(b"deleted"))]),
            record(Some(&[0, 255, 10, 13]), Some(&[0; 300]), &[("bytes", Some(&[0, 255]))]),
            record(None, Some(b"twice"), &[("same", Some(b"1")), ("same", Some(b"2"))]),
            record(Some(b"text"), Some(b"in a header"), &[("ключ", Some("値".as_bytes()))]),
        ]);
    }
    if !without.null_headers {
        odd.push(record(None, Some(b"null"), &[("null", None)]));
    }
    if !without.scattered_headers {
        let headers: [(&str, Option<&[u8]>); 3] = [("a", Some(b"1")), ("b", Some(b"2")), ("a", Some(b"3"))];
        odd.push(record(None, Some(b"apart"), &headers));
    }
    odd
}
