//! Tokens: compared in constant time, and never printed.

use std::fmt;
use std::str::FromStr;

/// Characters that a token has at least: fewer can be guessed.
const SHORTEST: usize = 16;
/// Characters that a header surely takes.
const LONGEST: usize = 512;

/// What only who may act knows. Its debug form tells nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A token that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is {SHORTEST} to {LONGEST} letters, digits or any of - . _ ~ + / =")]
pub struct NoSecret;

impl Secret {
    /// 256 random bits from a generator that is fit for keys, in hexadecimal.
    pub(crate) fn random() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether `shown` is it. Takes as long for every wrong one of its length.
    pub(super) fn is(&self, shown: &str) -> bool {
        let (own, shown) = (self.0.as_bytes(), shown.as_bytes());
        let differences = own.iter().zip(shown).fold(0, |all, (one, other)| all | (one ^ other));
        // The compiler is not to end the loop early.
        own.len() == shown.len() && std::hint::black_box(differences) == 0
    }

    /// The secret itself, to be handed to who may have it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = NoSecret;

    fn from_str(text: &str) -> Result<Self, NoSecret> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if (SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoSecret)
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_itself_only_and_does_not_tell_itself() {
        let secret = Secret::random();
        let shown = secret.reveal().to_owned();
        assert_eq!(shown.len(), 64);
        assert!(
            secret.is(&shown)
                && !secret.is("")
                && !secret.is(&shown[1..])
                && !secret.is(&shown.to_uppercase())
        );
        assert!(!format!("{secret:?}").contains(&shown[..4]));
        assert_ne!(Secret::random(), Secret::random());
    }

    #[test]
    fn a_token_is_long_enough_and_plain() {
        assert!("0123456789abcdef".parse::<Secret>().is_ok());
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcde ",
            "0123456789abcdef\n",
            "0123456789abcdeé",
            &"x".repeat(513),
        ] {
            assert_eq!(wrong.parse::<Secret>(), Err(NoSecret), "{wrong:?}");
        }
    }
}
