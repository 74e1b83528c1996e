use std::path::Path;

use super::*;
use crate::base::time::{Mono, Wall};

fn unit(name: &str, state: &str) -> UnitStatus {
    UnitStatus { state: state.into(), ready: state == "active", ..UnitStatus::new(name.into(), "root".into(), Wall(0), Mono(0)) }
}

fn write(directory: &Path, unit: &str, text: &str) {
    let path = crate::os::logfile::live_path(directory, unit);
    std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// What stands behind the time in each line.
fn texts(out: &str) -> Vec<&str> {
    out.lines().map(|line| &line["HH:MM:SS.mmm ".len()..]).collect()
}

const OPTIONS: Options = Options { events: true, logs: true, color: false };

#[test]
fn events_and_output_come_with_their_unit() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "web", "old\n");
    let history = History::open(directory.path()).unwrap();
    let mut state = State { live: history.follow(), tails: Tails::new(directory.path()), told: None };
    let units = [unit("redis", "active"), unit("web", "active")];
    write(directory.path(), "web", "new\n");
    write(directory.path(), "redis", &"x\n".repeat(LINES_MAX + 1));
    history.record(Wall(0), Event::UnitStopping { unit: "web".into() });
    let out = state.gather(&units, OPTIONS, Mono(0));
    let lines = texts(&out);
    assert_eq!(lines[..3], ["web      | stopping", "redis    | … 1 lines skipped", "redis    | x"]);
    assert_eq!((lines.len(), lines[lines.len() - 1]), (LINES_MAX + 3, "web      | new"));
    assert_eq!(state.gather(&units, OPTIONS, Mono(0)), "");
}

#[test]
fn a_crowd_is_told_once_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path()).unwrap();
    let mut state = State { live: history.follow(), tails: Tails::default(), told: None };
    let mut units: Vec<_> = (0..30).map(|number| unit(&format!("u@{number}"), "waiting")).collect();
    units.push(unit("web", "active"));
    let told = |state: &mut State, units: &[UnitStatus], seconds: u64| {
        history.record(Wall(0), Event::UnitActive { unit: "u@1".into(), pid: 1, after: Duration::ZERO });
        let out = state.gather(units, Options { logs: false, ..OPTIONS }, Mono(seconds * 1_000_000_000));
        texts(&out).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut state, &units, 0), ["daemon   | starting: 1 of 31 active"]);
    assert_eq!(told(&mut state, &units, 0), [""; 0]);
    assert_eq!(told(&mut state, &units, 1).len(), 1);
    units.iter_mut().skip(4).for_each(|unit| "stopping".clone_into(&mut unit.state));
    units[0].state = "stopped".into();
    assert_eq!(told(&mut state, &units, 2), ["daemon   | stopping: 4 of 31 stopped"]);
    units.truncate(10);
    assert_eq!(told(&mut state, &units, 3), ["u@1      | started, pid 1, after 0us"]);
}
