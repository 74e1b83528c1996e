//! Secrets reach whom they are for, and nobody else: canaries are looked for wherever one might show.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::bench::{Daemon, kill, until};

const FILE: &str = "canary-f1l3-7d0e";
const VARIABLE: &str = "canary-v4r1able-91c2";
const REFERENCE: &str = "canary-r3f3r3nce-55aa";
const ROTATED: &str = "canary-r0t4t3d-0b1e";

const CANARIES: [&str; 4] = [FILE, VARIABLE, REFERENCE, ROTATED];

/// Says only how long what it was told is, and notes each SIGHUP.
const UNIT: &str = r#"unit: told
exec: [sh, -c, 'say() { echo "told $(wc -c < $CREDENTIALS_DIRECTORY/db) ${#TOKEN} ${#URL}"; }; trap say HUP; say; while :; do sleep 0.05; done']
environment: {URL: "https://u:${file:keys/reference}@h/"}
environment_file: [keys/env]
probes: [{name: p, command: [sh, -c, 'echo probed ${#TOKEN} ${#URL}'], period: 200ms, initial_delay: 0s}]
secrets:
  db: {file: keys/file, on_change: {signal: SIGHUP}}
  TOKEN: {file: keys/variable, as: environment}
"#;

const OTHER: &str = "unit: other\nexec: sleep 1000\n";

fn secret(daemon: &Daemon, name: &str, text: &str) {
    daemon.write(name, text);
    fs::set_permissions(daemon.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

fn daemon() -> Daemon {
    let mut daemon = Daemon::prepared(&[("units/told.yaml", UNIT), ("units/other.yaml", OTHER)]);
    secret(&daemon, "keys/file", FILE);
    secret(&daemon, "keys/variable", &format!("{VARIABLE}\n"));
    secret(&daemon, "keys/reference", REFERENCE);
    secret(&daemon, "keys/env", &format!("FROM_FILE={VARIABLE}\nPORT=1\n"));
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    daemon
}

/// How often the unit has said so much of what it was told.
fn said(daemon: &Daemon, text: &str) -> usize {
    daemon.ok(&["logs", "-n", "1000", "told"]).lines().filter(|line| line.ends_with(text)).count()
}

fn holds(bytes: &[u8]) -> Option<&'static str> {
    CANARIES.into_iter().find(|canary| bytes.windows(canary.len()).any(|window| window == canary.as_bytes()))
}

/// Every file below, with its bytes.
fn each_file(directory: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => each_file(&path, look),
            Ok(kind) if kind.is_file() => look(&path, &fs::read(&path).unwrap_or_default()),
            _ => {}
        }
    }
}

/// Looks wherever somebody might: files of the daemon, what it prints, what it answers, every process.
#[track_caller]
fn nobody_else_knows(daemon: &Daemon) {
    let mut files = 0;
    each_file(&daemon.path(".ms-supervisor"), &mut |path, bytes| {
        files += 1;
        let is_handed_over = path.starts_with(daemon.path(".ms-supervisor/run/credentials/told"));
        assert!(is_handed_over || holds(bytes).is_none(), "{} holds {:?}", path.display(), holds(bytes));
    });
    assert!(files > 5, "there is something to look at");
    assert_eq!(holds(daemon.printed().as_bytes()), None);
    let commands: [&[&str]; 10] = [
        &["status", "--json"],
        &["status", "told", "--json"],
        &["status", "told"],
        &["tree", "--json"],
        &["plan", "--json"],
        &["plan"],
        &["events", "--json"],
        &["environment", "told"],
        &["environment", "told", "--json"],
        &["logs", "-n", "1000"],
    ];
    for command in commands {
        assert_eq!(holds(daemon.ok(command).as_bytes()), None, "{command:?}");
    }
    let main = daemon.pids()["told"];
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let read = |name: &str| fs::read(process.path().join(name)).unwrap_or_default();
        assert_eq!(holds(&read("cmdline")), None, "the command line of {pid}");
        // What the unit starts itself gets its environment.
        let is_its_own = pid == main || String::from_utf8_lossy(&read("stat")).contains(&format!(") S {main} "));
        if !is_its_own && !String::from_utf8_lossy(&read("environ")).contains("MS_UNIT=told") {
            assert_eq!(holds(&read("environ")), None, "the environment of {pid}");
        }
    }
    for pid in [daemon.launcher_pid(), daemon.brain_pid()] {
        assert_eq!(holds(&fs::read(format!("/proc/{pid}/environ")).unwrap()), None);
    }
}

#[test]
fn a_secret_is_told_to_its_unit_alone() {
    let mut daemon = daemon();
    let first = format!("told {} {} {}", FILE.len(), VARIABLE.len(), "https://u:@h/".len() + REFERENCE.len());
    until("it has said what it knows", || (said(&daemon, &first) == 1).then_some(()));
    until("a probe was made", || (daemon.status("told")["probes"][0]["text"] == "probed 0 0").then_some(()));
    nobody_else_knows(&daemon);
    let environment = daemon.ok(&["environment", "told"]);
    for line in ["TOKEN=[redacted]", "URL=[redacted]", "FROM_FILE=[redacted]", "PORT=[redacted]", "MS_UNIT=told"] {
        assert!(environment.lines().any(|shown| shown == line), "no {line} in\n{environment}");
    }
    // A crash, with evidence.
    kill(daemon.pids()["told"], 11);
    until("it is told again", || (said(&daemon, &first) == 2).then_some(()));
    let handed_over = || fs::read_dir(daemon.path(".ms-supervisor/run/credentials/told")).map_or(0, Iterator::count);
    until("what the run before was told is gone", || (handed_over() == 1).then_some(()));
    nobody_else_knows(&daemon);
    // A brain that is killed.
    kill(daemon.brain_pid(), 9);
    until("there is another one", || daemon.answers());
    nobody_else_knows(&daemon);
    // The whole daemon.
    daemon.kill_launcher();
    daemon.start();
    until("it answers", || daemon.answers());
    nobody_else_knows(&daemon);
    daemon.ok(&["stop", "told"]);
    let handed_over = || fs::read_dir(daemon.path(".ms-supervisor/run/credentials/told")).map_or(0, Iterator::count);
    until("nothing is left of it", || (handed_over() == 0).then_some(()));
}

#[test]
fn reload_renews_what_has_changed() {
    let daemon = daemon();
    let first = format!("told {} {} {}", FILE.len(), VARIABLE.len(), "https://u:@h/".len() + REFERENCE.len());
    until("it has said what it knows", || (said(&daemon, &first) == 1).then_some(()));
    let pid = daemon.pids()["told"];
    assert!(!daemon.ok(&["reload"]).contains("told"));
    secret(&daemon, "keys/file", ROTATED);
    assert!(daemon.ok(&["plan"]).contains("unit told: change live: secrets"));
    assert!(daemon.ok(&["reload"]).contains("unit told: change live: secrets"));
    let second = first.replace(&format!("told {} ", FILE.len()), &format!("told {} ", ROTATED.len()));
    assert_ne!(first, second);
    until("it has the new one, and has heard of it", || (said(&daemon, &second) == 1).then_some(()));
    assert_eq!(daemon.pids()["told"], pid);
    nobody_else_knows(&daemon);
    assert!(!daemon.ok(&["reload"]).contains("told"));
    // What is a variable takes another process.
    secret(&daemon, "keys/variable", ROTATED);
    assert!(daemon.ok(&["reload"]).contains("unit told: restart, because secrets changed"));
    until("it is another one", || daemon.pids().get("told").is_some_and(|now| *now != pid).then_some(()));
    daemon.event("SecretsRenewed", |data| data["secrets"][0] == "TOKEN");
    nobody_else_knows(&daemon);
    // A secret that others may read is not taken, and the unit goes on.
    fs::set_permissions(daemon.path("keys/file"), fs::Permissions::from_mode(0o644)).unwrap();
    daemon.ok(&["reload"]);
    let event = daemon.event("SecretsRenewed", |data| data["failed"].is_string());
    assert!(event["data"]["failed"].as_str().unwrap().contains("chmod 0600"), "{event}");
}

#[test]
fn a_secret_that_others_can_read_fails_the_start() {
    let unit = "unit: a\nexec: sleep 1000\nsecrets: {s: key}\n---\nunit: b\nexec: sleep 1000\nsecrets: {s: {credential: none-such}}\n";
    let mut daemon = Daemon::prepared(&[("units/a.yaml", unit)]);
    daemon.write("key", FILE);
    fs::set_permissions(daemon.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
    daemon.start();
    let why = |unit: &str| daemon.event("UnitStartFailed", |data| data["unit"] == unit)["data"]["reason"].to_string();
    assert!(why("a").contains("can be read by everybody (mode 0644); chmod 0600"), "{}", why("a"));
    assert!(why("b").contains("there is no credential `none-such`"), "{}", why("b"));
}
