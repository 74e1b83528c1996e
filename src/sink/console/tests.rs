#![expect(clippy::disallowed_methods, reason = "tests make files")]

use std::path::Path;

use super::*;
use crate::base::time::{Mono, Wall};

/// Units by name and state.
fn view<'a>(units: impl IntoIterator<Item = (&'a str, &'a str)>) -> View {
    let view = View::default();
    for (name, state) in units {
        let status = UnitStatus::new(name.into(), "root".into(), Wall(0), Mono(0));
        view.add_unit(UnitStatus { state: state.into(), ready: state == "active", ..status });
    }
    view
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
    let mut state = State::new(&history, Tails::new(directory.path()));
    let view = view([("redis", "active"), ("web", "active")]);
    write(directory.path(), "web", "new\n");
    write(directory.path(), "redis", &"x\n".repeat(LINES_MAX + 1));
    history.record(Wall(0), Event::UnitStopping { unit: "web".into() });
    let out = state.gather(&view, OPTIONS, false, Mono(0));
    let lines = texts(&out);
    assert_eq!(lines[..3], ["web      | stopping", "redis    | … 1 lines skipped", "redis    | x"]);
    assert_eq!((lines.len(), lines[lines.len() - 1]), (LINES_MAX + 3, "web      | new"));
    assert_eq!(state.gather(&view, OPTIONS, false, Mono(0)), "");
}

#[test]
fn a_crowd_is_told_once_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path()).unwrap();
    let mut state = State::new(&history, Tails::default());
    let names: Vec<_> = (0..30).map(|number| format!("u@{number:02}")).collect();
    let units = |state: fn(usize) -> &'static str| view(names.iter().enumerate().map(|(number, name)| (name.as_str(), state(number))));
    let told = |state: &mut State, view: &View, seconds: u64| {
        history.record(Wall(0), Event::UnitActive { unit: "u@01".into(), pid: 1, after: Duration::ZERO });
        let out = state.gather(view, Options { logs: false, ..OPTIONS }, false, Mono(seconds * 1_000_000_000));
        texts(&out).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let starting = units(|number| if number == 0 { "active" } else { "waiting" });
    assert_eq!(told(&mut state, &starting, 0), ["daemon   | starting: 1 of 30 active"]);
    assert_eq!(told(&mut state, &starting, 0), [""; 0]);
    assert_eq!(told(&mut state, &starting, 1).len(), 1);
    let stopping = units(|number| ["stopped", "waiting", "waiting", "active"].get(number).copied().unwrap_or("stopping"));
    assert_eq!(told(&mut state, &stopping, 2), ["daemon   | stopping: 3 of 30 stopped"]);
    assert_eq!(told(&mut state, &units(|_| "active"), 3), ["u@01     | started, pid 1, after 0us"]);
}

#[test]
fn many_quiet_logs_take_turns() {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path()).unwrap();
    let mut state = State::new(&history, Tails::new(directory.path()));
    let names: Vec<_> = (0..200).map(|number| format!("u@{number:03}")).collect();
    let view = view(names.iter().map(|name| (name.as_str(), "active")));
    let tick = |state: &mut State, last| state.gather(&view, OPTIONS, last, Mono(0)).lines().count();
    for _ in 0..100 {
        assert_eq!(tick(&mut state, false), 0);
    }
    names.iter().for_each(|name| write(directory.path(), name, "x\n"));
    let counts: Vec<_> = (0..4).map(|_| tick(&mut state, false)).collect();
    assert_eq!(counts, [50; 4], "each has its turn within four ticks");
    names.iter().for_each(|name| write(directory.path(), name, "x\n"));
    assert_eq!(tick(&mut state, false), 200, "those that grew are looked at in every tick");
    for _ in 0..100 {
        tick(&mut state, false);
    }
    names.iter().for_each(|name| write(directory.path(), name, "x\n"));
    assert_eq!(tick(&mut state, true), 200, "the last look is at all of them");
}
