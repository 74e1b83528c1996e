//! New declarations while everything runs.

use super::bench::{Daemon, is_alive, until};

const UNITS: &str = "unit: a\nexec: sleep 1000\n---\nunit: b\nexec: sleep 1000\n---\nunit: c\nexec: sleep 1000\n";

#[test]
fn a_reload_touches_only_what_changed() {
    let daemon = Daemon::up(&[("units/all.yaml", UNITS)]);
    let before = daemon.pids();
    // a stays, b changes, c goes, d comes.
    daemon.write("units/all.yaml", "unit: a\nexec: sleep 1000\n---\nunit: b\nexec: sleep 1001\n---\nunit: d\nexec: sleep 1000\n");
    let plan = daemon.ok(&["plan"]);
    for line in ["unit b: restart, because exec changed", "unit c: stop", "unit d: start"] {
        assert!(plan.contains(line), "{plan}");
    }
    assert_eq!(daemon.pids(), before, "plan changes nothing");
    daemon.ok(&["reload"]);
    let after = until("the new plan holds", || {
        let after = daemon.pids();
        (after.keys().eq(["a", "b", "d"]) && after["b"] != before["b"]).then_some(after)
    });
    assert_eq!(after["a"], before["a"]);
    assert!(!is_alive(before["c"]));
    daemon.event("PlanApplied", |data| data["started"] == 1 && data["stopped"] == 1 && data["restarted"] == 1 && data["unchanged"] == 1);
}

#[test]
fn a_bad_reload_changes_nothing() {
    let daemon = Daemon::up(&[("units/all.yaml", UNITS)]);
    let before = daemon.pids();
    daemon.write("units/all.yaml", "unit: a\nexec: sleep 1000\nrestrat: permanent\n");
    let output = daemon.cli(&["reload"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("units/all.yaml:3:1") && said.contains("`restart`"), "{said}");
    daemon.signal(1);
    daemon.events_of_kind("ReloadRefused", 2);
    assert_eq!(daemon.pids(), before);
}

#[test]
fn a_unit_moves_to_another_supervisor() {
    let tree = |first: &str, second: &str| format!("supervisor: one\nchildren: [{first}]\n---\nsupervisor: two\nchildren: [{second}]\n");
    let daemon = Daemon::up(&[("units/all.yaml", UNITS), ("supervisors/all.yaml", &tree("a, b", "c"))]);
    daemon.write("supervisors/all.yaml", &tree("a", "b, c"));
    daemon.ok(&["reload"]);
    until("b is up under the other one", || {
        let status = daemon.status("b");
        (status["supervisor"] == "two" && status["state"] == "active").then_some(())
    });
    daemon.kill_and_see("b", &["b"]);
}

#[test]
fn a_supervisor_comes_and_goes() {
    let daemon = Daemon::up(&[("units/all.yaml", UNITS), ("supervisors/all.yaml", "supervisor: one\nchildren: [a, b, c]\n")]);
    let before = daemon.pids();
    daemon.write("units/all.yaml", &format!("{UNITS}---\nunit: d\nexec: sleep 1000\n"));
    daemon.write("supervisors/more.yaml", "supervisor: two\nstrategy: one_for_all\nchildren: [d]\n");
    daemon.ok(&["reload"]);
    until("d is up", || daemon.pids().contains_key("d").then_some(()));
    std::fs::remove_file(daemon.path("supervisors/more.yaml")).unwrap();
    daemon.write("units/all.yaml", UNITS);
    daemon.ok(&["reload"]);
    until("d is gone", || (daemon.pids() == before).then_some(()));
}
