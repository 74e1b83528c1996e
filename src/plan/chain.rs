//! What a start was waiting for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::model::{Child, Plan};
use crate::base::choice::StartOrder;
use crate::base::id::{SupervisorId, UnitId};
use crate::base::time::Wall;

/// A unit's latest start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartTimes {
    /// When its main process was made.
    pub started: Wall,
    /// When it was in operation.
    pub active: Wall,
}

/// A link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLink {
    /// The unit.
    pub unit: UnitId,
    /// When its main process was made.
    pub started: Wall,
    /// When it was in operation.
    pub active: Wall,
}

/// The critical chain of the latest start of `unit`: itself, then the one it waited for the longest, and so on. Empty if it is not known when it started.
///
/// A start waits for the units it depends on, and below a supervisor whose children start one after the other for the children before. Whoever of them was
/// in operation last, and not after the start, was waited for.
#[must_use]
pub fn critical_chain(plan: &Plan, times: &BTreeMap<UnitId, StartTimes>, unit: &UnitId) -> Vec<ChainLink> {
    let mut chain = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = Some(unit.clone());
    while let Some(unit) = next.take().filter(|unit| seen.insert(unit.clone())) {
        let Some(&StartTimes { started, active }) = times.get(&unit) else { break };
        let before = before(plan, &unit).into_iter().filter_map(|unit| Some((times.get(&unit)?.active, unit)));
        next = before.filter(|(active, _)| *active <= started).max().map(|(_, unit)| unit);
        chain.push(ChainLink { unit, started, active });
    }
    chain
}

/// Whom a start of `unit` waits for.
fn before(plan: &Plan, unit: &UnitId) -> Vec<UnitId> {
    let mut found = Vec::new();
    if let Some(unit) = plan.units.get(unit) {
        found.extend([&unit.requires, &unit.binds, &unit.wants, &unit.after].into_iter().flatten().cloned());
    }
    let mut name = unit.as_str();
    while let Some((supervisor, at)) = parent(plan, name) {
        let supervisor = &plan.supervisors[supervisor];
        if supervisor.start == StartOrder::Ordered {
            let earlier: Vec<_> = supervisor.children[..at].iter().map(|child| child.as_str().to_owned()).collect();
            found.extend(plan.units_below(&earlier));
        }
        name = supervisor.id.as_str();
    }
    found
}

fn parent<'a>(plan: &'a Plan, name: &str) -> Option<(&'a SupervisorId, usize)> {
    let place = |children: &[Child]| children.iter().position(|child| child.as_str() == name);
    plan.supervisors.iter().find_map(|(id, supervisor)| Some((id, place(&supervisor.children)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn the_last_that_came_up_before_was_waited_for() {
        let units = "unit: db\nexec: x\n---\nunit: cache\nexec: x\n---\nunit: api\nexec: x\nrequires: [db, cache]\n---\nunit: web\nexec: x\n---\nunit: late\nexec: x\nafter: web\n";
        let tree = "supervisor: root\nstrategy: rest_for_one\nchildren: [store, front]\n---\nsupervisor: store\nchildren: [db, cache]\n---\n\
                    supervisor: front\nchildren: [api, web, late]\n";
        let plan = plan_of(&[("units/a.yaml", units), ("supervisors/a.yaml", tree)]);
        let mut times = BTreeMap::new();
        for (unit, started, active) in [("db", 0, 30), ("cache", 0, 10), ("api", 30, 35), ("web", 31, 60), ("late", 61, 62)] {
            times.insert(unit.into(), StartTimes { started: Wall(started), active: Wall(active) });
        }
        let chain = |times: &_, unit: &str| {
            critical_chain(&plan, times, &unit.into()).iter().map(|link| link.unit.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(chain(&times, "api"), ["api", "db"]);
        assert_eq!(chain(&times, "late"), ["late", "web", "db"], "the children of an ordered supervisor wait for those before");
        // `db` was restarted since: it was not that which `api` waited for.
        times.insert("db".into(), StartTimes { started: Wall(90), active: Wall(95) });
        assert_eq!(chain(&times, "api"), ["api", "cache"]);
        assert_eq!(chain(&times, "other"), [] as [&str; 0]);
    }
}
