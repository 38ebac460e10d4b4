//! States of tasks that live, crash and come back with other numbers, on a log in memory and a manual clock.

#[cfg(feature = "fjall")]
mod bounds;
mod history;
mod kept;
mod refused;
mod undo;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::StateError;
use super::fake::FakeLog;
use super::handle::State;
use super::key_group::{key_group, task_of_group};
use super::opening::OpenState;
use super::tasks::{SharedStates, TaskStates};
use crate::config::{RestoreWatch, StateBackend, StateSettings};
use crate::context::TaskContext;
use crate::metrics::ComponentKind;
use crate::runtime::Control;
use crate::schedule::Seeded;

/// A value with more than one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Visits {
    count: u64,
    last: String,
}

const CHANGELOG: &str = "shop.visits.changelog";

/// What outlives a crash: the log, and the time.
struct World {
    log: Arc<FakeLog>,
    scheduler: Arc<Seeded>,
    settings: StateSettings,
    #[cfg(feature = "fjall")]
    _directory: Option<tempfile::TempDir>,
}

impl World {
    fn new() -> Self {
        let log = Arc::new(FakeLog::default());
        let settings = StateSettings { log: Some(Arc::clone(&log) as _), ..StateSettings::default() };
        let scheduler = Seeded::new(1);
        scheduler.set_wall_ms(1_000_000);
        Self {
            log,
            scheduler,
            settings,
            #[cfg(feature = "fjall")]
            _directory: None,
        }
    }

    /// Values on disk, but for so many bytes.
    #[cfg(feature = "fjall")]
    fn on_disk(cache_bytes: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut world = Self::new();
        world.settings.backend = StateBackend::Disk { directory: directory.path().into(), cache_bytes };
        world._directory = Some(directory);
        world
    }

    /// A world for each backend that there is.
    fn each() -> Vec<Self> {
        let in_memory = Self::new();
        assert_eq!(in_memory.settings.backend, StateBackend::Memory);
        vec![
            in_memory,
            #[cfg(feature = "fjall")]
            Self::on_disk(2_000),
        ]
    }

    fn shared(&self) -> Arc<SharedStates> {
        Arc::new(SharedStates::new(self.settings.clone(), 7))
    }

    fn task(&self, shared: &Arc<SharedStates>, component: &str, task: u32, tasks: u32) -> TaskContext {
        TaskContext {
            topology: "shop".into(),
            component: component.into(),
            task,
            tasks,
            scheduler: Arc::clone(&self.scheduler) as _,
            control: Arc::new(Control::new(Vec::new(), None)),
            counters: Arc::default(),
            states: Arc::new(TaskStates::new(shared, &Arc::default(), ComponentKind::Bolt)),
            event_time: Arc::default(),
            stores: Arc::default(),
            staging: Arc::default(),
        }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.scheduler.block_on(future)
    }

    fn pass(&self, millis: u64) {
        self.scheduler.advance(Duration::from_millis(millis));
    }

    /// Component `count` with so many tasks, all of them restored.
    fn start(&self, tasks: u32, ttl: Option<Duration>) -> Result<Life, StateError> {
        let shared = self.shared();
        let mut life = Life { tasks: Vec::new() };
        for task in 0..tasks {
            let task = self.task(&shared, "count", task, tasks);
            let open: OpenState<State<u16, Visits>> = task.state("visits");
            let open = match ttl {
                Some(ttl) => open.time_to_live(ttl),
                None => open,
            };
            let state = self.block_on(async move { open.await })?;
            life.tasks.push((task, state));
        }
        Ok(life)
    }

    /// How many bytes the changelog's last keys and values have.
    fn kept_bytes(&self) -> u64 {
        let mut last = BTreeMap::new();
        for (_, record) in self.log.records(CHANGELOG) {
            let key = record.key.unwrap();
            let bytes = record.value.map_or(0, |value| key.len() + value.len());
            last.insert(key, bytes as u64);
        }
        last.values().sum()
    }

    fn flush(&self, life: &Life) -> Result<(), StateError> {
        life.tasks.iter().try_for_each(|(task, _)| self.block_on(task.states.flush()))
    }
}

/// The tasks of a component until they crash.
struct Life {
    tasks: Vec<(TaskContext, State<u16, Visits>)>,
}

impl Life {
    /// The state of the task that has `key`.
    fn of(&mut self, key: u16) -> &mut State<u16, Visits> {
        let task = task_of_group(key_group(&key), self.tasks.len());
        &mut self.tasks[task].1
    }

    fn all(&self) -> Vec<(u16, Visits)> {
        let mut all = Vec::new();
        for (_, state) in &self.tasks {
            state.for_each(|key, value| all.push((*key, value.clone()))).unwrap();
        }
        all.sort();
        all
    }

    fn len(&self) -> u64 {
        self.tasks.iter().map(|(_, state)| state.len()).sum()
    }

    /// How many bytes the states say that they have in the changelog.
    fn bytes(&self) -> u64 {
        let shelves = self.tasks.iter().flat_map(|(task, _)| task.states.shelves());
        shelves.map(|shelf| shelf.bytes().unwrap()).sum()
    }

    fn visit(&mut self, key: u16) {
        self.of(key).update(&key, |visits| visits.count += 1).unwrap();
    }

    fn count(&mut self, key: u16) -> Option<u64> {
        self.of(key).get(&key).unwrap().map(|visits| visits.count)
    }
}

/// Tasks, with how many records they had read of how many.
type Told = Arc<Mutex<Vec<(u32, u64, u64)>>>;

/// Remembers what a restore told.
fn watch() -> (RestoreWatch, Told) {
    let told = Told::default();
    let told_to = Arc::clone(&told);
    (
        Arc::new(move |progress| {
            told_to.lock().unwrap().push((progress.task, progress.done, progress.total))
        }),
        told,
    )
}
