//! What operators ask for, and what becomes of it.

use super::bench::{Daemon, is_alive, until};

/// A unit that ignores SIGTERM, which it is ready to do before it says so, and is given all the time it wants.
const DEAF: &str =
    "unit: a\nexec: [sh, -c, \"trap : TERM; echo >&3; while true; do sleep 0.1; done\"]\nreadiness: {fd: 3}\nshutdown: infinity\n";

#[test]
fn stop_start_restart_and_signal() {
    let daemon = Daemon::up(&[("units/all.yaml", "unit: a\nexec: sleep 1000\n---\nunit: b\ninstances: 2\nexec: sleep 1000\n")]);
    let before = daemon.pids();
    daemon.ok(&["stop", "a"]);
    assert!(!is_alive(before["a"]));
    assert_eq!(daemon.status("a")["held"], true);
    daemon.ok(&["start", "a"]);
    assert_ne!(daemon.pids()["a"], before["a"]);
    // A unit's name means all its instances.
    daemon.ok(&["restart", "b"]);
    let after = daemon.pids();
    assert!(after["b@1"] != before["b@1"] && after["b@2"] != before["b@2"], "{before:?} {after:?}");
    daemon.ok(&["signal", "SIGKILL", "a"]);
    daemon.events_of("UnitExited", "a", 2);
    until("a is back", || daemon.pids().get("a").filter(|pid| **pid != after["a"]).map(drop));
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    let daemon = Daemon::up(&[("units/all.yaml", "unit: redis\nexec: sleep 1000\n")]);
    let output = daemon.cli(&["stop", "reddis"]);
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("reddis") && said.contains("`redis`"), "{said}");
}

#[test]
fn what_was_stopped_stays_stopped_when_its_siblings_restart() {
    let daemon = Daemon::up(&[
        ("supervisors/all.yaml", "supervisor: all\nstrategy: one_for_all\nchildren: [a, b, c]\n"),
        ("units/all.yaml", "unit: a\nexec: sleep 1000\n---\nunit: b\nexec: sleep 1000\n---\nunit: c\nexec: sleep 1000\n"),
    ]);
    daemon.ok(&["stop", "b"]);
    daemon.kill_and_see("a", &["a", "c"]);
    assert!(!daemon.pids().contains_key("b"));
}

#[test]
fn nothing_of_a_unit_is_left_after_its_stop() {
    // A process in a session of its own, orphaned, deaf to SIGTERM.
    let script = "(setsid sh -c 'trap : TERM; echo $$ > escaped; while :; do sleep 1; done' &); exec sleep 1000";
    let exec = serde_json::to_string(&["sh", "-c", script]).unwrap();
    let daemon = Daemon::up(&[("units/a.yaml", &format!("unit: a\nexec: {exec}\nshutdown: 300ms\n"))]);
    let escaped: u32 = until("it escaped", || daemon.read("escaped").trim().parse().ok());
    assert!(is_alive(escaped));
    daemon.ok(&["stop", "a"]);
    assert!(!is_alive(escaped));
}

#[test]
fn a_second_request_to_end_hastens() {
    let mut daemon = Daemon::up(&[("units/a.yaml", DEAF)]);
    daemon.signal(2);
    daemon.event("UnitStopping", |_| true);
    daemon.signal(2);
    assert_eq!(daemon.ended(), Some(0), "{}", daemon.printed());
    daemon.event("UnitTimedOut", |_| true);
}

#[test]
fn a_third_request_to_end_kills() {
    let mut daemon = Daemon::up(&[("units/a.yaml", DEAF)]);
    let pid = daemon.pids()["a"];
    daemon.signal(2);
    daemon.event("UnitStopping", |_| true);
    daemon.signal(2);
    // Signals of one number are merged while one is pending: until it is heard, the third would be the second.
    until("it ends", || {
        daemon.signal(2);
        (!is_alive(pid)).then_some(())
    });
    assert!(daemon.ended().is_some());
}

#[test]
fn output_goes_to_the_log_in_every_mode() {
    let daemon = Daemon::up(&[(
        "units/all.yaml",
        "unit: direct\nexec: sh -c 'echo one; echo two >&2; exec sleep 1000'\n---\n\
         unit: piped\nexec: sh -c 'echo one; echo two >&2; exec sleep 1000'\nlogs: pipe\n---\n\
         unit: silent\nexec: sh -c 'echo one; exec sleep 1000'\nlogs: none\n",
    )]);
    for unit in ["direct", "piped"] {
        let log = until("both lines", || Some(daemon.ok(&["logs", unit])).filter(|log| log.contains("two")));
        assert!(log.contains("one\n"), "{log}");
    }
    assert!(!daemon.path(".ms-supervisor/logs/silent.log").exists());
}

#[test]
fn the_environment_is_what_was_declared() {
    let daemon = Daemon::up(&[
        ("env", "FROM_FILE=file\nBOTH=file\n"),
        (
            "units/a.yaml",
            "unit: a\ninstances: 1\nexec: sh -c 'env; umask; pwd; echo over; exec sleep 1000'\nenvironment: {BOTH: declared, N: \"%i\"}\n\
             environment_file: [env, -missing]\numask: \"077\"\nworking_directory: units\n",
        ),
    ]);
    let log = until("the whole log", || Some(daemon.ok(&["logs", "a@1"])).filter(|log| log.contains("\nover\n")));
    for line in ["FROM_FILE=file", "BOTH=declared", "N=1", "MS_UNIT=a@1", "MS_INSTANCE=1", "MS_INVOCATION_ID=a@1:1:", "0077"] {
        assert!(log.lines().any(|found| found.starts_with(line)), "{line} in\n{log}");
    }
    assert!(log.contains("/units\nover\n") && !log.contains("MS_LAUNCHER_FD"), "{log}");
}

/// A shell on a desktop has inherited the variable from a service; what it prints goes elsewhere all the same.
#[test]
fn a_variable_alone_makes_no_journal() {
    let mut daemon = Daemon::prepared(&[("units/a.yaml", "unit: a\nexec: sh -c 'echo from the unit; exec sleep 1000'\n")]);
    daemon.environment("JOURNAL_STREAM", "9:12345");
    daemon.environment("INVOCATION_ID", "0123456789abcdef0123456789abcdef");
    daemon.start();
    until("what happens is printed", || daemon.printed().contains("everything is up").then_some(()));
    until("and what units print", || daemon.printed().contains("from the unit").then_some(()));
    assert!(!daemon.printed().contains('\x1b'), "a file wants no colours: {}", daemon.printed());
}
