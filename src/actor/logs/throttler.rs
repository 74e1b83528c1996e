//! A quick look at the logs that units write directly: who writes faster than they are kept in bounds is stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::id::UnitId;
use crate::event::Event;
use crate::os::clock;
use crate::os::logfile::live_size;
use crate::plan::{LogMode, LogOverflow, Plan};
use crate::policy::throttle::{Throttle, Throttling};

/// The memory of the looks, from one to the next.
pub(super) struct Throttler {
    dir: PathBuf,
    throttles: BTreeMap<UnitId, Throttle>,
}

/// The findings of a look.
#[derive(Default)]
pub(super) struct Looked {
    /// Units to stop, to kill or to let go on, each with the event that tells it.
    pub(super) decisions: Vec<(UnitId, Throttling, Option<Event>)>,
    /// Units seen for the first time, of which the last brain may have stopped some.
    pub(super) seen_first: Vec<UnitId>,
    /// A unit had to be stopped a short while ago.
    pub(super) is_wary: bool,
}

impl Throttler {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, throttles: BTreeMap::new() }
    }

    /// Looks at each log once: one system call for each. Blocks as long as the disk does.
    pub(super) fn look(&mut self, plan: &Plan) -> Looked {
        let mut looked = Looked::default();
        let now = clock::mono();
        self.throttles.retain(|unit, _| plan.units.contains_key(unit));
        for unit in plan.units.values() {
            let drops = unit.logs.overflow == LogOverflow::DropOldest;
            let direct = unit.log_files().filter(|(_, bounds)| drops && bounds.mode == LogMode::Direct);
            // The log that is furthest beyond its quota counts.
            let worst = direct.map(|(log, bounds)| (live_size(&self.dir, log.as_str()), bounds.max_total));
            let Some((live, quota)) = worst.max_by_key(|(live, quota)| live.saturating_sub(*quota)) else {
                // Its log is another by now.
                if self.throttles.remove(&unit.id).is_some_and(|throttle| throttle.is_stopped()) {
                    looked.decisions.push((unit.id.clone(), Throttling::GoOn, None));
                }
                continue;
            };
            if !self.throttles.contains_key(&unit.id) {
                looked.seen_first.push(unit.id.clone());
            }
            let throttle = self.throttles.entry(unit.id.clone()).or_default();
            if let Some(decision) = throttle.look(now, live, quota) {
                let tell = decision == Throttling::Stop { tell: true };
                let event = tell.then(|| Event::LogFull { unit: unit.id.clone(), bytes: live });
                looked.decisions.push((unit.id.clone(), decision, event));
            }
            looked.is_wary |= throttle.is_wary(now);
        }
        looked
    }
}
