//! Limits, as far as this machine has controllers: what has no effect is said; what needs none is done.

use std::fs;

use super::{Daemon, until};

const UNITS: &str = r#"
unit: limited
exec: [sh, -c, 'sleep 1000 & exec sleep 1001']
nice: 3
cpu_affinity: 0
oom_score_adj: 200
rlimits: {nofile: "64:128", core: 0}
io_priority: idle
limits: {memory_max: 1GiB, tasks_max: 100}
---
unit: plain
exec: sleep 1000
"#;

fn of_process(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

fn nice(pid: u32) -> String {
    of_process(pid, "stat").rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16)).unwrap_or_default().to_owned()
}

fn files(pid: u32) -> Vec<String> {
    let limits = of_process(pid, "limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    line.split_whitespace().skip(3).take(2).map(str::to_owned).collect()
}

#[test]
fn a_process_is_as_declared_and_changes_live() {
    let daemon = Daemon::up(&[("units/u.yaml", UNITS)]);
    let pid = daemon.pids()["limited"];
    assert_eq!((nice(pid).as_str(), of_process(pid, "oom_score_adj").trim()), ("3", "200"));
    assert_eq!(files(pid), ["64", "128"]);
    let child = until("its child", || {
        let list = of_process(pid, &format!("task/{pid}/children"));
        list.split_whitespace().next().and_then(|pid| pid.parse::<u32>().ok())
    });
    daemon.write("units/u.yaml", &UNITS.replace("nice: 3", "nice: 9").replace("64:128", "32:100").replace("adj: 200", "adj: 300"));
    let printed = daemon.ok(&["reload"]);
    assert!(printed.contains("unit limited: change live: nice, rlimits, oom_score_adj"), "{printed}");
    for pid in [pid, child] {
        until("it is as declared now", || (nice(pid) == "9" && of_process(pid, "oom_score_adj").trim() == "300").then_some(()));
        until("its limits, too", || (files(pid) == ["32", "100"]).then_some(()));
    }
    let changed = daemon.event("LimitsChanged", |data| data["target"] == "limited" && data["limits"].to_string().contains("nice"));
    assert_eq!(changed["data"]["limits"], serde_json::json!(["nice", "rlimits", "oom_score_adj"]));
    assert_eq!(daemon.pids()["limited"], pid, "without a restart");
}

#[test]
fn what_cannot_be_set_fails_the_start_and_says_what() {
    let unit = "unit: far\nexec: sleep 1000\ncpu_affinity: 8000\nrestart: {backoff: {first: 1h, base: 1h, max: 1h}}\n";
    let mut daemon = Daemon::prepared(&[("units/u.yaml", unit)]);
    daemon.start();
    let failed = daemon.event("UnitStartFailed", |data| data["unit"] == "far");
    assert!(failed.to_string().contains("cannot set the processors it may run on"), "{failed}");
}

#[test]
fn limits_without_effect_are_said_once_with_their_cure() {
    let mut daemon = Daemon::prepared(&[("units/u.yaml", UNITS)]);
    daemon.environment("MS_NO_CGROUPS", "1");
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    let said = daemon.event("LimitsUnavailable", |_| true);
    assert_eq!(said["data"]["limits"], serde_json::json!(["memory_max", "tasks_max"]));
    assert_eq!(said["data"]["targets"], serde_json::json!(["limited"]));
    let status = daemon.ok(&["status"]);
    assert!(status.contains("limits: memory_max, tasks_max of limited have no effect: no cgroups are wanted"), "{status}");
    assert!(status.contains("start without MS_NO_CGROUPS"), "{status}");
    daemon.write("units/u.yaml", &UNITS.replace("sleep 1000\n", "sleep 1002\n"));
    daemon.ok(&["reload"]);
    daemon.event("PlanApplied", |_| true);
    assert_eq!(daemon.events().iter().filter(|event| event["type"] == "LimitsUnavailable").count(), 1, "a reload says nothing new");
    daemon.write("units/u.yaml", &UNITS.replace("limits: {memory_max: 1GiB, tasks_max: 100}", ""));
    daemon.ok(&["reload"]);
    until("nothing is without effect", || (!daemon.ok(&["status"]).contains("limits:")).then_some(()));
}

#[test]
fn a_unit_is_in_the_cgroup_of_its_supervisor_and_moves_with_it() {
    let tree = "supervisor: outer\nchildren: [inner, plain]\n---\nsupervisor: inner\nchildren: limited\n";
    let mut daemon = Daemon::up(&[("units/u.yaml", UNITS), ("supervisors/s.yaml", tree)]);
    if daemon.daemon()["cgroup"].is_null() {
        return println!("SKIPPED: cgroups cannot be made here");
    }
    let (limited, plain) = (daemon.pids()["limited"], daemon.pids()["plain"]);
    let is_in = |pid: u32, place: &str| of_process(pid, "cgroup").contains(place).then_some(());
    until("limited is below both", || is_in(limited, "/outer:supervisor/inner:supervisor/limited:1"));
    until("plain is below one", || is_in(plain, "/outer:supervisor/plain:1"));
    let used = daemon.whole_status()["used"].clone();
    assert!(used["outer"]["cpu"].is_f64() && used["root"]["cpu"].is_f64(), "{used}");
    let text = daemon.ok(&["status", "outer"]);
    assert!(text.starts_with("outer, all that is below it together\n        CPU: "), "{text}");
    daemon.write("supervisors/s.yaml", "supervisor: outer\nchildren: limited\n---\nsupervisor: other\nchildren: plain\n");
    daemon.ok(&["reload"]);
    // What has another supervisor is started anew, by that one.
    let moved = |unit: &str, before: u32, place: &str| {
        daemon.pids().get(unit).copied().filter(|pid| *pid != before && is_in(*pid, place).is_some())
    };
    until("limited has moved up", || moved("limited", limited, "/outer:supervisor/limited:"));
    let plain = until("plain has moved aside", || moved("plain", plain, "/other:supervisor/plain:"));
    let base = daemon.daemon()["cgroup"].as_str().unwrap().to_owned();
    until("nothing is left of inner", || (!fs::exists(format!("{base}/outer:supervisor/inner:supervisor")).unwrap()).then_some(()));
    // Another launcher finds them there.
    daemon.kill_launcher();
    daemon.start();
    until("they are taken over", || daemon.answers().filter(|()| daemon.pids().get("plain") == Some(&plain)));
    daemon.ok(&["stop", "plain"]);
    until("the unit is gone", || (!super::is_alive(plain)).then_some(()));
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    assert!(!fs::exists(base).unwrap(), "no cgroup is left");
}

const ADJUSTED: &str = r#"
unit: followed
exec: sleep 1000
limits: {memory_high: 64MiB, adjust: {memory_high: {floor: 32MiB, ceiling: 128MiB}}}
probes: [{name: waits, resources: {memory_pressure: 90%}, role: observe, period: 1s}]
"#;

#[test]
fn limits_that_follow_the_pressure_change_live() {
    let daemon = Daemon::up(&[("units/u.yaml", ADJUSTED)]);
    let pid = daemon.pids()["followed"];
    daemon.write("units/u.yaml", &ADJUSTED.replace("128MiB", "256MiB"));
    let printed = daemon.ok(&["reload"]);
    assert!(printed.contains("unit followed: change live: limits.adjust"), "{printed}");
    assert_eq!(daemon.pids()["followed"], pid, "without a restart");
    daemon.write("units/u.yaml", &ADJUSTED.replace("128MiB", "48MiB"));
    let refused = daemon.cli(&["reload"]);
    let faults = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(faults.contains("`ceiling` is less than `limits.memory_high`, 64.0 MiB"), "{faults}");
}

#[test]
fn what_a_unit_waits_for_is_a_value_of_a_probe() {
    let daemon = Daemon::up(&[("units/u.yaml", ADJUSTED)]);
    if daemon.daemon()["cgroup"].is_null() || !fs::exists("/proc/pressure/memory").unwrap() {
        return println!("SKIPPED: cgroups with PSI cannot be had here");
    }
    until("the probe has looked", || {
        let probe = daemon.status("followed")["probes"][0].clone();
        (probe["standing"] == "passing" && probe.to_string().contains("memory_pressure")).then_some(())
    });
}
