//! Records and answers as JSON, one value on a line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};
use topo_core::log::{Consumed, TopicPartition};

use crate::message_pack;

/// Prints `value` on a line of its own.
///
/// # Errors
/// Those of `out`.
pub(crate) fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// A record with all that belongs to it, in this order.
#[derive(Serialize)]
struct Record<'a> {
    topic: &'a str,
    partition: u32,
    offset: i64,
    timestamp: i64,
    key: Value,
    value: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Value>,
}

/// Prints `record`, read from `at`, without a newline.
///
/// # Errors
/// Those of `out`.
pub(crate) fn record(out: &mut impl Write, at: &TopicPartition, record: &Consumed) -> io::Result<()> {
    let headers = record.headers.iter();
    let line = Record {
        topic: &at.topic,
        partition: at.partition,
        offset: record.offset,
        timestamp: record.timestamp_ms,
        key: value(record.key.as_deref()),
        value: value(record.value.as_deref()),
        headers: headers
            .map(|one| json!({ "key": &*one.key, "value": value(one.value.as_deref()) }))
            .collect(),
    };
    Ok(serde_json::to_writer(out, &line)?)
}

/// Bytes as the most readable value that tells them: null, text, what MessagePack holds, or hexadecimal digits.
fn value(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    if let Some(value) = message_pack::parsed(bytes) {
        return value;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

#[cfg(test)]
mod tests {
    use topo_core::log::Header;

    use super::*;

    fn printed(value: Option<&'static [u8]>, headers: Vec<Header>) -> String {
        let consumed = Consumed {
            offset: 7,
            timestamp_ms: 5,
            key: Some("k\n".into()),
            value: value.map(Into::into),
            headers,
        };
        let mut out = Vec::new();
        record(&mut out, &TopicPartition::new("t", 1), &consumed).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_one_line_with_all_that_belongs_to_it() {
        let header = Header { key: "h".into(), value: None };
        assert_eq!(
            printed(Some(b"v"), vec![header]),
            r#"{"topic":"t","partition":1,"offset":7,"timestamp":5,"key":"k\n","value":"v","headers":[{"key":"h","value":null}]}"#
        );
        for (bytes, expected) in [
            (None, "null"),
            (Some(&b""[..]), r#""""#),
            (Some(b"\x81\xa1a\x01"), r#"{"a":1}"#),
            (Some(b"\x00\xff"), r#"{"hex":"00ff"}"#),
        ] {
            let line = printed(bytes, Vec::new());
            assert!(line.ends_with(&format!(r#""value":{expected}}}"#)), "{line}");
        }
    }
}
