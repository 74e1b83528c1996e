//! Programs that probe: none of them outlives its time, its unit or its daemon.

use super::bench::{Daemon, is_alive, kill, until};

/// A program that leaves a session, then hangs.
const HANGS: &str = "[sh, -c, 'setsid sh -c \"echo \\$\\$ > away; exec sleep 1000\" & echo $$ > hangs; wait']";

fn read(daemon: &Daemon, name: &str) -> u32 {
    until(name, || std::fs::read_to_string(daemon.path(name)).ok()?.trim().parse().ok())
}

fn daemon(times: &str) -> Daemon {
    let unit =
        format!("unit: a\nexec: sleep 1000\nprobes: [{{name: hangs, role: observe, command: {HANGS}, initial_delay: 0s, {times}}}]\n");
    Daemon::up(&[("units/a.yaml", &unit)])
}

fn both_go(pids: [u32; 2]) {
    until("both have gone", || (!pids.into_iter().any(is_alive)).then_some(()));
}

#[test]
fn what_hangs_is_killed_as_a_whole() {
    let daemon = daemon("period: 2s, timeout: 1s");
    let pids = [read(&daemon, "hangs"), read(&daemon, "away")];
    until("it has failed", || (daemon.status("a")["probes"][0]["text"] == "sh did not end within 1s").then_some(()));
    both_go(pids);
    daemon.ok(&["stop", "a"]);
}

#[test]
fn it_goes_with_its_unit() {
    let daemon = daemon("period: 100ms, timeout: 1h");
    let pids = [read(&daemon, "hangs"), read(&daemon, "away")];
    daemon.ok(&["stop", "a"]);
    both_go(pids);
}

#[test]
fn it_goes_with_its_brain() {
    let daemon = daemon("period: 100ms, timeout: 1h");
    let pids = [read(&daemon, "hangs"), read(&daemon, "away")];
    let unit = daemon.pids()["a"];
    kill(daemon.brain_pid(), 9);
    both_go(pids);
    until("it answers", || daemon.answers());
    assert_eq!(daemon.pids()["a"], unit);
}

#[test]
fn it_goes_with_its_launcher() {
    let mut daemon = daemon("period: 100ms, timeout: 1h");
    let pids = [read(&daemon, "hangs"), read(&daemon, "away")];
    daemon.kill_launcher();
    daemon.start();
    both_go(pids);
}

#[test]
fn much_output_and_no_program_are_no_trouble() {
    let much = "{name: much, role: observe, period: 200ms, timeout: 30s, command: [sh, -c, \"echo heard; echo unheard >&2; head -c 10000000 /dev/zero\"]}";
    let none = "{name: none, role: observe, period: 200ms, command: /no/such}";
    let daemon = Daemon::up(&[("units/a.yaml", &format!("unit: a\nexec: sleep 1000\nprobes: [{much}, {none}]\n"))]);
    let probe = |at: usize| daemon.status("a")["probes"][at].take();
    let much = until("it has ended", || Some(probe(0)).filter(|probe| probe["runs"][0].as_u64() > Some(1)));
    assert_eq!(much["text"], "heard");
    let none = until("it was tried", || Some(probe(1)).filter(|probe| probe["runs"][3].as_u64() > Some(1)));
    assert!(none["text"].as_str().unwrap().starts_with("cannot execute /no/such: "), "{none}");
}
