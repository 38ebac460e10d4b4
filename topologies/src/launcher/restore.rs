//! How far states are restored, said on standard error where it takes long.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use topo_core::RestoreWatch;
use topo_core::state::RestoreProgress;

/// What is restored sooner is not spoken of; what takes longer, once in that time.
const EVERY: Duration = Duration::from_secs(1);
/// Characters of a bar.
const WIDTH: u64 = 30;

/// How far each task's part of each state is: records read, of how many.
#[derive(Default)]
struct Restores {
    parts: HashMap<(Arc<str>, u32), (u64, u64)>,
    began: Option<Instant>,
    said: Option<Instant>,
}

/// Says, once a second, how far all restores together are: on a terminal as a bar in one line, else line by line.
pub(super) fn watch() -> RestoreWatch {
    let restores = Mutex::new(Restores::default());
    Arc::new(move |progress| {
        let mut restores = restores.lock().unwrap_or_else(PoisonError::into_inner);
        let is_terminal = io::stderr().is_terminal();
        if let Some(text) = restores.take_over(progress, Instant::now(), is_terminal) {
            // Where standard error is closed, the restore goes on all the same.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    })
}

impl Restores {
    /// What there is to be said now, if anything.
    fn take_over(&mut self, progress: &RestoreProgress, now: Instant, is_terminal: bool) -> Option<String> {
        let part = (Arc::clone(&progress.state), progress.task);
        self.parts.insert(part, (progress.done, progress.total));
        let began = *self.began.get_or_insert(now);
        let (done, total) = self.parts.values().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        let is_over = done >= total;
        let is_due = now.saturating_duration_since(self.said.unwrap_or(began)) >= EVERY;
        if !(is_due || is_over && self.said.is_some()) {
            return None;
        }
        self.said = (!is_over).then_some(now);
        if is_over {
            self.began = None;
        }
        let numbers = format!("{done} of {total} records");
        if !is_terminal {
            return Some(format!("restoring state: {numbers}\n"));
        }
        let full = (done * WIDTH).checked_div(total).unwrap_or(WIDTH).min(WIDTH) as usize;
        let bar = ["█".repeat(full), "░".repeat(WIDTH as usize - full)].concat();
        Some(format!("\r\x1b[2Krestoring state {bar} {numbers}{}", if is_over { "\n" } else { "" }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_over(
        restores: &mut Restores,
        task: u32,
        done: u64,
        now: Instant,
        is_terminal: bool,
    ) -> Option<String> {
        let progress = RestoreProgress::new("count", task, "counts", done, 100);
        restores.take_over(&progress, now, is_terminal)
    }

    #[test]
    fn what_is_quick_is_not_spoken_of() {
        let (mut restores, now) = (Restores::default(), Instant::now());
        for done in [0, 50, 100] {
            assert_eq!(take_over(&mut restores, 0, done, now + EVERY / 2, false), None);
        }
    }

    #[test]
    fn what_takes_long_is_told_of_once_a_second_and_at_its_end() {
        let (mut restores, now) = (Restores::default(), Instant::now());
        assert_eq!(take_over(&mut restores, 0, 0, now, false), None);
        assert_eq!(take_over(&mut restores, 1, 0, now, false), None);
        let said = take_over(&mut restores, 0, 50, now + EVERY, false);
        assert_eq!(said.as_deref(), Some("restoring state: 50 of 200 records\n"));
        assert_eq!(take_over(&mut restores, 1, 50, now + EVERY, false), None);
        assert_eq!(take_over(&mut restores, 0, 100, now + EVERY, false), None);
        let said = take_over(&mut restores, 1, 100, now + EVERY, true);
        let bar = "█".repeat(30);
        assert_eq!(said, Some(format!("\r\x1b[2Krestoring state {bar} 200 of 200 records\n")));
    }
}
