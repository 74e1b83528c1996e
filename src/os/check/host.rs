//! What this machine has left.

use std::io;

use super::file::value;
use super::found::Found;
use crate::base::outcome::{Limits, Outcome, Value};
use crate::os::foreign::doing;
use crate::os::pressure::{PressureFiles, memory_available};
use crate::os::timekeeping::Timekeeping;
use crate::plan::HostProbe;

/// Looks what the machine has left.
pub(super) fn check(probe: &HostProbe) -> Outcome {
    let mut found = Found::default();
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let path = probe.path.display();
    if let Some(least) = probe.memory_available {
        found.least("memory_available", memory_available(), least, |share| format!("{} of the memory is available", percent(share)));
    }
    if let Some(least) = probe.disk_free {
        let share = statvfs(probe).map(|stat| stat.f_bavail as f64 / (stat.f_blocks as f64).max(1.0));
        found.least("disk_free", share, least, |share| format!("{} of the file system of {path} is free", percent(share)));
    }
    if let Some(least) = probe.inodes_free {
        // A file system that makes them as it needs them has none to count.
        let share = statvfs(probe).map(|stat| if stat.f_files == 0 { 1.0 } else { stat.f_favail as f64 / stat.f_files as f64 });
        found.least("inodes_free", share, least, |share| format!("{} of the inodes of the file system of {path} are free", percent(share)));
    }
    let machine = PressureFiles::default();
    for (name, most) in [("cpu", probe.cpu_pressure), ("memory", probe.memory_pressure), ("io", probe.io_pressure)] {
        if let Some(most) = most {
            let text = |share| format!("something waited for {name} in {} of the last 10 s", percent(share));
            let waited = machine.one(name).map(|pressure| pressure.some);
            found.most(&format!("{name}_pressure"), waited, most, text);
        }
    }
    if let Some(most) = probe.load {
        let shown = |load| value("load", load, "").at_most(Some(most));
        let limits = Limits { min: None, max: Some(most) };
        found.number(load(), limits, shown, |load| format!("the load is {load:.2} per processor, more than {most}"));
    }
    if let Some(least) = probe.swap_free {
        found.least("swap_free", swap_free(), least, |share| format!("{} of the swap space is free", percent(share)));
    }
    if let Some(least) = probe.descriptors_free {
        found.least("descriptors_free", descriptors_free(), least, |share| format!("{} of all descriptors are free", percent(share)));
    }
    if probe.clock_synchronized {
        look_at_clock(Timekeeping::now(), &mut found);
    }
    found.outcome()
}

impl Found {
    fn least(&mut self, name: &str, found: Result<f64, String>, least: f64, text: impl Fn(f64) -> String) {
        self.share(name, found, Limits { min: Some(least), max: None }, text);
    }

    fn most(&mut self, name: &str, found: Result<f64, String>, most: f64, text: impl Fn(f64) -> String) {
        self.share(name, found, Limits { min: None, max: Some(most) }, text);
    }

    fn share(&mut self, name: &str, found: Result<f64, String>, limits: Limits, text: impl Fn(f64) -> String) {
        let percent = |limit: Option<f64>| limit.map(|limit| limit * 100.0);
        let in_percent = |share| value(name, share * 100.0, "%").at_least(percent(limits.min)).at_most(percent(limits.max));
        self.number(found, limits, in_percent, text);
    }

    /// A number, how it is shown, and the fault that is found with it.
    fn number(&mut self, found: Result<f64, String>, limits: Limits, shown: impl Fn(f64) -> Value, text: impl Fn(f64) -> String) {
        match found {
            Ok(number) => {
                self.values.push(shown(number));
                self.faults.extend(limits.are_passed_by(number).then(|| text(number)));
            }
            Err(why) => self.unknown.push(why),
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
}

/// A line of /proc/meminfo (proc_meminfo(5)), in KiB.
fn meminfo(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
}

/// The share of the swap space that is free.
fn swap_free() -> Result<f64, String> {
    let text = read("/proc/meminfo")?;
    let parts = meminfo(&text, "SwapFree:").zip(meminfo(&text, "SwapTotal:"));
    parts.filter(|(_, total)| *total > 0.0).map(|(free, total)| free / total).ok_or("there is no swap space".into())
}

/// The share of all descriptors that is free (proc_sys_fs(5), `file-nr`: open, open but unused, the most).
fn descriptors_free() -> Result<f64, String> {
    let text = read("/proc/sys/fs/file-nr")?;
    let numbers: Vec<f64> = text.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [open, unused, most] if most > 0.0 => Ok((1.0 - (open - unused) / most).clamp(0.0, 1.0)),
        _ => Err("/proc/sys/fs/file-nr says nothing".into()),
    }
}

/// The load of the last minute, per processor.
fn load() -> Result<f64, String> {
    let text = read("/proc/loadavg")?;
    let load: Option<f64> = text.split(' ').next().and_then(|load| load.parse().ok());
    let online = read("/sys/devices/system/cpu/online")?;
    load.zip(processors(&online)).map(|(load, processors)| load / processors).ok_or("/proc/loadavg says nothing".into())
}

/// How many there are in a list like `0-2,5`.
fn processors(list: &str) -> Option<f64> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?).map(|more| f64::from(more) + 1.0)
    };
    list.trim().split(',').map(range).sum()
}

fn look_at_clock(clock: io::Result<Timekeeping>, found: &mut Found) {
    let clock = match clock {
        Ok(clock) => clock,
        Err(error) => return found.unknown.push(format!("cannot ask how the clock is kept: {error}")),
    };
    let error = clock.max_error.as_secs_f64();
    found.values.extend([value("clock_offset", clock.offset, "s"), value("clock_error", error, "s")]);
    if !clock.is_synchronized {
        found.faults.push(format!("nobody keeps the clock: it may be wrong by {error} s"));
    }
}

fn statvfs(probe: &HostProbe) -> Result<rustix::fs::StatVfs, String> {
    doing(format_args!("looking at the file system of {}", probe.path.display()));
    rustix::fs::statvfs(&probe.path).map_err(|error| format!("cannot look at the file system of {}: {error}", probe.path.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::outcome::Verdict;

    #[test]
    fn the_machine_is_judged_by_what_is_declared() {
        let probe = HostProbe { memory_available: Some(0.0001), path: "/proc".into(), ..HostProbe::default() };
        assert_eq!(check(&probe).verdict, Verdict::Ok);
        let outcome = check(&HostProbe { memory_available: Some(1.0), ..probe.clone() });
        assert!(outcome.verdict == Verdict::Failed && outcome.text.ends_with("% of the memory is available"), "{outcome:?}");
        let outcome = check(&HostProbe { disk_free: Some(0.5), path: "/no/such".into(), ..probe });
        assert!(outcome.verdict == Verdict::Unknown && outcome.values.len() == 1, "{outcome:?}");
    }

    #[test]
    fn load_and_descriptors_are_judged() {
        let probe = HostProbe { load: Some(1e9), descriptors_free: Some(0.000_001), path: "/".into(), ..HostProbe::default() };
        let outcome = check(&probe);
        assert_eq!((outcome.verdict, outcome.values.len()), (Verdict::Ok, 2), "{outcome:?}");
        let outcome = check(&HostProbe { load: None, descriptors_free: Some(1.0), ..probe });
        assert!(outcome.verdict == Verdict::Failed && outcome.text.ends_with(" of all descriptors are free"), "{outcome:?}");
        // A machine with swap space finds it free to some extent; one without knows nothing.
        let outcome = check(&HostProbe { swap_free: Some(1e-9), path: "/".into(), ..HostProbe::default() });
        assert_ne!(outcome.verdict, Verdict::Degraded, "{outcome:?}");
        assert!(outcome.values.len() == 1 || outcome == Outcome::unknown("there is no swap space"), "{outcome:?}");
    }

    #[test]
    fn processors_are_counted() {
        for (list, count) in [("0\n", Some(1.0)), ("0-3", Some(4.0)), ("0-2,5,7-8\n", Some(6.0)), ("", None), ("3-1", None), ("a", None)] {
            assert_eq!(processors(list), count, "{list:?}");
        }
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_a_fault() {
        let look = |clock| {
            let mut found = Found::default();
            look_at_clock(clock, &mut found);
            found.outcome()
        };
        let clock = Timekeeping { is_synchronized: true, offset: 0.001, max_error: Duration::from_millis(16) };
        let outcome = look(Ok(clock));
        assert_eq!(
            (outcome.verdict, outcome.values),
            (Verdict::Ok, vec![value("clock_offset", 0.001, "s"), value("clock_error", 0.016, "s")])
        );
        let outcome = look(Ok(Timekeeping { is_synchronized: false, max_error: Duration::from_secs(16), ..clock }));
        assert_eq!((outcome.verdict, outcome.text.as_str()), (Verdict::Failed, "nobody keeps the clock: it may be wrong by 16 s"));
        assert_eq!(look(Err(io::ErrorKind::PermissionDenied.into())).verdict, Verdict::Unknown);
    }
}
