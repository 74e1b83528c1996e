//! What remedies ask of the tree: restarts that are nobody's wish.

use std::collections::{BTreeSet, VecDeque};

use futures_util::StreamExt as _;

use super::{Ask, Tree, TreeError, parent_of};
use crate::base::id::UnitId;
use crate::plan::{Plan, RestartScope};

/// How many dependents are restarted at once.
const AT_ONCE: usize = 16;

impl Tree {
    /// Whether a unit is in the plan, and neither it nor a supervisor above it is kept stopped by an operator.
    pub(crate) fn is_wanted(&self, unit: &UnitId) -> bool {
        let plan = self.plan();
        let is_kept = || self.context.wishes.keeps_stopped(unit.as_str());
        plan.units.contains_key(unit) && !is_kept() && parent_of(&plan, unit.as_str()).is_ok_and(|parent| !self.held_above(&plan, &parent))
    }

    /// Whether a remedy of this kind can be tried at all; why not.
    pub(crate) fn can_restart(&self, unit: &UnitId, scope: RestartScope) -> Result<(), String> {
        match scope {
            RestartScope::Unit | RestartScope::Dependents => Ok(()),
            RestartScope::Branch => self.branch(&self.plan(), unit).map(drop).map_err(|error| error.to_string()),
        }
    }

    /// Starts a unit again, and with it what is said; returns when all is up. What an operator keeps stopped is left alone.
    pub(crate) async fn remedy(&self, unit: &UnitId, scope: RestartScope) -> Result<(), String> {
        let plan = self.plan();
        let restarted = match scope {
            RestartScope::Unit => self.restart(&plan, unit.as_str()).await,
            RestartScope::Branch => match self.branch(&plan, unit) {
                Ok(branch) => self.restart(&plan, &branch).await,
                Err(error) => Err(error),
            },
            RestartScope::Dependents => match self.restart(&plan, unit.as_str()).await {
                Ok(()) => self.restart_all(&plan, dependents(&plan, unit)).await,
                Err(error) => Err(error),
            },
        };
        restarted.map_err(|error| error.to_string())
    }

    async fn restart(&self, plan: &Plan, target: &str) -> Result<(), TreeError> {
        self.tell_supervisor(target, &parent_of(plan, target)?, Ask::Restart).await
    }

    /// All are tried; the first that fails is told.
    async fn restart_all(&self, plan: &Plan, units: Vec<UnitId>) -> Result<(), TreeError> {
        let wanted = units.into_iter().filter(|unit| self.is_wanted(unit));
        let restarts = wanted.map(|unit| async move { self.restart(plan, unit.as_str()).await });
        let ended: Vec<_> = futures_util::stream::iter(restarts).buffered(AT_ONCE).collect().await;
        ended.into_iter().collect()
    }

    /// The supervisor of a unit, which can be restarted only if there is one above it.
    fn branch(&self, plan: &Plan, unit: &UnitId) -> Result<String, TreeError> {
        let branch = parent_of(plan, unit.as_str())?;
        parent_of(plan, branch.as_str()).map(|_| branch.as_str().to_owned())
    }
}

/// Those that require a unit or bind to it, and those that require or bind to them; the nearest first.
fn dependents(plan: &Plan, unit: &UnitId) -> Vec<UnitId> {
    let (mut found, mut known, mut next) = (Vec::new(), BTreeSet::from([unit]), VecDeque::from([unit]));
    while let Some(needed) = next.pop_front() {
        let needs = |other: &&crate::plan::UnitPlan| other.requires.contains(needed) || other.binds.contains(needed);
        for other in plan.units.values().map(|other| &**other).filter(needs) {
            if known.insert(&other.id) {
                found.push(other.id.clone());
                next.push_back(&other.id);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn dependents_are_found_all_the_way_and_once() {
        let text = "unit: db\nexec: x\n---\nunit: api\nexec: x\nbinds: db\n---\nunit: web\nexec: x\nrequires: [api, db]\n---\n\
                    unit: cache\nexec: x\nwants: db\n---\nunit: page\nexec: x\nrequires: web\n";
        let plan = plan_of(&[("units/a.yaml", text)]);
        assert_eq!(dependents(&plan, &"db".into()), ["api".into(), "web".into(), "page".into()]);
        assert_eq!(dependents(&plan, &"cache".into()), []);
    }
}
