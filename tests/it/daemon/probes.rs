//! Probes: who is not well is found, looked at, and started again; who is not ready is given no work.

use std::fs;

use super::bench::{Daemon, kill, until};
use super::metrics::{free_address, get};

const QUICK: &str = "period: 100ms, timeout: 5s";

fn probe(daemon: &Daemon, unit: &str) -> serde_json::Value {
    daemon.status(unit)["probes"][0].clone()
}

fn starts(daemon: &Daemon, unit: &str) -> usize {
    daemon.events().iter().filter(|event| event["type"] == "UnitActive" && event["subject"] == unit).count()
}

#[test]
fn a_hung_unit_is_found_looked_at_and_started_again() {
    let unit = format!("unit: a\nexec: sleep 1000\nshutdown: 300ms\nprobes: [{{process: true, {QUICK}}}]\n");
    let daemon = Daemon::up(&[("units/a.yaml", &unit)]);
    let pid = daemon.pids()["a"];
    until("it passes", || (probe(&daemon, "a")["standing"] == "passing").then_some(()));
    kill(pid, libc::SIGSTOP);
    let unwell = daemon.event("UnitUnwell", |data| data["unit"] == "a")["data"].clone();
    assert_eq!(unwell["why"], format!("probe process: process {pid} is stopped"));
    let incident = fs::read_to_string(unwell["incident"].as_str().unwrap()).unwrap();
    assert!(incident.contains("State:\tT (stopped)") && incident.contains("== cmdline\nsleep 1000"), "{incident}");
    daemon.events_of("UnitActive", "a", 2);
    assert_ne!(daemon.pids()["a"], pid);
    assert_eq!(daemon.status("a")["restarts"], 1);
    until("it passes again", || (probe(&daemon, "a")["standing"] == "passing").then_some(()));
    let text = daemon.ok(&["status", "a"]);
    assert!(text.contains("Probe: process (liveness) passing for "), "{text}");
}

/// Says that everything waits for memory, or for nothing, as the kernel would. Without a pause: the sum grows with time.
fn write_pressure(daemon: &Daemon, waits: bool, since: std::time::Instant) {
    let waited = if waits { since.elapsed().as_micros() } else { 0 };
    let line = format!("avg10=0.00 avg60=0.00 avg300=0.00 total={waited}");
    fs::write(daemon.path("pressure.new"), format!("some {line}\nfull {line}\n")).unwrap();
    fs::rename(daemon.path("pressure.new"), daemon.path("pressure/memory")).unwrap();
}

#[test]
fn what_fails_while_everything_waits_for_memory_does_not_count_and_then_it_does() {
    let unit = format!("unit: a\nexec: sleep 1000\nshutdown: 300ms\nprobes: [{{process: true, {QUICK}}}]\n");
    let mut daemon = Daemon::prepared(&[("units/a.yaml", &unit), ("pressure/cpu", "")]);
    daemon.environment("MS_PRESSURE_DIR", daemon.path("pressure").display().to_string().leak());
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    let since = std::time::Instant::now();
    let stalled = || daemon.events().iter().any(|event| event["type"] == "ObserverStalled" && event["data"]["cause"] == "memory");
    until("it is known", || {
        write_pressure(&daemon, true, since);
        stalled().then_some(())
    });
    assert!(daemon.ok(&["status"]).contains("everything waited for memory"));
    let pid = daemon.pids()["a"];
    kill(pid, libc::SIGSTOP);
    until("it has failed often", || {
        write_pressure(&daemon, true, since);
        (probe(&daemon, "a")["runs"][2].as_u64() > Some(20)).then_some(())
    });
    assert_eq!((daemon.pids()["a"], starts(&daemon, "a")), (pid, 1));
    write_pressure(&daemon, false, since);
    daemon.event("UnitUnwell", |data| data["unit"] == "a");
    daemon.event("ObserverRecovered", |data| data["cause"] == "memory" && data["blind"].as_f64() > Some(1.0));
}

#[test]
fn what_is_to_stay_down_after_a_failure_does_so_until_it_is_started() {
    let units = "unit: a\nexec: [sh, -c, 'exec sleep $(cat time)']\nrestart: {on: {\"exit 78\": stop, config: stop}}\n---\n\
                 unit: b\nexec: [sh, -c, 'sleep 0.2; exit 78']\nrestart: {on: {\"exit 78\": stop}}\n---\n\
                 unit: c\nexec: /no/such/program\nrestart: {on: {config: stop}}\n";
    let tree = "supervisor: root\nstrategy: one_for_all\nchildren: [a, b, c]\n";
    let daemon = Daemon::up(&[("units/all.yaml", units), ("supervisors/root.yaml", tree), ("time", "1000")]);
    let given_up = daemon.event("UnitGivenUp", |data| data["unit"] == "b")["data"].clone();
    assert_eq!((given_up["cause"].clone(), given_up["unit"].clone()), ("exit 78".into(), "b".into()));
    daemon.event("UnitGivenUp", |data| data["unit"] == "c" && data["cause"] == "config");
    until("both are held", || ["b", "c"].iter().all(|unit| daemon.status(unit)["held"] == true).then_some(()));
    assert_eq!(starts(&daemon, "a"), 1, "no sibling is concerned");
    let text = daemon.ok(&["status", "b"]);
    assert!(text.contains("restart.on: exit 78: exit code 78"), "{text}");
    kill(daemon.brain_pid(), 9);
    daemon.events_of_kind("DaemonStarted", 2);
    until("it answers", || daemon.answers());
    assert_eq!((daemon.status("b")["held"].clone(), starts(&daemon, "b")), (true.into(), 1));
    daemon.ok(&["start", "b"]);
    daemon.events_of("UnitActive", "b", 2);
}

#[test]
fn a_unit_is_ready_when_its_probes_say_so_and_not_longer() {
    let look =
        format!("probes: [{{name: file, role: readiness, command: [sh, -c, 'test -e ready || {{ echo no file; exit 2; }}'], {QUICK}}}]");
    let units = format!("unit: server\nexec: sleep 1000\n{look}\n---\nunit: client\nexec: sleep 1001\nrequires: server\n");
    let mut daemon = Daemon::prepared(&[("units/all.yaml", &units)]);
    daemon.start();
    daemon.event("UnitStarting", |data| data["unit"] == "server");
    daemon.event("DaemonStarted", |_| true);
    until("the daemon answers", || daemon.answers());
    until("it is looked at", || (probe(&daemon, "server")["runs"][2].as_u64() > Some(5)).then_some(()));
    assert_eq!(
        (daemon.status("server")["state"].clone(), daemon.status("client")["state"].clone()),
        ("activating".into(), "waiting".into())
    );
    fs::write(daemon.path("ready"), "").unwrap();
    daemon.event("UnitActive", |data| data["unit"] == "client");
    let pid = daemon.pids()["server"];
    fs::remove_file(daemon.path("ready")).unwrap();
    let why = daemon.event("UnitUnready", |data| data["unit"] == "server")["data"]["why"].clone();
    assert_eq!(why, "probe file: no file");
    assert_eq!((daemon.status("server")["ready"].clone(), daemon.status("server")["state"].clone()), (false.into(), "active".into()));
    // It is no reason for a restart, and the next brain knows what it sees.
    kill(daemon.brain_pid(), 9);
    until("the next brain sees it, too", || {
        (daemon.answers().is_some() && daemon.status("server")["reason"] == "not ready for work: probe file: no file").then_some(())
    });
    fs::write(daemon.path("ready"), "").unwrap();
    daemon.event("UnitReady", |data| data["unit"] == "server");
    assert_eq!((daemon.pids()["server"], starts(&daemon, "server")), (pid, 1));
}

#[test]
fn a_slow_start_is_not_killed_and_a_dead_one_is() {
    let startup = |file: &str, times: u32| {
        format!("{{name: up, role: startup, command: [sh, -c, 'test -e {file} || exit 2'], failure_threshold: {times}, {QUICK}}}")
    };
    let life = format!("{{name: life, role: liveness, command: [sh, -c, 'test -e slow || exit 2'], failure_threshold: 1, {QUICK}}}");
    let units = format!(
        "unit: slow\nexec: sleep 1000\nprobes: [{}, {life}]\n---\nunit: dead\nexec: sleep 1001\nprobes: [{}]\n\
         restart: {{backoff: {{first: 1h, max: 1h}}}}\n",
        startup("slow", 1000),
        startup("nothing", 3)
    );
    let mut daemon = Daemon::prepared(&[("units/all.yaml", &units)]);
    daemon.start();
    let failed = daemon.event("UnitStartFailed", |data| data["unit"] == "dead");
    assert_eq!(failed["data"]["reason"]["error"], "probe up: sh: exit code 2");
    until("it was asked often", || (probe(&daemon, "slow")["runs"][2].as_u64() > Some(10)).then_some(()));
    fs::write(daemon.path("slow"), "").unwrap();
    daemon.event("UnitActive", |data| data["unit"] == "slow");
    assert_eq!(starts(&daemon, "slow"), 1);
    assert!(daemon.events().iter().all(|event| event["type"] != "UnitUnwell" || event["subject"] != "slow"));
}

#[test]
fn what_a_plugin_says_is_shown_and_measured() {
    let plugin = "[sh, -c, 'echo \"QUEUE WARNING - 7 waiting | queue=7;5;10;0 time=0.5s\"; exit 1']";
    let unit = format!("unit: a\nexec: sleep 1000\nprobes: [{{name: queue, role: observe, command: {plugin}, {QUICK}}}]\n");
    let mut daemon = Daemon::prepared(&[("units/a.yaml", &unit)]);
    let address = free_address();
    daemon.start_with(&["run", "--quiet", "--listen", &address]);
    daemon.event("DaemonReady", |_| true);
    until("it was asked", || (probe(&daemon, "a")["standing"] == "passing").then_some(()));
    let found = probe(&daemon, "a");
    assert_eq!((found["verdict"].clone(), found["text"].clone()), ("degraded".into(), "QUEUE WARNING - 7 waiting".into()));
    assert_eq!(found["values"][0]["value"], 7.0);
    let page = get(&address, "/metrics").unwrap().1;
    for line in
        ["ms_probe_up{unit=\"a\",probe=\"queue\",role=\"observe\"} 1", "ms_probe_value{unit=\"a\",probe=\"queue\",value=\"queue\"} 7"]
    {
        assert!(page.contains(line), "{page}");
    }
}

#[test]
fn a_probe_with_two_periods_is_made_often_only_while_that_is_worth_it() {
    let look = |name: &str, what: &str| format!("{{name: {name}, role: observe, {what}, period: {{min: 100ms, max: 1h}}, timeout: 5s}}");
    let (calm, bad) = (look("calm", "resources: {processes: 100}"), look("bad", "command: [\"false\"]"));
    let near = look("near", "resources: {processes: 1}");
    let unit = format!("unit: a\nexec: sleep 1000\nprobes: [{calm}, {bad}, {near}]\n");
    let daemon = Daemon::up(&[("units/a.yaml", &unit)]);
    let runs = |at: usize| -> u64 {
        let status = daemon.status("a");
        status["probes"][at]["runs"].as_array().unwrap().iter().filter_map(serde_json::Value::as_u64).sum()
    };
    until("those that want care are made often", || (runs(1) > 50 && runs(2) > 50).then_some(()));
    // Twice as long each time.
    assert!((1..12).contains(&runs(0)), "{}", daemon.status("a"));
    assert_eq!(daemon.status("a")["probes"][2]["values"][3]["limits"]["max"], 1.0);
}

#[test]
fn a_unit_is_judged_by_its_metrics() {
    // What the daemon shows of another unit stands for an application.
    let address = free_address();
    let series = "{name: ms_probe_up, labels: {unit: b}, min: 1}, {name: ms_build_info}";
    let look = format!("{{metrics: {{url: \"http://{address}/metrics\", series: [{series}]}}, {QUICK}}}");
    let units =
        format!("unit: a\nexec: sleep 1000\nprobes: [{look}]\n---\nunit: b\nexec: sleep 1001\nprobes: [{{process: true, {QUICK}}}]\n");
    let mut daemon = Daemon::prepared(&[("units/all.yaml", &units)]);
    daemon.start_with(&["run", "--quiet", "--listen", &address]);
    daemon.event("DaemonReady", |_| true);
    until("it passes", || (probe(&daemon, "a")["standing"] == "passing").then_some(()));
    assert_eq!(
        probe(&daemon, "a")["values"][0],
        serde_json::json!({"name": "ms_probe_up{unit=\"b\"}", "value": 1.0, "unit": "", "limits": {"min": 1.0}})
    );
    let line = "ms_probe_value{unit=\"a\",probe=\"metrics\",value=\"ms_probe_up{unit=\\\"b\\\"}\"} 1";
    until("it is measured", || get(&address, "/metrics").unwrap().1.contains(line).then_some(()));
}

/// Sends a sign of life every tenth of a second, by what is at hand, until the file `hang` is there.
const BEATS: &str = "exec: [python3, -c, \"import os, socket, time\\nsock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\\n\
                     beat = lambda text: sock.sendto(text, os.environ['NOTIFY_SOCKET'])\\nbeat(b'READY=1')\\n\
                     while not os.path.exists('hang'): time.sleep(float(os.environ['WATCHDOG_USEC']) / 20e6); beat(b'WATCHDOG=1')\\ntime.sleep(1000)\"]\n";

#[test]
fn a_unit_that_stops_giving_signs_of_life_is_started_again() {
    let unit = |name: &str, detector: &str| {
        format!("unit: {name}\n{BEATS}readiness: notify\nwatchdog: {{timeout: 2s, detector: {detector}}}\nshutdown: 300ms\n")
    };
    let units = [unit("phi", "phi"), unit("timeout", "timeout"), unit("chen", "chen")].join("---\n");
    let daemon = Daemon::up(&[("units/all.yaml", &units)]);
    let before = daemon.pids();
    for name in ["phi", "timeout", "chen"] {
        until("it is heard", || (probe(&daemon, name)["standing"] == "passing").then_some(()));
    }
    // Another brain hears it as well, and takes its own start for no silence.
    kill(daemon.brain_pid(), 9);
    until("the next brain hears them", || {
        daemon.answers().filter(|()| ["phi", "timeout", "chen"].iter().all(|name| probe(&daemon, name)["standing"] == "passing"))
    });
    assert_eq!(daemon.pids(), before);
    fs::write(daemon.path("hang"), "").unwrap();
    for name in ["phi", "timeout", "chen"] {
        let unwell = daemon.event("UnitUnwell", |data| data["unit"] == name)["data"].clone();
        assert!(unwell["why"].as_str().unwrap().starts_with("probe watchdog: no sign of life for "), "{unwell}");
        assert!(fs::read_to_string(unwell["incident"].as_str().unwrap()).unwrap().contains("== thread "));
    }
    fs::remove_file(daemon.path("hang")).unwrap();
    until("all run again", || {
        let now = daemon.pids();
        (now.len() == 3 && now.iter().all(|(name, pid)| before[name] != *pid)).then_some(())
    });
}

#[test]
fn signs_of_life_can_be_given_on_the_command_line() {
    let units = "unit: a\nexec: sleep 1000\nwatchdog: {timeout: 3s, detector: timeout}\nshutdown: 300ms\n---\nunit: b\nexec: sleep 1001\n";
    let daemon = Daemon::up(&[("units/all.yaml", units)]);
    for number in 1..=30 {
        assert_eq!(daemon.ok(&["heartbeat", "a", "--sequence", &number.to_string()]), "");
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
    assert_eq!(starts(&daemon, "a"), 1);
    let refused = daemon.cli(&["heartbeat", "b"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("without a `watchdog`"), "{refused:?}");
    daemon.event("UnitUnwell", |data| data["unit"] == "a");
    daemon.events_of("UnitActive", "a", 2);
}
