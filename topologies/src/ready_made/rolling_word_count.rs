//! The rolling word count as a stream: lines of topic `lines`, every new count to topic `counts`, the counts kept as state.
//!
//! Beside [`word_count`](super::word_count), which is the same by hand, its counts can be asked for while it runs, and do not
//! depend on what topic `counts` still holds. What a word is, is the same.

use crate::launcher::Application;
use crate::streams::{To, words};

/// The ready-made rolling word count, from topic `lines` to topic `counts`; its state is `count`.
pub fn application() -> Application {
    Application::streams("rolling-word-count", |log| {
        let words = log.lines("lines").flat_map(words).name("split").tasks(2);
        words.key_by(|word| word).count().name("count").to("counts").name("write-counts");
    })
}
