//! The common log format, `host ident user [time] "request" status bytes`, and the combined one, which adds
//! `"referer" "user agent"` (Apache's mod_log_config documents both).
//!
//! Inside quotes, servers escape a quote and a backslash with a backslash, and bytes as `\xhh`; those escapes are undone.

use jiff::fmt::strtime;

use super::Request;

/// Why a line is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The line ends before a field.
    #[error("the line ends before its {0}")]
    Missing(&'static str),
    /// A field is not in its quotes or brackets.
    #[error("the {field} is not enclosed in {open} and {close}")]
    NotEnclosed {
        /// The field.
        field: &'static str,
        /// What begins it.
        open: char,
        /// What ends it.
        close: char,
    },
    /// The time is not of the form `10/Oct/2000:13:55:36 -0700`.
    #[error("`{0}` is not a time such as 10/Oct/2000:13:55:36 -0700")]
    Time(String),
    /// The request is not of the form `METHOD PATH PROTOCOL`.
    #[error("`{0}` is not a request such as GET /path HTTP/1.1")]
    Request(String),
    /// The status is not a number from 100 to 999.
    #[error("`{0}` is not a status such as 200")]
    Status(String),
    /// The size is neither a number nor `-`.
    #[error("`{0}` is not a number of bytes")]
    Bytes(String),
    /// Something follows the last field.
    #[error("the line goes on after its last field")]
    TooLong,
}

/// Parses a line.
pub(super) fn request(line: &str) -> Result<Request, ParseError> {
    let mut rest = line.trim_end();
    let client = word(&mut rest, "client")?;
    let ident = word(&mut rest, "ident")?;
    let user = word(&mut rest, "user")?;
    let time_ms = time(enclosed(&mut rest, "time", '[', ']')?)?;
    let (method, path, protocol) = parts(&quoted(&mut rest, "request")?)?;
    let status = word(&mut rest, "status")?;
    let bytes = word(&mut rest, "size")?;
    let combined = !rest.is_empty();
    let referer = if combined { known(quoted(&mut rest, "referer")?) } else { None };
    let user_agent = if combined { known(quoted(&mut rest, "user agent")?) } else { None };
    if !rest.is_empty() {
        return Err(ParseError::TooLong);
    }
    Ok(Request {
        client: client.to_owned(),
        ident: known(ident.to_owned()),
        user: known(user.to_owned()),
        time_ms,
        method,
        path,
        protocol,
        status: self::status(status)?,
        bytes: size(bytes)?,
        referer,
        user_agent,
    })
}

/// A field that the server did not know is a dash.
fn known(field: String) -> Option<String> {
    (field != "-").then_some(field)
}

fn word<'a>(rest: &mut &'a str, field: &'static str) -> Result<&'a str, ParseError> {
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    if word.is_empty() {
        return Err(ParseError::Missing(field));
    }
    *rest = after;
    Ok(word)
}

fn enclosed<'a>(
    rest: &mut &'a str,
    field: &'static str,
    open: char,
    close: char,
) -> Result<&'a str, ParseError> {
    if rest.is_empty() {
        return Err(ParseError::Missing(field));
    }
    let inside = rest.strip_prefix(open).and_then(|inside| inside.split_once(close));
    let (inside, after) = inside.ok_or(ParseError::NotEnclosed { field, open, close })?;
    *rest = after.strip_prefix(' ').unwrap_or(after);
    Ok(inside)
}

/// A field in quotes, its escapes undone.
fn quoted(rest: &mut &str, field: &'static str) -> Result<String, ParseError> {
    let not_enclosed = ParseError::NotEnclosed { field, open: '"', close: '"' };
    if rest.is_empty() {
        return Err(ParseError::Missing(field));
    }
    let inside = rest.strip_prefix('"').ok_or_else(|| not_enclosed.clone())?;
    let mut text = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => {
                let after = &inside[at + 1..];
                *rest = after.strip_prefix(' ').unwrap_or(after);
                return Ok(text);
            }
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                // Other escapes stand for bytes that may not be text; they stay as the server wrote them.
                Some((_, other)) => text.extend(['\\', other]),
                None => break,
            },
            _ => text.push(char),
        }
    }
    Err(not_enclosed)
}

fn time(text: &str) -> Result<i64, ParseError> {
    let wrong = || ParseError::Time(text.to_owned());
    let parsed = strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).map_err(|_| wrong())?;
    parsed.to_timestamp().map(|time| time.as_millisecond()).map_err(|_| wrong())
}

fn parts(request: &str) -> Result<(String, String, Option<String>), ParseError> {
    let wrong = || ParseError::Request(request.to_owned());
    let (method, target) = request.split_once(' ').ok_or_else(wrong)?;
    let (path, protocol) = match target.rsplit_once(' ') {
        Some((path, protocol)) if protocol.starts_with("HTTP/") => (path, Some(protocol.to_owned())),
        _ => (target, None),
    };
    let is_method = !method.is_empty()
        && method.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_method || path.is_empty() {
        return Err(wrong());
    }
    Ok((method.to_owned(), path.to_owned(), protocol))
}

fn status(text: &str) -> Result<u16, ParseError> {
    text.parse()
        .ok()
        .filter(|status| (100..1000).contains(status))
        .ok_or_else(|| ParseError::Status(text.to_owned()))
}

fn size(text: &str) -> Result<Option<u64>, ParseError> {
    match text {
        "-" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| ParseError::Bytes(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMMON: &str =
        r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"#;

    #[test]
    fn the_combined_format_adds_referer_and_user_agent() {
        let line = format!(
            r#"{COMMON} "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; \"I\" ;Nav)""#
        );
        let parsed = request(&line).unwrap();
        assert_eq!(parsed.referer.as_deref(), Some("http://www.example.com/start.html"));
        assert_eq!(parsed.user_agent.as_deref(), Some(r#"Mozilla/4.08 [en] (Win98; "I" ;Nav)"#));
        assert_eq!(parsed.protocol.as_deref(), Some("HTTP/1.0"));
    }

    #[test]
    fn dashes_are_unknown_and_a_path_may_hold_spaces() {
        let line = r#"2001:db8::1 - - [01/Jan/2026:00:00:00 +0000] "GET /a b HTTP/1.1" 304 - "-" "-""#;
        let parsed = request(line).unwrap();
        assert_eq!((parsed.client.as_str(), parsed.path.as_str()), ("2001:db8::1", "/a b"));
        assert_eq!((parsed.user, parsed.bytes, parsed.referer, parsed.user_agent), (None, None, None, None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |line: &str| request(line).unwrap_err().to_string();
        assert_eq!(wrong(""), "the line ends before its client");
        assert_eq!(wrong("a b c d"), "the time is not enclosed in [ and ]");
        assert_eq!(
            wrong(&COMMON.replace("Oct", "Okt")),
            "`10/Okt/2000:13:55:36 -0700` is not a time such as 10/Oct/2000:13:55:36 -0700"
        );
        assert_eq!(wrong(&COMMON.replace("200 ", "20 ")), "`20` is not a status such as 200");
        assert_eq!(wrong(&COMMON.replace("2326", "many")), "`many` is not a number of bytes");
        assert_eq!(wrong(&COMMON.replace("1.0\"", "1.0")), "the request is not enclosed in \" and \"");
        assert_eq!(
            wrong(r#"h - - [10/Oct/2000:13:55:36 -0700] "\x16\x03" 400 0"#),
            r"`\x16\x03` is not a request such as GET /path HTTP/1.1"
        );
        assert_eq!(wrong(&format!(r#"{COMMON} "a" "b" c"#)), "the line goes on after its last field");
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC{0,80}", cut in 0usize..90) {
            let _ = request(&line);
            let _ = request(COMMON.get(..cut).unwrap_or(COMMON));
            let _ = request(&format!("{COMMON} {line}"));
        }
    }
}
