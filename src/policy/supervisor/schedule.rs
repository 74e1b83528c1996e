//! Who is started and stopped next: the order of things, kept as sets so that no step looks at every child.

use std::collections::BTreeSet;

use super::child::{Child, ChildKey, Standing};

/// A child's place in the order, with its key.
pub(super) type Place = (u32, ChildKey);

/// Which children stand where. Every change of a child goes through [`Schedule::remove`] and [`Schedule::insert`].
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
    /// Those with a process.
    pub(super) live: BTreeSet<Place>,
}

impl Schedule {
    pub(super) fn insert(&mut self, child: &Child) {
        let place = (child.order, child.key);
        let put = |member: bool, set: &mut BTreeSet<Place>| {
            if member {
                set.insert(place);
            }
        };
        put(child.to_start() && !child.free, &mut self.to_start);
        put(child.to_start() && child.free, &mut self.to_start_free);
        put(child.to_stop(), &mut self.to_stop);
        put(child.standing == Standing::Starting, &mut self.starting);
        put(child.standing == Standing::Stopping, &mut self.stopping);
        put(child.wanted() && child.standing != Standing::Up, &mut self.unsettled);
        put(child.has_process(), &mut self.live);
    }

    pub(super) fn remove(&mut self, child: &Child) {
        let place = (child.order, child.key);
        for set in [
            &mut self.to_start,
            &mut self.to_start_free,
            &mut self.to_stop,
            &mut self.starting,
            &mut self.stopping,
            &mut self.unsettled,
            &mut self.live,
        ] {
            set.remove(&place);
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
