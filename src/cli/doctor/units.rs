//! What the declared units need of the machine: users and programs.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::base::finding::{Finding, Severity};
use crate::os::{environment, inherited, users};
use crate::plan::Plan;

use Severity::Error;

/// So many units are named in one finding.
const NAMED_MAX: usize = 5;

/// Looks up the users and programs of all units; nothing is run.
pub(super) fn units(plan: &Plan) -> Vec<Finding> {
    let mut faults: BTreeMap<(&'static str, String), Vec<&str>> = BTreeMap::new();
    let path = inherited::base_environment().into_iter().find(|(name, _)| name == "PATH").map_or_else(String::new, |(_, value)| value);
    let (mut accounts, mut programs) = (0, 0);
    for unit in plan.units.values().filter(|unit| unit.watch.is_none()) {
        if unit.user.is_some() || unit.group.is_some() {
            accounts += 1;
            if let Err(error) = users::lookup(unit.user.as_deref(), unit.group.as_deref()) {
                faults.entry(("units.users", error.to_string())).or_default().push(unit.id.as_str());
            }
        }
        // What an environment file says of PATH is known only when the unit starts.
        if !unit.environment_files.is_empty() && !unit.exec.first().is_some_and(|program| program.contains('/')) {
            continue;
        }
        programs += 1;
        let path = unit.environment.get("PATH").unwrap_or(&path);
        let program = unit.exec.first().map_or("", String::as_str);
        if let Err(error) = environment::find_program(program, path, &unit.working_directory) {
            faults.entry(("units.programs", error.to_string())).or_default().push(unit.id.as_str());
        }
    }
    let mut findings: Vec<_> = faults.into_iter().map(|((check, fault), units)| faulty(check, &fault, &units)).collect();
    if !findings.iter().any(|finding| finding.check == "units.programs") {
        findings.push(Finding::ok("units", "units.programs", format!("the programs of {programs} units are there")));
    }
    if accounts > 0 && !findings.iter().any(|finding| finding.check == "units.users") {
        findings.push(Finding::ok("units", "units.users", format!("the users of {accounts} units exist")));
    }
    findings
}

fn faulty(check: &'static str, fault: &str, units: &[&str]) -> Finding {
    let finding = Finding::new(Error, "units", check, fault, format!("{} cannot start", named(units)));
    let user = fault.strip_prefix("cannot find user `").and_then(|rest| rest.split_once('`')).map(|(user, _)| user);
    let group = fault.strip_prefix("cannot find group `").and_then(|rest| rest.split_once('`')).map(|(group, _)| group);
    match (user, group) {
        (Some(user), _) => finding.cure(format!("as root: useradd --system --user-group --no-create-home {user}")),
        (_, Some(group)) => finding.cure(format!("as root: groupadd --system {group}")),
        (None, None) if check == "units.users" => finding.cure("name an existing user and group in the unit"),
        (None, None) => finding.cure("install the program, make it executable, or correct `exec` in the unit"),
    }
}

/// Whether anything in the plan has limits of its cgroup.
pub(super) fn has_limits(plan: &Plan) -> bool {
    let is_set =
        |value: &Value| value.get("limits").and_then(Value::as_object).is_some_and(|limits| limits.values().any(|limit| !limit.is_null()));
    let units = plan.units.values().filter_map(|unit| serde_json::to_value(&**unit).ok());
    let supervisors = plan.supervisors.values().filter_map(|supervisor| serde_json::to_value(&**supervisor).ok());
    units.chain(supervisors).any(|value| is_set(&value))
}

pub(super) fn named(units: &[&str]) -> String {
    let shown = units.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if units.len() > NAMED_MAX { format!("{shown} and {} more", units.len() - NAMED_MAX) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    fn check(units: &str, expect: &[(&str, Severity)]) -> Vec<Finding> {
        let findings = super::units(&plan_of(&[("units/u.yaml", units)]));
        let worse: Vec<_> =
            findings.iter().filter(|finding| finding.severity > Severity::Note).map(|finding| (finding.check, finding.severity)).collect();
        assert_eq!(worse, expect, "{findings:#?}");
        findings
    }

    #[test]
    fn what_units_need_is_looked_up() {
        check("unit: a\nexec: sh\nuser: root\n", &[]);
        let findings =
            check("unit: a\nexec: no-such-program-here\nuser: no-such-user-here\n", &[("units.programs", Error), ("units.users", Error)]);
        assert!(findings[1].cure.as_ref().unwrap().ends_with(" no-such-user-here"), "{findings:#?}");
        check("unit: a\nexec: [sh]\nenvironment_file: -/x\n---\nunit: b\nwatch: sshd\n", &[]);
        let many: String = (0..9).map(|number| format!("---\nunit: u{number}\nexec: no-such-program-here\n")).collect();
        let findings = check(&many, &[("units.programs", Error)]);
        assert_eq!(findings[0].why, "u0, u1, u2, u3, u4 and 4 more cannot start");
    }
}
