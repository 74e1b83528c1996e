//! What falls when units are stopped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use serde::Serialize;

use super::model::Plan;
use crate::base::id::UnitId;

/// What becomes of a unit when another is stopped; the worst is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It goes on, and starts without the other one.
    GoesWithout,
    /// It goes on, but once it has ended it cannot start.
    CannotStart,
    /// It is stopped, too.
    Stops,
}

/// What becomes of one unit, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fall {
    /// Which unit.
    pub unit: UnitId,
    /// What becomes of it.
    pub fate: Fate,
    /// The unit because of which.
    pub because: UnitId,
}

impl fmt::Display for Fall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, fate, because } = self;
        match fate {
            Fate::Stops => write!(f, "{unit} stops: it binds to {because}"),
            Fate::CannotStart => write!(f, "{unit} runs on, but cannot start again: it requires {because}"),
            Fate::GoesWithout => write!(f, "{unit} goes on without: it wants {because}"),
        }
    }
}

/// What becomes of the other units when `stopped` are stopped and stay so: the worst first, each unit once, with the worst of its reasons.
#[must_use]
pub fn fall(plan: &Plan, stopped: &BTreeSet<UnitId>) -> Vec<Fall> {
    let mut dependents: BTreeMap<&UnitId, Vec<(Fate, &UnitId)>> = BTreeMap::new();
    for unit in plan.units.values() {
        for (fate, needed) in [(Fate::Stops, &unit.binds), (Fate::CannotStart, &unit.requires), (Fate::GoesWithout, &unit.wants)] {
            needed.iter().for_each(|needed| dependents.entry(needed).or_default().push((fate, &unit.id)));
        }
    }
    let mut fates: BTreeMap<&UnitId, (Fate, &UnitId)> = BTreeMap::new();
    let mut down: VecDeque<&UnitId> = stopped.iter().collect();
    while let Some(because) = down.pop_front() {
        for &(fate, unit) in dependents.get(because).into_iter().flatten().filter(|(_, unit)| !stopped.contains(*unit)) {
            let known = fates.get(unit).map(|(fate, _)| *fate);
            if known.is_none_or(|known| known < fate) {
                fates.insert(unit, (fate, because));
                if fate == Fate::Stops {
                    down.push_back(unit);
                }
            }
        }
    }
    let fall = |(unit, (fate, because)): (&UnitId, (Fate, &UnitId))| Fall { unit: unit.clone(), fate, because: because.clone() };
    let mut falls: Vec<_> = fates.into_iter().map(fall).collect();
    falls.sort_by_key(|fall| std::cmp::Reverse(fall.fate));
    falls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn what_binds_falls_all_the_way_and_the_rest_is_told_once() {
        let text = "unit: db\nexec: x\n---\nunit: api\nexec: x\nbinds: db\n---\nunit: web\nexec: x\nbinds: api\nrequires: db\n---\n\
                    unit: report\nexec: x\nrequires: [db, api]\n---\nunit: cache\nexec: x\nwants: [db, report]\n---\nunit: other\nexec: x\n";
        let plan = plan_of(&[("units/a.yaml", text)]);
        let told: Vec<_> = fall(&plan, &BTreeSet::from(["db".into()])).iter().map(ToString::to_string).collect();
        let wanted = [
            "api stops: it binds to db",
            "web stops: it binds to api",
            "report runs on, but cannot start again: it requires db",
            "cache goes on without: it wants db",
        ];
        assert_eq!(told, wanted);
        assert_eq!(fall(&plan, &BTreeSet::from(["other".into()])), []);
        assert_eq!(fall(&plan, &BTreeSet::from(["report".into()])).len(), 1);
    }
}
