//! The sentence on top of the page: what holds the topology up, and what to do about it.
//!
//! Whoever waits for room downstream is a victim. Its wait is followed along the full queues to one who does not wait: that
//! is the culprit, whoever is at work there. Pure: it sees what happened in the last seconds and nothing else.

#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use topo_core::metrics::TopologyStatus;

use self::words::{count, first_line, percent, rate};

/// The share of time waiting for others from which on a component counts as held up.
const HELD: f64 = 0.25;
/// The share of time executing from which on it counts as the bottleneck of those that it holds up.
const BUSY: f64 = 0.6;
/// The same where nobody is held up.
const NEARLY_FULL: f64 = 0.9;
/// The fill of a queue from which on it presses on its senders.
const PRESSED: f64 = 0.5;
/// The share of a machine's processors from which on they count as used up.
const USED_UP: f64 = 0.9;
/// The share of trees failing from which on that is said.
const FAILING: f64 = 0.01;

/// A component in the last seconds. Rates are per second, shares 0 to 1.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) name: Arc<str>,
    pub(super) is_spout: bool,
    pub(super) tasks: usize,
    /// Share executing: of the busiest task, and on average.
    pub(super) busy: f64,
    pub(super) mean_busy: f64,
    /// Which task that is.
    pub(super) busiest: u32,
    /// Share waiting for room in a queue, of the task that waits longest.
    pub(super) blocked: f64,
    /// Share waiting with as many trees open as allowed, of the task that waits longest.
    pub(super) full: f64,
    pub(super) emitted: f64,
    pub(super) executed: f64,
    pub(super) acked: f64,
    pub(super) failed: f64,
    /// Trees that are open.
    pub(super) pending: u64,
    /// Tuples that wait in its queues.
    pub(super) waiting: u64,
    /// What a task of it reported in the last seconds.
    pub(super) error: Option<Arc<str>>,
}

/// A subscription in the last seconds, by its components' places.
#[derive(Debug, Clone, Default)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) feedback: bool,
    /// The fill of the fullest queue behind it, whoever filled it.
    pub(super) fill: f64,
    /// Whether a full queue made its senders wait.
    pub(super) refused: bool,
    /// Whether a task gets all of it, however many there are: by a global grouping, or by one to all.
    pub(super) is_undivided: bool,
}

/// All that the sentence is made from.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) status: TopologyStatus,
    /// How long "the last seconds" were.
    pub(super) span: Duration,
    /// Processors of the machine, and how many of them this process kept at work.
    pub(super) processors: usize,
    pub(super) at_work: Option<f64>,
    pub(super) parts: Vec<Part>,
    pub(super) links: Vec<Link>,
}

/// What kind of sentence it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// It has just started, or is paused or being stopped.
    Resting,
    /// All is well.
    Well,
    /// A component, or the machine, is the bottleneck.
    Bottleneck,
    /// Nothing comes in, or nothing gets further than a component.
    Nothing,
    /// Trees fail.
    Failing,
    /// Spouts wait, and nobody downstream is busy.
    Waiting,
}

/// The sentence.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    pub(super) kind: Kind,
    /// The component that it names.
    pub(super) component: Option<Arc<str>>,
    pub(super) sentence: String,
    /// The links along which others are held up, from the culprit backwards, by their places.
    pub(super) held_up: Vec<usize>,
}

impl Verdict {
    fn of(kind: Kind, component: Option<&Part>, sentence: String) -> Self {
        Self { kind, component: component.map(|part| Arc::clone(&part.name)), sentence, held_up: Vec::new() }
    }
}

/// Says what is the matter.
pub(super) fn judge(scene: &Scene) -> Verdict {
    match scene.status {
        TopologyStatus::Inactive => {
            return Verdict::of(
                Kind::Resting,
                None,
                "Paused: the spouts emit nothing until they are resumed.".into(),
            );
        }
        TopologyStatus::Killed => {
            return Verdict::of(
                Kind::Resting,
                None,
                "It is being stopped: what is open completes first.".into(),
            );
        }
        _ if scene.span < Duration::from_millis(900) => {
            return Verdict::of(Kind::Resting, None, "It has just started.".into());
        }
        TopologyStatus::Active => {}
    }
    let held: Vec<usize> = (0..scene.parts.len()).filter(|part| scene.is_held(*part)).collect();
    if !held.is_empty() {
        return scene.held_up(&held);
    }
    let busiest_spout = scene.spouts().max_by(|a, b| a.busy.total_cmp(&b.busy));
    if let Some(spout) = busiest_spout.filter(|spout| spout.busy >= NEARLY_FULL) {
        return scene.slow_spout(spout);
    }
    scene.stopped().or_else(|| scene.failing()).unwrap_or_else(|| scene.well())
}

impl Scene {
    fn spouts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.is_spout)
    }

    fn is_held(&self, part: usize) -> bool {
        let part = &self.parts[part];
        part.blocked >= HELD || part.full >= HELD
    }

    fn is_pressed(&self, link: &Link) -> bool {
        !link.feedback && (link.refused || link.fill >= PRESSED)
    }

    /// The components behind `part`.
    fn next<'a>(&'a self, part: usize, pressed: bool) -> impl Iterator<Item = usize> + 'a {
        let links = self.links.iter().filter(move |link| link.from == part && link.to != part);
        links.filter(move |link| !pressed || self.is_pressed(link)).map(|link| link.to)
    }

    /// All that `from` leads to, themselves left out unless a cycle leads back.
    fn reached(&self, from: &[usize], pressed: bool) -> Vec<usize> {
        let mut reached: Vec<usize> = Vec::new();
        let mut open: Vec<usize> = from.to_vec();
        while let Some(part) = open.pop() {
            for next in self.next(part, pressed) {
                if !reached.contains(&next) {
                    reached.push(next);
                    open.push(next);
                }
            }
        }
        reached
    }

    /// Who holds the `held` up: whom the full queues lead to, and who does not wait for others itself; of several the
    /// busiest. Where no queue is full, because the spouts may not have more trees open, the busiest of all behind them.
    fn culprit(&self, held: &[usize]) -> Option<usize> {
        let busier = |a: &usize, b: &usize| {
            let load = |part: usize| (self.parts[part].busy, self.parts[part].waiting);
            let ((a, a_waiting), (b, b_waiting)) = (load(*a), load(*b));
            a.total_cmp(&b).then(a_waiting.cmp(&b_waiting))
        };
        let free = |part: &usize| !self.is_held(*part);
        let behind_full = self.reached(held, true).into_iter().filter(free).max_by(busier);
        let behind = || self.reached(held, false).into_iter().filter(free).max_by(busier);
        match behind_full {
            Some(part) if self.parts[part].busy >= BUSY => Some(part),
            found => behind().filter(|part| self.parts[*part].busy >= BUSY).or(found).or_else(behind),
        }
    }

    /// The links along which `held` components wait for `culprit`: full queues, and where there are none, all that lies
    /// between.
    fn held_up_by(&self, culprit: usize, held: &[usize]) -> Vec<usize> {
        let by_queues = self.reached(held, true).contains(&culprit);
        let behind_held = self.reached(held, by_queues);
        let mut parts = vec![culprit];
        let mut links = Vec::new();
        let mut next = 0;
        while let Some(&part) = parts.get(next) {
            next += 1;
            for (index, link) in self.links.iter().enumerate() {
                let leads = held.contains(&link.from) || behind_held.contains(&link.from);
                let waits = leads && (!by_queues || self.is_pressed(link) || held.contains(&link.from));
                if link.to == part && !link.feedback && waits && !links.contains(&index) {
                    links.push(index);
                    if !parts.contains(&link.from) {
                        parts.push(link.from);
                    }
                }
            }
        }
        links
    }

    fn held_up(&self, held: &[usize]) -> Verdict {
        let Some(culprit) = self.culprit(held) else {
            let part = &self.parts[held[0]];
            let sentence = format!("`{}` waits for room, and nobody is behind it.", part.name);
            return Verdict::of(Kind::Waiting, Some(part), sentence);
        };
        let held_up = self.held_up_by(culprit, held);
        let part = &self.parts[culprit];
        let verdict = if part.busy >= BUSY {
            Verdict::of(Kind::Bottleneck, Some(part), self.remedy(part))
        } else if self.is_used_up() {
            let busiest =
                self.parts.iter().max_by(|a, b| a.mean_busy.total_cmp(&b.mean_busy)).unwrap_or(part);
            let sentence = format!(
                "{} are all in use; `{}` takes most of them, busy {} of the time. Make it cheaper, or give it more processors.",
                self.machine(),
                busiest.name,
                percent(busiest.busy),
            );
            Verdict::of(Kind::Bottleneck, Some(busiest), sentence)
        } else {
            Verdict::of(Kind::Waiting, Some(part), self.why_it_waits(held, part))
        };
        Verdict { held_up, ..verdict }
    }

    /// What to do about a component that is the bottleneck.
    fn remedy(&self, part: &Part) -> String {
        let Part { name, tasks, busiest, .. } = part;
        let busy = percent(part.busy);
        if let Some(from) = self.undivided(part).filter(|_| !self.is_used_up()) {
            return format!(
                "`{name}` is busy {busy} of the time, and more tasks would not help: one gets all that `{from}` sends. Make it \
                 cheaper, or choose a grouping that spreads the tuples.",
            );
        }
        if *tasks > 1 && part.mean_busy < part.busy / 2.0 {
            return format!(
                "`{name}` is held up by its task {busiest}, which is busy {busy} of the time while its {tasks} tasks are {} on \
                 average: it gets most of the tuples. Choose a key that spreads them, or a partial-key grouping.",
                percent(part.mean_busy),
            );
        }
        let more = tasks * 2;
        if self.is_used_up() {
            return format!(
                "`{name}` is busy {busy} of the time, and {} are all in use: make it cheaper, or give it more processors.",
                self.machine_inside(),
            );
        }
        format!("`{name}` is busy {busy} of the time; give it {more} tasks.")
    }

    /// Who sends `part` tuples, where none of its inputs is spread over its tasks.
    fn undivided(&self, part: &Part) -> Option<&Arc<str>> {
        let mut inputs =
            self.links.iter().filter(|link| !link.feedback && self.parts[link.to].name == part.name);
        let first = inputs.next().filter(|link| link.is_undivided)?;
        inputs.all(|link| link.is_undivided).then(|| &self.parts[first.from].name)
    }

    fn why_it_waits(&self, held: &[usize], part: &Part) -> String {
        let victim = &self.parts[held[0]];
        let mut suspects = std::iter::once(part).chain(&self.parts);
        if let Some(error) = suspects.find_map(|one| Some((&one.name, one.error.as_ref()?))) {
            return format!("`{}` waits, and `{}` says: {}", victim.name, error.0, first_line(error.1));
        }
        if victim.full >= HELD && victim.blocked < HELD {
            return format!(
                "`{}` waits with {} trees open, as many as it may, and nobody behind it is busy more than {} of the time: see \
                 where the oldest trees wait, or raise max_pending.",
                victim.name,
                count(victim.pending),
                percent(part.busy),
            );
        }
        format!(
            "`{}` waits for room in the queue of `{}`, which is busy only {} of the time: it waits for something itself.",
            victim.name,
            part.name,
            percent(part.busy),
        )
    }

    fn slow_spout(&self, spout: &Part) -> Verdict {
        let mut sentence = self.remedy(spout);
        if !self.is_used_up() {
            sentence.push_str(" All behind it keep up.");
        }
        Verdict::of(Kind::Bottleneck, Some(spout), sentence)
    }

    /// Where nothing gets further.
    fn stopped(&self) -> Option<Verdict> {
        let seconds = self.span.as_secs().max(1);
        let emitting = self.spouts().any(|spout| spout.emitted > 0.0);
        for (at, part) in self.parts.iter().enumerate() {
            let stuck = !part.is_spout && part.waiting > 0 && part.executed == 0.0;
            if stuck {
                let sentence = format!(
                    "Nothing gets further than `{}`: {} tuples wait for it, and it has executed none for {seconds} s.",
                    part.name,
                    count(part.waiting),
                );
                return Some(Verdict::of(Kind::Nothing, Some(part), sentence));
            }
            let mut behind = self.next(at, false).peekable();
            let takes = if part.is_spout { false } else { part.executed > 0.0 };
            if emitting
                && takes
                && part.emitted == 0.0
                && behind.peek().is_some()
                && behind.all(|next| self.parts[next].executed == 0.0)
            {
                let next: Vec<_> =
                    self.next(at, false).map(|next| format!("`{}`", self.parts[next].name)).collect();
                let sentence = format!(
                    "`{}` takes {} tuples a second and has emitted none for {seconds} s: nothing arrives at {}.",
                    part.name,
                    rate(part.executed),
                    next.join(", "),
                );
                return Some(Verdict::of(Kind::Nothing, Some(part), sentence));
            }
        }
        if emitting {
            return None;
        }
        let names: Vec<_> = self.spouts().map(|spout| format!("`{}`", spout.name)).collect();
        let (names, have) = (names.join(" and "), if names.len() == 1 { "has" } else { "have" });
        let pending: u64 = self.parts.iter().map(|part| part.pending).sum();
        let open = match pending {
            0 => "All that came is done.".to_owned(),
            1 => "1 tree is open.".to_owned(),
            some => format!("{} trees are open.", count(some)),
        };
        let error = self.spouts().find_map(|spout| spout.error.as_ref());
        let why = error.map(|error| format!(" It says: {}", first_line(error))).unwrap_or_default();
        let sentence =
            format!("Nothing arrives: {names} {have} emitted nothing for {seconds} s. {open}{why}");
        Some(Verdict::of(Kind::Nothing, self.spouts().next(), sentence))
    }

    fn failing(&self) -> Option<Verdict> {
        let (acked, failed) =
            self.spouts().fold((0.0, 0.0), |sum, one| (sum.0 + one.acked, sum.1 + one.failed));
        if failed <= 0.0 || failed < FAILING * (acked + failed) {
            return None;
        }
        let bolts = self.parts.iter().filter(|part| !part.is_spout);
        let worst = bolts.max_by(|a, b| a.failed.total_cmp(&b.failed)).filter(|part| part.failed > 0.0);
        let at = worst.map(|part| format!(", most of them in `{}`", part.name)).unwrap_or_default();
        let share = percent(failed / (acked + failed));
        let sentence = format!("{} trees a second fail, {share} of all{at}: see the errors.", rate(failed));
        Some(Verdict::of(Kind::Failing, worst, sentence))
    }

    fn well(&self) -> Verdict {
        let emitted: f64 = self.spouts().map(|spout| spout.emitted).sum();
        let busiest = self.parts.iter().max_by(|a, b| a.busy.total_cmp(&b.busy));
        let busy = busiest
            .map(|part| format!("; the busiest is `{}`, {} of the time", part.name, percent(part.busy)))
            .unwrap_or_default();
        Verdict::of(
            Kind::Well,
            None,
            format!("All is well: {} tuples a second come in{busy}.", rate(emitted)),
        )
    }

    fn is_used_up(&self) -> bool {
        self.at_work.is_some_and(|at_work| at_work >= USED_UP * self.processors as f64)
    }

    fn machine(&self) -> String {
        format!("The machine's {} processors", self.processors)
    }

    fn machine_inside(&self) -> String {
        format!("the machine's {} processors", self.processors)
    }
}
