//! How far event time has come, kept as state, so that a restart does not let it go back.

use crate::context::TaskContext;
use crate::spout::Fault;
use crate::state::{State, groups_of_task, key_group};
use crate::time::Watermark;

/// The watermark, once for each key group that is the task's: whichever task has a group next finds it.
pub(super) struct Marks {
    state: State<u32, i64>,
    groups: Vec<u32>,
    marked: Watermark,
}

impl Marks {
    /// Opens the state, and tells the task how far it had come.
    pub(super) async fn open(task: &TaskContext) -> Result<Self, Fault> {
        let state: State<u32, i64> = task.state(&format!("{}.watermark", task.component())).await?;
        let groups = groups_of_task(task.task() as usize, task.tasks() as usize);
        let groups = groups.map(key_of_group).collect();
        let mut earliest = None;
        state.for_each(|_, mark| {
            earliest = Some(earliest.map_or(*mark, |earliest: i64| earliest.min(*mark)));
        })?;
        let marked = earliest.map_or(Watermark::MIN, Watermark);
        task.raise_watermark(marked);
        Ok(Self { state, groups, marked })
    }

    /// What is kept.
    pub(super) fn at(&self) -> Watermark {
        self.marked
    }

    /// Whether all that was noted is flushed.
    pub(super) fn is_flushed(&self) -> bool {
        self.state.lock().is_flushed()
    }

    /// Notes that event time has come as far as `watermark`, which is not its end.
    pub(super) fn write_out(&mut self, watermark: Watermark) -> Result<(), Fault> {
        if watermark > self.marked {
            let mut state = self.state.lock();
            self.groups.iter().try_for_each(|group| state.put(*group, watermark.0))?;
            self.marked = watermark;
        }
        Ok(())
    }
}

/// The smallest key that is of a key group.
fn key_of_group(group: usize) -> u32 {
    (0..).find(|key| usize::from(key_group(key)) == group).unwrap_or_default()
}
