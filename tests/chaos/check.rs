//! The promises, checked against the units' own records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use ms_supervisor::os::logfile::LogReader;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::driver::{Outcome, signal};
use crate::unit::{CHUNK, KINDS, records};

/// What was found.
pub(crate) struct Verdict {
    faults: BTreeMap<&'static str, usize>,
    /// Each promise, how much was compared for it, and what was wrong.
    promises: Vec<(&'static str, String, Vec<String>)>,
    back: Vec<u64>,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        self.promises.iter().all(|(_, _, broken)| broken.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> = self.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(f, "faults: {}", faults.join(", "))?;
        if let (Some(median), Some(longest)) = (self.back.get(self.back.len() / 2), self.back.last()) {
            writeln!(f, "the daemon answered again after {median} ms (median), at the latest after {longest} ms")?;
        }
        for (promise, compared, broken) in &self.promises {
            writeln!(f, "{promise}: {compared}, {} violations", broken.len())?;
            for what in broken.iter().take(10) {
                writeln!(f, "    {what}")?;
            }
        }
        Ok(())
    }
}

/// Compares the records with what the daemon has stored.
pub(crate) fn check(directory: &Path, outcome: &Outcome) -> Verdict {
    let mut back = outcome.back.clone();
    back.sort_unstable();
    let violations = fs::read_to_string(directory.join("violations")).unwrap_or_default();
    let processes = processes(directory);
    let promises = vec![
        ("one main process", format!("{} processes", processes.values().sum::<usize>()), violations.lines().map(str::to_owned).collect()),
        logs(directory),
        exits(directory, &processes, outcome),
        left(directory),
        ("nothing acknowledged is forgotten", "commands, reloads".into(), outcome.broken.clone()),
        sequence(outcome),
    ];
    Verdict { faults: outcome.faults.clone(), promises, back }
}

/// How many processes have run by this unit and number, as they have recorded themselves: numbers come again.
fn processes(directory: &Path) -> BTreeMap<(String, u32), usize> {
    let mut found = BTreeMap::new();
    for unit in fs::read_dir(records(directory)).unwrap().flatten() {
        let name = unit.file_name().to_string_lossy().into_owned();
        for process in fs::read_dir(unit.path()).unwrap().flatten() {
            let token = process.file_name().to_string_lossy().into_owned();
            *found.entry((name.clone(), token.split_once('-').unwrap().0.parse().unwrap())).or_default() += 1;
        }
    }
    found
}

/// Bytes written are bytes stored, in order, once.
fn logs(directory: &Path) -> (&'static str, String, Vec<String>) {
    let (mut lines, mut broken) = (0, Vec::new());
    for unit in fs::read_dir(records(directory)).unwrap().flatten() {
        let name = unit.file_name().to_string_lossy().into_owned();
        if name.starts_with("silent") {
            continue;
        }
        let log = whole_log(&directory.join(".ms-supervisor/logs"), &name);
        if name.starts_with("flood") {
            let written: u64 = fs::read_dir(unit.path()).unwrap().flatten().map(|record| count(&record.path())).sum();
            let stored = log.iter().filter(|byte| **byte == b'x').count() as u64;
            let runs = fs::read_dir(unit.path()).unwrap().count() as u64;
            lines += written;
            let (least, most) = (written * CHUNK as u64, (written + runs) * CHUNK as u64);
            if stored < least || stored > most {
                broken.push(format!("{name}: {stored} bytes stored of {least} to {most} written"));
            }
            continue;
        }
        let mut stored: BTreeMap<String, u64> = BTreeMap::new();
        let log = String::from_utf8_lossy(&log);
        for line in log.lines() {
            let Some((token, number)) = line.split_once(' ') else {
                broken.push(format!("{name}: a torn line: {line:?}"));
                continue;
            };
            let last = stored.entry(token.to_owned()).or_default();
            *last += 1;
            if number.parse() != Ok(*last) {
                broken.push(format!("{name}: after line {} of {token} comes {number}", *last - 1));
                *last = number.parse().unwrap_or(*last);
            }
        }
        for record in fs::read_dir(unit.path()).unwrap().flatten() {
            let token = record.file_name().to_string_lossy().into_owned();
            let (written, stored) = (count(&record.path()), stored.get(&token).copied().unwrap_or(0));
            lines += written;
            // The last line may have been written, and the process killed before it could note that.
            if stored != written && stored != written + 1 {
                broken.push(format!("{name}: {stored} lines stored of {written} written by {token}"));
            }
        }
    }
    ("bytes written are bytes stored", format!("{lines} writes"), broken)
}

fn count(record: &Path) -> u64 {
    fs::read(record).ok().and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn whole_log(directory: &Path, unit: &str) -> Vec<u8> {
    let mut reader = LogReader::open(directory, unit);
    let range = reader.range().unwrap();
    let (mut at, mut whole) = (range.start, Vec::new());
    while at < range.end {
        let chunk = reader.read_at(at, 1 << 20).unwrap();
        if chunk.bytes.is_empty() {
            break;
        }
        at = chunk.offset + chunk.bytes.len() as u64;
        whole.extend(chunk.bytes);
    }
    whole
}

/// Every process that has run has ended, and that was reported once.
fn exits(directory: &Path, processes: &BTreeMap<(String, u32), usize>, outcome: &Outcome) -> (&'static str, String, Vec<String>) {
    // A daemon that ends before it is accepted as the main process is a leftover like any other.
    let accepted: BTreeSet<u64> = outcome
        .events
        .iter()
        .filter(|event| event["type"] == "UnitMainChanged")
        .filter_map(|event| event["data"]["pid"].as_u64())
        .collect();
    let mut reported: BTreeMap<(String, u32), usize> = BTreeMap::new();
    let mut unknown = 0;
    for event in outcome.events.iter().filter(|event| event["type"] == "UnitExited") {
        let data = &event["data"];
        let key = (data["unit"].as_str().unwrap_or_default().to_owned(), u32::try_from(data["pid"].as_u64().unwrap_or(0)).unwrap_or(0));
        *reported.entry(key).or_default() += 1;
        unknown += usize::from(data["cause"] == "unknown");
    }
    // The launcher has no room for more than a few of a unit that nobody can write down; it says so.
    let printed = fs::read_to_string(directory.join("daemon.out")).unwrap_or_default();
    let no_room =
        printed.lines().filter_map(|line| line.split_once("nobody took note of the end of process ")?.1.split(' ').next()?.parse().ok());
    let no_room: BTreeSet<u32> = no_room.collect();
    let mut broken = Vec::new();
    for (process, lived) in processes {
        match reported.get(process).copied().unwrap_or(0) {
            times if times == *lived => {}
            0 if no_room.contains(&process.1) => {}
            0 if process.0.starts_with("daemon") && !accepted.contains(&process.1.into()) => {}
            times => {
                let of_it = |event: &&Value| event["type"] == "UnitExited" && event["data"]["pid"] == process.1;
                let when: Vec<_> =
                    outcome.events.iter().filter(of_it).map(|event| format!("{} {}", event["sequence"], event["time"])).collect();
                broken.push(format!(
                    "the end of {} (pid {}) was reported {times} times, not {lived}: {}",
                    process.0,
                    process.1,
                    when.join(", ")
                ));
            }
        }
    }
    (
        "every exit is reported once",
        format!("{} exits, {unknown} of them unknown; {} told on stderr alone", reported.values().sum::<usize>(), no_room.len()),
        broken,
    )
}

/// Nothing that carries our mark is alive.
fn left(directory: &Path) -> (&'static str, String, Vec<String>) {
    let mark = format!("CHAOS={}\0", directory.display());
    let mut broken = Vec::new();
    for pid in ms_supervisor::os::process::all() {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment.windows(mark.len()).any(|window| window == mark.as_bytes()) {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
            broken.push(format!("process {pid} is left: {command}"));
            // The next run is not to meet it.
            signal(pid, Signal::SIGKILL);
        }
    }
    let units: usize = KINDS.iter().map(|(_, instances)| instances).sum();
    ("nothing is left after stop", format!("{units} units"), broken)
}

/// Events are numbered without a gap, also across brains and launchers.
fn sequence(outcome: &Outcome) -> (&'static str, String, Vec<String>) {
    let numbers: Vec<u64> = outcome
        .events
        .iter()
        .filter_map(|event| event["sequence"].as_str().map_or_else(|| event["sequence"].as_u64(), |text| text.parse().ok()))
        .collect();
    let broken = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).map(|pair| format!("after event {} comes {}", pair[0], pair[1]));
    ("events are numbered without a gap", format!("{} events", numbers.len()), broken.collect())
}
