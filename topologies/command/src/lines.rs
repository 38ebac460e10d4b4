//! Text for a terminal of 80 columns.

/// Columns of a line.
const WIDTH: usize = 80;

/// Text from outside without control characters: they are escaped, so that none of them reaches the terminal.
pub(crate) fn shown(text: &str) -> String {
    let escape = |c: char| if c.is_control() { Err(c.escape_debug()) } else { Ok(c) };
    let mut shown = String::with_capacity(text.len());
    for character in text.chars().map(escape) {
        match character {
            Ok(plain) => shown.push(plain),
            Err(escaped) => shown.extend(escaped),
        }
    }
    shown
}

/// The first `columns` characters of `text`, with an ellipsis where something is left out, here or by whoever gave it.
pub(crate) fn cut(text: &str, columns: usize, shortened: bool) -> String {
    if !shortened && text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// Appends `text`, broken between words into lines that begin with so many spaces. Words that are too long are broken too.
pub(crate) fn wrap(to: &mut String, indent: usize, text: &str) {
    let room = WIDTH - indent;
    for line in text.split('\n') {
        let mut column = 0;
        for word in line.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            if column > 0 && column + 1 + word.len() > room {
                to.push('\n');
                column = 0;
            } else if column > 0 {
                to.push(' ');
                column += 1;
            }
            while word.len() > room - column {
                let rest = word.split_off(room - column);
                start(to, indent, column);
                to.extend(word);
                to.push('\n');
                (word, column) = (rest, 0);
            }
            if !word.is_empty() {
                start(to, indent, column);
                column += word.len();
                to.extend(word);
            }
        }
        to.push('\n');
    }
}

fn start(to: &mut String, indent: usize, column: usize) {
    if column == 0 {
        to.extend(std::iter::repeat_n(' ', indent));
    }
}

/// A time in its two largest units, from milliseconds: `5m 9s`.
pub(crate) fn ago(millis: i64) -> String {
    let seconds = millis.max(0) / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_have_two_units() {
        let times = [-1, 999, 59_999, 309_000, 3_600_000, 97_000_000].map(ago);
        assert_eq!(times, ["0s", "0s", "59s", "5m 9s", "1h 0m", "1d 2h"]);
    }

    proptest! {
        #[test]
        fn lines_are_no_longer_than_the_terminal_and_lose_nothing(text in "([a-zä]{0,12} ?){0,30}|[^\n]{0,300}") {
            let mut wrapped = String::new();
            wrap(&mut wrapped, 4, &shown(&text));
            prop_assert!(wrapped.lines().all(|line| line.chars().count() <= WIDTH), "{}", wrapped);
            let bare = |text: &str| text.replace([' ', '\n'], "");
            prop_assert_eq!(bare(&wrapped), bare(&shown(&text)));
        }

        #[test]
        fn nothing_shown_moves_the_cursor(text: String, columns in 1usize..80) {
            let cut = cut(&shown(&text), columns, false);
            prop_assert!(cut.chars().count() <= columns && !cut.chars().any(char::is_control));
        }
    }
}
