//! Units whose main process becomes another one: by a pid file, or because they say so.

use super::bench::{Daemon, is_alive, kill, until};

/// A daemon as of old: forks, starts a session, writes its process id, and the program that was started ends.
const FORKING: &str = r#"
unit: old
exec: [sh, -c, "setsid sh -c 'echo $$ > old.pid; trap \"exit 7\" TERM; trap \"exit 8\" USR1; while :; do sleep 0.05; done' & sleep 0.1; exit 0"]
pid_file: "%n.pid"
shutdown: 20s
"#;

/// Hands over to a child that becomes the main process, and ends: at once after it has said so, or when told to.
const SUCCESSOR: &str = r#"
unit: new
exec:
  - python3
  - -c
  - |
    import os, socket, sys, time
    def say(text):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(os.environ['NOTIFY_SOCKET']); s.send(text)
    say(b'READY=1')
    child = os.fork()
    if child == 0:
        if len(sys.argv) > 1:
            os.setsid()
        time.sleep(1000)
    say(b'MAINPID=' + str(child).encode())
    if len(sys.argv) > 1:
        sys.exit(3)
    os.waitpid(child, 0)
    time.sleep(1000)
readiness: notify
shutdown: 20s
"#;

fn daemon(cgroups: bool, unit: &str) -> Daemon {
    let mut daemon = Daemon::prepared(&[("units/a.yaml", unit)]);
    if !cgroups {
        daemon.environment("MS_NO_CGROUPS", "1");
    }
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    daemon
}

fn pid_file(daemon: &Daemon) -> u32 {
    until("there is a pid file", || daemon.read("old.pid").trim().parse().ok())
}

fn a_daemon_is_known_by_its_pid_file(cgroups: bool) {
    let mut daemon = daemon(cgroups, FORKING);
    let main = daemon.pids()["old"];
    assert_eq!(main, pid_file(&daemon));
    daemon.event("UnitMainChanged", |data| data["pid"] == main);
    assert_eq!(daemon.status("old")["state"], "active");

    // It is the main process for every brain and every launcher.
    kill(daemon.brain_pid(), 9);
    daemon.event("UnitAdopted", |data| data["pid"] == main);
    daemon.kill_launcher();
    daemon.start();
    daemon.events_of("UnitAdopted", "old", 2);
    until("it answers", || daemon.answers());
    assert_eq!(daemon.pids()["old"], main);

    // Its end is the unit's, and with it the next one begins.
    kill(main, 10);
    daemon.event("UnitExited", |data| data["pid"] == main && data["expected"] == false);
    let next = until("another one runs", || daemon.pids().get("old").copied().filter(|pid| *pid != main && *pid == pid_file(&daemon)));
    daemon.ok(&["stop", "old"]);
    assert!(!is_alive(next));
    daemon.event("UnitExited", |data| data["pid"] == next && data["cause"] == serde_json::json!({"code": 7}) && data["expected"] == true);
    assert_eq!(daemon.events().iter().filter(|event| event["type"] == "UnitExited").count(), 2, "what starts a daemon is not the unit");
}

#[test]
fn a_daemon_in_a_cgroup_is_known_by_its_pid_file() {
    a_daemon_is_known_by_its_pid_file(true);
}

#[test]
fn a_daemon_without_a_cgroup_is_known_by_its_pid_file() {
    a_daemon_is_known_by_its_pid_file(false);
}

#[test]
fn a_process_of_somebody_else_is_no_main_process() {
    let stranger = std::process::id();
    let unit = format!(
        "unit: a\nexec: [sh, -c, \"echo {stranger} > a.pid; sleep 1000 & exit 0\"]\npid_file: a.pid\nreadiness: {{timeout: 300ms}}\n\
         restart: temporary\n"
    );
    let daemon = Daemon::prepared(&[("units/a.yaml", &unit)]);
    let mut daemon = daemon;
    daemon.start();
    let refused = daemon.event("UnitMainRefused", |_| true);
    let why = refused["data"]["why"].as_str().unwrap();
    assert!(why.contains(&format!("process {stranger} cannot be its main process: it is not a process of this unit")), "{why}");
    daemon.event("UnitStartFailed", |data| data["reason"].to_string().contains("named by its pid file within 300ms"));
    assert!(is_alive(stranger));
    until("nothing of it is left", || (daemon.status("a")["state"] == "failed").then_some(()));
}

#[test]
fn a_daemon_without_a_pid_file_has_not_started() {
    let unit = "unit: a\nexec: [sh, -c, \"sleep 1000 & exit 0\"]\npid_file: a.pid\nreadiness: {timeout: 300ms}\nrestart: temporary\n---\n\
                unit: b\nexec: [sh, -c, \"exit 0\"]\npid_file: b.pid\nrestart: temporary\n";
    let mut daemon = Daemon::prepared(&[("units/a.yaml", unit)]);
    daemon.start();
    daemon
        .event("UnitStartFailed", |data| data["unit"] == "a" && data["reason"].to_string().contains("named by its pid file within 300ms"));
    daemon.event("UnitStartFailed", |data| data["unit"] == "b" && data["reason"].to_string().contains("ended before it was ready"));
}

#[test]
fn a_daemon_is_stopped_while_its_pid_file_is_waited_for() {
    let unit =
        "unit: a\nexec: [sh, -c, \"sleep 1000 & echo $! > child; exit 0\"]\npid_file: a.pid\nreadiness: {timeout: 1000s}\nshutdown: 20s\n";
    let mut daemon = Daemon::prepared(&[("units/a.yaml", unit)]);
    daemon.start();
    let child = until("it runs", || daemon.read("child").trim().parse().ok());
    until("it answers", || daemon.answers());
    // A brain that comes back goes on waiting.
    kill(daemon.brain_pid(), 9);
    daemon.event("DaemonStarted", |data| data["generation"] == 1);
    until("it answers", || daemon.answers());
    assert_eq!(daemon.status("a")["state"], "activating");
    daemon.ok(&["stop", "a"]);
    assert!(!is_alive(child));
    daemon.event("UnitExited", |data| data["cause"] == serde_json::json!({"code": 0}));
}

fn a_unit_names_its_successor(cgroups: bool, at_once: bool) {
    let unit = if at_once { SUCCESSOR.replace("readiness:", "  - now\nreadiness:") } else { SUCCESSOR.to_owned() };
    let daemon = daemon(cgroups, &unit);
    let changed = daemon.event("UnitMainChanged", |_| true);
    let main = u32::try_from(changed["data"]["pid"].as_u64().unwrap()).unwrap();
    until("it is shown", || (daemon.pids()["new"] == main).then_some(()));
    assert!(daemon.events().iter().all(|event| event["type"] != "UnitExited"));
    // A child of ours, or of the process before it: the launcher hears of its end in either case.
    kill(main, 9);
    let exited = daemon.event("UnitExited", |data| data["pid"] == main);
    assert_eq!(exited["data"]["cause"]["signal"]["signal"], 9, "{exited}");
    daemon.events_of("UnitMainChanged", "new", 2);
    let next = until("another one runs", || daemon.pids().get("new").copied().filter(|pid| *pid != main));
    daemon.ok(&["stop", "new"]);
    assert!(!is_alive(next));
}

#[test]
fn a_unit_names_its_successor_and_ends_at_once() {
    a_unit_names_its_successor(true, true);
    a_unit_names_its_successor(false, true);
}

#[test]
fn a_unit_names_its_successor_and_lives_on() {
    a_unit_names_its_successor(true, false);
    a_unit_names_its_successor(false, false);
}

#[test]
fn nginx_as_a_daemon_is_followed_by_its_pid_file() {
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin".into()])
        .any(|at| at.join("nginx").is_file())
    {
        eprintln!("SKIPPED: nginx is not installed");
        return;
    }
    let unit = "unit: web\nexec: [/usr/sbin/nginx, -p, ., -c, nginx.conf, -e, error.log]\npid_file: nginx.pid\nshutdown: {signal: SIGQUIT, timeout: 20s}\n";
    let conf = "daemon on;\npid nginx.pid;\nworker_processes 1;\nevents {}\nhttp { access_log off; server { listen unix:nginx.sock; } }\n";
    let daemon = Daemon::up(&[("units/web.yaml", unit), ("nginx.conf", conf)]);
    let main = daemon.pids()["web"];
    assert_eq!(daemon.read("nginx.pid").trim(), main.to_string());
    kill(main, 15);
    daemon.events_of("UnitMainChanged", "web", 2);
    let main = until("it is back", || daemon.pids().get("web").copied().filter(|pid| *pid != main));
    daemon.ok(&["stop", "web"]);
    assert!(!is_alive(main));
    daemon.event("UnitExited", |data| data["pid"] == main && data["cause"] == serde_json::json!({"code": 0}));
}
