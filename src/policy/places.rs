//! Who gets a place when there are not enough: so many in all, so many each, and some that are kept.

use std::collections::{BTreeMap, VecDeque};

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In all, besides those that are kept.
    pub all: usize,
    /// For each of those who are not trusted.
    pub each: usize,
    /// Kept for those who are entitled to one.
    pub kept: usize,
    /// Whether a further one who is entitled takes the place of whoever has had a kept one longest; else it is refused.
    pub makes_room: bool,
}

/// What somebody is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One of those for all.
    Common,
    /// One of those that are kept. Who has this number has to leave for it.
    Kept(Option<u64>),
    /// None.
    Refused,
}

/// Who has which place. `K` tells one peer from another.
#[derive(Clone, Debug)]
pub struct Places<K> {
    room: Room,
    /// Who has a common place, by number.
    common: BTreeMap<u64, K>,
    /// How many of them each has.
    each: BTreeMap<K, usize>,
    /// Who has a kept one, the oldest first.
    kept: VecDeque<u64>,
}

impl<K: Ord + Clone> Places<K> {
    /// All places are free.
    #[must_use]
    pub const fn new(room: Room) -> Self {
        Self { room, common: BTreeMap::new(), each: BTreeMap::new(), kept: VecDeque::new() }
    }

    /// Gives `who` a place under a number that nobody has. `trusted`: it may have as many as there are. `entitled`: to a kept one, too.
    pub fn take(&mut self, number: u64, who: K, trusted: bool, entitled: bool) -> Place {
        let has = self.each.get(&who).copied().unwrap_or_default();
        if self.common.len() < self.room.all && (trusted || has < self.room.each) {
            self.each.insert(who.clone(), has + 1);
            self.common.insert(number, who);
            return Place::Common;
        }
        let is_full = self.kept.len() >= self.room.kept;
        if !entitled || is_full && !self.room.makes_room {
            return Place::Refused;
        }
        let leaves = if is_full { self.kept.pop_front() } else { None };
        self.kept.push_back(number);
        Place::Kept(leaves)
    }

    /// The place under this number is free again.
    pub fn give_back(&mut self, number: u64) {
        self.kept.retain(|&one| one != number);
        let Some(who) = self.common.remove(&number) else { return };
        if let Some(has) = self.each.get_mut(&who) {
            *has -= 1;
            if *has == 0 {
                self.each.remove(&who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_places_of_all() {
        let mut places = Places::new(Room { all: 6, each: 3, kept: 1, makes_room: false });
        let taken: Vec<_> = (0..5).map(|number| places.take(number, "a", false, false)).collect();
        assert_eq!(taken, [Place::Common, Place::Common, Place::Common, Place::Refused, Place::Refused]);
        assert_eq!(places.take(5, "b", false, false), Place::Common);
        assert_eq!(places.take(6, "root", true, true), Place::Common);
        assert_eq!(places.take(7, "root", true, true), Place::Common);
        assert_eq!(places.take(8, "b", false, false), Place::Refused, "there is none left");
        assert_eq!(places.take(9, "root", true, true), Place::Kept(None));
        assert_eq!(places.take(10, "root", true, true), Place::Refused);
        places.give_back(0);
        assert_eq!(places.take(11, "a", false, false), Place::Common);
        places.give_back(9);
        assert_eq!(places.take(12, "root", true, true), Place::Kept(None));
    }

    #[test]
    fn whoever_holds_a_kept_place_leaves_for_the_next() {
        let mut places = Places::new(Room { all: 1, each: 1, kept: 2, makes_room: true });
        let mut take = |number| places.take(number, "a", false, true);
        let taken: Vec<_> = (0..5).map(&mut take).collect();
        assert_eq!(taken, [Place::Common, Place::Kept(None), Place::Kept(None), Place::Kept(Some(1)), Place::Kept(Some(2))]);
        places.give_back(1);
        places.give_back(3);
        assert_eq!(places.take(9, "a", false, true), Place::Kept(None));
    }

    #[test]
    fn everything_comes_back() {
        let room = Room { all: 7, each: 4, kept: 2, makes_room: true };
        let mut places = Places::new(room);
        let mut rng = crate::base::rng::Rng::derive(1, &["places"]);
        let mut held: Vec<u64> = Vec::new();
        for number in 0..10_000 {
            if rng.next_u64().is_multiple_of(2) {
                match places.take(number, rng.next_u64() % 3, false, rng.next_u64().is_multiple_of(2)) {
                    Place::Refused => {}
                    Place::Kept(Some(leaves)) => {
                        held.retain(|&one| one != leaves);
                        held.push(number);
                    }
                    Place::Common | Place::Kept(None) => held.push(number),
                }
            } else if !held.is_empty() {
                let index = usize::try_from(rng.next_u64()).unwrap() % held.len();
                places.give_back(held.swap_remove(index));
            }
            assert!(places.common.len() <= room.all && places.kept.len() <= room.kept);
            assert!(places.each.values().all(|&has| has <= room.each));
            assert_eq!(places.common.len() + places.kept.len(), held.len());
        }
        held.iter().for_each(|&number| places.give_back(number));
        assert!(places.common.is_empty() && places.each.is_empty() && places.kept.is_empty());
    }
}
