//! The windowed word count as its user runs it: a file, a process, lines on the terminal.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Line {
    key: String,
    window: Window,
    value: u64,
    revision: u32,
}

#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Window {
    start: i64,
    end: i64,
}

/// What each window came to.
type Counts = BTreeMap<(String, Window), (u32, u64)>;

fn count(dir: &Path, input: &Path) -> Counts {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windowed_word_count"));
    command.args(["--until-idle", "--status", "off", "--listen", "off", "--input"]).arg(input);
    let output = command.arg("--data-dir").arg(dir).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let mut counts = Counts::new();
    for line in String::from_utf8(output.stdout).unwrap().lines().filter(|line| line.starts_with('{')) {
        let Line { key, window, value, revision } = serde_json::from_str(line).unwrap();
        let newest = counts.entry((key, window)).or_default();
        *newest = (*newest).max((revision, value));
    }
    counts
}

/// How often a word was counted in all windows together.
fn total(counts: &Counts, word: &str) -> u64 {
    counts.iter().filter(|((key, _), _)| key == word).map(|(_, (_, value))| value).sum()
}

#[test]
fn windows_that_the_end_of_the_input_leaves_open_are_counted_and_the_next_run_goes_on_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let (data, input) = (dir.path().join("data"), dir.path().join("input.txt"));
    std::fs::write(&input, "to be or not to be\n").unwrap();
    let first = count(&data, &input);
    // A word lies in five windows of five seconds, of which one begins every second.
    for (word, times) in [("to", 2), ("be", 2), ("or", 1), ("not", 1)] {
        assert_eq!(total(&first, word), 5 * times, "{word}");
    }
    assert!(first.keys().all(|(_, window)| window.end - window.start == 5_000));

    // Nothing new, nothing to tell: windows that are complete only once time goes on stay open.
    std::fs::write(&input, "").unwrap();
    assert_eq!(count(&data, &input), Counts::new());

    std::fs::write(&input, "to see\n").unwrap();
    let mut both = first;
    both.extend(count(&data, &input));
    for (word, times) in [("to", 3), ("be", 2), ("or", 1), ("not", 1), ("see", 1)] {
        assert_eq!(total(&both, word), 5 * times, "{word}");
    }
}
