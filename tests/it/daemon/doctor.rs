//! `doctor`: a real machine, with and without a daemon, and with what is wrong on purpose.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::bench::Daemon;
use super::metrics::free_address;

fn examine(daemon: &Daemon, command: &str) -> (Option<i32>, Vec<Value>) {
    let output = daemon.cli(&[command, "--json"]);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report["findings"].as_array().unwrap().clone())
}

fn find<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check} in {findings:#?}"))
}

#[test]
fn a_machine_is_examined_without_a_daemon_and_with_one() {
    let address = free_address();
    let mut daemon =
        Daemon::prepared(&[("units/web.yaml", "unit: web\nexec: sleep 1000\n"), ("daemon.yaml", &format!("listen: {address}\n"))]);
    let (_, findings) = examine(&daemon, "doctor");
    assert!(!daemon.path(".ms-supervisor").exists(), "it has made something");
    assert_eq!(find(&findings, "kernel.pidfd")["severity"], "ok");
    assert_eq!(find(&findings, "units.programs")["severity"], "ok");
    assert_eq!(find(&findings, "ports.listen")["found"], format!("{address} is free"));
    assert_eq!(find(&findings, "versions.daemon")["severity"], "note");
    for finding in &findings {
        let is_bad = finding["severity"] == "warning" || finding["severity"] == "error";
        assert!(!is_bad || finding["why"].is_string() && finding["cure"].is_string(), "{finding}");
    }
    daemon.start_with(&["run"]);
    daemon.event("DaemonReady", |_| true);
    let (_, findings) = examine(&daemon, "doctor");
    assert_eq!(find(&findings, "versions.daemon")["severity"], "ok");
    assert_eq!(find(&findings, "ports.listen")["found"], format!("the daemon serves metrics and health on {address}"));
    let (code, findings) = examine(&daemon, "verify-install");
    assert_eq!(
        (find(&findings, "daemon.ready")["severity"].as_str(), find(&findings, "daemon.metrics")["severity"].as_str()),
        (Some("ok"), Some("ok"))
    );
    assert!(code.is_some_and(|code| code <= 2));
}

#[test]
fn what_is_wrong_is_found() {
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap().to_string();
    let units = "unit: a\nexec: ./no-such-program\n---\nunit: b\nexec: sleep 1\nuser: no-such-user-here\n";
    let daemon = Daemon::prepared(&[("units/all.yaml", units), ("daemon.yaml", &format!("listen: {address}\n"))]);
    std::fs::set_permissions(daemon.path("units/all.yaml"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let (code, findings) = examine(&daemon, "doctor");
    assert_eq!(code, Some(2));
    for (check, text) in [
        ("units.programs", "cannot find the program `./no-such-program`"),
        ("units.users", "cannot find user `no-such-user-here`"),
        ("ports.listen", "somebody listens on"),
        ("files.trust", "units/all.yaml"),
    ] {
        let finding = find(&findings, check);
        assert!(finding["found"].as_str().unwrap().contains(text) && finding["cure"].is_string(), "{finding}");
    }
    daemon.write("units/all.yaml", "unit: a\nexce: x\n");
    let (code, findings) = examine(&daemon, "doctor");
    assert_eq!((code, find(&findings, "declarations.check")["severity"].as_str()), (Some(2), Some("error")));
    let text = String::from_utf8(daemon.cli(&["doctor"]).stdout).unwrap();
    assert!(text.contains("declarations\n  error: the declarations in ") && text.contains("    help: ms-supervisor check "), "{text}");
}
