//! What is left when a supervisor is killed with SIGKILL, started again, and stopped in order.
//!
//! Every supervisor gets the same units, one hundred that are counted, each second one with a log in the supervisor's own facility, and
//! three that end on the way. It stands alone, below nobody but this program, which reaps orphans as init does: under systemd's default
//! `KillMode=` every process of any of them would end with it. What happened is counted by records the units keep themselves.

mod circus;
mod escape;
mod fetch;
mod lines;
mod ours;
mod place;
mod pm2;
mod runit;
mod s6;
mod subject;
mod supervisord;
mod trial;

use std::path::Path;

use subject::Subject;

use crate::Fault;
use crate::options::Options;
use crate::site::{Ground, compile};

/// Words that ask for one of them, besides those that are measured for speed too.
pub(crate) const NAMES: [&str; 2] = ["circus", "pm2"];

/// The cells of a row.
type Row = Vec<String>;

/// What makes a row: the supervisor, its version, the directory to work in, the program of the units.
type Trial = fn(&dyn Subject, &str, &Path, &Path) -> Result<Row, Fault>;

/// Both tables.
pub(crate) fn run(ground: &Ground, options: &Options) -> Result<(), Fault> {
    println!(
        "{} units, every second one logging 200 lines a second; their supervisor is killed with SIGKILL, started again, then stopped.\n\n\
         survived, same PIDs  of 100: as they were, after the kill and after the new start\n\
         ran twice            units that had two processes at a time\n\
         lost, lost in stop   lines a unit has written that are not in its log, before the ordered stop and during it\n\
         refused, doubled     lines that could not be written, or are in the log once more\n\
         ends known           of {} units that are killed or exit with 41: of how many the supervisor knows so, while it lives, while dead\n\
         left, left then      processes of units after the ordered stop, and after each unit was told to end by its name, where one can\n",
        trial::COUNTED,
        trial::ENDING
    );
    let ours = |name, logs, brain, cgroups| ours::Ours { name, logs, brain, cgroups };
    let trials =
        [ours("ours, direct", "direct", false, true), ours("ours, pipe", "pipe", false, true), ours("ours, brain", "direct", true, true)];
    table(ground, options, trials, trial::COLUMNS, trial::run)?;
    println!("\na unit's grandchild left parent, session, environment and descriptors; what becomes of it when ... is stopped in order\n");
    let trials = [ours("ours, cgroups", "direct", false, true), ours("ours, no cgroups", "direct", false, false)];
    table(ground, options, trials, escape::COLUMNS, escape::run)
}

/// Rows as they come.
fn table<const N: usize>(ground: &Ground, options: &Options, ours: [ours::Ours; N], columns: &[&str], trial: Trial) -> Result<(), Fault> {
    let unit = ground.path().join("unit");
    if !unit.exists() {
        compile(include_str!("unit.rs"), &unit)?;
    }
    let mut subjects: Vec<Box<dyn Subject>> = ours.into_iter().map(|ours| Box::new(ours) as Box<dyn Subject>).collect();
    subjects.push(Box::new(s6::S6));
    subjects.push(Box::new(runit::Runit));
    subjects.push(Box::new(supervisord::Supervisord));
    subjects.push(Box::new(circus::Circus));
    subjects.push(Box::new(pm2::Pm2));
    subjects.retain(|subject| options.wants_subject(subject.name().split(',').next().unwrap_or_default()));
    let (mut rows, mut remarks) = (Vec::new(), Vec::new());
    for subject in &subjects {
        eprintln!("{}", subject.name());
        match subject.version().map(|version| trial(subject.as_ref(), &version, ground.path(), &unit)) {
            Ok(Ok(row)) => rows.push(row),
            Ok(Err(fault)) => remarks.push(format!("FAILED: {}: {fault}", subject.name())),
            Err(fault) => remarks.push(format!("SKIPPED: {}: {fault}", subject.name())),
        }
    }
    print_rows(columns, &rows);
    remarks.iter().for_each(|remark| println!("{remark}"));
    Ok(())
}

/// In Markdown, with columns as wide as what is in them.
fn print_rows(columns: &[&str], rows: &[Row]) {
    let width = |at: usize| rows.iter().map(|row| row[at].len()).chain([columns[at].len()]).max().unwrap_or(0);
    let print = |cells: Vec<String>| println!("|{}|", cells.join("|"));
    print(columns.iter().enumerate().map(|(at, column)| format!(" {column:width$} ", width = width(at))).collect());
    print((0..columns.len()).map(|at| "-".repeat(width(at) + 2)).collect());
    for row in rows {
        print(row.iter().enumerate().map(|(at, cell)| format!(" {cell:width$} ", width = width(at))).collect());
    }
}
