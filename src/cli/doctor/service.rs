//! What the service that systemd runs, and the versions of what is there, mean.

use std::collections::BTreeMap;

use crate::base::finding::{Finding, Severity};

use Severity::{Error, Note, Warning};

/// What systemd says of a service.
pub(super) type Properties = BTreeMap<String, String>;

/// A property, empty if systemd does not know it.
pub(super) fn property<'a>(properties: &'a Properties, name: &str) -> &'a str {
    properties.get(name).map_or("", String::as_str)
}

/// Whether the service is installed.
pub(super) fn is_installed(properties: &Properties) -> bool {
    property(properties, "LoadState") == "loaded"
}

/// What the service has to have.
struct Wanted {
    check: &'static str,
    property: &'static str,
    /// Whether a value will do.
    will_do: fn(&str) -> bool,
    /// What happens otherwise.
    why: &'static str,
    /// The line that mends it.
    line: &'static str,
}

const WANTED: [Wanted; 5] = [
    Wanted {
        check: "service.type",
        property: "Type",
        will_do: |value| matches!(value, "notify" | "notify-reload"),
        why: "`systemctl start` does not wait until the tree is up, and the daemon's heartbeats are not heard",
        line: "Type=notify",
    },
    Wanted {
        check: "service.kill_mode",
        property: "KillMode",
        will_do: |value| matches!(value, "mixed" | "process"),
        why: "when it stops, units are signalled by systemd all at once, in no order",
        line: "KillMode=mixed",
    },
    Wanted {
        check: "service.delegate",
        property: "Delegate",
        will_do: |value| value == "yes",
        why: "the daemon may not make cgroups: limits have no effect",
        line: "Delegate=yes",
    },
    Wanted {
        check: "service.watchdog",
        property: "WatchdogUSec",
        will_do: |value| !matches!(value, "" | "0" | "infinity"),
        why: "a launcher that hangs is noticed by nobody",
        line: "WatchdogSec=60s",
    },
    Wanted {
        check: "service.restart",
        property: "Restart",
        will_do: |value| !matches!(value, "" | "no"),
        why: "when the launcher dies, nothing watches the units",
        line: "Restart=on-failure",
    },
];

impl Wanted {
    fn judge(&self, unit: &str, value: &str) -> Finding {
        let found = format!("{}={value}", self.property);
        if (self.will_do)(value) {
            return Finding::ok("service", self.check, found);
        }
        let finding = Finding::new(Warning, "service", self.check, found, self.why);
        finding.cure(format!("systemctl edit {unit}, and write below [Service]: {}", self.line))
    }
}

/// How the service is made: what of it keeps the daemon from what it promises.
pub(super) fn service(unit: &str, properties: &Properties) -> Vec<Finding> {
    const GROUP: &str = "service";
    let get = |name: &str| property(properties, name);
    if !is_installed(properties) {
        let state = get("LoadState");
        let finding = if matches!(state, "" | "not-found") {
            Finding::new(Note, GROUP, "service.installed", format!("{unit} is not installed"), "the daemon is not started with the machine")
                .cure("install the package, or deploy/ms-supervisor.service by hand")
        } else {
            Finding::new(Error, GROUP, "service.installed", format!("{unit} is {state}"), "systemd cannot start it")
                .cure(format!("systemd-analyze verify {unit}"))
        };
        return vec![finding];
    }
    let mut findings = vec![Finding::ok(GROUP, "service.installed", format!("{unit} is {}", get("FragmentPath")))];
    findings.extend(WANTED.iter().map(|wanted| wanted.judge(unit, get(wanted.property))));
    findings.push(if get("NeedDaemonReload") == "yes" {
        let found = format!("the file of {unit} has changed since systemd read it");
        Finding::new(Warning, GROUP, "service.loaded", found, "what systemd does is not what is written").cure("systemctl daemon-reload")
    } else {
        Finding::ok(GROUP, "service.loaded", "systemd knows the file as it is")
    });
    let drop_ins = get("DropInPaths");
    if !drop_ins.is_empty() {
        findings.push(Finding::new(
            Note,
            GROUP,
            "service.drop_ins",
            format!("it is changed by {drop_ins}"),
            "what is said there stands above the unit file",
        ));
    }
    findings.extend(state(unit, properties));
    findings
}

fn state(unit: &str, properties: &Properties) -> Vec<Finding> {
    const GROUP: &str = "service";
    let get = |name: &str| property(properties, name);
    let (active, sub, enabled) = (get("ActiveState"), get("SubState"), get("UnitFileState"));
    let state = match active {
        "active" => Finding::ok(GROUP, "service.active", format!("{unit} is active ({sub})")),
        "failed" => Finding::new(Error, GROUP, "service.active", format!("{unit} has failed"), "nothing runs")
            .cure(format!("journalctl -u {unit} -n 50; then systemctl reset-failed {unit} && systemctl start {unit}")),
        "activating" | "reloading" | "deactivating" => {
            Finding::new(Note, GROUP, "service.active", format!("{unit} is {active} ({sub})"), "it is on its way")
        }
        _ => Finding::new(Note, GROUP, "service.active", format!("{unit} is {active}"), "nothing runs")
            .cure(format!("systemctl start {unit}")),
    };
    let enabled = if matches!(enabled, "enabled" | "enabled-runtime" | "static" | "linked" | "alias" | "indirect" | "generated") {
        Finding::ok(GROUP, "service.enabled", format!("{unit} is {enabled}"))
    } else {
        Finding::new(Note, GROUP, "service.enabled", format!("{unit} is {enabled}"), "it does not start with the machine")
            .cure(format!("systemctl enable {unit}"))
    };
    vec![state, enabled]
}

/// Whether the daemon that answers is the service, and of this version.
pub(super) fn versions(own: &str, running: Option<(&str, u32)>, main_pid: Option<u32>) -> Vec<Finding> {
    let Some((version, launcher)) = running else {
        return vec![Finding::new(
            Note,
            "versions",
            "versions.daemon",
            format!("this program is {own}; no daemon runs here"),
            "what a running daemon knows is not looked at",
        )];
    };
    let mut findings = vec![if version == own {
        Finding::ok("versions", "versions.daemon", format!("program and daemon are {own}"))
    } else {
        let why = "what this program says of the daemon may be incomplete";
        Finding::new(Warning, "versions", "versions.daemon", format!("this program is {own}, the daemon {version}"), why)
            .cure("ms-supervisor upgrade")
    }];
    if let Some(main) = main_pid.filter(|main| *main != 0 && *main != launcher) {
        let why = "two daemons run here, or the service uses another directory";
        let found = format!("the daemon that answers (process {launcher}) is not that of the service (process {main})");
        findings.push(
            Finding::new(Note, "versions", "versions.service", found, why).cure("name the directory of the one you mean with -C DIR"),
        );
    }
    findings
}

/// Whether a user's service runs while its user is not logged in.
pub(super) fn lingering(user: &str, lingers: bool) -> Finding {
    if lingers {
        return Finding::ok("service", "service.linger", format!("services of {user} run without a login"));
    }
    let why = "systemd ends services of users, this daemon included, when they log out";
    Finding::new(Warning, "service", "service.linger", format!("services of {user} end with the last login"), why)
        .cure(format!("loginctl enable-linger {user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "ms-supervisor.service";

    fn shipped() -> Properties {
        let text = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nFragmentPath=/usr/lib/systemd/system/ms-supervisor.service\n\
                    DropInPaths=\nNeedDaemonReload=no\nType=notify-reload\nWatchdogUSec=1min\nDelegate=yes\nKillMode=mixed\nRestart=on-failure";
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn check(change: &[(&str, &str)], expect: &[(&str, Severity)]) {
        let mut properties = shipped();
        properties.extend(change.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let findings = service(UNIT, &properties);
        let worse: Vec<_> =
            findings.iter().filter(|finding| finding.severity != Severity::Ok).map(|finding| (finding.check, finding.severity)).collect();
        assert_eq!(worse, expect, "{findings:#?}");
    }

    #[test]
    fn services_are_judged() {
        check(&[], &[]);
        check(&[("LoadState", "not-found")], &[("service.installed", Note)]);
        check(&[("LoadState", "bad-setting")], &[("service.installed", Error)]);
        check(&[("Type", "simple"), ("KillMode", "control-group")], &[("service.type", Warning), ("service.kill_mode", Warning)]);
        check(
            &[("Delegate", "no"), ("WatchdogUSec", "0"), ("Restart", "no")],
            &[("service.delegate", Warning), ("service.watchdog", Warning), ("service.restart", Warning)],
        );
        check(&[("NeedDaemonReload", "yes"), ("DropInPaths", "/etc/x.conf")], &[("service.loaded", Warning), ("service.drop_ins", Note)]);
        check(&[("ActiveState", "failed"), ("UnitFileState", "disabled")], &[("service.active", Error), ("service.enabled", Note)]);
    }

    #[test]
    fn versions_are_compared() {
        let severities = |running, main| versions("1.0.0", running, main).iter().map(|finding| finding.severity).collect::<Vec<_>>();
        assert_eq!(severities(None, None), [Note]);
        assert_eq!(severities(Some(("1.0.0", 7)), Some(7)), [Severity::Ok]);
        assert_eq!(severities(Some(("0.9.0", 7)), Some(8)), [Warning, Note]);
        assert_eq!(severities(Some(("1.0.0", 7)), Some(0)), [Severity::Ok]);
    }
}
