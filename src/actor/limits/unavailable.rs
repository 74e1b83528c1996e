//! Which declared limits have no effect on this machine, and why.

use std::collections::BTreeMap;

use crate::base::limit::Setting;
use crate::event::LimitsUnavailable;
use crate::os::controllers::Controllers;
use crate::plan::Plan;

/// So many units and supervisors are named.
const TARGETS_MAX: usize = 8;

/// The limits of `plan` that have no effect with these controllers, those with the same reason together.
#[must_use]
pub fn unavailable(plan: &Plan, controllers: &Controllers) -> Vec<LimitsUnavailable> {
    let mut found: BTreeMap<String, LimitsUnavailable> = BTreeMap::new();
    let units = plan.units.values().map(|unit| (unit.id.as_str(), unit.limits.needed()));
    let supervisors = plan.supervisors.values().map(|supervisor| (supervisor.id.as_str(), supervisor.limits.needed()));
    for (name, settings) in supervisors.chain(units) {
        for (limit, why) in settings.iter().filter_map(|setting| lacking(setting, controllers)) {
            let entry = found.entry(why.to_string()).or_insert_with(|| LimitsUnavailable {
                limits: Vec::new(),
                targets: Vec::new(),
                count: 0,
                why: why.to_string(),
                cure: why.cure().into(),
            });
            if !entry.limits.iter().any(|known| known == limit) {
                entry.limits.push(limit.into());
            }
            if entry.targets.last().is_none_or(|last| last != name) && entry.count < TARGETS_MAX {
                entry.targets.push(name.into());
            }
            entry.count = entry.targets.len().max(entry.count);
        }
    }
    // Those beyond the bound are counted.
    for entry in found.values_mut() {
        let concerned = |settings: Vec<Setting>| {
            settings.iter().filter_map(|setting| lacking(setting, controllers)).any(|(_, why)| why.to_string() == entry.why)
        };
        entry.count = plan.units.values().filter(|unit| concerned(unit.limits.needed())).count()
            + plan.supervisors.values().filter(|supervisor| concerned(supervisor.limits.needed())).count();
    }
    found.into_values().collect()
}

/// A limit whose controller is not to be had, and why.
fn lacking<'a>(setting: &Setting, controllers: &'a Controllers) -> Option<(&'static str, &'a crate::os::controllers::Absence)> {
    controllers.why_not(setting.file.controller()).map(|why| (setting.file.limit(), why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limit::Controller;
    use crate::os::controllers::{Absence, Missing};
    use crate::plan::plan_of;

    #[test]
    fn it_is_said_what_has_no_effect_and_why() {
        let unit =
            "unit: a\nexec: x\ninstances: 20\nlimits: {memory_max: 64MiB, memory_high: 32MiB, tasks_max: 5}\n---\nunit: b\nexec: x\n";
        let plan = plan_of(&[("units/u.yaml", unit)]);
        let legacy = Controllers {
            usable: vec![Controller::Pids],
            missing: vec![
                Missing { controller: Controller::Memory, why: Absence::Legacy },
                Missing { controller: Controller::Io, why: Absence::Legacy },
            ],
        };
        let found = unavailable(&plan, &legacy);
        let [only] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((only.limits.join(" "), only.targets.len(), only.count), ("memory_high memory_max".into(), 8, 20));
        insta::assert_snapshot!(only.text(), @"memory_high, memory_max of a@1, a@10, a@11, a@12, a@13, a@14, a@15, a@16 and 12 more have no effect: it belongs to cgroup v1 on this machine; boot with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line");
        let all = Controllers { usable: Controller::ALL.into(), missing: Vec::new() };
        assert!(unavailable(&plan, &all).is_empty());
        assert_eq!(unavailable(&plan, &Controllers::none(&Absence::Unwanted)).len(), 1, "one reason, said once");
    }
}
