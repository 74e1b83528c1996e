//! What is done without under pressure, and how it comes back. No machine has all its memory available, and none has less than a thousandth.

use std::fs;

use serde_json::Value;

use super::bench::{Daemon, is_alive, kill, until};
use super::metrics::{free_address, get};

/// A ladder that is under pressure for ever, or never.
fn ladder(under_pressure: bool, steps: &str) -> String {
    let least = if under_pressure { "100%" } else { "0.1%" };
    format!("degradation: {{memory_available: {least}, for: 1s, recover_for: 1s, steps: {steps}}}\n")
}

const ALL: &str = "[{slow_sampling: 3}, fewer_probes, pause_optional, stop_optional]";

const UNITS: &str = "unit: needed\nexec: sleep 1000\nprobes:\n  - {name: life, command: [\"true\"], period: 100ms, timeout: 5s}\n\
                     \x20 - {name: look, role: observe, command: [\"true\"], period: 100ms, timeout: 5s}\n---\n\
                     unit: spare\nexec: sleep 1001\noptional: true\n---\nunit: kept\nexec: sleep 1002\noptional: true\n";

fn step(daemon: &Daemon) -> u64 {
    daemon.daemon()["degradation"]["step"].as_u64().unwrap()
}

/// The steps so far, as `step what`.
fn steps(daemon: &Daemon) -> Vec<String> {
    let events = daemon.events().into_iter().filter(|event| event["type"] == "DegradationStepped");
    events.map(|event| format!("{} {}", event["data"]["step"], event["data"]["what"].as_str().unwrap())).collect()
}

fn wait_for_steps(daemon: &Daemon, wanted: &[&str]) {
    until(&format!("{wanted:?}"), || (steps(daemon).len() >= wanted.len()).then_some(()));
    assert_eq!(steps(daemon), wanted);
}

fn runs(daemon: &Daemon, probe: usize) -> u64 {
    daemon.status("needed")["probes"][probe]["runs"].as_array().unwrap().iter().filter_map(Value::as_u64).sum()
}

/// Whether a process is frozen, as its cgroup says, or stopped.
fn stands_still(daemon: &Daemon, pid: u32) -> bool {
    match daemon.daemon()["cgroup"].as_str() {
        Some(base) => {
            let place = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            let name = place.lines().find_map(|line| line.strip_prefix("0::")).unwrap().rsplit('/').next().unwrap().to_owned();
            fs::read_to_string(format!("{base}/{name}/cgroup.events")).unwrap().contains("frozen 1")
        }
        None => fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit_once(')').unwrap().1.trim().starts_with(['T', 'D']),
    }
}

fn reload(daemon: &Daemon, under_pressure: bool, steps: &str) {
    daemon.write("daemon.yaml", &ladder(under_pressure, steps));
    assert!(daemon.ok(&["reload"]).contains("daemon: degradation changed"));
}

#[test]
fn without_a_ladder_nothing_is_done() {
    let daemon = Daemon::up(&[("units/all.yaml", UNITS)]);
    assert_eq!(daemon.daemon()["degradation"]["of"], 0);
    until("it is looked at", || (runs(&daemon, 1) > 15).then_some(()));
    assert_eq!(steps(&daemon), [""; 0]);
}

#[test]
fn under_pressure_less_is_done_step_by_step_and_then_all_comes_back() {
    let mut daemon = Daemon::prepared(&[("units/all.yaml", UNITS), ("daemon.yaml", &ladder(true, ALL))]);
    let address = free_address();
    daemon.start_with(&["run", "--quiet", "--listen", &address]);
    daemon.event("DaemonReady", |_| true);
    let before = daemon.pids();
    daemon.ok(&["pause", "kept"]);
    let down = ["1 slow_sampling", "2 fewer_probes", "3 pause_optional", "4 stop_optional"];
    wait_for_steps(&daemon, &down[..3]);
    daemon.event("UnitPaused", |data| data["unit"] == "spare" && data["rests"] == true);
    wait_for_steps(&daemon, &down);
    let why = daemon.event("DegradationStepped", |data| data["step"] == 4)["data"]["why"].clone();
    assert!(why.as_str().unwrap().ends_with(" %, less than 100.0 %"), "{why}");
    until("it is stopped", || (daemon.status("spare")["state"] == "stopped").then_some(()));
    assert!(!is_alive(before["spare"]));
    // There is nothing to pause; that it was asked for changes nothing.
    assert!(!daemon.cli(&["pause", "spare"]).status.success());
    // Nobody wished that, and nobody misses it.
    assert_eq!((daemon.status("spare")["held"].clone(), daemon.status("spare")["wish"].clone()), (false.into(), Value::Null));
    let text = daemon.ok(&["status"]);
    assert!(text.contains("degradation: step 4 of 4 (slow_sampling, fewer_probes, pause_optional, stop_optional): memory_available"));
    assert!(text.contains("stopped under pressure"), "{text}");
    let (status, health) = get(&address, "/healthz?verbose").unwrap();
    assert!(health.contains("[-]degradation step 4 of 4") && health.contains("[+]spare stopped"), "{status} {health}");
    assert!(get(&address, "/metrics").unwrap().1.contains("ms_degradation_step 4\n"));
    // What only looks is not made, what decides is.
    let (life, look) = (runs(&daemon, 0), runs(&daemon, 1));
    until("life is looked at", || (runs(&daemon, 0) > life + 3).then_some(()));
    assert!(runs(&daemon, 1) <= look + 1);
    // What an operator has paused is left alone, and nothing else was touched.
    assert!(stands_still(&daemon, before["kept"]) && daemon.status("kept")["rests"].is_null());

    reload(&daemon, false, ALL);
    let back = ["3 stop_optional", "2 pause_optional", "1 fewer_probes", "0 slow_sampling"];
    wait_for_steps(&daemon, &[&down[..], &back[..]].concat());
    daemon.events_of("UnitActive", "spare", 2);
    daemon.event("UnitStarting", |data| data["unit"] == "spare" && data["cause"] == "rested");
    let look = runs(&daemon, 1);
    until("all is looked at", || (runs(&daemon, 1) > look + 3).then_some(()));
    assert!(stands_still(&daemon, before["kept"]) && daemon.status("kept")["paused"] == true);
    daemon.ok(&["resume", "kept"]);
    let now = daemon.pids();
    assert_eq!((now["needed"], now["kept"]), (before["needed"], before["kept"]));
    assert_eq!(daemon.status("spare")["restarts"], 1);
}

fn a_unit_that_rests_outlives_the_brain_and_goes_on(cgroups: bool) {
    let steps = "[pause_optional]";
    let mut daemon = Daemon::prepared(&[("units/all.yaml", UNITS), ("daemon.yaml", &ladder(true, steps))]);
    if !cgroups {
        daemon.environment("MS_NO_CGROUPS", "1");
    }
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    if cgroups && daemon.daemon()["cgroup"].is_null() {
        return println!("SKIPPED: there is no place for cgroups here");
    }
    let pids = daemon.pids();
    daemon.event("UnitPaused", |data| data["unit"] == "spare" && data["rests"] == true);
    daemon.event("UnitPaused", |data| data["unit"] == "kept");
    // Now it is an operator who lets this one stand still.
    assert!(daemon.ok(&["pause", "kept"]).contains("already paused"));
    kill(daemon.brain_pid(), 9);
    daemon.event("UnitAdopted", |data| data["unit"] == "spare");
    until("it answers", || daemon.answers());
    assert!(stands_still(&daemon, pids["spare"]) && stands_still(&daemon, pids["kept"]));
    until("it goes on where the last one was", || (step(&daemon) == 1 && daemon.status("spare")["rests"] == true).then_some(()));

    // No pressure any more, and the brain is killed before it knows: the next one lets it go on.
    daemon.write("daemon.yaml", &ladder(false, steps));
    daemon.ok(&["reload"]);
    kill(daemon.brain_pid(), 9);
    daemon.event("UnitResumed", |data| data["unit"] == "spare" && data["cause"] == "degradation");
    until("it goes on", || (daemon.answers().is_some() && !stands_still(&daemon, pids["spare"])).then_some(()));
    assert!(stands_still(&daemon, pids["kept"]) && daemon.status("kept")["paused"] == true);
    assert_eq!(daemon.pids(), pids);
}

#[test]
fn a_unit_that_rests_in_its_cgroup_outlives_the_brain_and_goes_on() {
    a_unit_that_rests_outlives_the_brain_and_goes_on(true);
}

#[test]
fn a_unit_that_rests_without_a_cgroup_outlives_the_brain_and_goes_on() {
    a_unit_that_rests_outlives_the_brain_and_goes_on(false);
}

#[test]
fn what_operators_ask_for_counts_and_without_a_ladder_all_goes_on() {
    let (pause, stop) = ("[pause_optional]", "[stop_optional]");
    let daemon = Daemon::up(&[("units/all.yaml", UNITS), ("daemon.yaml", &ladder(true, stop))]);
    let stopped = |unit: &str| (daemon.status(unit)["state"] == "stopped").then_some(());
    until("both are stopped", || stopped("spare").and(stopped("kept")));
    daemon.ok(&["start", "spare"]);
    daemon.ok(&["stop", "kept"]);
    reload(&daemon, true, pause);
    // Whoever wants it up does not want it to stand still, either.
    daemon.write("units/more.yaml", "unit: more\nexec: sleep 1003\noptional: true\n");
    daemon.ok(&["reload"]);
    daemon.event("UnitPaused", |data| data["unit"] == "more");
    assert_eq!((daemon.status("spare")["state"].clone(), daemon.status("spare")["paused"].clone()), ("active".into(), false.into()));
    let pid = daemon.pids()["more"];
    assert!(stands_still(&daemon, pid));
    daemon.ok(&["resume", "more"]);
    until("it goes on", || (!stands_still(&daemon, pid)).then_some(()));

    // The key is gone, and with it all it has done.
    reload(&daemon, true, "[slow_sampling, stop_optional]");
    daemon.event("DegradationStepped", |data| data["step"] == 2 && data["what"] == "stop_optional");
    fs::remove_file(daemon.path("daemon.yaml")).unwrap();
    daemon.ok(&["reload"]);
    let undone = daemon.event("DegradationStepped", |data| data["step"] == 0 && data["what"] == "slow_sampling");
    assert_eq!(undone["data"]["why"], "it is not declared any more");
    until("what nobody has stopped is up", || ["spare", "more"].iter().all(|unit| daemon.status(unit)["ready"] == true).then_some(()));
    assert_eq!((daemon.status("kept")["held"].clone(), daemon.status("kept")["state"].clone()), (true.into(), "stopped".into()));
}
