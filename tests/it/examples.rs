//! What is shipped works: every declaration is sound, and the web stack runs with real servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::{Daemon, is_alive, until};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_shipped_declaration_is_sound() {
    for directory in [".", "examples/web-stack", "examples/procfile"] {
        let output = Command::new(env!("CARGO_BIN_EXE_ms-supervisor")).arg("check").arg(root().join(directory)).output().unwrap();
        assert!(output.status.success(), "{directory}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_broken_declaration_is_found_with_its_place() {
    let mut broken = 0;
    for case in std::fs::read_dir(root().join("tests/corpus")).unwrap() {
        let case = case.unwrap().path();
        let output = Command::new(env!("CARGO_BIN_EXE_ms-supervisor")).arg("check").arg(&case).args(["--json"]).output().unwrap();
        if case.file_name().unwrap().to_string_lossy().starts_with("good") {
            assert!(output.status.success(), "{case:?}");
            continue;
        }
        assert_eq!(output.status.code(), Some(2), "{case:?}");
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let faults = said["diagnostics"].as_array().unwrap();
        assert!(!faults.is_empty(), "{case:?}");
        for fault in faults {
            assert!(fault["line"].as_u64() >= Some(1) && fault["column"].as_u64() >= Some(1), "{case:?}: {fault}");
        }
        broken += 1;
    }
    assert!(broken >= 40, "{broken} kinds of broken files");
}

/// Copies a directory as it is in the repository, without what a run of it left there.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
    for left in ["var", ".ms-supervisor"] {
        drop(std::fs::remove_dir_all(to.join(left)));
    }
}

#[test]
fn the_web_stack_runs_with_real_servers() {
    let there = |program: &str| Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !there("nginx") || !there("redis-server") || !Path::new("/usr/lib/postgresql").exists() {
        eprintln!("SKIPPED: nginx, redis-server and postgresql are not all installed");
        return;
    }
    let mut daemon = Daemon::prepared(&[]);
    let stack = daemon.path("stack");
    copy(&root().join("examples/web-stack"), &stack);
    // PostgreSQL's own user has to reach its data.
    let opened = Command::new("chmod").arg("o+x").arg(daemon.path("")).status().unwrap();
    assert!(opened.success());
    daemon.move_to("stack");
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    let before = daemon.pids();
    assert!(before.keys().eq(["nginx", "postgres", "redis"]), "{before:?}");
    daemon.kill_and_see("postgres", &["postgres"]);
    until("it is ready again", || (daemon.status("postgres")["state"] == "active").then_some(()));
    let pids = daemon.pids();
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    for (unit, pid) in pids {
        assert!(!is_alive(pid), "{unit}");
    }
    let ended = |event: &serde_json::Value| (event["type"] == "UnitStopped").then(|| event["subject"].as_str().unwrap().to_owned());
    assert_eq!(daemon.events().iter().filter_map(ended).next().as_deref(), Some("nginx"), "nginx needs the other two: it goes first");
    let left = Command::new("pgrep").arg("-f").arg(&stack).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "something is left");
}
