//! What may happen very often is looked at together, and not more often than so: memory that is reclaimed is told of a hundred times a second.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Machine;
use crate::base::time::Mono;

/// The least time between two looks.
pub const LEAST: Duration = Duration::from_millis(100);

/// Gathers what has happened. What happens first after a while is due at once.
#[derive(Clone, Debug)]
pub struct Spacing<K> {
    waiting: BTreeSet<K>,
    /// Before that nothing is due.
    until: Mono,
}

impl<K> Default for Spacing<K> {
    fn default() -> Self {
        Self { waiting: BTreeSet::new(), until: Mono(0) }
    }
}

impl<K: Ord> Machine for Spacing<K> {
    /// What has happened: as often as it likes, it is due once.
    type Input = Vec<K>;
    /// What is due.
    type Effect = K;

    fn step(&mut self, now: Mono, happened: Vec<K>, out: &mut Vec<K>) {
        self.waiting.extend(happened);
        self.wake(now, out);
    }

    fn deadline(&self) -> Option<Mono> {
        (!self.waiting.is_empty()).then_some(self.until)
    }

    fn wake(&mut self, now: Mono, out: &mut Vec<K>) {
        if self.waiting.is_empty() || now < self.until {
            return;
        }
        self.until = now + LEAST;
        out.extend(std::mem::take(&mut self.waiting));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: [u8; 0] = [];

    fn at(millis: u64) -> Mono {
        Mono(0) + Duration::from_millis(millis)
    }

    fn step(spacing: &mut Spacing<u8>, now: Mono, happened: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        spacing.step(now, happened.into(), &mut out);
        out
    }

    #[test]
    fn the_first_is_due_at_once_and_the_rest_together() {
        let mut spacing = Spacing::default();
        assert_eq!(spacing.deadline(), None);
        assert_eq!(step(&mut spacing, at(1000), &[2, 1, 2]), [1, 2]);
        assert_eq!(spacing.deadline(), None, "idle costs nothing");
        assert_eq!(step(&mut spacing, at(1001), &[3]), NONE);
        assert_eq!(step(&mut spacing, at(1050), &[1, 3]), NONE);
        assert_eq!(spacing.deadline(), Some(at(1100)));
        let mut out = Vec::new();
        spacing.wake(at(1099), &mut out);
        assert_eq!(out, NONE);
        spacing.wake(at(1100), &mut out);
        assert_eq!(out, [1, 3]);
        assert_eq!(step(&mut spacing, at(5000), &[]), NONE);
        assert_eq!(step(&mut spacing, at(5000), &[4]), [4]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_two_looks_are_close(rings in prop::collection::vec((0_u64..150, 0_u8..4), 0..200)) {
            let (mut spacing, mut now, mut last) = (Spacing::default(), at(0), None);
            let mut open: std::collections::BTreeMap<u8, Mono> = std::collections::BTreeMap::new();
            for (pause, key) in rings {
                now = now + Duration::from_millis(pause);
                let mut looks = Vec::new();
                // Whoever carries it wakes it when it asks for that.
                if let Some(deadline) = spacing.deadline().filter(|deadline| *deadline <= now) {
                    let mut out = Vec::new();
                    spacing.wake(deadline, &mut out);
                    looks.push((deadline, out.into_iter().map(|key| (key, open.remove(&key))).collect::<Vec<_>>()));
                }
                open.entry(key).or_insert(now);
                let out = step(&mut spacing, now, &[key]);
                looks.push((now, out.into_iter().map(|key| (key, open.remove(&key))).collect()));
                for (when, looked) in looks.into_iter().filter(|(_, looked)| !looked.is_empty()) {
                    prop_assert!(last.is_none_or(|last| when.since(last) >= LEAST));
                    last = Some(when);
                    prop_assert!(looked.iter().all(|(_, since)| since.is_some_and(|since| when.since(since) <= LEAST)));
                }
                prop_assert_eq!(open.is_empty(), spacing.deadline().is_none());
            }
        }
    }
}
