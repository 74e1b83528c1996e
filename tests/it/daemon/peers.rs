//! Who speaks is asked by process: what comes from inside of a unit counts for that unit only.

use super::bench::{Daemon, kill, until};

/// Asks the daemon for what its arguments say, in the way the first one says, and prints the status of the answer, or what went wrong.
const ASKS: &str = r#"
import os, socket, sys, time
way, path, body = sys.argv[1:4]
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.path.join(os.getcwd(), '.ms-supervisor/run/control.sock'))
    return s
def ask(s):
    s.sendall(f'POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}'.encode())
    return s.makefile().readline().split()[1]
def say(text):
    print(f'{way}: {text}', flush=True)
def attempt(what):
    try:
        say(what())
    except OSError as fault:
        say(type(fault).__name__)
def orphan(work):
    if os.fork() == 0:
        os.setsid()
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent: time.sleep(0.01)
            work()
            time.sleep(1000)
        os._exit(0)
if way == 'plain':
    attempt(lambda: ask(connect()))
elif way == 'orphan':
    orphan(lambda: attempt(lambda: ask(connect())))
elif way == 'bare':
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, sys.argv[0], 'plain', path, body], {})
elif way == 'left':
    # Whoever connects has ended before anything is asked.
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        s = connect()
        socket.send_fds(ours, [b'x'], [s.fileno()])
        os._exit(0)
    os.waitpid(pid, 0)
    fds = socket.recv_fds(theirs, 1, 1)[1]
    attempt(lambda: ask(socket.socket(fileno=fds[0])))
time.sleep(1000)
"#;

fn unit(name: &str, way: &str, path: &str, body: &str, more: &str) -> String {
    let exec = serde_json::to_string(&["python3", "-u", "asks.py", way, path, body]).unwrap();
    format!("unit: {name}\nexec: {exec}\nenvironment: {{PYTHONDONTWRITEBYTECODE: \"1\"}}\n{more}---\n")
}

#[track_caller]
fn said(daemon: &Daemon, unit: &str) -> String {
    let said = || daemon.ok(&["logs", unit]).lines().find_map(|line| line.split_once(": ").map(|(_, said)| said.to_owned()));
    until(&format!("{unit} says something"), said)
}

#[test]
fn a_unit_commands_only_what_it_may() {
    let stop = r#"{"targets":["victim"]}"#;
    let units = [
        "unit: victim\nexec: sleep 1000\n---\n".to_owned(),
        unit("plain", "plain", "/v1/stop", stop, ""),
        unit("set", "plain", "/v1/overrides", r#"{"target":"victim","values":[["exec","sleep 1001"]],"unset":[],"unset_all":false}"#, ""),
        unit("upgrade", "plain", "/v1/upgrade", r#"{"program":"/bin/true"}"#, ""),
        unit("orphan", "orphan", "/v1/stop", stop, ""),
        unit("bare", "bare", "/v1/stop", stop, ""),
        unit("left", "left", "/v1/stop", stop, ""),
        unit("other", "plain", "/v1/stop", stop, "may_command: [start, rotate]\n"),
        unit("beats", "plain", "/v1/heartbeat", r#"{"targets":["beats"]}"#, "watchdog: 1h\n"),
        unit("overbeats", "plain", "/v1/heartbeat", r#"{"targets":["beats"]}"#, ""),
        unit("may", "plain", "/v1/rotate", stop, "may_command: rotate\n"),
    ];
    let mut daemon = Daemon::prepared(&[("units/all.yaml", units.concat().trim_end_matches("---\n")), ("asks.py", ASKS)]);
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    for refused in ["plain", "set", "upgrade", "orphan", "bare", "left", "other", "overbeats"] {
        assert_eq!(said(&daemon, refused), "403", "{refused}");
    }
    for done in ["beats", "may"] {
        assert_eq!(said(&daemon, done), "200", "{done}");
    }
    assert_eq!(daemon.status("victim")["state"], "active");
    let by = daemon.event("CommandReceived", |data| data["command"] == "rotate")["data"]["by"].clone();
    assert_eq!(by, "may");
    // What it may is said by the declarations as they are now, and needs no other process.
    let unit = daemon.read("units/all.yaml");
    daemon.write("units/all.yaml", &unit.replace("may_command: rotate", "may_command: all"));
    assert!(daemon.ok(&["reload"]).contains("unit may: change live: may_command"));
    // From outside everything is as before, whoever's child asks.
    daemon.ok(&["stop", "victim"]);
}

#[test]
fn a_unit_with_mounts_does_not_see_the_daemons_sockets() {
    if !nix::unistd::geteuid().is_root() {
        return println!("SKIPPED: mounts take root");
    }
    let stop = r#"{"targets":["victim"]}"#;
    let isolation = "isolation: {read_only_paths: /usr}\n";
    let units = [
        "unit: victim\nexec: sleep 1000\n---\n".to_owned(),
        unit("blind", "plain", "/v1/stop", stop, isolation),
        unit("seeing", "plain", "/v1/rotate", stop, &format!("{isolation}may_command: rotate\n")),
    ];
    let daemon = Daemon::up(&[("units/all.yaml", units.concat().trim_end_matches("---\n")), ("asks.py", ASKS)]);
    let last = |unit: &str| daemon.ok(&["logs", "-n", "1", unit]);
    until("it cannot even ask", || last("blind").contains("ConnectionRefusedError").then_some(()));
    until("whoever may, can", || last("seeing").contains("200").then_some(()));
    assert_eq!(daemon.status("victim")["state"], "active");
}

/// Says `ready`, and then what it is told, as fast as it can or once, until it is ended.
const FLOODS: &str = r"
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'])
s.send(b'READY=1\nSTATUS=begun')
what = eval(sys.argv[1])
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    for one in what: s.send(one)
s.send(b'STATUS=done')
time.sleep(1000)
";

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn a_flood_of_notifications_costs_nobody_else_anything() {
    let flood = |name: &str, what: &str| {
        let exec = serde_json::to_string(&["python3", "-u", "floods.py", what, "4"]).unwrap();
        format!("unit: {name}\nexec: {exec}\nreadiness: notify\n---\n")
    };
    // Two of its own processes by turns, strangers, much text.
    let units = [
        flood("strangers", r"[b'MAINPID=99999\n' * 290]"),
        flood("turns", r"[f'MAINPID={pid}\n'.encode() for pid in (os.getpid(), os.fork() or time.sleep(1000))]"),
        flood("texts", r"[b'STATUS=' + bytes([97 + n]) * 1000 for n in range(26)]"),
        "unit: other\nexec: sleep 1000\n".to_owned(),
    ];
    // As often as it is killed here.
    let root = "supervisor: root\nintensity: 100000\nperiod: 1m\nchildren: [strangers, turns, texts, other]\n";
    let daemon = Daemon::up(&[("units/all.yaml", &units.concat()), ("supervisors/root.yaml", root), ("floods.py", FLOODS)]);
    let (brain, before) = (daemon.brain_pid(), resident(daemon.brain_pid()));
    let mut most = 0;
    let says_done = |unit: &str| daemon.status(unit)["status"] == "done";
    until("all of them are done", || {
        let before = daemon.pids()["other"];
        kill(before, 9);
        until("the other is back", || daemon.pids().get("other").is_some_and(|pid| *pid != before).then_some(()));
        most = most.max(resident(brain));
        ["strangers", "turns", "texts"].into_iter().all(says_done).then_some(())
    });
    assert_eq!(daemon.brain_pid(), brain, "it was never ended");
    assert!(most < before + 64, "the brain took {most} MiB, {before} before");
    for unit in ["strangers", "turns", "texts"] {
        assert_eq!(daemon.status(unit)["state"], "active", "{unit}");
        daemon.event("NotificationsDropped", |data| data["unit"] == unit && data["reason"] == "too_many");
    }
    let count = |kind: &str| daemon.events().iter().filter(|event| event["type"] == kind).count();
    assert!(count("UnitMainRefused") <= 10, "{}", count("UnitMainRefused"));
    assert!(count("UnitMainChanged") < 40 && count("NotificationsDropped") == 3, "{}", daemon.read(".ms-supervisor/events.jsonl"));
}

/// Speaks to another unit's socket: as a process of its own, or as one that is gone at once.
const SPEAKS: &str = r"
import os, socket, sys, time
path, what, how = sys.argv[1:4]
def say():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(what.encode().decode('unicode_escape').encode(), os.path.join(os.getcwd(), path))
while not os.path.exists(path): time.sleep(0.01)
if how == 'gone':
    for n in range(20):
        if os.fork() == 0:
            say()
            os._exit(0)
        os.wait()
else:
    say()
print('said', flush=True)
time.sleep(1000)
";

#[test]
fn only_its_own_processes_speak_for_a_unit() {
    let speak = |name: &str, to: &str, what: &str, how: &str| {
        let path = format!(".ms-supervisor/run/notify/{to}.sock");
        let exec = serde_json::to_string(&["python3", "-u", "speaks.py", &path, what, how]).unwrap();
        format!("unit: {name}\nexec: {exec}\n---\n")
    };
    let waits = |name: &str, more: &str| format!("unit: {name}\nexec: sleep 1000\nreadiness: {{notify: true, timeout: 1h}}\n{more}---\n");
    let shell = |script: &str| serde_json::to_string(&["sh", "-c", script]).unwrap();
    let send = "python3 -c 'import os, socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b\"READY=1\", os.environ[\"NOTIFY_SOCKET\"]); import time; time.sleep(1)'";
    let units = [
        waits("silent", ""),
        waits("quiet", "watchdog: 1h\n"),
        speak("forger", "silent", "READY=1\\nWATCHDOG=trigger\\nSTATUS=forged", "stays"),
        speak("ghost", "quiet", "READY=1\\nWATCHDOG=trigger\\nSTATUS=forged", "gone"),
        // A wrapper whose child speaks for it is heard, unless only the main process may.
        format!("unit: wrapped\nexec: {}\nreadiness: notify\n---\n", shell(&format!("{send}; sleep 1000"))),
        format!(
            "unit: strict\nexec: {}\nreadiness: {{notify: true, timeout: 1h}}\nnotify_access: main\n---\n",
            shell(&format!("{send}; sleep 1000"))
        ),
        format!("unit: direct\nexec: {}\nreadiness: notify\nnotify_access: main\n", shell(&format!("exec {send}"))),
    ];
    let mut daemon = Daemon::prepared(&[("units/all.yaml", &units.concat()), ("speaks.py", SPEAKS)]);
    daemon.start();
    for unit in ["wrapped", "direct"] {
        daemon.event("UnitActive", |data| data["unit"] == unit);
    }
    for (unit, pid) in [("silent", true), ("quiet", true), ("strict", true)] {
        let dropped = daemon.event("NotificationsDropped", |data| data["unit"] == unit && data["reason"] == "foreign");
        assert_eq!(dropped["data"]["pid"].is_u64(), pid, "{dropped}");
    }
    for unit in ["silent", "quiet", "strict"] {
        let status = daemon.status(unit);
        assert_eq!((&status["state"], &status["status"]), (&"activating".into(), &serde_json::Value::Null), "{unit}");
    }
}
