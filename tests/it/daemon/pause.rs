//! Units that stand still.

use super::bench::{Daemon, is_alive, kill, until};

/// It writes a line again and again, and says goodbye when it is asked to end.
const TALKER: &str = "unit: a\nexec: [sh, -c, \"trap 'echo bye; exit 0' TERM; echo >&3; while :; do echo on; sleep 0.01; done\"]\n\
                      readiness: {fd: 3}\nshutdown: 20s\n---\nunit: b\nexec: sleep 1000\n";

fn daemon(cgroups: bool) -> Option<Daemon> {
    Daemon::up_with(&[("units/a.yaml", TALKER)], cgroups)
}

fn log(daemon: &Daemon) -> String {
    daemon.read(".ms-supervisor/logs/a.log")
}

/// Whether every process of the unit is frozen, as its cgroup says, or stopped.
fn stands_still(daemon: &Daemon, pid: u32) -> bool {
    match daemon.daemon()["cgroup"].as_str() {
        Some(_) => {
            let place = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            let name = place.lines().find_map(|line| line.strip_prefix("0::")).unwrap().rsplit('/').next().unwrap().to_owned();
            let base = daemon.daemon()["cgroup"].as_str().unwrap().to_owned();
            std::fs::read_to_string(format!("{base}/{name}/cgroup.events")).unwrap().contains("frozen 1")
        }
        // A shell that is just starting something waits in vfork(2) for its child, which is stopped: it cannot go on (D).
        None => std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit_once(')').unwrap().1.trim().starts_with(['T', 'D']),
    }
}

fn a_unit_stands_still_and_goes_on(cgroups: bool) {
    let Some(daemon) = daemon(cgroups) else { return };
    let pid = daemon.pids()["a"];
    let said = daemon.ok(&["pause", "a"]);
    assert_eq!(said.contains("SIGSTOP"), !cgroups, "{said}");
    until("it stands still", || stands_still(&daemon, pid).then_some(()));
    let means = if cgroups { "cgroup" } else { "signal" };
    daemon.event("UnitPaused", |data| data["unit"] == "a" && data["means"] == means);
    let status = daemon.status("a");
    assert!(status["paused"] == true && status["ready"] == false && status["state"] == "active", "{status}");
    assert!(daemon.ok(&["status", "a"]).contains("an operator lets it stand still"));
    assert!(daemon.ok(&["pause", "a"]).contains("already paused"));

    // A brain that dies leaves it so.
    kill(daemon.brain_pid(), 9);
    daemon.event("UnitAdopted", |data| data["unit"] == "a");
    until("it answers", || daemon.answers());
    assert_eq!(daemon.status("a")["paused"], true);
    until("it stands still", || stands_still(&daemon, pid).then_some(()));

    daemon.ok(&["resume", "a"]);
    daemon.event("UnitResumed", |data| data["cause"] == "operator");
    let before = log(&daemon).len();
    until("it writes on", || (log(&daemon).len() > before).then_some(()));
    assert_eq!(daemon.pids()["a"], pid);
    assert!(daemon.ok(&["resume", "a"]).contains("not paused"));
    assert!(!daemon.cli(&["pause", "root"]).status.success());
}

#[test]
fn a_unit_in_a_cgroup_stands_still_and_goes_on() {
    a_unit_stands_still_and_goes_on(true);
}

#[test]
fn a_unit_without_a_cgroup_stands_still_and_goes_on() {
    a_unit_stands_still_and_goes_on(false);
}

fn a_pause_ends_with_the_run(cgroups: bool) {
    let Some(daemon) = daemon(cgroups) else { return };
    daemon.ok(&["pause", "a"]);
    daemon.ok(&["restart", "a"]);
    daemon.event("UnitResumed", |data| data["cause"] == "stop");
    assert!(log(&daemon).contains("bye"), "it could end in good order");
    assert_eq!(daemon.status("a")["paused"], false);

    // Killed by somebody else it is started again, and goes.
    daemon.ok(&["pause", "a"]);
    let pid = daemon.pids()["a"];
    kill(pid, 9);
    daemon.event("UnitResumed", |data| data["cause"] == "exit");
    until("another runs", || daemon.pids().get("a").is_some_and(|&new| new != pid).then_some(()));
    until("it is ready", || (daemon.status("a")["ready"] == true).then_some(()));

    // What is stopped has nothing to pause.
    let pid = daemon.pids()["a"];
    daemon.ok(&["pause", "a"]);
    daemon.ok(&["stop", "a"]);
    assert!(!is_alive(pid));
    assert!(!daemon.cli(&["pause", "a"]).status.success());

    // The daemon goes down whatever stands still.
    daemon.ok(&["pause", "b"]);
    let pid = daemon.pids()["b"];
    drop(daemon);
    assert!(!is_alive(pid));
}

#[test]
fn a_pause_ends_with_the_run_in_a_cgroup() {
    a_pause_ends_with_the_run(true);
}

#[test]
fn a_pause_ends_with_the_run_without_a_cgroup() {
    a_pause_ends_with_the_run(false);
}
