//! The windowed word count: the words of 5 seconds of topic `lines`, every second, to topic `windowed-counts`.
//!
//! The time is that of the records. Each result is a record of its own, keyed by the word: the window, the count, how many
//! results of that window came before it.

use std::time::Duration;

use crate::launcher::Application;
use crate::streams::{To, words};

/// The ready-made windowed word count, from topic `lines` to topic `windowed-counts`.
pub fn application() -> Application {
    Application::streams("windowed-word-count", |log| {
        let words = log.lines("lines").follow_clock().flat_map(words).name("split").tasks(2);
        let windows = words.key_by(|word| word).window(Duration::from_secs(5)).every(Duration::from_secs(1));
        windows.count().name("count").to("windowed-counts");
    })
}
