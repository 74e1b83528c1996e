//! What the daemon itself has to be allowed for what is declared.

use std::collections::BTreeMap;

use super::model::{Plan, UnitPlan};

/// What a declaration takes, and who declares it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Privilege {
    /// A capability of the daemon's, by name.
    pub capability: String,
    /// The key that takes it.
    pub key: &'static str,
    /// The units with that key.
    pub units: Vec<String>,
    /// Whether those units start without it, if they have to.
    pub optional: bool,
}

/// What the daemon has to be allowed to do what `plan` declares, sorted by capability and key. `is_own`: whether a user or group, by name
/// or number, is the daemon's own: to stay what it is takes nothing.
#[must_use]
pub fn privileges(plan: &Plan, is_own: impl Fn(&str) -> bool) -> Vec<Privilege> {
    let mut needed: BTreeMap<(String, &'static str, bool), Vec<String>> = BTreeMap::new();
    for unit in plan.units.values() {
        for (capability, key, optional) in of_unit(unit, &is_own) {
            needed.entry((capability, key, optional)).or_default().push(unit.id.as_str().to_owned());
        }
    }
    needed.into_iter().map(|((capability, key, optional), units)| Privilege { capability, key, units, optional }).collect()
}

fn of_unit(unit: &UnitPlan, is_own: &impl Fn(&str) -> bool) -> Vec<(String, &'static str, bool)> {
    let other = |account: &Option<String>| account.as_ref().is_some_and(|account| !is_own(account));
    let mut needed = vec![
        (other(&unit.user), "CAP_SETUID", "user", false),
        (other(&unit.user) || other(&unit.group), "CAP_SETGID", if other(&unit.user) { "user" } else { "group" }, false),
        (unit.nice < 0, "CAP_SYS_NICE", "nice", false),
        (other(&unit.user), "CAP_KILL", "shutdown", false),
        (other(&unit.user) && !unit.secrets.is_empty(), "CAP_CHOWN", "secrets", false),
    ];
    let mut kept = Vec::new();
    if let Some(isolation) = &unit.isolation {
        let free = isolation.best_effort;
        let drops = isolation.capabilities.is_some() && !isolation.no_new_privileges;
        needed.extend([
            (!isolation.supplementary_groups.is_empty(), "CAP_SETGID", "isolation.supplementary_groups", false),
            (isolation.private_tmp, "CAP_SYS_ADMIN", "isolation.private_tmp", free),
            (!isolation.paths.is_empty(), "CAP_SYS_ADMIN", "isolation.paths", free),
            (isolation.private_network, "CAP_SYS_ADMIN", "isolation.private_network", free),
            (drops, "CAP_SETPCAP", "isolation.capabilities", free),
        ]);
        let names = isolation.capabilities.iter().flatten();
        kept.extend(names.map(|name| (name.clone(), "isolation.capabilities", free)));
    }
    let needed = needed.into_iter().filter(|(takes, ..)| *takes);
    needed.map(|(_, capability, key, optional)| (capability.to_owned(), key, optional)).chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn each_privilege_names_who_takes_it() {
        let units = "unit: a\nexec: x\nuser: app\nisolation: {private_tmp: true, capabilities: [CAP_NET_RAW]}\n---\n\
                     unit: b\nexec: x\nnice: -5\nuser: me\nisolation: {private_tmp: true, private_network: true, best_effort: true}\n---\n\
                     unit: c\nexec: x\nisolation: {landlock: {execute: /usr}, system_call_filter: strict}\n";
        let needed = privileges(&plan_of(&[("units/a.yaml", units)]), |account| account == "me");
        let needed: Vec<_> =
            needed.iter().map(|one| format!("{} {} {} {}", one.capability, one.key, one.units.join(","), one.optional)).collect();
        assert_eq!(
            needed,
            [
                "CAP_KILL shutdown a false",
                "CAP_NET_RAW isolation.capabilities a false",
                "CAP_SETGID user a false",
                "CAP_SETUID user a false",
                "CAP_SYS_ADMIN isolation.private_network b true",
                "CAP_SYS_ADMIN isolation.private_tmp a false",
                "CAP_SYS_ADMIN isolation.private_tmp b true",
                "CAP_SYS_NICE nice b false",
            ]
        );
    }
}
