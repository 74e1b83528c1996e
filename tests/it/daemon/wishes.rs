//! What operators wish outlives the daemon.

use std::fs;

use super::bench::{Daemon, until};

const UNITS: &str = "unit: a\nexec: sleep 1000\n---\nunit: b\nexec: sleep 1000\n---\nunit: c\nexec: sleep 1000\n";

fn start_again(daemon: &mut Daemon) {
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    daemon.start();
    until("it answers", || daemon.answers());
}

#[test]
fn a_stop_outlives_the_daemon_and_a_start_lifts_it() {
    let mut daemon = Daemon::up(&[
        ("units/all.yaml", UNITS),
        ("supervisors/s.yaml", "supervisor: root\nchildren: [a, b, s]\n---\nsupervisor: s\nchildren: [c]\n"),
    ]);
    daemon.ok(&["stop", "a", "s"]);
    start_again(&mut daemon);
    until("b runs", || daemon.pids().contains_key("b").then_some(()));
    assert_eq!(daemon.status("a")["held"], true);
    assert!(daemon.pids().keys().eq(["b"]), "{:?}", daemon.pids());
    daemon.ok(&["start", "a", "s"]);
    start_again(&mut daemon);
    until("all run", || daemon.pids().keys().eq(["a", "b", "c"]).then_some(()));
}

#[test]
fn a_store_that_cannot_be_written_is_said_and_stops_nothing_else() {
    let mut daemon = Daemon::up(&[("units/all.yaml", UNITS)]);
    let store = daemon.path(".ms-supervisor/store.db");
    // Something that is no file stands in its place: not even root can write there.
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        drop(fs::remove_file(store.with_file_name(name)));
    }
    fs::create_dir(&store).unwrap();
    let output = daemon.cli(&["stop", "a"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.starts_with("a: done, but it will not be remembered: "), "{said}");
    assert!(!daemon.pids().contains_key("a"));
    daemon.event("StoreFailed", |_| true);
    daemon.kill_and_see("b", &["b"]);
    fs::remove_dir(&store).unwrap();
    daemon.event("StoreResumed", |_| true);
    start_again(&mut daemon);
    assert_eq!(daemon.status("a")["held"], true);
}

#[test]
fn a_broken_store_is_restored_from_its_copy() {
    let mut daemon = Daemon::up(&[("units/all.yaml", UNITS)]);
    daemon.ok(&["stop", "a"]);
    start_again(&mut daemon);
    daemon.signal(15);
    daemon.ended();
    fs::write(daemon.path(".ms-supervisor/store.db"), "no database at all, but long enough to be looked at as one").unwrap();
    daemon.start();
    daemon.event("StoreRestored", |data| data["generation"] == 1);
    until("it answers", || daemon.answers());
    assert_eq!(daemon.status("a")["held"], true);
}
