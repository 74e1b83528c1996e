//! Who is started and stopped next: the order of things, kept as sets so that no step looks at every child.

use std::collections::BTreeSet;

use super::child::{Child, ChildKey, Standing};
use crate::base::time::Mono;

/// A child's place in the order, with its key.
pub(super) type Place = (u32, ChildKey);

/// Which children stand where. Every change of a child goes through [`Schedule::update`].
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    pub(super) to_start: BTreeSet<Place>,
    /// Those to start that need not wait for those before them.
    pub(super) to_start_free: BTreeSet<Place>,
    pub(super) to_stop: BTreeSet<Place>,
    pub(super) starting: BTreeSet<Place>,
    pub(super) stopping: BTreeSet<Place>,
    /// Those that should be up and are not.
    pub(super) unsettled: BTreeSet<Place>,
    /// Those that should be up and never were.
    pub(super) awaited: BTreeSet<Place>,
    /// Those with a process.
    pub(super) live: BTreeSet<Place>,
    /// Those that are stopping, by the time they are killed at.
    pub(super) deadlines: BTreeSet<(Mono, ChildKey)>,
}

/// What of a child decides where it stands in the sets' order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered {
    order: u32,
    kill_at: Option<Mono>,
}

impl Remembered {
    pub(super) const fn of(child: &Child) -> Self {
        Self { order: child.order, kill_at: child.kill_at }
    }
}

/// Which of the sets a child belongs to, in the order of [`Schedule::sets`].
pub(super) type Membership = [bool; 8];

impl Schedule {
    pub(super) fn membership(child: &Child) -> Membership {
        [
            child.to_start() && !child.free,
            child.to_start() && child.free,
            child.to_stop(),
            child.standing == Standing::Starting,
            child.standing == Standing::Stopping,
            child.wanted() && child.standing != Standing::Up,
            child.wanted() && child.was_up == 0,
            child.has_process(),
        ]
    }

    fn sets(&mut self) -> [&mut BTreeSet<Place>; 8] {
        [
            &mut self.to_start,
            &mut self.to_start_free,
            &mut self.to_stop,
            &mut self.starting,
            &mut self.stopping,
            &mut self.unsettled,
            &mut self.awaited,
            &mut self.live,
        ]
    }

    /// Takes note that the child that was in `before` now is as it is. Touches only what differs: this is the hot path.
    pub(super) fn update(&mut self, (old, before): (&Remembered, Membership), child: &Child) {
        let place = (child.order, child.key);
        let after = Self::membership(child);
        let moved = old.order != child.order;
        for ((set, was), is) in self.sets().into_iter().zip(before).zip(after) {
            if was && (moved || !is) {
                set.remove(&(old.order, child.key));
            }
            if is && (moved || !was) {
                set.insert(place);
            }
        }
        if old.kill_at != child.kill_at {
            if let Some(at) = old.kill_at {
                self.deadlines.remove(&(at, child.key));
            }
            if let Some(at) = child.kill_at {
                self.deadlines.insert((at, child.key));
            }
        }
    }

    pub(super) fn insert(&mut self, child: &Child) {
        let nowhere = Remembered { order: child.order, kill_at: None };
        self.update((&nowhere, [false; 8]), child);
    }

    pub(super) fn remove(&mut self, child: &Child) {
        let place = (child.order, child.key);
        for set in self.sets() {
            set.remove(&place);
        }
        if let Some(at) = child.kill_at {
            self.deadlines.remove(&(at, child.key));
        }
    }

    /// Whether a child is between an effect and its completion.
    pub(super) fn busy(&self) -> bool {
        !self.starting.is_empty() || !self.stopping.is_empty()
    }

    /// The next child to stop when children stop one after the other: the last one, once nobody after it is stopping.
    pub(super) fn next_stop_in_order(&self) -> Option<ChildKey> {
        let &last = self.to_stop.last()?;
        self.stopping.last().is_none_or(|&stopping| stopping < last).then_some(last.1)
    }

    /// The next child to start when children start one after the other: the first one, once everybody before it is up.
    pub(super) fn next_start_in_order(&self) -> Option<ChildKey> {
        if let Some(&free) = self.to_start_free.first() {
            return Some(free.1);
        }
        let &first = self.to_start.first()?;
        self.unsettled.first().is_none_or(|&unsettled| unsettled >= first).then_some(first.1)
    }

    /// The next child to start when order does not matter.
    pub(super) fn next_start(&self) -> Option<ChildKey> {
        self.to_start_free.first().or(self.to_start.first()).map(|place| place.1)
    }
}
