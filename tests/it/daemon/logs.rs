//! Logs: rotation, quotas, compression, and what `logs` shows of them.

use std::fs;

use serde_json::Value;

use super::bench::{Daemon, is_idle, kill, until};

/// Counts as fast as it can.
const FLOOD: &str = "exec: sh -c 'i=0; while :; do i=$((i+1)); echo $i; done'\n";

/// Counts quickly, in lines of a hundred characters, but leaves something to others.
const TICK: &str = "exec: [sh, -c, 'i=0; while :; do i=$((i+1)); printf \"%%099d\\n\" $i; sleep 0.01; done']\n";

/// Writes several megabytes a second in lines of ten thousand characters.
const FAT: &str = "exec: [sh, -c, 'i=0; while :; do i=$((i+1)); printf \"%%09999d\\n\" $i; sleep 0.002; done']\n";

fn numbers(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.rsplit(' ').next().unwrap().parse().ok()).collect()
}

#[track_caller]
fn assert_whole(text: &str, first: u64) {
    let numbers = numbers(text);
    assert!(numbers.len() > 1, "{text}");
    for (number, found) in (first..).zip(&numbers) {
        assert_eq!(*found, number, "a line was lost or doubled");
    }
}

fn archives(daemon: &Daemon, unit: &str) -> Vec<String> {
    let names = fs::read_dir(daemon.path(".ms-supervisor/logs")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(&format!("{unit}.log.0")) && !name.contains(".part")).collect();
    names.sort();
    names
}

#[test]
fn a_log_is_rotated_on_command_under_its_writer() {
    let units = format!("unit: direct\n{TICK}---\nunit: pipe\nlogs: pipe\n{TICK}---\nunit: silent\nlogs: none\nexec: sleep 1000\n");
    let daemon = Daemon::up(&[("units/all.yaml", &units)]);
    for round in 1..=3 {
        for unit in ["direct", "pipe"] {
            // In mode `direct` whole blocks go.
            until("it has grown", || (daemon.read(&format!(".ms-supervisor/logs/{unit}.log")).len() > 4200).then_some(()));
            let said = daemon.ok(&["rotate", unit]);
            assert!(said.starts_with(&format!("{unit}: rotated ")), "{said}");
            until("an archive", || (archives(&daemon, unit).len() == round).then_some(()));
        }
    }
    let refused = daemon.cli(&["rotate", "silent"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("its output is not kept"));
    daemon.ok(&["stop", "direct", "pipe"]);
    for unit in ["direct", "pipe"] {
        assert_whole(&daemon.ok(&["logs", "-n", "1000000", unit]), 1);
        assert_eq!(daemon.ok(&["logs", "--grep", "[^1-9]77$", unit]).lines().count(), 1);
    }
    assert!(daemon.ok(&["rotate", "direct"]).contains("direct: "));
}

#[test]
fn an_old_log_is_rotated() {
    let units = format!("unit: direct\nlogs: {{max_age: 1s}}\n{FLOOD}---\nunit: pipe\nlogs: {{mode: pipe, max_age: 1s}}\n{TICK}");
    let daemon = Daemon::up(&[("units/all.yaml", &units)]);
    for unit in ["direct", "pipe"] {
        until("two archives", || (archives(&daemon, unit).len() >= 2).then_some(()));
    }
    daemon.ok(&["stop", "direct", "pipe"]);
    assert_whole(&daemon.ok(&["logs", "-n", "1000000", "pipe"]), 1);
}

#[test]
fn beyond_the_quota_the_oldest_goes_and_everybody_is_told() {
    let logs = "logs: {max_size: 64KiB, max_total: 256KiB, keep: 100}\n";
    let daemon = Daemon::up(&[("units/a.yaml", &format!("unit: a\n{logs}{FLOOD}"))]);
    let told = daemon.event("LogDropped", |_| true);
    assert_eq!((told["subject"].as_str(), told["data"]["why"].as_str()), (Some("a"), Some("quota")));
    assert!(told["data"]["bytes"].as_u64() > Some(0) && told["data"]["from"].as_i64() <= told["data"]["to"].as_i64());
    daemon.ok(&["stop", "a"]);
    let everything = daemon.ok(&["logs", "-n", "1000000", "a"]);
    let mut lines = everything.lines();
    let gap = lines.next().unwrap();
    assert!(gap.starts_with("[ms-supervisor: ") && gap.ends_with("the unit's quota was reached]"), "{gap}");
    let rest: String = lines.skip(1).map(|line| format!("{line}\n")).collect();
    assert_whole(&rest, numbers(&rest)[0]);
    let json = daemon.ok(&["logs", "-n", "1000000", "--json", "a"]);
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((first["gap"]["start"].as_u64(), first["gap"]["why"].as_str()), (Some(0), Some("quota")));
    let used: u64 =
        archives(&daemon, "a").iter().map(|name| fs::metadata(daemon.path(".ms-supervisor/logs").join(name)).unwrap().len()).sum();
    assert!(used <= 256 * 1024, "{used}");
}

#[test]
fn all_logs_together_have_a_quota() {
    let logs = "logs: {max_size: 64KiB, keep: 1000, max_total: 1GiB}\n";
    let units = format!("unit: a\ninstances: 2\n{logs}{FLOOD}");
    let daemon = Daemon::up(&[("units/a.yaml", &units), ("daemon.yaml", "logs: {max_total: 2MiB}\n")]);
    let told = daemon.event("LogDropped", |data| data["why"] == "total");
    assert!(told["data"]["bytes"].as_u64() > Some(0));
}

#[test]
fn a_unit_whose_log_is_full_is_stopped_until_there_is_room() {
    let units = format!("unit: a\nlogs: {{max_size: 64KiB, max_total: 1MiB, keep: 1000, overflow: pause}}\n{FLOOD}");
    let daemon = Daemon::up(&[("units/a.yaml", &units)]);
    daemon.event("LogFull", |data| data["unit"] == "a");
    let pid = daemon.pids()["a"];
    until("it is stopped", || is_idle(pid).then_some(()));
    for archive in archives(&daemon, "a") {
        fs::remove_file(daemon.path(".ms-supervisor/logs").join(archive)).unwrap();
    }
    daemon.event("LogHasRoom", |data| data["unit"] == "a");
    until("it goes on", || (!is_idle(pid)).then_some(()));
    // A unit that is stopped can be told to end all the same.
    daemon.events_of("LogFull", "a", 2);
    until("it is stopped", || is_idle(pid).then_some(()));
    daemon.ok(&["stop", "a"]);
    assert!(daemon.events().iter().all(|event| event["type"] != "UnitTimedOut"));
}

#[test]
fn archives_are_compressed_and_read_like_others() {
    let units = format!("unit: a\nlogs: {{mode: pipe}}\n{TICK}---\nunit: b\nlogs: {{mode: pipe, compress: none}}\n{TICK}");
    let daemon = Daemon::up(&[("units/all.yaml", &units)]);
    for unit in ["a", "b"] {
        for _ in 0..2 {
            until("it has grown", || (!daemon.read(&format!(".ms-supervisor/logs/{unit}.log")).is_empty()).then_some(()));
            daemon.ok(&["rotate", unit]);
        }
    }
    until("one is compressed and the plain one gone", || {
        let names = archives(&daemon, "a");
        (names.len() == 2 && names[0].ends_with(".zst")).then_some(())
    });
    assert!(archives(&daemon, "b").iter().all(|name| !name.ends_with(".zst")));
    daemon.ok(&["stop", "a", "b"]);
    assert_whole(&daemon.ok(&["logs", "-n", "1000000", "a"]), 1);
    assert_eq!(numbers(&daemon.ok(&["logs", "--grep", "^0*1$", "a"])), [1]);
}

#[test]
fn following_goes_on_with_the_next_brain() {
    let units = format!("unit: a\n{TICK}---\nunit: b\nlogs: pipe\n{TICK}");
    let daemon = Daemon::up(&[("units/all.yaml", &units)]);
    let mut both = daemon.begin(&["logs", "-f", "-n", "100000"], "both.out");
    let mut one = daemon.begin(&["logs", "-f", "--grep", "[05]$", "-n", "100000", "a"], "one.out");
    until("the other one reads, too", || (!daemon.read("one.out").is_empty()).then_some(()));
    for round in 1..=3 {
        let lines = daemon.read("both.out").lines().count();
        until("it follows", || (daemon.read("both.out").lines().count() > lines + 20).then_some(()));
        kill(daemon.brain_pid(), 9);
        daemon.event("DaemonStarted", |data| data["generation"] == round);
    }
    let lines = daemon.read("both.out").lines().count();
    until("it follows", || (daemon.read("both.out").lines().count() > lines + 20).then_some(()));
    for (child, name) in [(&mut both, "both.out"), (&mut one, "one.out")] {
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!daemon.read(name).contains("error"), "{}", daemon.read(name));
    }
    let text = daemon.read("both.out");
    for unit in ["a ", "b "] {
        let own: String = text.lines().filter(|line| line.starts_with(unit)).map(|line| format!("{line}\n")).collect();
        assert_whole(&own, 1);
    }
    let fifth = numbers(&daemon.read("one.out"));
    assert!(fifth.len() > 5 && (1..).zip(&fifth).all(|(number, found)| *found == 5 * number), "{fifth:?}");
}

#[test]
fn logs_can_be_read_without_a_daemon() {
    let units = format!("unit: a\ninstances: 2\n{TICK}");
    let mut daemon = Daemon::up(&[("units/a.yaml", &units)]);
    until("it has grown", || (daemon.read(".ms-supervisor/logs/a@1.log").lines().count() > 20).then_some(()));
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    let read = daemon.cli(&["logs", "-n", "1000000", "a@1"]);
    assert!(read.status.success() && String::from_utf8_lossy(&read.stderr).starts_with("no daemon answers; reading the files in "));
    assert_whole(&String::from_utf8_lossy(&read.stdout), 1);
    assert_eq!(numbers(&daemon.ok(&["logs", "--grep", "^0*7$", "a"])), [7, 7]);
    assert_eq!(daemon.cli(&["logs", "nobody"]).status.code(), Some(4));
    let mut follow = daemon.begin(&["logs", "-f", "-n", "1", "a@2"], "follow.out");
    fs::OpenOptions::new()
        .append(true)
        .open(daemon.path(".ms-supervisor/logs/a@2.log"))
        .map(|mut file| std::io::Write::write_all(&mut file, b"and on\n"))
        .unwrap()
        .unwrap();
    until("it is followed", || daemon.read("follow.out").ends_with("and on\n").then_some(()));
    follow.kill().unwrap();
    follow.wait().unwrap();
}

/// One line to each stream, in turn.
const BOTH: &str = "exec: [sh, -c, 'i=0; while :; do i=$((i+1)); echo out $i; echo err $i >&2; sleep 0.02; done']\n";

/// What `logs --json` says of a unit.
fn lines(daemon: &Daemon, arguments: &[&str]) -> Vec<Value> {
    daemon.ok(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn stderr_can_have_a_log_of_its_own() {
    let units = format!(
        "unit: a\nlogs: {{stderr: separate, max_size: 64KiB}}\n{BOTH}---\nunit: b\nlogs: {{mode: pipe, stderr: separate}}\n{BOTH}---\nunit: c\nlogs: pipe\n{BOTH}"
    );
    let mut daemon = Daemon::up(&[("units/all.yaml", &units)]);
    for unit in ["a", "b"] {
        until("both have grown", || (lines(&daemon, &["logs", "--json", "--stream", "stderr", unit]).len() > 20).then_some(()));
    }
    // Whoever dies, each stays where it is.
    kill(daemon.brain_pid(), 9);
    daemon.event("DaemonStarted", |data| data["generation"] == 1);
    daemon.kill_launcher();
    daemon.start();
    until("the daemon answers", || daemon.answers());
    let printed = daemon.ok(&["rotate", "b"]);
    assert!(printed.contains("rotated"), "{printed}");
    daemon.ok(&["stop", "a", "b"]);
    for unit in ["a", "b"] {
        for (stream, word) in [("stdout", "out"), ("stderr", "err")] {
            let text = daemon.ok(&["logs", "-n", "1000000", "--stream", stream, unit]);
            assert!(text.lines().all(|line| line.starts_with(word)), "{text}");
            assert_whole(&text, 1);
        }
        let both = lines(&daemon, &["logs", "-n", "1000000", "--json", unit]);
        let errors = both.iter().filter(|line| line["stream"] == "stderr").count();
        assert!(both.iter().all(|line| line["unit"] == unit) && errors.abs_diff(both.len() - errors) <= 1, "{errors} of {}", both.len());
        assert!(both.is_sorted_by_key(|line| line["time"].as_str().unwrap()));
        // Both are looked at in the same round, so that they come in turn, not one after the other.
        let first_error = both.iter().position(|line| line["stream"] == "stderr").unwrap();
        assert!(first_error < both.len() - errors, "stderr comes behind all of stdout");
    }
    let refused = daemon.cli(&["logs", "--stream", "stderr", "c"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("stderr: separate"));
}

#[test]
fn each_line_has_the_time_at_which_it_came() {
    // Each line says when it was written, in milliseconds.
    let exec = "exec: [sh, -c, 'while :; do date +%%s%%3N; sleep 0.03; done']\n";
    let daemon = Daemon::up(&[("units/a.yaml", &format!("unit: a\nlogs: {{mode: pipe, timestamps: true, max_size: 64KiB}}\n{exec}"))]);
    let read = || lines(&daemon, &["logs", "-n", "1000000", "--json", "a"]);
    let grown = |from: usize| until("it has grown", || (read().len() > from + 20).then_some(()));
    grown(0);
    daemon.ok(&["rotate", "a"]);
    kill(daemon.brain_pid(), 9);
    daemon.event("DaemonStarted", |data| data["generation"] == 1);
    grown(read().len());
    let late: Vec<i64> = read()
        .iter()
        .map(|line| {
            let came = line["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
            came - line["text"].as_str().unwrap().parse::<i64>().unwrap()
        })
        .collect();
    // Never before it was written; and as soon as the machine lets the pump look, except where there was no brain.
    assert!(late.iter().all(|late| *late >= 0), "{late:?}");
    let soon = late.iter().filter(|late| **late < 25).count();
    assert!(soon * 2 > late.len(), "{late:?}");
    let shown = daemon.ok(&["logs", "-t", "-n", "1", "a"]);
    assert!(shown.split_once(' ').unwrap().0.parse::<jiff::Timestamp>().is_ok(), "{shown}");
}

#[test]
fn a_pipe_survives_a_storm_of_brains() {
    let daemon = Daemon::up(&[("units/a.yaml", &format!("unit: a\nlogs: {{mode: pipe, max_total: 1GiB, keep: 100}}\n{FAT}"))]);
    let pid = daemon.pids()["a"];
    let mut last = 0;
    // Six in a row, and the launcher takes its time before it tries the next.
    for _ in 0..6 {
        let brain = until("another brain", || Some(daemon.brain_pid()).filter(|brain| *brain != last));
        kill(brain, 9);
        last = brain;
    }
    let length = || fs::metadata(daemon.path(".ms-supervisor/logs/a.log")).map_or(0, |file| file.len());
    let before = length();
    // More than a pipe holds, without a brain.
    until("it writes on", || (length() > before + (4 << 20)).then_some(()));
    until("a brain answers", || daemon.answers());
    assert_eq!(daemon.pids()["a"], pid);
    daemon.ok(&["stop", "a"]);
    assert_whole(&daemon.ok(&["logs", "-n", "1000000", "a"]), 1);
}
