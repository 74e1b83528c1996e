//! Bad input and a hostile world: a clear message, and supervision goes on where it can.

use std::path::PathBuf;
use std::process::Command;

use super::bench::{Daemon, until};

/// The reason in the status of a unit that cannot be started.
#[track_caller]
fn fails_with(unit: &str, expected: &str) {
    let back = "restart: {backoff: {kind: linear, first: 1h, base: 1h, step: 0s, max: 1h}}";
    let mut daemon = Daemon::prepared(&[
        ("units/bad.yaml", &format!("unit: bad\n{unit}\n{back}\n")),
        ("units/good.yaml", "unit: good\nexec: sleep 1000\n"),
        ("plain.txt", "not a program"),
    ]);
    daemon.start();
    let failed = daemon.event("UnitStartFailed", |data| data["unit"] == "bad");
    let reason = failed["data"]["reason"]["error"].as_str().unwrap();
    assert!(reason.contains(expected), "{reason}");
    until("it answers", || daemon.answers());
    until("status says why", || daemon.status("bad")["reason"].as_str().filter(|why| why.contains(expected)).map(drop));
    assert!(daemon.pids().contains_key("good"));
}

#[test]
fn a_program_that_does_not_exist() {
    fails_with("exec: no-such-program", "no-such-program");
    fails_with("exec: ./no-such-program", "./no-such-program");
}

#[test]
fn a_file_that_is_no_program() {
    fails_with("exec: ./plain.txt", "plain.txt");
}

#[test]
fn a_directory_that_does_not_exist() {
    fails_with("exec: /bin/sleep 1000\nworking_directory: missing", "missing");
}

#[test]
fn a_user_that_does_not_exist() {
    fails_with("exec: sleep 1000\nuser: nobody-knows-me", "nobody-knows-me");
}

#[test]
fn an_environment_file_that_does_not_exist() {
    fails_with("exec: sleep 1000\nenvironment_file: missing.env", "missing.env");
}

#[test]
fn bad_files_start_nothing() {
    let mut daemon = Daemon::prepared(&[
        ("units/good.yaml", "unit: good\nexec: touch started\n"),
        ("units/bad.yaml", "unit: bad\nexec: sleep 1\nrequires: god\n"),
    ]);
    daemon.start();
    assert_eq!(daemon.ended(), Some(2));
    let said = daemon.printed();
    assert!(said.contains("units/bad.yaml:3:11") && said.contains("good"), "{said}");
    assert!(!daemon.path("started").exists());
}

#[test]
fn a_second_daemon_names_the_first() {
    let daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    let output = daemon.cli(&["run", "--listen", "none"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&daemon.launcher_pid().to_string()), "{said}");
}

#[test]
fn without_a_daemon_commands_say_so() {
    let daemon = Daemon::prepared(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    let output = daemon.cli(&["status"]);
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("control.sock") && said.contains("ms-supervisor run"), "{said}");
}

#[test]
fn a_socket_path_that_is_too_long_is_refused() {
    let deep = "d".repeat(120);
    let daemon = Daemon::prepared(&[(&format!("{deep}/units/a.yaml"), "unit: a\nexec: sleep 1000\n")]);
    let output = Command::new(env!("CARGO_BIN_EXE_ms-supervisor")).arg("-C").arg(daemon.path(&deep)).arg("run").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("107") && said.contains("MS_RUN_DIR"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_said_and_supervision_goes_on() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut daemon = Daemon::prepared(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    daemon.start_with(&["run", "--listen", &address]);
    daemon.event("DaemonReady", |_| true);
    until("it is said", || daemon.printed().contains(&address).then_some(()));
}

#[test]
fn a_full_disk_costs_logs_but_no_unit() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can mount a small file system");
        return;
    }
    let mut daemon = Daemon::prepared(&[(
        "units/all.yaml",
        "unit: flood\nexec: sh -c 'while :; do echo 0123456789012345678901234567890123456789; done'\n---\n\
         unit: late\nexec: sleep 1000\n",
    )]);
    let _small = SmallDisk::mount(daemon.path(".ms-supervisor/logs"), "64k");
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    until("it is said", || daemon.printed().contains("No space left").then_some(()));
    daemon.kill_and_see("late", &["late"]);
    daemon.kill_and_see("flood", &["flood"]);
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0), "{}", daemon.printed());
}

/// A file system of 64 KiB; gone at the end, come what may.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(super) fn mount(path: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path).status().unwrap();
        assert!(mounted.success());
        Self(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
