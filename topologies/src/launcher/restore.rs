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

/// Says on standard error, once a second, how far all restores together are: on a terminal as a bar in one line, else line
/// by line.
pub(super) fn watch() -> RestoreWatch {
    // Where standard error is closed, the restore goes on all the same.
    let say = |text: &str| _ = io::stderr().write_all(text.as_bytes());
    tell(io::stderr().is_terminal(), Instant::now, say)
}

fn tell(
    is_terminal: bool,
    now: impl Fn() -> Instant + Send + Sync + 'static,
    say: impl Fn(&str) + Send + Sync + 'static,
) -> RestoreWatch {
    let restores = Mutex::new(Restores::default());
    Arc::new(move |progress| {
        let mut restores = restores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = restores.take_over(progress, now(), is_terminal) {
            say(&text);
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use topo_core::schedule::TokioScheduler;
    use topo_core::{Config, DataStream, StateSettings, Timed, Topology};
    use topo_tests::memory_log::MemoryLog;

    use super::*;
    use crate::testing::given;

    const KEYS: u64 = 50_000;

    /// Counts each of [`KEYS`] numbers once more, from what `log` holds.
    async fn run(log: &Arc<MemoryLog>, scheduler: &Arc<TokioScheduler>, on_restore: Option<RestoreWatch>) {
        let topology = Topology::new("large");
        let numbers: Vec<_> = (0..KEYS).map(|value| Timed { at: 0, value }).collect();
        let numbers = DataStream::of(&topology.spout("numbers", given(numbers)));
        numbers.key_by(|number| number).count().name("counts").for_each(drop);
        let state = StateSettings { log: Some(Arc::clone(log) as _), on_restore, ..StateSettings::default() };
        let config = Config { state, ..Config::default() };
        let running = topology.launch(Arc::clone(scheduler) as _, config).await.unwrap();
        running.finished().await;
        running.kill(Duration::from_secs(600)).await.unwrap();
    }

    #[tokio::test]
    async fn a_large_changelog_is_told_of_line_by_line_and_a_terminal_sees_one_line_until_the_last_record() {
        let scheduler = Arc::new(TokioScheduler::current());
        let log = Arc::new(MemoryLog::new(Arc::clone(&scheduler) as _));
        run(&log, &scheduler, None).await;
        for is_terminal in [false, true] {
            let (said, looks, began) = (Arc::<Mutex<String>>::default(), AtomicU32::new(0), Instant::now());
            let text = Arc::clone(&said);
            // Each look at the clock finds it a little later.
            let now = move || began + looks.fetch_add(1, Ordering::Relaxed) * (EVERY * 2 / 5);
            let say = move |line: &str| text.lock().unwrap().push_str(line);
            run(&log, &scheduler, Some(tell(is_terminal, now, say))).await;
            let said = said.lock().unwrap().clone();
            let (before, between) =
                if is_terminal { ("\r\x1b[2K", "restoring state ") } else { ("", "restoring state: ") };
            let tellings: Vec<&str> = said.split(between).skip(1).collect();
            let numbers = |telling: &&str| {
                let (_, numbers) = telling.rsplit_once(['█', '░']).unwrap_or(("", telling));
                let (done, total) = numbers.trim().split_once(" of ").unwrap();
                let total: String = total.chars().take_while(char::is_ascii_digit).collect();
                (done.parse::<u64>().unwrap(), total.parse::<u64>().unwrap())
            };
            let tellings: Vec<_> = tellings.iter().map(numbers).collect();
            assert!(tellings.len() > 1 && tellings.is_sorted_by_key(|(done, _)| *done), "{said:?}");
            let (done, total) = *tellings.last().unwrap();
            assert!(done == total && total >= KEYS, "{said:?}");
            assert_eq!(said.matches('\n').count(), if is_terminal { 1 } else { tellings.len() }, "{said:?}");
            assert!(said.starts_with(before) && said.ends_with('\n'), "{said:?}");
        }
    }

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
