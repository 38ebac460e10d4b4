//! How far a verb has come, shown on a terminal where it takes long.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// What is done sooner shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// A line on standard error that counts records, gone once the verb has ended.
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    /// Whether it is still to be shown.
    waits: bool,
}

impl Progress {
    /// Counts up to `total` where that is known. Shown only where standard error is a terminal and `other`, the stream that
    /// the verb reads or writes, is not: what somebody types or reads there is not to be disturbed.
    pub(crate) fn new(total: Option<u64>, other: &impl IsTerminal) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let form = match total {
            Some(_) => "{wide_bar} {human_pos} of {human_len} records, {rate}/s, {eta} to go",
            None => "{spinner} {human_pos} records, {rate}/s",
        };
        // Nobody reads a rate to the ten-thousandth.
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            // A bar that cannot be written is not shown.
            let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
        };
        // The forms are well-formed; without one the bar has its own.
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style.with_key("rate", rate));
        }
        let waits = io::stderr().is_terminal() && !other.is_terminal();
        Self { bar, began: Instant::now(), waits }
    }

    /// So many records more are done.
    pub(crate) fn add(&mut self, records: u64) {
        self.bar.inc(records);
        if self.waits && self.began.elapsed() >= PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.waits = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_is_no_terminal_shows_nothing_and_counts() {
        let file = File::open("/dev/null").unwrap();
        let mut progress = Progress::new(Some(3), &file);
        progress.add(2);
        assert_eq!((progress.bar.position(), progress.bar.length()), (2, Some(3)));
        assert!(progress.bar.is_hidden());
    }
}
