//! What eyes see that are not meant to see all: readers no secrets, terminals no commands, and root no declarations of others.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::bench::{Daemon, until};

/// Reads a path of the control socket as a user that is only in the socket's group.
fn as_reader(daemon: &Daemon, path: &str) -> String {
    const READ: &str = "import os, socket, sys\n\
        s = socket.socket(socket.AF_UNIX)\n\
        s.connect(sys.argv[1])\n\
        s.sendall(f'GET {sys.argv[2]} HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n'.encode())\n\
        print(s.makefile().read())\n";
    let socket = daemon.path(".ms-supervisor/run/control.sock");
    let mut command = Command::new("python3");
    command.args(["-c", READ, socket.to_str().unwrap(), path]);
    std::os::unix::process::CommandExt::uid(&mut command, 4321);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn readers_see_no_secrets() {
    if !is_root() {
        return println!("SKIPPED: to be another user takes root");
    }
    let unit = "unit: web\nexec: [sh, -c, \"exec sleep 1000\", CANARY-argument]\nenvironment: {TOKEN: CANARY-variable}\nprobes:\n\
                - {http: {url: \"http://CANARY-user:x@127.0.0.1:1/x?key=CANARY-query\", headers: {Authorization: CANARY-header}}, role: observe, period: 100ms}\n\
                - {command: [/bin/sh, -c, \"exit 2\", CANARY-word], role: observe, period: 100ms, \
                remediation: {failures: 1, steps: [{notify: \"http://127.0.0.1:1/CANARY-hook\"}]}}\n"
        .replace("CANARY-user:x@", "");
    let mut daemon = Daemon::prepared(&[("units/web.yaml", &unit)]);
    // Everybody gets as far as to the socket, whose mode is that of a reader's group here.
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    for path in daemon.path(".ms-supervisor/run").ancestors().take(3).chain([daemon.path(".ms-supervisor/run/control.sock").as_path()]) {
        let mode = if path.is_dir() { 0o755 } else { 0o666 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    daemon.ok(&["set", "web", "environment.TOKEN=CANARY-set", "nice=3"]);
    daemon.event("OverrideSet", |data| data["key"] == "environment.TOKEN" && data["value"] == "(hidden)");
    daemon.event("OverrideSet", |data| data["key"] == "nice" && data["value"] == "3");
    daemon.ok(&["unset", "web", "environment.TOKEN"]);
    daemon.event("OverrideEnded", |data| data["key"] == "environment.TOKEN");
    daemon.ok(&["set", "web", "environment.TOKEN=CANARY-again"]);
    daemon.event("ProbeChanged", |data| data["probe"] == "http");
    daemon.event("Remediation", |_| true);
    let paths =
        ["/v1/plan", "/v1/overrides", "/v1/events?last=1000", "/v1/status", "/v1/units/web", "/v1/units/web/environment", "/v1/graph"];
    for path in paths {
        let seen = as_reader(&daemon, path);
        assert!(seen.starts_with("HTTP/1.1 200"), "{path}: {seen}");
        assert!(!seen.contains("CANARY"), "{path}: {seen}");
    }
    let plan = as_reader(&daemon, "/v1/plan");
    for told in ["(hidden)", "\"sh\"", "http://127.0.0.1:1/x?(hidden)", "authorization", "/bin/sh"] {
        assert!(plan.to_lowercase().contains(&told.to_lowercase()), "{told} in {plan}");
    }
    let written = daemon.read(".ms-supervisor/events.jsonl");
    assert!(!written.contains("CANARY") && written.contains("notify: http://127.0.0.1:1"), "{written}");
    // Who may command sees it all.
    assert!(daemon.ok(&["set"]).contains("CANARY-again"));
    // Nor does a fault that is shown with its lines.
    daemon.write("units/web.yaml", &format!("{unit}nicee: CANARY-line\n"));
    let seen = as_reader(&daemon, "/v1/plan/changes");
    assert!(seen.starts_with("HTTP/1.1 422") && !seen.contains("CANARY"), "{seen}");
}

#[test]
fn what_is_remembered_is_for_the_owner_only() {
    let daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    daemon.ok(&["set", "a", "nice=3"]);
    daemon.ok(&["stop", "a"]);
    daemon.event("UnitStopped", |_| true);
    let mode = |name: &str| std::fs::metadata(daemon.path(".ms-supervisor").join(name)).unwrap().permissions().mode() & 0o777;
    for file in ["events.jsonl", "commands.jsonl", "applied.json", "overrides.json"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    for directory in ["store", "incidents"] {
        assert_eq!(mode(directory), 0o700, "{directory}");
    }
}

#[test]
fn control_characters_of_units_reach_no_terminal() {
    let evil = "\\033]0;x\\007\\033[2J\\r\\010";
    let notify = "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'READY=1\\nSTATUS=says \\x1b]52;c;eA==\\x07', \
                  os.environ['NOTIFY_SOCKET']); import time; time.sleep(1000)";
    let units = format!(
        "unit: says\nexec: {}\nreadiness: notify\n---\nunit: logs\nexec: [sh, -c, \"printf 'logs {}\\\\n'; exec sleep 1000\"]\n\
         probes: [{{command: [sh, -c, \"printf 'probes {}'; exit 2\"], role: observe, period: 100ms}}]\n",
        serde_json::to_string(&["python3", "-c", notify]).unwrap(),
        evil.replace('\\', "\\\\"),
        evil.replace('\\', "\\\\"),
    );
    let daemon = Daemon::up(&[("units/all.yaml", &units)]);
    daemon.event("ProbeChanged", |data| data["unit"] == "logs");
    until("it has said something", || daemon.ok(&["status", "says"]).contains("says ").then_some(()));
    let is_clean = |text: &str| !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t');
    for arguments in [&["status"][..], &["status", "says"], &["status", "logs"], &["events", "-n", "100"], &["tree"]] {
        let text = daemon.ok(arguments);
        assert!(is_clean(&text), "{arguments:?}: {text:?}");
    }
    assert!(daemon.ok(&["status", "says"]).contains("says \u{fffd}]52;c;eA==\u{fffd}"));
    assert!(daemon.ok(&["status", "logs"]).contains("probes \u{fffd}]0;x\u{fffd}\u{fffd}[2J"));
    // For programs and files they are what they are.
    assert!(daemon.ok(&["logs", "logs"]).contains("logs \x1b]0;x\x07\x1b[2J\r\x08"));
    assert!(daemon.ok(&["status", "says", "--json"]).contains("\\u001b]52"));
    // On a terminal a log is looked at.
    let script = format!(
        "import os, pty, sys\nout = b''\ndef read(fd):\n    global out\n    data = os.read(fd, 4096)\n    out += data\n    return b''\n\
         pty.spawn([{:?}, '-C', {:?}, 'logs', 'logs'], read)\nsys.stdout.buffer.write(out)\n",
        env!("CARGO_BIN_EXE_ms-supervisor"),
        daemon.path("").to_str().unwrap()
    );
    let output = Command::new("python3").args(["-c", &script]).env("NO_COLOR", "1").stdin(std::process::Stdio::null()).output().unwrap();
    let seen = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
    assert!(seen.contains("logs \u{fffd}]0;x") && is_clean(&seen), "{seen:?}");
    // Nor does the console of `run` print them.
    until("the console has shown the log", || daemon.printed().contains("logs \u{fffd}").then_some(()));
    assert!(is_clean(&daemon.printed()), "{:?}", daemon.printed());
}

#[test]
fn root_reads_no_declarations_that_others_may_write() {
    if !is_root() {
        return println!("SKIPPED: only root has more to lose than others");
    }
    let unit = "unit: a\nexec: sleep 1000\n";
    let daemon = Daemon::up(&[("units/a.yaml", unit), ("conf.d/50-x.yaml", "unit: a\nnice: 1\n"), ("daemon.yaml", "start_limit: 5\n")]);
    let refused = |arguments: &[&str], wanted: &str| {
        let output = daemon.cli(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains("MS0011") && text.contains(wanted), "{arguments:?}: {text}");
    };
    let set_mode = |path: &str, mode: u32| std::fs::set_permissions(daemon.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    let set_owner = |path: &str, uid: u32| std::os::unix::fs::chown(daemon.path(path), Some(uid), None).unwrap();
    for (path, mode) in
        [("units", 0o777), ("units/a.yaml", 0o666), ("conf.d", 0o775), ("conf.d/50-x.yaml", 0o664), ("daemon.yaml", 0o646), ("", 0o777)]
    {
        let before = std::fs::metadata(daemon.path(path)).unwrap().permissions().mode();
        set_mode(path, mode);
        refused(&["check"], "chmod go-w");
        refused(&["reload"], "others may change it");
        set_mode(path, before & 0o7777);
        set_owner(path, 4321);
        refused(&["check"], "belongs to user 4321");
        refused(&["reload"], "chown root");
        set_owner(path, 0);
        daemon.ok(&["check"]);
    }
    // A link leads to what is judged.
    let elsewhere = tempfile::tempdir().unwrap();
    let theirs = elsewhere.path().join("b.yaml");
    std::fs::write(&theirs, "unit: b\nexec: sleep 1000\n").unwrap();
    std::os::unix::fs::chown(&theirs, Some(4321), None).unwrap();
    std::os::unix::fs::symlink(&theirs, daemon.path("units/b.yaml")).unwrap();
    refused(&["reload"], "belongs to user 4321");
    std::fs::remove_file(daemon.path("units/b.yaml")).unwrap();
    daemon.ok(&["reload"]);
    // Nor does it start with them.
    let mut other = Daemon::prepared(&[("units/a.yaml", unit)]);
    std::fs::set_permissions(other.path("units"), std::fs::Permissions::from_mode(0o777)).unwrap();
    other.start();
    assert_eq!(other.ended(), Some(2));
    assert!(other.printed().contains("MS0011"), "{}", other.printed());
    // Where root happens to be is no reason to run what is there, if it is somebody's.
    let here = |daemon: &Daemon| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ms-supervisor"));
        let output = command.args(["doctor", "--json"]).current_dir(daemon.path("")).env_remove("MS_CONFIG_DIR").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let own = other.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    assert!(here(&other).contains(&own));
    std::os::unix::fs::chown(other.path(""), Some(4321), None).unwrap();
    assert!(!here(&other).contains(&own));
}
