//! The promises, and the figures.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::driver::{Outcome, PATIENCE, SHUT, honest_units};
use crate::honest;
use crate::watch::Use;
use crate::world::{STATE, is_looked_at, log_bound};

/// What the brain and the launcher may take, in bytes.
const BRAIN_MAX: u64 = 512 << 20;
const LAUNCHER_MAX: u64 = 64 << 20;

/// What was found.
pub(crate) struct Verdict {
    figures: Vec<(String, String)>,
    /// Each promise, and what was wrong.
    promises: Vec<(&'static str, Vec<String>)>,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        self.promises.iter().all(|(_, broken)| broken.is_empty())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.figures {
            writeln!(f, "{name:<34} {value}")?;
        }
        for (promise, broken) in &self.promises {
            writeln!(f, "{promise}: {} violations", broken.len())?;
            for what in broken.iter().take(15) {
                writeln!(f, "    {what}")?;
            }
        }
        Ok(())
    }
}

/// Compares what was seen with what is promised.
pub(crate) fn check(base: &Path, outcome: &Outcome) -> Verdict {
    let promises = vec![
        ("no honest unit is disturbed", disturbed(base, outcome)),
        ("nobody gains a privilege", outcome.seen.gained.iter().cloned().collect()),
        ("the operator is served and shown the truth", operator(outcome)),
        ("nothing grows beyond its bound", bounds(outcome)),
        ("the brain lives on", brains(base, outcome)),
        ("SIGTERM ends the daemon", ended(outcome)),
        ("nothing is left of any unit", outcome.left.clone()),
    ];
    Verdict { figures: figures(base, outcome), promises }
}

/// Every process of an honest unit was killed by us, and followed by one other.
fn disturbed(base: &Path, outcome: &Outcome) -> Vec<String> {
    let mut broken = outcome.disturbed.clone();
    broken.extend(fs::read_to_string(base.join("violations")).unwrap_or_default().lines().map(str::to_owned));
    for unit in honest_units() {
        let record = honest::read(base, &unit);
        let mut killed = outcome.killed.iter().filter(|(name, _)| *name == unit).map(|(_, pid)| *pid);
        let mut expected = killed.next();
        let (last, before) = match record.starts.split_last() {
            Some((last, before)) => (last.0, before),
            None => continue,
        };
        for (pid, _) in before {
            if expected == Some(*pid) {
                expected = killed.next();
            } else {
                broken.push(format!("{unit}: process {pid} has ended, and it was not killed by the bench"));
            }
        }
        if outcome.ended.is_some() && record.told != [last] {
            broken.push(format!("{unit}: its last process is {last}, but those that were told to end are {:?}", record.told));
        }
    }
    broken
}

fn operator(outcome: &Outcome) -> Vec<String> {
    let mut counted: BTreeMap<&String, usize> = BTreeMap::new();
    outcome.operator.iter().for_each(|what| *counted.entry(what).or_default() += 1);
    let mut broken: Vec<String> = counted.into_iter().map(|(what, times)| format!("{what} ({times} times)")).collect();
    for (door, shut) in outcome.shut.iter().filter(|(_, shut)| **shut > SHUT) {
        broken.push(format!("{door}: no answer for {:.1} s", shut.as_secs_f64()));
    }
    broken
}

fn bounds(outcome: &Outcome) -> Vec<String> {
    let seen = &outcome.seen;
    let logs = || seen.on_disk.iter().map(|(name, peak)| (name.as_str(), *peak, log_bound(name)));
    let state: u64 = logs().filter(|(.., bound)| bound.is_none()).map(|(_, peak, _)| peak).sum();
    let all = [
        ("the brain's memory", seen.brain.peak, Some(BRAIN_MAX)),
        ("the launcher's memory", seen.launcher.peak, Some(LAUNCHER_MAX)),
        ("the state without logs", state, Some(STATE)),
    ];
    let judged = logs().filter(|(name, ..)| !is_looked_at(name));
    let over = all.into_iter().chain(judged).filter_map(|(what, peak, bound)| Some((what, peak, bound.filter(|bound| peak > *bound)?)));
    over.map(|(what, peak, bound)| format!("{what} took {}, and may take {}", mib(peak), mib(bound))).collect()
}

/// Logs that hostile units write directly. Their bound holds from look to look only, and the brain that looks waits for a processor like anybody. What they
/// take is told as a figure.
fn beyond(outcome: &Outcome) -> String {
    let looked_at = outcome.seen.on_disk.iter().filter(|(name, _)| is_looked_at(name));
    let over: Vec<_> =
        looked_at.filter(|(name, peak)| log_bound(name).is_some_and(|bound| **peak > bound)).map(|(_, peak)| *peak).collect();
    format!("{}, the largest {}", over.len(), mib(over.iter().copied().max().unwrap_or(0)))
}

fn brains(base: &Path, outcome: &Outcome) -> Vec<String> {
    let more = outcome.seen.brains.len().saturating_sub(1);
    let printed = fs::read_to_string(base.join("daemon.out")).unwrap_or_default();
    let panics = printed.lines().filter(|line| line.contains("panicked") || line.contains("overflow")).take(5).map(str::to_owned);
    (more > 0).then(|| format!("{more} brains have died")).into_iter().chain(panics).collect()
}

fn ended(outcome: &Outcome) -> Vec<String> {
    match outcome.ended {
        Some(_) => Vec::new(),
        None => vec![format!("the daemon had not ended after {} s, and was killed", PATIENCE.as_secs())],
    }
}

fn figures(base: &Path, outcome: &Outcome) -> Vec<(String, String)> {
    let attacks = attacks(base);
    let kinds: Vec<_> = attacks.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let mut back = outcome.back.clone();
    back.sort_unstable();
    let at = |hundredth: usize| back.get(back.len() * hundredth / 100).or(back.last()).copied().unwrap_or(0);
    let longest: Vec<_> = outcome.commands.iter().map(|(name, took)| format!("{name} {:.1}", took.as_secs_f64())).collect();
    let shut: Vec<_> = outcome.shut.iter().map(|(door, shut)| format!("{door} {:.1}", shut.as_secs_f64())).collect();
    let seen = &outcome.seen;
    let memory = |one: &Use| format!("{} at start, {} peak, {} at the end", mib(one.at_start), mib(one.peak), mib(one.last));
    let seconds = |nanoseconds: u64| format!("{}.{:01} s", nanoseconds / 1_000_000_000, nanoseconds / 100_000_000 % 10);
    let held = |one: &Use| {
        let times = format!("worked {}, waited {} for a processor", seconds(one.worked), seconds(one.waited));
        format!("descriptors {} peak, {} at the end; threads {} peak; {times}", one.descriptors, one.descriptors_last, one.threads)
    };
    let turn = outcome.turn.map_or("unknown".into(), |turn| format!("{:.1} ms", turn * 1e3));
    let ended = outcome.ended.map_or("no".into(), |took| format!("in {:.1} s", took.as_secs_f64()));
    [
        ("attacks", format!("{}: {}", attacks.values().sum::<usize>(), kinds.join(", "))),
        ("honest restarts", restarts(back.len(), [at(50), at(99), back.last().copied().unwrap_or(0)])),
        ("launcher's longest turn", turn),
        ("memory of the launcher", memory(&seen.launcher)),
        ("memory of the brain", memory(&seen.brain)),
        ("launcher", held(&seen.launcher)),
        ("brain", held(&seen.brain)),
        ("on disk", format!("{} peak; {}", mib(seen.disk_peak), largest(&seen.on_disk))),
        ("direct logs of hostile units beyond their bound", beyond(outcome)),
        ("longest without answer, in s", shut.join(", ")),
        ("longest command, in s", longest.join(", ")),
        ("hostile processes looked at", seen.looked_at.to_string()),
        ("ended by SIGTERM", ended),
        ("processes left", outcome.left.len().to_string()),
        ("privileges gained", seen.gained.len().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What has taken most of the disk, each at its peak.
fn largest(on_disk: &BTreeMap<String, u64>) -> String {
    let mut largest: Vec<_> = on_disk.iter().map(|(name, bytes)| (*bytes, name)).collect();
    largest.sort_unstable_by(|one, other| other.cmp(one));
    largest.iter().take(5).map(|(bytes, name)| format!("{name} {}", mib(*bytes))).collect::<Vec<_>>().join(", ")
}

fn restarts(count: usize, nanoseconds: [u64; 3]) -> String {
    let [median, p99, worst] = nanoseconds.map(|time| format!("{}.{:01} ms", time / 1_000_000, time / 100_000 % 10));
    format!("{count}: p50 {median}, p99 {p99}, worst {worst}")
}

/// How often each attack was made.
fn attacks(base: &Path) -> BTreeMap<String, usize> {
    let mut made = BTreeMap::new();
    for file in fs::read_dir(base.join("counts")).unwrap().flatten() {
        let text = fs::read(file.path()).unwrap_or_default();
        for name in String::from_utf8_lossy(&text).lines() {
            *made.entry(name.to_owned()).or_default() += 1;
        }
    }
    made
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
