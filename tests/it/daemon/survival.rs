//! The brain is killed; nobody notices.

use super::bench::{Daemon, is_alive, kill, until};

const COUNTERS: &str = "unit: logger\ninstances: 50\nexec: sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.25; done'\n---\n\
                        unit: piper\ninstances: 50\nlogs: pipe\nexec: sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.25; done'\n";

#[test]
fn a_hundred_logging_units_survive_the_brain() {
    let daemon = Daemon::up(&[("units/all.yaml", COUNTERS)]);
    let before = daemon.pids();
    assert_eq!(before.len(), 100);
    for round in 1..=3 {
        let brain = daemon.brain_pid();
        kill(brain, 9);
        daemon.event("DaemonStarted", |data| data["generation"] == round && data["adopted"] == 100);
        until("it answers", || daemon.answers());
        until("all are active", || daemon.ok(&["status"]).contains("100 of 100 units active").then_some(()));
        assert_eq!(daemon.pids(), before, "round {round}");
        assert_ne!(daemon.brain_pid(), brain);
    }
    daemon.ok(&["stop", "logger", "piper"]);
    for (unit, pid) in &before {
        assert!(!is_alive(*pid), "{unit}");
        let log = daemon.read(&format!(".ms-supervisor/logs/{unit}.log"));
        for (number, line) in (1..).zip(log.lines()) {
            assert_eq!(line, number.to_string(), "{unit}: a line was lost or doubled");
        }
    }
}

#[test]
fn an_exit_while_the_brain_is_away_is_reported_once() {
    let daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    let pid = daemon.pids()["a"];
    let brain = daemon.brain_pid();
    // Stopped, it hears nothing of the exit; killed, it never will.
    kill(brain, 19);
    kill(pid, 9);
    until("it is dead", || (!is_alive(pid)).then_some(()));
    kill(brain, 9);
    daemon.event("DaemonStarted", |data| data["generation"] == 1);
    until("it is back", || daemon.answers());
    until("a runs again", || daemon.pids().get("a").filter(|new| **new != pid).map(drop));
    let exits = daemon.events().iter().filter(|event| event["type"] == "UnitExited" && event["data"]["pid"] == pid).count();
    assert_eq!(exits, 1);
}

#[test]
fn an_adopted_unit_is_as_ready_as_it_was() {
    let daemon = Daemon::up(&[(
        "units/all.yaml",
        "unit: db\nexec: sh -c 'echo >&3; exec sleep 1000'\nreadiness: {fd: 3}\n---\nunit: web\nexec: sleep 1000\nrequires: db\n",
    )]);
    let db = daemon.pids()["db"];
    kill(daemon.brain_pid(), 9);
    daemon.event("UnitAdopted", |data| data["unit"] == "db");
    until("it answers", || daemon.answers());
    assert_eq!(daemon.status("db")["state"], "active");
    // What requires it need not wait.
    daemon.ok(&["restart", "web"]);
    assert_eq!(daemon.pids()["db"], db);
}

#[test]
fn what_an_operator_stopped_stays_stopped_across_brains() {
    let daemon = Daemon::up(&[("units/all.yaml", "unit: a\nexec: sleep 1000\n---\nunit: b\nexec: sleep 1000\n")]);
    daemon.ok(&["stop", "a"]);
    kill(daemon.brain_pid(), 9);
    daemon.event("DaemonStarted", |data| data["generation"] == 1);
    daemon.event("UnitAdopted", |data| data["unit"] == "b");
    until("it answers", || daemon.answers());
    assert_eq!(daemon.status("a")["held"], true);
    assert!(!daemon.pids().contains_key("a"));
}

#[test]
fn a_stop_that_a_brain_had_begun_is_finished_by_the_next() {
    let deaf = "unit: a\nexec: [sh, -c, \"trap : TERM; echo >&3; while true; do sleep 0.1; done\"]\nreadiness: {fd: 3}\nshutdown: 2s\n";
    let daemon = Daemon::up(&[("units/a.yaml", deaf), ("supervisors/s.yaml", "supervisor: s\nchildren: [a]\n")]);
    for target in ["a", "s"] {
        let pid = daemon.pids()["a"];
        std::thread::scope(|scope| {
            // The answer is lost with the brain.
            scope.spawn(|| daemon.cli(&["stop", target]));
            daemon.event("UnitStopping", |_| true);
            until("it is being stopped", || (daemon.status("a")["state"] == "stopping").then_some(()));
            kill(daemon.brain_pid(), 9);
        });
        until("it is dead", || (!is_alive(pid)).then_some(()));
        until("it answers", || daemon.answers());
        daemon.ok(&["start", target]);
        until("it is back", || daemon.pids().contains_key("a").then_some(()));
    }
}

#[test]
fn a_file_somebody_is_editing_does_not_take_effect_because_a_brain_died() {
    let daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    let before = daemon.pids();
    daemon.write("units/a.yaml", "unit: a\nexe");
    kill(daemon.brain_pid(), 9);
    daemon.event("UnitAdopted", |_| true);
    until("it answers", || daemon.answers());
    assert_eq!(daemon.pids(), before);
}

#[test]
fn events_are_numbered_without_a_gap_across_brains() {
    let daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    kill(daemon.brain_pid(), 9);
    daemon.event("UnitAdopted", |_| true);
    let numbers: Vec<_> = daemon.events().iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    let last = u64::try_from(numbers.len()).unwrap();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
}

#[test]
fn a_restart_that_is_held_back_waits_as_long_under_the_next_brain() {
    let daemon = Daemon::up(&[(
        "units/a.yaml",
        "unit: a\nexec: sh -c 'echo >> runs; exec sleep 1000'\nrestart: {backoff: {kind: linear, first: 0s, base: 1h, max: 1h, jitter: none}}\n",
    )]);
    daemon.kill_and_see("a", &["a"]);
    kill(daemon.pids()["a"], 9);
    daemon.event("UnitHeldBack", |_| true);
    for generation in 1..=2 {
        kill(daemon.brain_pid(), 9);
        daemon.event("DaemonStarted", |data| data["generation"] == generation);
        until("it is held back again", || daemon.answers().filter(|()| daemon.status("a")["state"] == "backoff"));
    }
    assert_eq!(daemon.read("runs").lines().count(), 2);
    daemon.ok(&["restart", "a"]);
    until("an operator need not wait", || daemon.pids().contains_key("a").then_some(()));
}

#[test]
fn restarts_count_against_the_intensity_across_brains() {
    let daemon = Daemon::up(&[
        ("units/a.yaml", "unit: a\nexec: sleep 1000\nrestart: {backoff: none}\n"),
        ("supervisors/s.yaml", "supervisor: s\nintensity: 2\nperiod: 1h\nchildren: [a]\n"),
    ]);
    for generation in 1..=2 {
        daemon.kill_and_see("a", &["a"]);
        kill(daemon.brain_pid(), 9);
        daemon.event("DaemonStarted", |data| data["generation"] == generation);
        until("it answers", || daemon.answers());
        until("it is active", || (daemon.status("a")["state"] == "active").then_some(()));
    }
    kill(daemon.pids()["a"], 9);
    daemon.event("IntensityReached", |data| data["supervisor"] == "s");
}

#[test]
fn slow_retries_go_on_for_ever() {
    let mut daemon = Daemon::prepared(&[
        ("units/a.yaml", "unit: a\nexec: \"false\"\nrestart: {backoff: none}\n---\nunit: b\nexec: \"false\"\n"),
        (
            "supervisors/s.yaml",
            "supervisor: s\nintensity: 2\nretry_after: 1s\nchildren: [a, t]\n---\nsupervisor: t\nintensity: 0\nchildren: b\n",
        ),
    ]);
    daemon.start();
    for child in ["a", "t"] {
        let told = daemon.event("IntensityReached", |data| data["supervisor"] == "s" && data["child"] == child);
        assert_eq!(told["data"]["retry_after"], 1.0);
    }
    daemon.event("UnitStarting", |data| data["unit"] == "a" && data["cause"] == "late");
    daemon.events_of_kind("IntensityReached", 7);
    assert!(!daemon.events().iter().any(|event| event["type"] == "SupervisorEnded" && event["data"]["supervisor"] == "s"));
    daemon.ok(&["stop", "t"]);
}

#[test]
fn an_aborted_brain_says_what_its_threads_were_doing() {
    let daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    let (unit, brain) = (daemon.pids()["a"], daemon.brain_pid());
    kill(brain, 6);
    let ended = daemon.event("BrainEnded", |data| data["pid"] == brain);
    let words = std::fs::read_to_string(ended["data"]["incident"].as_str().expect("a file")).unwrap();
    assert!(words.contains("aborted") && words.contains("tokio::runtime"), "{words}");
    for thread in words.split("\nthread ").skip(1) {
        let (head, stack) = thread.split_once('\n').unwrap();
        assert!(stack.lines().count() > 2 && !stack.contains("does not answer"), "{head}:\n{stack}");
    }
    until("it answers", || daemon.answers());
    assert_eq!(daemon.pids()["a"], unit);
}

/// A process that has left its session, its parent and its environment behind, and its unit's log.
const ESCAPEE: &str = "unit: a\nexec: [sh, -c, \"(env -i setsid sh -c 'echo $$ > escapee; exec sleep 1000' </dev/null >/dev/null 2>&1 &); \
                       until [ -s escapee ]; do sleep 0.02; done; echo >&3; exec sleep 1000\"]\nreadiness: {fd: 3}\n";

#[test]
fn nothing_escapes_its_cgroup() {
    let daemon = Daemon::up(&[("units/a.yaml", ESCAPEE), ("units/b.yaml", "unit: b\nexec: sleep 1000\n")]);
    if daemon.daemon()["cgroup"].is_null() {
        return println!("SKIPPED: there is no place for cgroups here");
    }
    let escapee: u32 = daemon.read("escapee").trim().parse().unwrap();
    assert!(is_alive(escapee));
    daemon.ok(&["stop", "a"]);
    assert!(!is_alive(escapee));
    assert!(daemon.pids().contains_key("b"));
    // The next run is not touched by what ended the last one.
    daemon.ok(&["start", "a"]);
    until("it is active", || (daemon.status("a")["state"] == "active").then_some(()));
    let cgroup = daemon.daemon()["cgroup"].as_str().unwrap().to_owned();
    assert!(std::path::Path::new(&cgroup).exists());
    drop(daemon);
    assert!(!std::path::Path::new(&cgroup).exists(), "it was removed with all below it");
}

#[test]
fn without_cgroups_an_escapee_ends_with_its_unit() {
    let mut daemon = Daemon::prepared(&[("units/a.yaml", ESCAPEE)]);
    daemon.environment("MS_NO_CGROUPS", "1");
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    assert!(daemon.daemon()["cgroup"].is_null());
    let escapee: u32 = daemon.read("escapee").trim().parse().unwrap();
    daemon.ok(&["stop", "a"]);
    daemon.signal(15);
    daemon.ended();
    assert!(!is_alive(escapee));
}
