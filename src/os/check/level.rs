//! A level that is learned, and whether a number has left it.

use std::collections::VecDeque;

/// So many looks are remembered.
const LOOKS: usize = 30;

/// So many there have to be before anything is said: a unit that has just begun is still growing.
const LOOKS_MIN: usize = 6;

/// The least difference that means anything.
const STEP_MIN: f64 = 2.0;

/// What the last looks have found. A new level that persists is learned: after half of what is remembered the median is a new one.
#[derive(Clone, Debug, Default)]
pub(super) struct Level(VecDeque<u64>);

impl Level {
    /// Takes a number in; the level before, if there are enough looks to know one, and whether the number differs from it by more than this
    /// share of it.
    pub(super) fn look(&mut self, number: u64, share: f64) -> Option<(f64, bool)> {
        let level = self.median().filter(|_| self.0.len() >= LOOKS_MIN);
        self.0.push_back(number);
        if self.0.len() > LOOKS {
            self.0.pop_front();
        }
        level.map(|level| {
            let step = (number as f64 - level).abs();
            (level, step > level * share && step >= STEP_MIN)
        })
    }

    fn median(&self) -> Option<f64> {
        let mut sorted: Vec<u64> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
        Some((*low as f64 + *high as f64) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is said of each number.
    fn looks(numbers: impl IntoIterator<Item = u64>, share: f64) -> Vec<Option<(f64, bool)>> {
        let mut level = Level::default();
        numbers.into_iter().map(|number| level.look(number, share)).collect()
    }

    #[test]
    fn nothing_is_said_before_a_level_is_known() {
        let said = looks([1, 20, 3, 40, 5, 60, 7], 0.5);
        assert_eq!(said[..6], [None; 6]);
        assert_eq!(said[6], Some((12.5, false)));
    }

    #[test]
    fn a_jump_is_a_change_and_a_drift_within_the_share_is_none() {
        let steady = std::iter::repeat_n(10, 20);
        let last = |number| looks(steady.clone().chain([number]), 0.5)[20];
        for (number, is_change) in [(10, false), (15, false), (16, true), (5, false), (4, true), (0, true), (1000, true)] {
            assert_eq!(last(number), Some((10.0, is_change)), "{number}");
        }
        // One more than one is twice as many, and means nothing; two more do.
        let few = |number| looks(std::iter::repeat_n(1, 20).chain([number]), 0.5)[20];
        assert_eq!((few(2), few(3)), (Some((1.0, false)), Some((1.0, true))));
        assert!(looks(10..200, 0.5).iter().skip(40).flatten().all(|(_, is_change)| !is_change));
    }

    #[test]
    fn a_new_level_is_learned_when_it_persists() {
        let said = looks(std::iter::repeat_n(10, 40).chain(std::iter::repeat_n(30, 40)), 0.5);
        let changes: Vec<_> = said.iter().enumerate().filter(|(_, said)| said.is_some_and(|(_, is_change)| is_change)).collect();
        // Fifteen looks of thirty make the median the mean of both; one more makes it the new level.
        assert_eq!((changes.first().unwrap().0, changes.len()), (40, 15));
        assert_eq!(said[79], Some((30.0, false)));
        // An outlier is no new level.
        let outlier = looks(std::iter::repeat_n(10, 40).chain([90]).chain(std::iter::repeat_n(10, 40)), 0.5);
        assert_eq!(outlier.iter().flatten().filter(|(_, is_change)| *is_change).count(), 1);
    }

    proptest! {
        #[test]
        fn a_level_lies_within_what_was_seen(numbers in prop::collection::vec(any::<u64>(), 0..100), share in 0.0..1.0) {
            let mut level = Level::default();
            for (at, number) in numbers.iter().enumerate() {
                let seen = &numbers[at.saturating_sub(LOOKS)..at];
                let said = level.look(*number, share);
                prop_assert!(level.0.len() <= LOOKS);
                prop_assert_eq!(said.is_some(), seen.len() >= LOOKS_MIN);
                if let Some((level, _)) = said {
                    prop_assert!(*seen.iter().min().unwrap() as f64 <= level && level <= *seen.iter().max().unwrap() as f64);
                }
            }
        }
    }
}
