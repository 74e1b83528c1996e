//! Looks that compare with the last one: the unit's log and what it uses.

use std::path::Path;
use std::time::Duration;

use super::Surroundings;
use super::file::{age, value};
use super::level::Level;
use crate::base::outcome::{Outcome, Value};
use crate::base::quantity::format_size;
use crate::base::time::{Mono, approx_duration};
use crate::os::clock;
use crate::os::logfile::{Follow, LogError, LogReader, Pattern, live_path};
use crate::os::pressure::PressureFiles;
use crate::os::sample::tree;
use crate::plan::{LogProbe, ResourcesProbe};

/// How many pieces of a log one look goes through; what is left is for the next one.
const PIECES_MAX: usize = 256;

/// The longest line that is shown, in bytes.
const LINE_SHOWN: usize = 200;

/// What a probe remembers of its last look.
#[derive(Debug, Default)]
pub struct Memory {
    /// When it looked first.
    since: Option<Mono>,
    /// Where it is in the log.
    follow: Option<Follow>,
    /// When it looked, and how much processor time there was, in seconds.
    used: Option<(Mono, f64)>,
    /// How many threads there were.
    threads: Level,
    /// What the interface of the network had counted.
    pub(super) counted: super::network::Before,
    /// The series on the page of metrics.
    pub(super) series: super::metrics::Before,
}

/// Looks at the unit's log. Blocks.
pub(super) fn log(probe: &LogProbe, surroundings: &Surroundings, memory: &mut Memory) -> Outcome {
    let (directory, unit) = (&surroundings.logs, surroundings.unit.as_str());
    let watched = clock::mono() - *memory.since.get_or_insert_with(clock::mono);
    if let Some(alarm) = &probe.alarm {
        match alarming(directory, unit, alarm, memory) {
            Ok(None) => {}
            Ok(Some(line)) => return Outcome::failed(format!("the log says: {line}")),
            Err(why) => return Outcome::unknown(why),
        }
    }
    let Some(max) = probe.max_silence else { return Outcome::ok("") };
    // What was not written before it was started is no silence of this run.
    let silent = match std::fs::metadata(live_path(directory, unit)) {
        Ok(metadata) => age(&metadata).min(watched),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => watched,
        Err(error) => return Outcome::unknown(format!("cannot look at the log: {error}")),
    };
    let outcome = if silent > max {
        Outcome::failed(format!("nothing was written into the log for {}", approx_duration(silent)))
    } else {
        Outcome::ok("")
    };
    Outcome { values: vec![value("silence", silent.as_secs_f64(), "s").at_most(Some(max.as_secs_f64()))], ..outcome }
}

/// The first alarming line since the last look.
fn alarming(directory: &Path, unit: &str, alarm: &str, memory: &mut Memory) -> Result<Option<String>, String> {
    let pattern = Pattern::new(alarm)?;
    let fail = |error: LogError| format!("cannot read the log: {error}");
    if memory.follow.is_none() {
        let mut reader = LogReader::open(directory, unit);
        let end = reader.range().map_err(fail)?.end;
        memory.follow = Some(reader.follow(end));
    }
    let mut found = None;
    if let Some(follow) = &mut memory.follow {
        for _ in 0..PIECES_MAX {
            if !follow.grown() {
                break;
            }
            let lines = follow.poll_matching(&pattern).map_err(fail)?;
            found = found.or_else(|| lines.into_iter().find(|line| line.gap.is_none()).map(|line| line.text));
        }
    }
    Ok(found.map(|line| line[..line.floor_char_boundary(LINE_SHOWN)].to_owned()))
}

/// Looks at what the unit uses. Blocks.
pub(super) fn resources(probe: &ResourcesProbe, surroundings: &Surroundings, memory: &mut Memory) -> Outcome {
    let (now, sample) = match tree(surroundings.pid) {
        Ok(Some(sample)) => (clock::mono(), sample),
        Ok(None) => return Outcome::failed(format!("process {} is gone", surroundings.pid)),
        Err(error) => return Outcome::unknown(error.to_string()),
    };
    let spent = sample.user_seconds + sample.system_seconds;
    let before = memory.used.replace((now, spent));
    let most = |most: Option<u64>| most.map(|most| most as f64);
    let mut values = vec![
        value("memory", sample.resident_bytes as f64, "B").at_most(most(probe.memory)),
        value("descriptors", sample.descriptors as f64, "").at_most(most(probe.descriptors)),
        value("threads", sample.threads as f64, "").at_most(most(probe.threads)),
        value("processes", sample.processes as f64, "").at_most(most(probe.processes)),
    ];
    let mut faults = Vec::new();
    if let Some(most) = probe.memory.filter(|most| sample.resident_bytes > *most) {
        faults.push(format!("{} of memory, more than {}", format_size(sample.resident_bytes), format_size(most)));
    }
    // The first look has nothing to compare with; children that end without being waited for take their time with them.
    if let Some(percent) = before.map(|(at, before)| share(spent - before, now - at)) {
        values.push(value("cpu", percent, "%").at_most(probe.cpu));
        faults.extend(probe.cpu.filter(|most| percent > *most).map(|most| format!("{percent:.0} % of a processor, more than {most} %")));
    }
    let counts = [
        ("descriptors", sample.descriptors, probe.descriptors),
        ("threads", sample.threads, probe.threads),
        ("processes", sample.processes, probe.processes),
    ];
    for (name, count, most) in counts {
        faults.extend(most.filter(|most| count > *most).map(|most| format!("{count} {name}, more than {most}")));
    }
    let change = probe.threads_change.and_then(|share| memory.threads.look(sample.threads, share));
    values.extend(change.map(|(level, _)| value("threads_level", level, "")));
    let waited = match pressures(probe, surroundings, &mut values) {
        Ok(waited) => waited,
        // What is known to be too much is so, whatever else is not known.
        Err(why) if faults.is_empty() => return Outcome { values, ..Outcome::unknown(why) },
        Err(_) => Vec::new(),
    };
    let uses = (!faults.is_empty()).then(|| format!("it uses {}", faults.join(" and ")));
    let said: Vec<_> = uses.into_iter().chain(waited).collect();
    let outcome = match change {
        _ if !said.is_empty() => Outcome::failed(said.join("; ")),
        Some((level, true)) => Outcome::degraded(format!("it has {} threads, where it had {level} for long", sample.threads)),
        _ => Outcome::ok(""),
    };
    Outcome { values, ..outcome }
}

/// What something of the unit's cgroup waited for too long. Blocks no longer than memory takes.
fn pressures(probe: &ResourcesProbe, surroundings: &Surroundings, values: &mut Vec<Value>) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for (name, most) in [("memory", probe.memory_pressure), ("cpu", probe.cpu_pressure), ("io", probe.io_pressure)] {
        let Some(most) = most else { continue };
        let cgroup = surroundings.cgroup.as_ref().ok_or("it has no cgroup of its own: how much it waits is not known")?;
        let waited = PressureFiles::in_directory(cgroup).one(name)?.some;
        values.push(value(&format!("{name}_pressure"), waited * 100.0, "%").at_most(Some(most * 100.0)));
        if waited > most {
            let (waited, most) = (waited * 100.0, most * 100.0);
            faults.push(format!("it waited for {name} in {waited:.1} % of the last 10 s, more than {most:.1} %"));
        }
    }
    Ok(faults)
}

/// Seconds of processor time in a time that has passed, in per cent.
fn share(seconds: f64, passed: Duration) -> f64 {
    if passed.is_zero() { 0.0 } else { (seconds / passed.as_secs_f64() * 100.0).max(0.0) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;
    use crate::base::outcome::Verdict;
    use crate::os::check::tests::surroundings;

    #[test]
    fn an_alarming_line_is_found_once() {
        let directory = tempfile::tempdir().unwrap();
        let surroundings = Surroundings { logs: directory.path().into(), ..surroundings() };
        let mut live = File::create(live_path(directory.path(), "a")).unwrap();
        live.write_all(b"FATAL: of the run before\n").unwrap();
        let (probe, mut memory) = (LogProbe { max_silence: None, alarm: Some("^FATAL".into()) }, Memory::default());
        let mut look = || log(&probe, &surroundings, &mut memory);
        assert_eq!(look(), Outcome::ok(""));
        live.write_all(b"fine\nFATAL: no memory\nFATAL: again\nFAT").unwrap();
        assert_eq!(look(), Outcome::failed("the log says: FATAL: no memory"));
        assert_eq!(look(), Outcome::ok(""));
        live.write_all(b"AL: in two pieces\n").unwrap();
        assert_eq!(look(), Outcome::failed("the log says: FATAL: in two pieces"));
    }

    #[test]
    fn silence_counts_from_the_first_look_on() {
        let directory = tempfile::tempdir().unwrap();
        let surroundings = Surroundings { logs: directory.path().into(), ..surroundings() };
        let live = File::create(live_path(directory.path(), "a")).unwrap();
        live.set_modified(live.metadata().unwrap().modified().unwrap() - Duration::from_secs(3600)).unwrap();
        let (probe, mut memory) = (LogProbe { max_silence: Some(Duration::from_secs(600)), alarm: None }, Memory::default());
        assert_eq!(log(&probe, &surroundings, &mut memory).verdict, Verdict::Ok);
        memory.since = Some(Mono(0));
        if clock::mono() < Mono(0) + Duration::from_secs(700) {
            println!("SKIPPED: this machine runs for less than the silence");
            return;
        }
        let outcome = log(&probe, &surroundings, &mut memory);
        assert!(outcome.verdict == Verdict::Failed && outcome.text.starts_with("nothing was written into the log for "), "{outcome:?}");
    }

    #[test]
    fn what_its_cgroup_waits_for_is_judged() {
        let directory = tempfile::tempdir().unwrap();
        let probe = ResourcesProbe { memory_pressure: Some(0.2), ..ResourcesProbe::default() };
        let surroundings = Surroundings { pid: std::process::id(), cgroup: Some(directory.path().into()), ..surroundings() };
        let mut memory = Memory::default();
        let mut look = |surroundings: &Surroundings| resources(&probe, surroundings, &mut memory);
        assert_eq!(look(&surroundings).verdict, Verdict::Unknown, "the kernel may lack it");
        let mut write = |share: &str| {
            let text = format!("some avg10={share} avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
            std::fs::write(directory.path().join("memory.pressure"), text).unwrap();
            look(&surroundings)
        };
        let outcome = write("20.00");
        assert_eq!((outcome.verdict, outcome.values.last().unwrap().name.as_str()), (Verdict::Ok, "memory_pressure"));
        assert_eq!(write("34.20").text, "it waited for memory in 34.2 % of the last 10 s, more than 20.0 %");
        let homeless = Surroundings { cgroup: None, ..surroundings.clone() };
        assert!(resources(&probe, &homeless, &mut Memory::default()).text.contains("no cgroup of its own"));
    }

    #[test]
    fn what_a_tree_of_processes_uses_is_compared() {
        let mut shell = std::process::Command::new("sh").args(["-c", "sleep 100 & sleep 100 & wait"]).spawn().unwrap();
        let surroundings = Surroundings { pid: shell.id(), ..surroundings() };
        let mut memory = Memory::default();
        let none = ResourcesProbe::default();
        let mut look = |probe: &ResourcesProbe| resources(probe, &surroundings, &mut memory);
        let end = clock::mono() + Duration::from_secs(10);
        while look(&none).values.iter().all(|value| value.name != "processes" || value.value < 3.0) {
            assert!(clock::mono() < end, "{:?}", look(&none));
        }
        assert_eq!(look(&ResourcesProbe { processes: Some(3), cpu: Some(90.0), ..none.clone() }).verdict, Verdict::Ok);
        assert_eq!(look(&ResourcesProbe { processes: Some(2), ..none.clone() }).text, "it uses 3 processes, more than 2");
        assert!(look(&ResourcesProbe { memory: Some(4096), ..none.clone() }).text.contains(" of memory, more than 4"));
        // It has three, and is asked often.
        let change = ResourcesProbe { threads_change: Some(0.5), ..none.clone() };
        let found: Vec<_> = (0..7).map(|_| look(&change)).collect();
        assert_eq!(found[6].values.last(), Some(&value("threads_level", 3.0, "")));
        let mut below = Vec::new();
        crate::os::process::children(shell.id(), &mut below);
        shell.kill().unwrap();
        shell.wait().unwrap();
        for pid in below {
            let _ =
                rustix::process::kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(), rustix::process::Signal::KILL);
        }
        assert!(look(&none).text.ends_with("is gone"));
    }
}
