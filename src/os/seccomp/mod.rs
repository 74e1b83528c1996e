//! Filters of system calls, compiled by seccompiler from lists of groups.

mod calls;

use std::collections::{BTreeMap, BTreeSet};

use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};

use crate::base::choice::Choice as _;
use crate::plan::{CallGroup, FilterAction, FilterPlan};

/// Flags of clone(2) that make namespaces.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// The filters of a plan, in the order they are installed, each as the kernel's instructions one after the other.
///
/// The first one decides what is allowed. The second has calls that it does not know fail with ENOSYS, so that C libraries go the way they have
/// for older kernels. It does not know clone3, whose flags no filter can see, where namespaces cannot be made; nor seccomp where that is not
/// allowed: the first one cannot refuse it, because the second is installed by it.
///
/// # Errors
/// This architecture has no filters, or they are too long.
pub fn compile(plan: &FilterPlan) -> Result<Vec<Vec<u8>>, String> {
    let arch: TargetArch =
        std::env::consts::ARCH.try_into().map_err(|_| "system calls cannot be filtered on this architecture".to_owned())?;
    let may_make_namespaces = plan.allow.contains(&CallGroup::Namespaces);
    let allowed: BTreeSet<i64> =
        plan.allow.iter().flat_map(|group| calls::of(*group)).chain(calls::ALWAYS).copied().chain([libc::SYS_seccomp]).collect();
    let mut known: BTreeSet<i64> = CallGroup::ALL.iter().flat_map(|(group, ..)| calls::of(*group)).chain(calls::ALWAYS).copied().collect();
    if !may_make_namespaces {
        known.remove(&libc::SYS_clone3);
    }
    if !plan.allow.contains(&CallGroup::Sandbox) {
        known.remove(&libc::SYS_seccomp);
    }
    let refused = match plan.action {
        FilterAction::Errno => SeccompAction::Errno(libc::EPERM as u32),
        FilterAction::Kill => SeccompAction::KillProcess,
    };
    let rules = allowed
        .into_iter()
        .map(|call| Ok((call, if call == libc::SYS_clone && !may_make_namespaces { clone_rules()? } else { Vec::new() })));
    let rules: BTreeMap<_, _> = rules.collect::<Result<_, String>>()?;
    let known = known.into_iter().map(|call| (call, Vec::new())).collect();
    let filters = [(rules, refused), (known, SeccompAction::Errno(libc::ENOSYS as u32))];
    filters.into_iter().map(|(rules, otherwise)| program(rules, otherwise, arch)).collect()
}

/// clone without any of the flags that make namespaces.
fn clone_rules() -> Result<Vec<SeccompRule>, String> {
    let flags = NEW_NAMESPACES.iter().fold(0, |flags, flag| flags | *flag as u32);
    let none = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flags.into()), 0).map_err(text)?;
    Ok(vec![SeccompRule::new(vec![none]).map_err(text)?])
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, otherwise: SeccompAction, arch: TargetArch) -> Result<Vec<u8>, String> {
    let filter = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, arch).map_err(text)?;
    let program: BpfProgram = filter.try_into().map_err(text)?;
    let bytes = |code: seccompiler::sock_filter| {
        let ([a, b], [e, f, g, h]) = (code.code.to_ne_bytes(), code.k.to_ne_bytes());
        [a, b, code.jt, code.jf, e, f, g, h]
    };
    Ok(program.into_iter().flat_map(bytes).collect())
}

fn text(fault: impl std::fmt::Display) -> String {
    format!("cannot compile the filter of system calls: {fault}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::FilterProfile;

    #[test]
    fn every_set_of_groups_compiles() {
        for groups in
            CallGroup::ALL.iter().map(|(group, ..)| vec![*group]).chain(FilterProfile::ALL.iter().map(|(one, ..)| one.groups().to_vec()))
        {
            for action in [FilterAction::Errno, FilterAction::Kill] {
                let filters = compile(&FilterPlan { allow: groups.iter().copied().collect(), action }).unwrap();
                assert!(filters.len() == 2 && filters.iter().all(|filter| filter.len() % 8 == 0 && filter.len() / 8 <= 4096), "{groups:?}");
            }
        }
    }

    #[test]
    fn no_call_is_in_two_groups() {
        let mut seen = BTreeMap::new();
        for (group, word, _) in CallGroup::ALL {
            for call in calls::of(*group) {
                assert_eq!(seen.insert(*call, *word), None, "system call {call}");
            }
        }
        assert!(calls::ALWAYS.iter().all(|call| !seen.contains_key(call)));
        assert!(calls::ALWAYS.contains(&libc::SYS_execve) && calls::ALWAYS.contains(&libc::SYS_exit_group));
    }
}
