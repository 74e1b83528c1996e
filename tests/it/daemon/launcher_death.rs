//! The launcher is killed, and with it the brain. The next `run` takes over what runs.

use super::bench::{Daemon, is_alive, kill, until};

const COUNTERS: &str = "unit: logger\ninstances: 50\nexec: sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.25; done'\n---\n\
                        unit: piper\ninstances: 50\nlogs: pipe\nexec: sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.25; done'\n";

#[test]
fn a_hundred_logging_units_survive_the_launcher() {
    let mut daemon = Daemon::up(&[("units/all.yaml", COUNTERS)]);
    let before = daemon.pids();
    assert_eq!(before.len(), 100);
    for round in 2..=4 {
        daemon.kill_launcher();
        daemon.start();
        daemon.events_of_kind("DaemonReady", round);
        daemon.event("DaemonStarted", |data| data["generation"] == 0 && data["adopted"] == 100);
        until("all are active", || daemon.ok(&["status"]).contains("100 of 100 units active").then_some(()));
        assert_eq!(daemon.pids(), before, "round {round}");
    }
    let log = |unit: &str| daemon.read(&format!(".ms-supervisor/logs/{unit}.log"));
    until("everybody goes on", || before.keys().all(|unit| log(unit).lines().count() > 8).then_some(()));
    daemon.ok(&["stop", "logger", "piper"]);
    for (unit, pid) in &before {
        assert!(!is_alive(*pid), "{unit}");
        let log = log(unit);
        for (number, line) in (1..).zip(log.lines()) {
            assert_eq!(line, number.to_string(), "{unit}: a line was lost or doubled");
        }
    }
}

#[test]
fn survivors_can_be_stopped_instead() {
    let slow = "unit: a\nexec: [sh, -c, \"trap 'sleep 0.3; echo stopped in order >> ended; exit' TERM; while :; do sleep 0.1; done\"]\n";
    let mut daemon = Daemon::up(&[("units/a.yaml", slow), ("daemon.yaml", "on_launcher_death: stop\n")]);
    let before = daemon.pids()["a"];
    daemon.kill_launcher();
    daemon.start();
    until("it runs anew", || daemon.answers().and_then(|()| daemon.pids().get("a").copied()).filter(|pid| *pid != before));
    assert!(!is_alive(before));
    assert_eq!(daemon.read("ended"), "stopped in order\n");
}

#[test]
fn files_changed_meanwhile_are_applied_and_faulty_ones_are_not() {
    let mut daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n"), ("units/b.yaml", "unit: b\nexec: sleep 1001\n")]);
    let before = daemon.pids();
    daemon.kill_launcher();
    daemon.write("units/b.yaml", "unit: b\nexec: [faulty\n");
    daemon.start();
    daemon.event("ReloadRefused", |_| true);
    until("both are kept", || (daemon.pids() == before).then_some(()));
    daemon.kill_launcher();
    daemon.write("units/b.yaml", "unit: c\nexec: sleep 1002\n");
    daemon.start();
    daemon.event("UnitActive", |data| data["unit"] == "c");
    until("c is there and b is not", || daemon.answers().filter(|()| daemon.pids().keys().eq(["a", "c"])));
    assert_eq!(daemon.pids()["a"], before["a"]);
    until("b is gone", || (!is_alive(before["b"])).then_some(()));
}

#[test]
fn what_ended_without_launcher_and_keeper_is_started_again_and_said_to_be_unknown() {
    let mut daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    let before = daemon.pids()["a"];
    kill(until("there is a keeper", || keeper(&daemon)), 9);
    daemon.kill_launcher();
    kill(before, 9);
    until("it is reaped", || (!std::path::Path::new(&format!("/proc/{before}")).exists()).then_some(()));
    daemon.start();
    let exit = daemon.event("UnitExited", |data| data["pid"] == before);
    assert_eq!(exit["data"]["cause"], "unknown", "{exit}");
    until("it runs anew", || daemon.answers().and_then(|()| daemon.pids().get("a").copied()).filter(|pid| *pid != before));
    assert!(daemon.ok(&["status", "a"]).contains("exit unknown"));
}

/// As a service manager does: whoever is in the service's cgroup goes with it.
#[test]
fn what_was_killed_with_the_launcher_begins_anew_and_is_charged_to_nobody() {
    let root = "supervisor: root\nintensity: 1\nperiod: 1h\nchildren: [a]\n";
    let units = "unit: a\ninstances: 6\nexec: sleep 1000\n";
    let mut daemon = Daemon::up(&[("units/a.yaml", units), ("supervisors/root.yaml", root)]);
    let before = daemon.pids();
    kill(until("there is a keeper", || keeper(&daemon)), 9);
    daemon.kill_launcher();
    before.values().for_each(|pid| kill(*pid, 9));
    daemon.start();
    daemon.events_of_kind("DaemonReady", 2);
    let after = until("all are up", || daemon.answers().map(|()| daemon.pids()).filter(|pids| pids.len() == 6));
    assert!(before.iter().all(|(unit, pid)| after[unit] != *pid), "{before:?} {after:?}");
    assert!(daemon.ok(&["status"]).contains("6 of 6 units active"));
    let exits = daemon.events().iter().filter(|event| event["type"] == "UnitExited").count();
    assert_eq!(exits, 6, "each is told once");
    // There is still a restart in hand.
    kill(after["a@1"], 9);
    until("a@1 runs again", || daemon.pids().get("a@1").copied().filter(|pid| *pid != after["a@1"]));
}

#[test]
fn what_an_operator_stopped_stays_stopped() {
    let mut daemon = Daemon::up(&[("units/all.yaml", "unit: a\nexec: sleep 1000\n---\nunit: b\nexec: sleep 1000\n")]);
    daemon.ok(&["stop", "a"]);
    daemon.kill_launcher();
    daemon.start();
    until("it answers", || daemon.answers());
    assert_eq!(daemon.status("a")["held"], true);
    assert!(!daemon.pids().contains_key("a"));
}

/// The process that keeps descriptors for this daemon.
fn keeper(daemon: &Daemon) -> Option<u32> {
    daemon.whole_status()["daemon"]["keeper_pid"].as_u64().map(|pid| pid as u32)
}

/// Whether the kernel tells how a process ended that somebody else has reaped (Linux 6.15).
fn kernel_tells() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

#[test]
fn what_ends_without_a_launcher_has_ended_in_a_known_way_and_its_output_is_kept() {
    let talker =
        "unit: a\nlogs: pipe\nexec: [sh, -c, \"i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; sleep 0.01; done; sleep 1000\"]\n";
    let mut daemon = Daemon::up(&[("units/a.yaml", talker)]);
    let pid = daemon.pids()["a"];
    daemon.kill_launcher();
    // All it says is in the pipe, which nobody reads; then nobody is left who has it open but the keeper.
    std::thread::sleep(std::time::Duration::from_secs(3));
    kill(pid, 9);
    until("it is reaped", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    daemon.start();
    let exited = daemon.event("UnitExited", |data| data["pid"] == pid);
    if kernel_tells() {
        assert_eq!(exited["data"]["cause"]["signal"]["signal"], 9, "{exited}");
    } else {
        println!("SKIPPED: the kernel is older than 6.15 and does not tell how it ended");
    }
    let all: String = (1..=100).map(|number| format!("{number}\n")).collect();
    until("every line is there", || daemon.read(".ms-supervisor/logs/a.log").starts_with(&all).then_some(()));
}

#[test]
fn a_keeper_that_is_killed_is_replaced() {
    let mut daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    let first = until("there is a keeper", || keeper(&daemon));
    kill(first, 9);
    let second = until("there is another one", || keeper(&daemon).filter(|pid| *pid != first));
    daemon.event("KeeperLost", |lost| lost["pid"] == first);
    let pid = daemon.pids()["a"];
    daemon.kill_launcher();
    assert!(is_alive(second), "it outlives the launcher");
    daemon.start();
    until("it answers", || daemon.answers());
    assert_eq!(daemon.pids()["a"], pid);
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    until("it goes with the daemon", || (!is_alive(second)).then_some(()));
}
