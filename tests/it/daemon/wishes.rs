//! A command that was acknowledged is never forgotten, whatever is killed, lost or full.

use std::fs;
use std::path::Path;

use super::bench::{Daemon, is_alive, kill, until};
use super::faults::SmallDisk;

const TWO: &str = "unit: a\nexec: sleep 1000\n---\nunit: b\nexec: sleep 1000\n---\nunit: c\nexec: sleep 1000\n";
const GROUP: &str = "supervisor: root\nchildren: [a, b, group]\n---\nsupervisor: group\nchildren: [c]\n";

/// Whether `a` and `group` are stopped and `b` runs.
#[track_caller]
fn is_remembered(daemon: &Daemon, what: &str) {
    until("it is up", || daemon.answers().filter(|()| daemon.daemon()["state"] == "running"));
    assert_eq!(daemon.pids().into_keys().collect::<Vec<_>>(), ["b"], "{what}");
    let a = daemon.status("a");
    let uid = nix::unistd::getuid().as_raw();
    assert_eq!((&a["held"], &a["wish"]["uid"], &a["wish"]["why"]), (&true.into(), &uid.into(), &"new disk".into()), "{what}");
    let text = daemon.ok(&["status", "a"]);
    assert!(text.contains(&format!("stopped by an operator (user {uid}) on 2")) && text.contains(": new disk"), "{text}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().flatten() {
        match fs::copy(file.path(), to.join(file.file_name())) {
            // The journal of a transaction that has ended meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
}

#[test]
fn a_stop_is_remembered_whatever_ends() {
    let mut daemon = Daemon::up(&[("units/all.yaml", TWO), ("supervisors/group.yaml", GROUP)]);
    daemon.ok(&["stop", "--reason", "new disk", "a", "group"]);
    // What a loss of power leaves is what is on disk now.
    let copied = Daemon::prepared(&[("units/all.yaml", TWO), ("supervisors/group.yaml", GROUP)]);
    copy(&daemon.path(".ms-supervisor/store"), &copied.path(".ms-supervisor/store"));
    is_remembered(&daemon, "at once");
    kill(daemon.brain_pid(), 9);
    daemon.event("DaemonStarted", |data| data["generation"] == 1);
    is_remembered(&daemon, "the brain was killed");
    daemon.kill_launcher();
    daemon.start();
    daemon.events_of_kind("DaemonReady", 3);
    is_remembered(&daemon, "both were killed");
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    daemon.start();
    daemon.events_of_kind("DaemonReady", 4);
    is_remembered(&daemon, "it was stopped in order");
    let mut copied = copied;
    copied.start();
    is_remembered(&copied, "the power was lost");
    // And a start is remembered as well.
    daemon.ok(&["start", "a", "group"]);
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    daemon.start();
    until("all run", || daemon.answers().filter(|()| daemon.pids().len() == 3));
}

#[test]
fn a_unit_that_left_and_comes_back_is_as_it_was_asked_to_be() {
    let daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n"), ("units/b.yaml", "unit: b\nexec: sleep 1000\n")]);
    daemon.ok(&["stop", "a"]);
    fs::remove_file(daemon.path("units/a.yaml")).unwrap();
    daemon.ok(&["reload"]);
    daemon.write("units/a.yaml", "unit: a\nexec: sleep 1000\n");
    daemon.ok(&["reload"]);
    until("it is there", || (daemon.status("a")["held"] == true).then_some(()));
    assert!(!daemon.pids().contains_key("a"));
    daemon.ok(&["start", "a"]);
    assert!(daemon.pids().contains_key("a"));
}

#[test]
fn a_damaged_store_is_recovered_from_its_backup() {
    let mut daemon = Daemon::up(&[("units/all.yaml", TWO), ("supervisors/group.yaml", GROUP)]);
    daemon.ok(&["stop", "--reason", "new disk", "a", "group"]);
    let store = daemon.path(".ms-supervisor/store");
    until("the backup has both", || {
        let backup = fs::read(store.join("backup.1.db")).ok()?;
        let has = |name: &[u8]| backup.windows(name.len()).any(|bytes| bytes == name);
        (has(b"group") && has(b"new disk")).then_some(())
    });
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    let file = fs::OpenOptions::new().write(true).open(store.join("store.db")).unwrap();
    file.set_len(5000).unwrap();
    daemon.start();
    daemon.event("StoreRestored", |data| data["generation"] == 1);
    is_remembered(&daemon, "the file was cut short");
    let text = daemon.ok(&["status"]);
    assert!(text.contains("\nstore: recovered from generation 1, of 2"), "{text}");
    assert!(store.join("damaged.1.db").exists());
}

#[test]
fn on_a_full_disk_it_is_done_and_said_and_remembered_later() {
    if !nix::unistd::getuid().is_root() {
        return eprintln!("SKIPPED: only root can mount a small file system");
    }
    let mut daemon = Daemon::prepared(&[("units/all.yaml", TWO), ("supervisors/group.yaml", GROUP)]);
    let small = SmallDisk::mount(daemon.path(".ms-supervisor/store"), "128k");
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    let full = daemon.path(".ms-supervisor/store/full");
    // It ends at the brim.
    assert!(fs::write(&full, vec![0; 1 << 20]).is_err());
    let before = daemon.pids()["a"];
    let output = daemon.cli(&["stop", "--reason", "new disk", "a", "group"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("warning: a: done, but not remembered: the disk is full"), "{said}");
    assert!(!is_alive(before));
    assert!(daemon.ok(&["status"]).contains(": the disk is full; 2 changes wait"));
    daemon.event("StoreFailed", |data| data["why"] == "the disk is full");
    // The launcher remembers for the next brain, and the next brain for the store.
    kill(daemon.brain_pid(), 9);
    daemon.event("DaemonStarted", |data| data["generation"] == 1);
    until("it answers", || daemon.answers());
    assert_eq!(daemon.pids().into_keys().collect::<Vec<_>>(), ["b"]);
    daemon.events_of_kind("StoreFailed", 2);
    fs::remove_file(&full).unwrap();
    daemon.event("StoreRecovered", |data| data["written"] == 2);
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    daemon.start();
    daemon.events_of_kind("DaemonReady", 3);
    until("it answers", || daemon.answers());
    assert_eq!(daemon.pids().into_keys().collect::<Vec<_>>(), ["b"]);
    drop(daemon);
    drop(small);
}

#[test]
fn a_store_that_is_gone_is_made_anew() {
    let mut daemon = Daemon::up(&[("units/all.yaml", TWO), ("supervisors/group.yaml", GROUP)]);
    daemon.ok(&["stop", "--reason", "new disk", "a"]);
    fs::rename(daemon.path(".ms-supervisor/store"), daemon.path("elsewhere")).unwrap();
    // A file where the directory was: nothing can be made there.
    daemon.write(".ms-supervisor/store", "");
    let output = daemon.cli(&["stop", "group"]);
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    fs::remove_file(daemon.path(".ms-supervisor/store")).unwrap();
    daemon.event("StoreRecovered", |data| data["written"] == 2);
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    daemon.start();
    daemon.events_of_kind("DaemonReady", 2);
    is_remembered(&daemon, "the directory was gone");
}
