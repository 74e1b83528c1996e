//! `upgrade`: another program takes the place of the running one, and units notice nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::bench::{Daemon, is_alive, kill, until};

const COUNTERS: &str = "unit: logger\ninstances: 20\nexec: sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done'\n---\n\
                        unit: piper\ninstances: 20\nlogs: pipe\nexec: sh -c 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done'\n";

/// The program of the tests at another path.
fn copy(daemon: &Daemon, name: &str) -> String {
    let path = daemon.path(name);
    fs::copy(env!("CARGO_BIN_EXE_ms-supervisor"), &path).unwrap();
    path.display().to_string()
}

fn image(pid: u32) -> String {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap().display().to_string()
}

#[test]
fn units_run_on_and_no_line_is_lost() {
    let daemon = Daemon::up(&[("units/all.yaml", COUNTERS)]);
    let before = daemon.pids();
    assert_eq!(before.len(), 40);
    for name in ["one", "two"] {
        let program = copy(&daemon, name);
        let printed = daemon.ok(&["upgrade", &program]);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(printed.trim_end(), format!("upgraded from {version} to {version}; 40 units run on"));
        assert_eq!(image(daemon.launcher_pid()), program);
        assert_eq!(image(daemon.brain_pid()), program);
        until("all are active", || daemon.ok(&["status"]).contains("40 of 40 units active").then_some(()));
        assert_eq!(daemon.pids(), before);
    }
    // They are children as before: how one ends is known exactly, and it is started again.
    daemon.kill_and_see("piper@7", &["piper@7"]);
    let exit = daemon.event("UnitExited", |data| data["unit"] == "piper@7");
    assert_eq!(exit["data"]["cause"]["signal"]["signal"], 9, "{exit}");
    daemon.ok(&["stop", "logger", "piper"]);
    for (unit, pid) in before.iter().filter(|(unit, _)| *unit != "piper@7") {
        assert!(!is_alive(*pid), "{unit}");
        let log = daemon.read(&format!(".ms-supervisor/logs/{unit}.log"));
        for (number, line) in (1..).zip(log.lines()) {
            assert_eq!(line, number.to_string(), "{unit}: a line was lost or doubled");
        }
    }
}

#[test]
fn what_is_no_ms_supervisor_is_refused_and_nothing_changes() {
    let daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    let (pids, brain) = (daemon.pids(), daemon.brain_pid());
    let about = r#"{"program": "ms-supervisor", "version": "9.9.9", "books": [99]}"#;
    fs::write(daemon.path("future"), format!("#!/bin/sh\necho '{about}'\n")).unwrap();
    fs::write(daemon.path("data"), "no program").unwrap();
    for name in ["future", "data"] {
        fs::set_permissions(daemon.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let own = |name: &str| daemon.path(name).display().to_string();
    for (program, why) in [
        ("/bin/true".to_owned(), "is no ms-supervisor"),
        (own("data"), "cannot execute"),
        (own("future"), "does not know the format in which I keep what runs"),
        (own("missing"), "cannot find the program"),
    ] {
        let output = daemon.cli(&["upgrade", &program]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{program}: {said}");
    }
    assert_eq!((daemon.pids(), daemon.brain_pid()), (pids, brain));
}

#[test]
fn a_program_whose_brain_fails_gives_way_to_the_old_one() {
    let daemon = Daemon::up(&[("units/all.yaml", COUNTERS)]);
    let (pids, launcher, old) = (daemon.pids(), daemon.launcher_pid(), image(daemon.brain_pid()));
    let program = copy(&daemon, "new");
    // Every brain fails at this; the first one that does not is the old program's again.
    fs::remove_file(daemon.path(".ms-supervisor/applied.json")).unwrap();
    daemon.write("units/all.yaml", "unit: [faulty\n");
    let printed = std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| daemon.cli(&["upgrade", &program]));
        until("it has gone back", || (daemon.printed().contains("going back to") || upgrade.is_finished()).then_some(()));
        daemon.write("units/all.yaml", COUNTERS);
        upgrade.join().unwrap()
    });
    let said = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert_eq!(printed.status.code(), Some(1), "{said}");
    assert!(said.contains("failed: its brain has ended: exit code 70") && said.contains("goes on"), "{said}");
    daemon.event("UpgradeFailed", |data| data["why"] == "its brain has ended: exit code 70");
    assert_eq!(image(launcher), old);
    until("all are active", || daemon.ok(&["status"]).contains("40 of 40 units active").then_some(()));
    assert_eq!(daemon.pids(), pids);
}

#[test]
fn a_program_replaced_on_disk_does_not_become_a_brain_by_accident() {
    let mut daemon = Daemon::prepared(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    let program = copy(&daemon, "program");
    daemon.start_program(&program, &["run", "--listen", "none"]);
    daemon.event("DaemonReady", |_| true);
    let pid = daemon.pids()["a"];
    fs::remove_file(&program).unwrap();
    fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
    kill(daemon.brain_pid(), 9);
    daemon.event("DaemonStarted", |data| data["generation"] == 1);
    until("it answers", || daemon.answers());
    assert_eq!(daemon.pids()["a"], pid);
}
