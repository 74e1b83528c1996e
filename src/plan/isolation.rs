//! What a unit is kept from: every default filled in, every path absolute, implied ones listed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::resolve::{absolute, or};
pub use crate::base::isolation::{CallGroup, FilterAction, FilterProfile, KeyringMode, ProtectHome, ProtectSystem};
use crate::spec::Field;
use crate::spec::isolation::{FilterSpec, IsolationSpec, LandlockSpec, listed};
use crate::spec::value::{Int, OneOrMany, Text};

/// What a unit is kept from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IsolationPlan {
    /// It can gain no privilege by what it executes.
    pub no_new_privileges: bool,
    /// Groups besides those of its user, by name or number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supplementary_groups: Vec<String>,
    /// The capabilities it keeps, by name; `None`: those that go with its user, which are none unless that is root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<BTreeSet<String>>,
    /// Its directories of temporary files are its own.
    pub private_tmp: bool,
    /// What it finds at which path; a directory stands before what is in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathRule>,
    /// Its network is its own.
    pub private_network: bool,
    /// What it may use by Landlock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landlock: Option<LandlockPlan>,
    /// Which system calls it may make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_call_filter: Option<FilterPlan>,
    /// Its session keyring.
    pub keyring_mode: KeyringMode,
    /// What cannot be had is done without.
    pub best_effort: bool,
}

/// What a unit finds at a path and below.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PathRule {
    /// The path.
    pub path: PathBuf,
    /// What it may do there.
    pub access: PathAccess,
    /// Whether the path may be missing.
    pub optional: bool,
}

/// What a unit may do at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathAccess {
    /// Read, and write as without the rule.
    ReadWrite,
    /// Read.
    ReadOnly,
    /// Nothing.
    Inaccessible,
}

/// What a unit may use by Landlock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LandlockPlan {
    /// What it can read: the path and whether it may be missing.
    pub read: Vec<(PathBuf, bool)>,
    /// What it can read and change.
    pub write: Vec<(PathBuf, bool)>,
    /// What it can read and execute.
    pub execute: Vec<(PathBuf, bool)>,
    /// Ports it can listen at; `None`: all.
    pub bind_tcp: Option<Vec<u16>>,
    /// Ports it can connect to; `None`: all.
    pub connect_tcp: Option<Vec<u16>>,
}

/// Which system calls a unit may make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilterPlan {
    /// Those it may make, besides what every program needs.
    pub allow: BTreeSet<CallGroup>,
    /// What becomes of the others.
    pub action: FilterAction,
}

impl IsolationPlan {
    /// Whether its view of files is another than the daemon's.
    #[must_use]
    pub fn has_mounts(&self) -> bool {
        self.private_tmp || !self.paths.is_empty()
    }

    /// What of it there is, in the words of declarations.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        let any = |access| self.paths.iter().any(|rule| rule.access == access);
        let parts = [
            (self.no_new_privileges, "no_new_privileges"),
            (!self.supplementary_groups.is_empty(), "supplementary_groups"),
            (self.capabilities.is_some(), "capabilities"),
            (self.private_tmp, "private_tmp"),
            (any(PathAccess::ReadOnly), "read_only_paths"),
            (any(PathAccess::Inaccessible), "inaccessible_paths"),
            (self.private_network, "private_network"),
            (self.landlock.is_some(), "landlock"),
            (self.system_call_filter.is_some(), "system_call_filter"),
            (self.keyring_mode == KeyringMode::Private, "keyring_mode"),
        ];
        parts.into_iter().filter(|(there, _)| *there).map(|(_, word)| word).collect()
    }
}

pub(super) fn isolation(spec: &IsolationSpec, text: &impl Fn(&str) -> String, directory: &Path) -> IsolationPlan {
    let groups = spec.supplementary_groups.iter().flat_map(|groups| &groups.value.0);
    let names = |names: &OneOrMany<crate::spec::isolation::CapabilityName>| names.0.iter().map(|name| name.0.clone()).collect();
    IsolationPlan {
        no_new_privileges: or(&spec.no_new_privileges, true, |flag| flag.0),
        supplementary_groups: groups.map(|group| group.0.clone()).collect(),
        capabilities: spec.capabilities.as_ref().map(|field| names(&field.value)),
        private_tmp: or(&spec.private_tmp, false, |flag| flag.0),
        paths: path_rules(spec, text, directory),
        private_network: or(&spec.private_network, false, |flag| flag.0),
        landlock: spec.landlock.as_ref().map(|spec| landlock(&spec.value, text, directory)),
        system_call_filter: spec.system_call_filter.as_ref().map(|spec| filter(&spec.value)),
        keyring_mode: or(&spec.keyring_mode, KeyringMode::default(), |mode| mode.0),
        best_effort: or(&spec.best_effort, false, |flag| flag.0),
    }
}

/// What is named goes before what is implied.
fn path_rules(spec: &IsolationSpec, text: &impl Fn(&str) -> String, directory: &Path) -> Vec<PathRule> {
    let mut rules: BTreeMap<PathBuf, (PathAccess, bool)> = BTreeMap::new();
    let system: &[(&str, PathAccess)] = match or(&spec.protect_system, None, |level| level.0) {
        None => &[],
        Some(ProtectSystem::Usr) => &[("/usr", PathAccess::ReadOnly), ("/boot", PathAccess::ReadOnly), ("/efi", PathAccess::ReadOnly)],
        Some(ProtectSystem::Full) => &[
            ("/usr", PathAccess::ReadOnly),
            ("/boot", PathAccess::ReadOnly),
            ("/efi", PathAccess::ReadOnly),
            ("/etc", PathAccess::ReadOnly),
        ],
        Some(ProtectSystem::Strict) => &[
            ("/", PathAccess::ReadOnly),
            ("/dev", PathAccess::ReadWrite),
            ("/proc", PathAccess::ReadWrite),
            ("/sys", PathAccess::ReadWrite),
        ],
    };
    let home = match or(&spec.protect_home, None, |level| level.0) {
        None => None,
        Some(ProtectHome::Inaccessible) => Some(PathAccess::Inaccessible),
        Some(ProtectHome::ReadOnly) => Some(PathAccess::ReadOnly),
    };
    let homes = home.into_iter().flat_map(|access| ["/home", "/root", "/run/user"].map(|path| (path, access)));
    for (path, access) in system.iter().copied().chain(homes) {
        rules.insert(path.into(), (access, true));
    }
    let named = [
        (&spec.read_write_paths, PathAccess::ReadWrite),
        (&spec.read_only_paths, PathAccess::ReadOnly),
        (&spec.inaccessible_paths, PathAccess::Inaccessible),
    ];
    for (paths, access) in named {
        for (path, optional) in listed(paths) {
            rules.insert(absolute(directory, &text(path)), (access, optional));
        }
    }
    // In the order of paths a directory stands before what is in it.
    rules.into_iter().map(|(path, (access, optional))| PathRule { path, access, optional }).collect()
}

fn landlock(spec: &LandlockSpec, text: &impl Fn(&str) -> String, directory: &Path) -> LandlockPlan {
    let paths =
        |paths: &Field<OneOrMany<Text>>| listed(paths).map(|(path, optional)| (absolute(directory, &text(path)), optional)).collect();
    let ports = |ports: &Field<OneOrMany<Int<0, 65535>>>| {
        let numbers = |ports: &OneOrMany<Int<0, 65535>>| ports.0.iter().filter_map(|port| u16::try_from(port.0).ok()).collect();
        ports.as_ref().map(|ports| numbers(&ports.value))
    };
    LandlockPlan {
        read: paths(&spec.read),
        write: paths(&spec.write),
        execute: paths(&spec.execute),
        bind_tcp: ports(&spec.bind_tcp),
        connect_tcp: ports(&spec.connect_tcp),
    }
}

fn filter(spec: &FilterSpec) -> FilterPlan {
    let profile = or(&spec.profile, FilterProfile::default(), |profile| profile.0);
    let listed = spec.allow.iter().flat_map(|allow| &allow.value.0).map(|group| group.0);
    let denied: Vec<_> = spec.deny.iter().flat_map(|deny| &deny.value.0).map(|group| group.0).collect();
    let allow = profile.groups().iter().copied().chain(listed).filter(|group| !denied.contains(group)).collect();
    FilterPlan { allow, action: or(&spec.action, FilterAction::default(), |action| action.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    fn planned(isolation: &str) -> IsolationPlan {
        let plan = plan_of(&[("units/a.yaml", &format!("unit: a\nexec: x\nisolation: {isolation}\n"))]);
        IsolationPlan::clone(plan.units["a"].isolation.as_ref().unwrap())
    }

    #[test]
    fn whoever_declares_any_of_it_gains_no_privileges() {
        let plan = planned("{}");
        assert!(plan.no_new_privileges && plan.capabilities.is_none() && !plan.has_mounts());
        assert_eq!(planned("{private_network: true, capabilities: []}").words(), ["no_new_privileges", "capabilities", "private_network"]);
        let kept = planned("{capabilities: [net_raw, CAP_CHOWN]}").capabilities.unwrap();
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), ["CAP_CHOWN", "CAP_NET_RAW"]);
    }

    #[test]
    fn a_directory_stands_before_what_is_in_it() {
        let check = |isolation: &str, expect: &[&str]| {
            let rules = planned(isolation).paths;
            let rules: Vec<_> = rules.iter().map(|rule| format!("{} {:?} {}", rule.path.display(), rule.access, rule.optional)).collect();
            assert_eq!(rules, expect, "{isolation}");
        };
        check(
            "{protect_system: strict, read_write_paths: [/var/lib/a, \"-/var\"], inaccessible_paths: /srv}",
            &[
                "/ ReadOnly true",
                "/dev ReadWrite true",
                "/proc ReadWrite true",
                "/srv Inaccessible false",
                "/sys ReadWrite true",
                "/var ReadWrite true",
                "/var/lib/a ReadWrite false",
            ],
        );
        check(
            "{protect_home: true, read_only_paths: [/home, x]}",
            &["/home ReadOnly false", "/root Inaccessible true", "/run/user Inaccessible true", "/x ReadOnly false"],
        );
        check("{protect_system: false, protect_home: false}", &[]);
    }

    #[test]
    fn a_filter_is_a_profile_with_more_and_less() {
        let groups = |isolation: &str| planned(isolation).system_call_filter.unwrap().allow.into_iter().collect::<Vec<_>>();
        use CallGroup as G;
        assert_eq!(groups("{system_call_filter: strict}"), [G::FileSystem, G::NetworkIo, G::Process]);
        assert_eq!(groups("{system_call_filter: [process, debug]}"), [G::Process, G::Debug]);
        assert_eq!(
            groups("{system_call_filter: {profile: strict, allow: chown, deny: network_io}}"),
            [G::FileSystem, G::Process, G::Chown]
        );
        assert!(groups("{system_call_filter: {}}").contains(&G::Setuid));
    }
}
