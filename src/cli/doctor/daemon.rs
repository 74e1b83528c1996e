//! What the running daemon knows of itself and of the machine.

use crate::api::dto::DaemonStatus;
use crate::base::finding::{Finding, Severity};

use Severity::{Error, Note, Warning};

const GROUP: &str = "daemon";

pub(super) fn daemon(status: &DaemonStatus) -> Vec<Finding> {
    let mut findings = vec![state(status)];
    findings.push(match &status.store.failing {
        Some(failing) => {
            let why = "what operators ask for is forgotten when the daemon ends";
            let finding = Finding::new(Error, GROUP, "daemon.store", format!("the store cannot be used: {}", failing.why), why);
            finding.cure("make room, or mend the state directory: it is tried again by itself")
        }
        None => Finding::ok(GROUP, "daemon.store", "what operators ask for is written down"),
    });
    if status.keeper_pid.is_none() {
        let why = "if the launcher dies now, how units end meanwhile may stay unknown";
        findings.push(Finding::new(Note, GROUP, "daemon.keeper", "the keeper is being replaced", why));
    }
    if let Some(failed) = status.upgrade.as_ref().and_then(|upgrade| Some((upgrade, upgrade.failed.as_ref()?))) {
        let (upgrade, why) = failed;
        let found = format!("the upgrade to {} failed: {why}", upgrade.other);
        findings.push(
            Finding::new(Warning, GROUP, "daemon.upgrade", found, "the program before goes on")
                .cure("mend what is said there, then `ms-supervisor upgrade`"),
        );
    }
    if let Some(stall) = status.host.stall {
        let finding = Finding::new(
            Warning,
            GROUP,
            "daemon.stall",
            format!("on and off, {}", stall.text()),
            "what probes find does not count meanwhile",
        );
        findings.push(finding.cure("find out who uses the machine up: `ms-supervisor status`, /proc/pressure"));
    }
    if let Some(sentence) = status.degradation.sentence().filter(|_| status.degradation.step > 0) {
        let finding = Finding::new(Warning, GROUP, "daemon.degradation", sentence, "the machine is short of something");
        findings.push(finding.cure("free what is short; the steps are taken back by themselves"));
    }
    findings
}

/// Where the daemon stands.
pub(super) fn state(status: &DaemonStatus) -> Finding {
    const CHECK: &str = "daemon.ready";
    if status.state == "running" {
        return Finding::ok(GROUP, CHECK, format!("the daemon is running, process {}", status.launcher_pid));
    }
    let reason = status.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let severity = if status.state == "starting" { Warning } else { Error };
    Finding::new(severity, GROUP, CHECK, format!("the daemon is {}{reason}", status.state), "the tree is not up")
        .cure("msctl status; msctl events")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Wall;
    use crate::event::StoreFailure;

    #[test]
    fn what_the_daemon_complains_of_is_found() {
        let mut status = crate::cli::render::tests::status().daemon;
        (status.state, status.reason) = ("running".into(), None);
        assert!(daemon(&status).iter().all(|finding| finding.severity == Severity::Ok), "{:#?}", daemon(&status));
        status.state = "degraded".into();
        status.store.failing = Some(StoreFailure { why: "no space".into(), since: Wall(0) });
        status.keeper_pid = None;
        let worse: Vec<_> = daemon(&status)
            .into_iter()
            .filter(|finding| finding.severity != Severity::Ok)
            .map(|finding| (finding.check, finding.severity))
            .collect();
        assert_eq!(worse, [("daemon.ready", Error), ("daemon.store", Error), ("daemon.keeper", Note)]);
    }
}
