//! `set`: values beside the files, for a while.

use super::bench::{Daemon, kill, until};

const UNITS: &str = "unit: a\nexec: sleep 1000\nnice: 1\n---\nunit: b\nexec: sleep 1001\n";

fn niceness(daemon: &Daemon, unit: &str) -> i64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pids()[unit])).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse().unwrap()
}

#[test]
fn what_is_set_counts_at_once_survives_and_is_over_in_time() {
    let mut daemon = Daemon::up(&[("units/all.yaml", UNITS)]);
    let before = daemon.pids();
    let text = daemon.ok(&["set", "a", "nice=5", "--for", "1h", "--reason", "a busy night"]);
    assert!(text.contains("unit a: change live"), "{text}");
    until("it counts", || (niceness(&daemon, "a") == 5).then_some(()));
    let listed = daemon.ok(&["set"]);
    assert!(listed.starts_with("a nice=5, for ") && listed.ends_with("more: a busy night\n"), "{listed}");
    // Nothing else has happened: a file that somebody is editing does not count because of it.
    daemon.write("units/all.yaml", &UNITS.replace("sleep 1001", "sleep 1002"));
    daemon.ok(&["set", "b", "nice=7", "--for", "2h"]);
    until("b counts, too", || (niceness(&daemon, "b") == 7).then_some(()));
    assert_eq!(daemon.pids(), before);
    daemon.write("units/all.yaml", UNITS);
    // Another brain, and another launcher, go on with it.
    kill(daemon.brain_pid(), 9);
    daemon.events_of_kind("DaemonStarted", 2);
    until("the brain answers", || daemon.answers());
    assert!(daemon.ok(&["set"]).contains("b nice=7") && niceness(&daemon, "a") == 5);
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    daemon.start();
    until("it answers", || daemon.answers());
    until("it is up", || daemon.pids().contains_key("b").then_some(()));
    assert_eq!((niceness(&daemon, "a"), niceness(&daemon, "b")), (5, 7));
    // A reload keeps it, and unset takes it back.
    daemon.ok(&["reload"]);
    assert_eq!(niceness(&daemon, "a"), 5);
    daemon.ok(&["unset", "a"]);
    until("it is taken back", || (niceness(&daemon, "a") == 1).then_some(()));
    let ended = daemon.event("OverrideEnded", |data| data["target"] == "a");
    assert_eq!(ended["data"]["why"], "unset");
    // Set anew, for a moment.
    daemon.ok(&["set", "a", "nice=9", "--for", "300ms"]);
    daemon.event("OverrideEnded", |data| data["target"] == "a" && data["why"] == "expired");
    until("it is over", || (niceness(&daemon, "a") == 1).then_some(()));
    assert_eq!(daemon.ok(&["set"]).lines().count(), 1);
}

#[test]
fn what_makes_no_sense_changes_nothing() {
    let daemon = Daemon::up(&[("units/all.yaml", UNITS)]);
    let refused = |arguments: &[&str], wanted: &str| {
        let output = daemon.cli(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(wanted), "{arguments:?}: {text}");
    };
    refused(&["set", "c", "nice=5"], "nothing is declared as `c`");
    refused(&["set", "a", "nicee=5"], "there is no key `nicee`");
    refused(&["set", "a", "nicee=5"], "msctl set:2");
    refused(&["set", "a", "nice=99"], "nothing was changed");
    refused(&["set", "a", "nice"], "has no `=`");
    refused(&["unset", "a", "nice"], "`nice` of a is not set");
    assert_eq!(daemon.ok(&["set"]), "nothing is set beside the files\n");
    assert_eq!(niceness(&daemon, "a"), 1);
    // What is not declared any more is not set any more.
    daemon.ok(&["set", "b", "nice=5"]);
    daemon.write("units/all.yaml", "unit: a\nexec: sleep 1000\nnice: 1\n");
    daemon.ok(&["reload"]);
    assert_eq!(daemon.event("OverrideEnded", |data| data["target"] == "b")["data"]["why"], "target_gone");
}
