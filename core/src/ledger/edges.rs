//! Where edge ids come from: one seeded generator per task, non-linear and never 0.

/// The generator of one task's edges.
///
/// It steps a 64-bit counter by an odd stride and mixes it. The mix (two multiplications between shifts, the finalizer
/// known from SplitMix64) is a permutation of the 64-bit words, so the ids of one task are uniform and do not repeat
/// before 2⁶⁴ steps. Both the start and the stride come from the seed and the task, so that the sequences of two tasks
/// are not pieces of one. The multiplication's carries make the mix non-linear over GF(2), on purpose:
///
/// - **A counter fails at once**: 1 ⊕ 2 ⊕ 3 = 0, so a tree with the edges 1, 2, 3, 4 is "complete" when 4 is consumed.
/// - **A linear generator fails just as surely, only later.** Each id of a plain xorshift (or an LFSR, or a Mersenne
///   twister) is a linear map of the state. Any 65 such ids of a 64-bit state are linearly dependent: some subset XORs to
///   zero, and it is the *same* subset of positions for every seed. A bolt that fans out by 65 then completes trees too
///   early not with probability 2⁻⁶⁴ but whenever that subset happens to be consumed last.
///
/// It is no cipher: ids never leave the process, and nobody is to be kept from guessing them.
///
/// ```
/// use topo_core::ledger::EdgeIds;
/// let (mut ids, mut same, mut other) = (EdgeIds::new(7, 0), EdgeIds::new(7, 0), EdgeIds::new(7, 1));
/// let edge = ids.next();
/// assert!(edge != 0 && edge == same.next() && edge != other.next());
/// ```
#[derive(Debug, Clone)]
pub struct EdgeIds {
    counter: u64,
    /// Invariant: odd, so that the counter visits every word.
    stride: u64,
}

impl EdgeIds {
    /// The generator of task `task` in a topology started with `seed`.
    pub fn new(seed: u64, task: u32) -> Self {
        // The golden ratio's bits: any odd constant with no pattern keeps neighbouring tasks apart.
        const APART: u64 = 0x9e37_79b9_7f4a_7c15;
        let counter = mix(seed ^ mix(u64::from(task).wrapping_add(1).wrapping_mul(APART)));
        Self { counter, stride: stride(mix(counter ^ APART)) }
    }

    /// The next edge; never 0.
    #[expect(
        clippy::should_implement_trait,
        reason = "there always is a next one, so an Option would be noise"
    )]
    #[inline]
    pub fn next(&mut self) -> u64 {
        loop {
            self.counter = self.counter.wrapping_add(self.stride);
            let edge = mix(self.counter);
            if edge != 0 {
                return edge;
            }
        }
    }
}

/// A permutation of the 64-bit words in which every bit of the input moves half the bits of the output.
#[inline]
const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// An odd stride with enough changes between 0 and 1 bits: a regular one would move only few bits of the counter.
const fn stride(word: u64) -> u64 {
    let odd = word | 1;
    if (odd ^ (odd >> 1)).count_ones() < 24 { odd ^ 0xaaaa_aaaa_aaaa_aaaa } else { odd }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The smallest set of positions, ending with the first dependent one, whose words XOR to zero; `None` where the
    /// words are independent. Gaussian elimination over GF(2) that remembers who went into each row.
    pub(in crate::ledger) fn dependent_subset(words: &[u64]) -> Option<Vec<usize>> {
        let mut rows: Vec<(u64, Vec<bool>)> = Vec::new();
        for (position, &word) in words.iter().enumerate() {
            let mut rest = word;
            let mut used = vec![false; words.len()];
            used[position] = true;
            for (row, members) in &rows {
                if rest & (1 << row.ilog2()) != 0 {
                    rest ^= row;
                    used.iter_mut().zip(members).for_each(|(one, other)| *one ^= other);
                }
            }
            if rest == 0 {
                return Some((0..words.len()).filter(|&at| used[at]).collect());
            }
            rows.push((rest, used));
            rows.sort_unstable_by_key(|(row, _)| std::cmp::Reverse(*row));
        }
        None
    }

    /// Marsaglia's xorshift: what not to use.
    pub(in crate::ledger) fn xorshift(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn fold(words: &[u64], subset: &[usize]) -> u64 {
        subset.iter().fold(0, |all, &at| all ^ words[at])
    }

    #[test]
    fn one_subset_of_a_linear_generator_vanishes_for_every_seed_and_of_this_one_for_none() {
        let linear = |mut seed: u64| -> Vec<u64> { (0..65).map(|_| xorshift(&mut seed)).collect() };
        let subset = dependent_subset(&linear(1)).expect("65 words of 64 bits are dependent");
        assert!((1..=1000).all(|seed| fold(&linear(seed), &subset) == 0), "{subset:?}");

        let ours = |seed: u64| -> Vec<u64> {
            let mut ids = EdgeIds::new(seed, 0);
            (0..65).map(|_| ids.next()).collect()
        };
        assert!((1..=1000).all(|seed| fold(&ours(seed), &subset) != 0));
        let subset = dependent_subset(&ours(0)).expect("65 words of 64 bits are dependent");
        assert!((1..=1000).all(|seed| fold(&ours(seed), &subset) != 0), "{subset:?}");
    }

    #[test]
    fn the_word_that_mixes_to_zero_is_skipped() {
        let mut ids = EdgeIds { counter: 0u64.wrapping_sub(3), stride: 3 };
        assert_eq!(mix(0), 0);
        assert_eq!(ids.next(), mix(3));
    }

    #[test]
    fn strides_are_odd_and_irregular() {
        for word in [0, 1, u64::MAX, 0xffff_0000_0000_0000, 0x5555_5555_5555_5555] {
            let stride = stride(word);
            assert!(stride % 2 == 1 && (stride ^ (stride >> 1)).count_ones() >= 24, "{stride:#x}");
        }
    }

    #[test]
    fn neighbouring_tasks_and_seeds_share_no_edge() {
        let mut seen = HashSet::new();
        for (seed, task) in (0..16).flat_map(|seed| (0..16).map(move |task| (seed, task))) {
            let mut ids = EdgeIds::new(seed, task);
            assert!((0..256).all(|_| seen.insert(ids.next())), "seed {seed}, task {task}");
        }
    }

    #[test]
    fn every_bit_is_set_half_the_time() {
        let mut ids = EdgeIds::new(42, 3);
        let mut set = [0u32; 64];
        for _ in 0..10_000 {
            let edge = ids.next();
            (0..64).for_each(|bit| set[bit] += (edge >> bit & 1) as u32);
        }
        // Six standard deviations of a fair coin.
        assert!(set.iter().all(|count| count.abs_diff(5_000) < 300), "{set:?}");
    }
}
