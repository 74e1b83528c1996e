//! An older build, upgraded under load, gone back to, and killed: what it wrote is read, and nothing is lost.

use std::process::Command;

use super::bench::{Daemon, is_alive, kill, until};

/// A hundred of them write in bursts: in small steps they would need all the machine to start `sleep`.
const UNITS: &str = r#"
unit: logger
instances: 50
exec: [sh, -c, "i=0; while :; do i=$((i+1)); echo $i; [ $((i%%20)) != 0 ] || sleep 0.4; done"]
---
unit: piper
instances: 50
logs: pipe
exec: [sh, -c, "i=0; while :; do i=$((i+1)); echo $i; [ $((i%%20)) != 0 ] || sleep 0.4; done"]
---
unit: stopped
exec: sleep 1000
---
unit: paused
exec: sleep 1001
---
unit: failing
exec: sh -c 'exit 3'
restart: {backoff: {base: 1h, max: 1h, first: 1h}}
"#;

/// The program of the older build, which is made if it is not there.
fn older() -> Option<String> {
    let built = Command::new("tests/older").current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    if built.status.code() == Some(77) {
        eprintln!("{}", said.trim_end());
        return None;
    }
    assert!(built.status.success(), "{said}");
    Some(String::from_utf8(built.stdout).unwrap().trim_end().to_owned())
}

/// A daemon of the older build, with units in every situation that outlives it.
fn old_daemon() -> Option<(Daemon, String)> {
    let older = older()?;
    let mut daemon = Daemon::prepared(&[("units/all.yaml", UNITS)]);
    daemon.start_program(&older, &["run", "--quiet", "--listen", "none"]);
    // Not DaemonReady: that build says so only if `failing` is up when the last of them is.
    daemon.events_of_kind("UnitActive", 103);
    daemon.ok(&["stop", "stopped"]);
    daemon.ok(&["pause", "paused"]);
    daemon.event("UnitHeldBack", |data| data["unit"] == "failing");
    Some((daemon, older))
}

fn goes_on(daemon: &Daemon, pids: &std::collections::BTreeMap<String, u32>) {
    until("all are active", || daemon.answers().filter(|()| daemon.pids() == *pids));
    let state = |unit: &str| daemon.status(unit)["state"].as_str().unwrap().to_owned();
    assert_eq!((state("stopped"), state("failing")), ("stopped".into(), "backoff".into()));
    assert_eq!((daemon.status("stopped")["held"].clone(), daemon.status("paused")["paused"].clone()), (true.into(), true.into()));
}

fn every_line_is_there_once(daemon: &Daemon, pids: &std::collections::BTreeMap<String, u32>) {
    daemon.ok(&["stop", "logger", "piper"]);
    for (unit, pid) in pids.iter().filter(|(unit, _)| *unit != "paused") {
        assert!(!is_alive(*pid), "{unit}");
        let log = daemon.read(&format!(".ms-supervisor/logs/{unit}.log"));
        assert!(log.lines().count() > 10, "{unit}");
        for (number, line) in (1..).zip(log.lines()) {
            assert_eq!(line, number.to_string(), "{unit}: a line was lost or doubled");
        }
    }
}

#[test]
fn an_older_build_is_upgraded_and_gone_back_to_under_load() {
    let Some((daemon, older)) = old_daemon() else { return };
    let (pids, launcher) = (daemon.pids(), daemon.launcher_pid());
    assert_eq!(pids.len(), 101);
    for (program, from, to) in [
        (env!("CARGO_BIN_EXE_ms-supervisor"), "0.0.9", env!("CARGO_PKG_VERSION")),
        (&older, env!("CARGO_PKG_VERSION"), "0.0.9"),
        (env!("CARGO_BIN_EXE_ms-supervisor"), "0.0.9", env!("CARGO_PKG_VERSION")),
    ] {
        let printed = daemon.ok(&["upgrade", program]);
        assert_eq!(printed.trim_end(), format!("upgraded from {from} to {to}; 101 units run on"));
        assert_eq!(std::fs::read_link(format!("/proc/{launcher}/exe")).unwrap().to_str(), Some(program));
        goes_on(&daemon, &pids);
        // The store is read by every version, too.
        kill(daemon.brain_pid(), 9);
        until("the next brain answers", || daemon.answers());
        goes_on(&daemon, &pids);
    }
    every_line_is_there_once(&daemon, &pids);
}

#[test]
fn what_an_older_build_left_when_it_was_killed_is_taken_over() {
    let Some((mut daemon, older)) = old_daemon() else { return };
    let pids = daemon.pids();
    daemon.kill_launcher();
    daemon.start();
    goes_on(&daemon, &pids);
    // And the other way round.
    daemon.kill_launcher();
    daemon.start_program(&older, &["run", "--quiet", "--listen", "none"]);
    goes_on(&daemon, &pids);
    every_line_is_there_once(&daemon, &pids);
}
