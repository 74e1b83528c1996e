//! One hundred units, killed supervisor, ordered stop: what is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::place::{Mode, PATIENCE, Place, Run, Sweep, kill, let_pass, wait};
use super::subject::{End, Subject, wait_for_up};
use super::{Row, lines};
use crate::Fault;
use crate::site::reap_everything;

/// Units that are counted; those with odd numbers have a log.
pub(super) const COUNTED: usize = 100;

/// Units that end on the way; they follow the others.
pub(super) const ENDING: usize = 3;

/// The unit that exits by itself, and with what.
const EXITING: (usize, i32) = (COUNTED + 2, 41);

pub(super) const COLUMNS: &[&str] = &[
    "supervisor",
    "version",
    "survived",
    "same PIDs",
    "ran twice",
    "lines",
    "lost",
    "refused",
    "lost in stop",
    "doubled",
    "ends known",
    "left",
    "left then",
];

/// How long units go on without their supervisor, before and after some of them end.
const ALONE: Duration = Duration::from_secs(2);

/// How long a supervisor may take to start a unit again that has ended.
const BACK: Duration = Duration::from_secs(30);

/// How long it may take until it says how a unit ended.
const KNOWN: Duration = Duration::from_secs(3);

/// How long units may take to end once their supervisor says that it has stopped them.
const STOPPED: Duration = Duration::from_secs(20);

/// A row of the table.
pub(super) fn run(subject: &dyn Subject, version: &str, above: &Path, unit: &Path) -> Result<Row, Fault> {
    let mode = |number| if number % 2 == 1 { Mode::Log } else { Mode::Silent };
    let place = Place::new(above, unit, (0..COUNTED + ENDING).map(mode).collect())?;
    let sweep = Sweep;
    let supervisor = start(subject, &place)?;
    let known_before = ends_known(subject, &place, |ended| {
        let back = || Ok(place.alive()?.len() == place.units.len() && ended.iter().all(|(run, _)| !run.is_alive()));
        if wait(BACK, back)? { Ok(()) } else { Err("not every unit came back".into()) }
    })?;
    subject.keep(&place)?;

    let first: Vec<Run> = place.alive()?.into_iter().filter(|run| run.unit.is_some_and(|unit| unit < COUNTED)).collect();
    kill(subject.victim(supervisor)?)?;
    let alone = if subject.comes_back() { Duration::ZERO } else { ALONE };
    let_pass(alone)?;
    let survived = first.iter().filter(|run| run.is_alive()).count();
    let (mut supervisor, mut up, mut before_stop) = (supervisor, false, BTreeMap::new());
    let known_since = ends_known(subject, &place, |_| {
        let_pass(alone)?;
        supervisor = subject.restart(&place, supervisor)?;
        up = wait_for_up(subject, &place)?;
        before_stop = lines::written(&place)?;
        let_pass(ALONE)
    })?;
    let same = first.iter().filter(|run| run.is_alive()).count();

    subject.stop(&place, supervisor)?;
    let left = left(&place)?;
    let left_then = match subject.stop_each(&place).filter(|_| left > 0) {
        None => left,
        Some(command) => {
            place.run(command)?;
            self::left(&place)?
        }
    };
    drop(sweep);
    let lines = lines::count(subject, &place, &before_stop)?;
    let twice: BTreeSet<_> = place.all_runs()?.into_iter().filter(|run| run.is_second).map(|run| run.unit).collect();
    Ok(vec![
        subject.name().into(),
        version.into(),
        survived.to_string(),
        format!("{same}{}", if up { "" } else { " (says not all are up)" }),
        twice.len().to_string(),
        lines.written.to_string(),
        lines.lost.to_string(),
        lines.refused.to_string(),
        lines.lost_in_stop.to_string(),
        lines.doubled.to_string(),
        format!("{known_before}, {known_since} of {ENDING}"),
        left.to_string(),
        left_then.to_string(),
    ])
}

fn start(subject: &dyn Subject, place: &Place) -> Result<u32, Fault> {
    subject.declare(place)?;
    let supervisor = subject.start(place)?;
    if !wait(PATIENCE, || Ok(place.alive()?.len() == place.units.len()))? || !wait_for_up(subject, place)? {
        return Err(format!("not every unit came up; it said: {}", place.read("said")).into());
    }
    let_pass(ALONE)?;
    Ok(supervisor)
}

/// Ends some units, does what is to be done `then`, and counts those of which the supervisor knows how they ended.
fn ends_known(subject: &dyn Subject, place: &Place, then: impl FnOnce(&[(Run, End)]) -> Result<(), Fault>) -> Result<usize, Fault> {
    let units = COUNTED..COUNTED + ENDING;
    let before: Vec<usize> = units.clone().map(|unit| Ok(subject.ends(place, unit)?.len())).collect::<Result<_, Fault>>()?;
    let mut ended = Vec::new();
    for run in place.alive()?.into_iter().filter(|run| run.unit.is_some_and(|unit| units.contains(&unit))) {
        let (signal, end) = if run.unit == Some(EXITING.0) { (Signal::USR1, End::Code(EXITING.1)) } else { (Signal::KILL, End::Signal(9)) };
        run.signal(signal)?;
        ended.push((run, end));
    }
    then(&ended)?;
    let known = || -> Result<usize, Fault> {
        let mut known = 0;
        for (run, end) in &ended {
            let unit = run.unit.unwrap_or(COUNTED);
            known += usize::from(subject.ends(place, unit)?.iter().skip(before[unit - COUNTED]).any(|known| known == end));
        }
        Ok(known)
    };
    wait(KNOWN, || Ok(known()? == ENDING))?;
    known()
}

/// How many processes of units are left, after a while.
fn left(place: &Place) -> Result<usize, Fault> {
    if wait(STOPPED, || Ok(place.alive()?.is_empty()))? {
        // Loggers come last.
        wait(STOPPED, || Ok(reap_everything()))?;
    }
    Ok(place.alive()?.len())
}
