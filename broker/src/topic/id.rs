//! Topic ids: what tells a topic from another of the same name before or after it.

use std::fmt;
use std::str::FromStr;

/// A random 128-bit id, as Kafka gives every topic; 32 hexadecimal digits in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(u128);

impl TopicId {
    /// A fresh id; never zero, which in the protocol means "no id".
    pub(crate) fn random() -> Self {
        Self(rand::random_range(1..=u128::MAX))
    }

    /// The id that the protocol sends as these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The id as the protocol sends it.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Text that is no topic id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a topic id: 32 lower-case hexadecimal digits are")]
pub struct NotATopicId;

impl FromStr for TopicId {
    type Err = NotATopicId;

    fn from_str(text: &str) -> Result<Self, NotATopicId> {
        let canonical = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !canonical {
            return Err(NotATopicId);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| NotATopicId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_nothing_else_is() {
        let id = TopicId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in ["", "0", "lines", &"g".repeat(32), &"A".repeat(32), &"+".repeat(32), &"0".repeat(33)] {
            assert_eq!(other.parse::<TopicId>(), Err(NotATopicId), "{other}");
        }
    }
}
