//! The slab of open roots of one task.
//!
//! Invariant: a slot is open exactly if it holds a message id, and the free list names every other slot once.

use super::root::RootId;
use crate::schedule::Moment;

/// One root in this many is traced, and every attempt after the first.
const TRACE_EVERY: u32 = 1_024;

/// The open roots of one task that opens roots; `M` is its message id.
///
/// The ledger outlives the spout instance it serves. Slots are reused last in, first out: the slot that was closed last
/// is the one still in the cache. How late updates are told apart all the same is said at [`RootId`].
///
/// ```
/// use topo_core::ledger::{EdgeIds, Ledger, Update};
/// use topo_core::schedule::Moment;
///
/// let mut ids = EdgeIds::new(7, 0);
/// let mut ledger = Ledger::new(0, 1_000);
/// let edge = ids.next();
/// let root = ledger.open("line 1", edge, 1, Moment::default()).unwrap();
/// let Update::Acked(closed) = ledger.update(root, edge) else { panic!() };
/// assert_eq!((closed.id, closed.attempt), ("line 1", 1));
/// assert_eq!(ledger.update(root, edge), Update::Late);
/// ```
#[derive(Debug)]
pub struct Ledger<M> {
    task: u16,
    max_pending: usize,
    /// Openings so far, wrapping; picks which roots are traced.
    opens: u32,
    slots: Vec<Slot<M>>,
    /// The closed slots, the one closed last on top. Invariant: its capacity is at least `slots.len()`.
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<M> {
    /// The root that has the slot, or had it last.
    root: RootId,
    /// The XOR of the live edges and of the deltas still under way.
    value: u64,
    opened: Moment,
    attempt: u32,
    /// Invariant: `Some` exactly while the root is open.
    id: Option<M>,
}

impl<M> Slot<M> {
    /// Whether `root` is open here. One comparison covers task, generation and trace bit; a slot that was never opened
    /// has the root 0, which anybody may ask for, but no id.
    #[inline]
    fn holds(&self, root: RootId) -> bool {
        self.root == root && self.id.is_some()
    }

    #[inline(always)]
    fn close(&mut self) -> Option<Closed<M>> {
        let id = self.id.take()?;
        Some(Closed { id, root: self.root, attempt: self.attempt, opened: self.opened })
    }
}

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an acked root has to be told to its spout"]
pub enum Update<M> {
    /// The tree goes on.
    Pending,
    /// The root is not open, or not this ledger's; nothing was changed.
    Late,
    /// The tree is complete and the root closed.
    Acked(Closed<M>),
}

/// A root that was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed<M> {
    /// The spout's message id.
    pub id: M,
    /// The root.
    pub root: RootId,
    /// Which attempt at the message this was, from 1.
    pub attempt: u32,
    /// When it was opened.
    pub opened: Moment,
}

/// A root that is open, as seen from outside.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenRoot<'a, M> {
    /// The spout's message id.
    pub id: &'a M,
    /// The root.
    pub root: RootId,
    /// Which attempt at the message this is, from 1.
    pub attempt: u32,
    /// When it was opened.
    pub opened: Moment,
}

impl<M> Ledger<M> {
    /// The empty ledger of task `task`. It holds at most `max_pending` roots open, and never more than
    /// [`RootId::MAX_SLOTS`]; memory grows with the roots that are open at once.
    ///
    /// # Panics
    ///
    /// If `task` is not below [`RootId::MAX_TASKS`].
    pub fn new(task: u16, max_pending: usize) -> Self {
        assert!(usize::from(task) < RootId::MAX_TASKS, "task {task} cannot own a ledger");
        let max_pending = max_pending.min(RootId::MAX_SLOTS);
        Self { task, max_pending, opens: 0, slots: Vec::new(), free: Vec::new() }
    }

    /// Opens a root for message `id`, whose one tuple has the edge `edge` (not 0). `attempt` counts from 1.
    ///
    /// `None`, and `id` is gone, where the ledger is full: ask [`capacity_left`](Self::capacity_left) first.
    #[inline]
    pub fn open(&mut self, id: M, edge: u64, attempt: u32, now: Moment) -> Option<RootId> {
        if self.pending() >= self.max_pending {
            return None;
        }
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let slot = &mut self.slots[index as usize];
        let traced = attempt > 1 || self.opens.is_multiple_of(TRACE_EVERY);
        // Wraps past 0, which is nobody's generation.
        let generation = ((slot.root.generation() + 1) & RootId::MAX_GENERATION).max(1);
        let root = RootId::new(self.task, index, generation, attempt > 1, traced);
        *slot = Slot { root, value: edge, opened: now, attempt, id: Some(id) };
        self.opens = self.opens.wrapping_add(1);
        Some(root)
    }

    /// Adds a slot, and room for it on the free list, so that closing never allocates.
    #[cold]
    fn grow(&mut self) -> u32 {
        // Below MAX_SLOTS: every slot is open, and fewer than `max_pending` are.
        let index = self.slots.len();
        let root = RootId::UNTRACKED;
        self.slots.push(Slot { root, value: 0, opened: Moment::default(), attempt: 0, id: None });
        self.free.reserve(self.slots.len() - self.free.len());
        index as u32
    }

    /// XORs the delta `xor` into `root` and closes it where that leaves zero.
    #[inline(always)]
    pub fn update(&mut self, root: RootId, xor: u64) -> Update<M> {
        let Some(slot) = self.slots.get_mut(root.slot()).filter(|slot| slot.holds(root)) else {
            return Update::Late;
        };
        slot.value ^= xor;
        if slot.value != 0 {
            return Update::Pending;
        }
        slot.close().map_or(Update::Late, |closed| {
            self.free.push(root.slot() as u32);
            Update::Acked(closed)
        })
    }

    /// Closes `root` as failed; `None` where it is not open. Its later updates are late, its later fails `None`.
    pub fn fail(&mut self, root: RootId) -> Option<Closed<M>> {
        let slot = self.slots.get_mut(root.slot()).filter(|slot| slot.holds(root))?;
        let closed = slot.close()?;
        self.free.push(root.slot() as u32);
        Some(closed)
    }

    /// Closes every open root without an ack, in no particular order: the topology stops.
    pub fn drain_all(&mut self) -> Vec<Closed<M>> {
        let open: Vec<RootId> = self.iter().map(|open| open.root).collect();
        open.into_iter().filter_map(|root| self.fail(root)).collect()
    }

    /// The task that owns this ledger.
    pub fn task(&self) -> u16 {
        self.task
    }

    /// How many roots are open.
    #[inline]
    pub fn pending(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many roots may be open.
    pub fn max_pending(&self) -> usize {
        self.max_pending
    }

    /// How many more roots can be opened now.
    #[inline]
    pub fn capacity_left(&self) -> usize {
        self.max_pending.saturating_sub(self.pending())
    }

    /// Changes how many roots may be open, up to [`RootId::MAX_SLOTS`]. What is open stays open, even above it.
    pub fn set_max_pending(&mut self, max_pending: usize) {
        self.max_pending = max_pending.min(RootId::MAX_SLOTS);
    }

    /// The value of `root`, where it is open: the XOR of its live edges and of the deltas still under way.
    pub fn value(&self, root: RootId) -> Option<u64> {
        self.slots.get(root.slot()).filter(|slot| slot.holds(root)).map(|slot| slot.value)
    }

    /// The message id of `root`, where it is open.
    pub fn get(&self, root: RootId) -> Option<&M> {
        self.slots.get(root.slot()).filter(|slot| slot.holds(root))?.id.as_ref()
    }

    /// The open roots, in no particular order. Takes time by the most roots that were ever open at once.
    pub fn iter(&self) -> impl Iterator<Item = OpenRoot<'_, M>> {
        self.slots.iter().filter_map(|slot| {
            let id = slot.id.as_ref()?;
            Some(OpenRoot { id, root: slot.root, attempt: slot.attempt, opened: slot.opened })
        })
    }

    /// When the oldest open root was opened. Takes as long as [`iter`](Self::iter).
    pub fn oldest(&self) -> Option<Moment> {
        self.iter().map(|open| open.opened).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_nanos(5);

    fn ledger(max_pending: usize) -> Ledger<u64> {
        Ledger::new(3, max_pending)
    }

    #[test]
    fn a_root_closes_with_what_it_was_opened_with() {
        let mut ledger = ledger(2);
        let root = ledger.open(11, 0b110, 4, NOW).unwrap();
        assert_eq!((root.task(), ledger.pending(), ledger.capacity_left()), (3, 1, 1));
        assert_eq!(ledger.update(root, 0b010), Update::Pending);
        assert_eq!((ledger.value(root), ledger.get(root)), (Some(0b100), Some(&11)));
        let closed = Closed { id: 11, root, attempt: 4, opened: NOW };
        assert_eq!(ledger.update(root, 0b100), Update::Acked(closed));
        assert_eq!((ledger.pending(), ledger.capacity_left()), (0, 2));
    }

    #[test]
    fn a_fail_is_final() {
        let mut ledger = ledger(1);
        let root = ledger.open(11, 6, 1, NOW).unwrap();
        assert_eq!(ledger.fail(root).map(|closed| closed.id), Some(11));
        assert_eq!(ledger.update(root, 6), Update::Late);
        assert_eq!(ledger.get(root), None);
        assert_eq!(ledger.fail(root), None);
        let next = ledger.open(12, 6, 1, NOW).unwrap();
        assert_eq!(next.slot(), root.slot());
        assert_eq!(ledger.update(root, 6), Update::Late);
        assert_eq!(ledger.value(next), Some(6));
    }

    #[test]
    fn a_root_of_another_ledger_or_of_none_is_late() {
        let mut ledger = ledger(4);
        let root = ledger.open(11, 6, 1, NOW).unwrap();
        let stranger = RootId::new(4, root.slot() as u32, root.generation(), false, root.traced());
        let beyond = RootId::new(3, 1_000, 1, false, false);
        let untraced = RootId::from_u64(root.as_u64() ^ 1);
        for root in [stranger, beyond, untraced, RootId::UNTRACKED, RootId::from_u64(u64::MAX)] {
            assert_eq!(ledger.update(root, 6), Update::Late, "{root}");
            assert_eq!(ledger.fail(root), None, "{root}");
        }
        assert_eq!(ledger.pending(), 1);
    }

    #[test]
    fn nothing_untracked_closes_a_slot_that_was_never_opened() {
        let mut ledger = ledger(4);
        let never_opened = ledger.grow();
        ledger.free.push(never_opened);
        assert_eq!(ledger.update(RootId::UNTRACKED, 0), Update::Late);
        assert_eq!(ledger.fail(RootId::UNTRACKED), None);
    }

    #[test]
    fn generations_wrap_past_zero() {
        let mut ledger = ledger(1);
        let root = ledger.open(1, 6, 1, NOW).unwrap();
        assert_eq!(root.generation(), 1);
        ledger.fail(root).unwrap();
        ledger.slots[0].root = RootId::new(3, 0, RootId::MAX_GENERATION, false, false);
        assert_eq!(ledger.open(2, 6, 1, NOW).unwrap().generation(), 1);
    }

    #[test]
    fn pending_is_bounded_and_the_bound_can_move() {
        let mut ledger = ledger(2);
        let roots: Vec<RootId> = (1..=2).map(|id| ledger.open(id, id, 1, NOW).unwrap()).collect();
        assert_eq!(ledger.open(3, 3, 1, NOW), None);
        ledger.set_max_pending(1);
        assert_eq!((ledger.pending(), ledger.capacity_left()), (2, 0));
        ledger.fail(roots[0]).unwrap();
        assert_eq!(ledger.open(3, 3, 1, NOW), None);
        ledger.fail(roots[1]).unwrap();
        assert!(ledger.open(3, 3, 1, NOW).is_some());
        ledger.set_max_pending(usize::MAX);
        assert_eq!(ledger.max_pending(), RootId::MAX_SLOTS);
    }

    #[test]
    fn the_bound_of_the_slots_is_reached_and_held() {
        let mut ledger = Ledger::new(0, usize::MAX);
        for _ in 0..RootId::MAX_SLOTS {
            assert!(ledger.open((), 1, 1, NOW).is_some());
        }
        assert_eq!(ledger.open((), 1, 1, NOW), None);
        let last = RootId::new(0, RootId::MAX_SLOTS as u32 - 1, 1, false, false);
        assert!(matches!(ledger.update(last, 1), Update::Acked(_)));
    }

    #[test]
    fn one_first_attempt_in_1024_and_every_later_one_is_traced() {
        let mut ledger = ledger(1);
        let mut traced = |attempt| {
            let root = ledger.open(1, 6, attempt, NOW).unwrap();
            ledger.fail(root).unwrap();
            root.traced()
        };
        assert_eq!((0..10_240).filter(|_| traced(1)).count(), 10);
        assert!((0..100).all(|_| traced(2)));
    }

    #[test]
    fn closing_and_opening_again_allocates_nothing() {
        let mut ledger = ledger(64);
        let open = |ledger: &mut Ledger<u64>| -> Vec<RootId> {
            (0..64).map(|id| ledger.open(id, 6, 1, NOW).unwrap()).collect()
        };
        let roots = open(&mut ledger);
        let capacities = (ledger.slots.capacity(), ledger.free.capacity());
        for root in roots {
            ledger.fail(root).unwrap();
        }
        open(&mut ledger);
        assert_eq!((ledger.slots.capacity(), ledger.free.capacity()), capacities);
    }

    #[test]
    fn what_is_open_can_be_listed_and_drained() {
        let mut ledger = ledger(8);
        assert_eq!(ledger.oldest(), None);
        let roots: Vec<RootId> =
            (0..4).map(|id| ledger.open(id, 6, 1, Moment::from_nanos(10 - id)).unwrap()).collect();
        ledger.fail(roots[3]).unwrap();
        assert_eq!(
            ledger.iter().map(|open| (*open.id, open.root)).collect::<Vec<_>>(),
            [(0, roots[0]), (1, roots[1]), (2, roots[2])]
        );
        assert_eq!(ledger.oldest(), Some(Moment::from_nanos(8)));
        assert_eq!(ledger.drain_all().iter().map(|closed| closed.id).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((ledger.pending(), ledger.drain_all()), (0, vec![]));
        assert_eq!(ledger.update(roots[0], 6), Update::Late);
    }

    #[test]
    #[should_panic(expected = "task 2048 cannot own a ledger")]
    fn a_task_beyond_the_id_s_bits_is_refused() {
        drop(Ledger::<u64>::new(2_048, 1));
    }
}
