//! Which instances of a unit are kept from being started by their breakers: never too many of them at a time.
//!
//! The rule is that of Envoy's outlier detection (`max_ejection_percent`): a share of the pool, but one in any case.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::id::UnitId;
use crate::plan::Plan;

/// The instances of every unit.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    pools: BTreeMap<String, Pool>,
}

#[derive(Clone, Debug, Default)]
struct Pool {
    size: usize,
    ejected: BTreeSet<UnitId>,
}

impl Pools {
    /// Takes note of how many instances there are under a new plan.
    pub fn plan(&mut self, plan: &Plan) {
        let mut old = std::mem::take(&mut self.pools);
        for id in plan.units.keys() {
            let pool = self.pools.entry(id.template().to_owned()).or_insert_with(|| {
                let ejected = old.remove(id.template()).map(|pool| pool.ejected).unwrap_or_default();
                Pool { size: 0, ejected: ejected.into_iter().filter(|unit| plan.units.contains_key(unit)).collect() }
            });
            pool.size += 1;
        }
    }

    /// Whether `unit` may be kept from being started, if `share` of its kind may.
    pub fn eject(&mut self, unit: &UnitId, share: f64) -> bool {
        let Some(pool) = self.pools.get_mut(unit.template()) else { return true };
        let most = (1..=pool.size).rev().find(|&count| count as f64 <= share * pool.size as f64).unwrap_or(1);
        pool.ejected.contains(unit) || (pool.ejected.len() < most && pool.ejected.insert(unit.clone()))
    }

    /// `unit` is not kept from being started any more.
    pub fn readmit(&mut self, unit: &UnitId) {
        if let Some(pool) = self.pools.get_mut(unit.template()) {
            pool.ejected.remove(unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn a_share_of_the_pool_is_ejected_but_one_in_any_case() {
        let plan =
            |instances: u32| plan_of(&[("units/w.yaml", &format!("unit: w\nexec: x\ninstances: {instances}\n---\nunit: lone\nexec: x\n"))]);
        let ejected = |pools: &mut Pools, share: f64| (1..=5).filter(|n| pools.eject(&format!("w@{n}").as_str().into(), share)).count();
        for (share, most) in [(0.01, 1), (0.4, 2), (0.5, 2), (0.6, 3), (1.0, 5)] {
            let mut pools = Pools::default();
            pools.plan(&plan(5));
            assert_eq!(ejected(&mut pools, share), most, "{share}");
            assert!(pools.eject(&"lone".into(), share));
            assert!(pools.eject(&"w@1".into(), share), "it is already");
            pools.readmit(&"w@1".into());
            assert!(pools.eject(&"w@5".into(), share));
        }
        let mut pools = Pools::default();
        pools.plan(&plan(5));
        ejected(&mut pools, 0.4);
        pools.plan(&plan(1));
        assert!(pools.eject(&"w@1".into(), 0.4), "what has left the plan is not ejected");
    }
}
