//! What the daemon has to be allowed for what is declared, and whether it is.

use std::collections::BTreeMap;

use super::units::named;
use crate::base::finding::{Finding, Severity};
use crate::os::privileges;
use crate::plan::{Plan, Privilege};

const CHECK: &str = "units.privileges";

/// Whom the daemon is, or would be.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    pub(super) uid: u32,
    pub(super) user: Option<String>,
    /// Its capabilities, a bit each.
    pub(super) capabilities: u64,
}

impl Daemon {
    fn is(&self, account: &str) -> bool {
        account.parse() == Ok(self.uid) || self.user.as_deref() == Some(account)
    }

    fn may(&self, capability: &str) -> bool {
        let wanted = privileges::mask([&capability.to_owned()]);
        wanted & self.capabilities == wanted
    }
}

/// What is lacking, or what it takes altogether.
pub(super) fn privileges(plan: &Plan, daemon: &Daemon) -> Vec<Finding> {
    let needed = crate::plan::privileges(plan, |account| daemon.is(account));
    let mut findings: Vec<_> = needed.iter().filter(|one| !daemon.may(&one.capability)).map(|one| lacking(one, daemon.uid)).collect();
    if let Some(address) = plan.daemon.listen.filter(|address| address.port() != 0 && address.port() < 1024)
        && !daemon.may("CAP_NET_BIND_SERVICE")
    {
        let found = format!("`listen: {address}` is a port below 1024");
        let finding = Finding::new(Severity::Warning, "units", CHECK, found, "that needs CAP_NET_BIND_SERVICE");
        findings.push(finding.cure("AmbientCapabilities=CAP_NET_BIND_SERVICE in the service, or a port from 1024 on"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("units", CHECK, summary(&needed)));
    }
    findings
}

fn lacking(privilege: &Privilege, uid: u32) -> Finding {
    let Privilege { capability, key, units, optional } = privilege;
    let units: Vec<_> = units.iter().map(String::as_str).collect();
    let (severity, but) = if *optional { (Severity::Warning, "; they start without it") } else { (Severity::Error, "") };
    let found = format!("{}: `{key}` needs {capability}", named(&units));
    let finding = Finding::new(severity, "units", CHECK, found, format!("the daemon, user {uid}, does not have it{but}"));
    let instead = if *key == "nice" { ", `LimitNICE=` in it" } else { "" };
    finding.cure(format!("run the daemon as root, or write AmbientCapabilities={capability} into its service{instead}, or remove `{key}`"))
}

/// Each capability with the keys that take it.
fn summary(needed: &[Privilege]) -> String {
    let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for privilege in needed {
        let of = keys.entry(&privilege.capability).or_default();
        if !of.contains(&privilege.key) {
            of.push(privilege.key);
        }
    }
    if keys.is_empty() {
        return "nothing declared takes privileges: the daemon needs no root".into();
    }
    let keys: Vec<_> = keys.into_iter().map(|(capability, keys)| format!("{capability} ({})", keys.join(", "))).collect();
    format!("what is declared takes {}; the daemon has it", keys.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    fn check(units: &str, daemon: &Daemon, expect: &[&str]) {
        let findings = privileges(&plan_of(&[("units/u.yaml", units)]), daemon);
        let findings: Vec<_> = findings.iter().map(|one| format!("{} {}", one.severity, one.found)).collect();
        assert_eq!(findings, expect);
    }

    #[test]
    fn what_the_daemon_lacks_is_told_with_those_who_take_it() {
        let root = Daemon { uid: 0, user: Some("root".into()), capabilities: u64::MAX };
        let ann = Daemon { uid: 4711, user: Some("ann".into()), capabilities: 0 };
        let other = "unit: a\nexec: sh\nnice: -5\n---\nunit: b\nexec: sh\nuser: root\n---\nunit: c\nexec: sh\nuser: 4711\ngroup: 4711\n";
        let lacks = [
            "error b: `shutdown` needs CAP_KILL",
            "error b: `user` needs CAP_SETGID",
            "error b: `user` needs CAP_SETUID",
            "error a: `nice` needs CAP_SYS_NICE",
        ];
        check(other, &ann, &lacks);
        let has = privileges::mask(["CAP_KILL", "CAP_SETGID", "CAP_SETUID"].map(str::to_owned).iter());
        check(other, &Daemon { capabilities: has, ..ann.clone() }, &lacks[3..]);
        check(
            other,
            &root,
            &[
                "ok what is declared takes CAP_KILL (shutdown), CAP_SETGID (user), CAP_SETUID (user), CAP_SYS_NICE (nice); the daemon has it",
            ],
        );
        check("unit: a\nexec: sh\n", &ann, &["ok nothing declared takes privileges: the daemon needs no root"]);
        let free = "unit: a\nexec: sh\nisolation: {private_network: true, best_effort: true}\n";
        check(free, &ann, &["warning a: `isolation.private_network` needs CAP_SYS_ADMIN"]);
        // A service may take capabilities from root, too.
        check("unit: a\nexec: sh\nuser: app\n", &Daemon { capabilities: has & !32, ..root }, &["error a: `shutdown` needs CAP_KILL"]);
    }
}
