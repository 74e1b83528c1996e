//! What this machine knows by itself: files, and what it has left.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::found::Found;
use crate::base::outcome::{Limits, Outcome, Value};
use crate::base::quantity::format_size;
use crate::base::time::{approx_duration, format_duration};
use crate::os::clock;
use crate::os::pressure::{PressureFiles, memory_available};
use crate::plan::{FileProbe, HostProbe};

/// Looks at a file.
pub(super) fn file(probe: &FileProbe) -> Outcome {
    let path = probe.path.display();
    let metadata = match std::fs::metadata(&probe.path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Outcome::failed(format!("{path} is not there")),
        Err(error) => return Outcome::unknown(format!("cannot look at {path}: {error}")),
    };
    let (size, age) = (metadata.len(), age(&metadata));
    let mut faults = Vec::new();
    if let Some(max) = probe.max_age.filter(|max| age > *max) {
        faults.push(format!("was changed {} ago, more than {}", approx_duration(age), format_duration(max)));
    }
    if let Some(min) = probe.min_size.filter(|min| size < *min) {
        faults.push(format!("has {}, less than {}", format_size(size), format_size(min)));
    }
    if let Some(max) = probe.max_size.filter(|max| size > *max) {
        faults.push(format!("has {}, more than {}", format_size(size), format_size(max)));
    }
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    let values = vec![
        value("age", age.as_secs_f64(), "s").at_most(probe.max_age.map(|max| max.as_secs_f64())),
        value("size", size as f64, "B").at_least(bytes(probe.min_size)).at_most(bytes(probe.max_size)),
    ];
    let outcome = if faults.is_empty() { Outcome::ok("") } else { Outcome::failed(format!("{path} {}", faults.join(" and "))) };
    Outcome { values, ..outcome }
}

/// How long ago a file was changed; nothing if that is still to come.
pub(super) fn age(metadata: &std::fs::Metadata) -> Duration {
    let changed = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
    Duration::from_millis(u64::try_from(clock::wall().0 - changed).unwrap_or(0))
}

pub(super) fn value(name: &str, value: f64, unit: &str) -> Value {
    Value::new(name, value, unit)
}

/// Looks what the machine has left.
pub(super) fn host(probe: &HostProbe) -> Outcome {
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
    found.outcome()
}

impl Found {
    fn least(&mut self, name: &str, found: Result<f64, String>, least: f64, text: impl Fn(f64) -> String) {
        let limits = Limits { min: Some(least), max: None };
        self.judge(name, found, limits, text);
    }

    fn most(&mut self, name: &str, found: Result<f64, String>, most: f64, text: impl Fn(f64) -> String) {
        let limits = Limits { min: None, max: Some(most) };
        self.judge(name, found, limits, text);
    }

    fn judge(&mut self, name: &str, found: Result<f64, String>, limits: Limits, text: impl Fn(f64) -> String) {
        match found {
            Ok(share) => {
                let percent = |limit: Option<f64>| limit.map(|limit| limit * 100.0);
                self.values.push(value(name, share * 100.0, "%").at_least(percent(limits.min)).at_most(percent(limits.max)));
                self.faults.extend(limits.are_passed_by(share).then(|| text(share)));
            }
            Err(why) => self.unknown.push(why),
        }
    }
}

fn statvfs(probe: &HostProbe) -> Result<rustix::fs::StatVfs, String> {
    rustix::fs::statvfs(&probe.path).map_err(|error| format!("cannot look at the file system of {}: {error}", probe.path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::outcome::Verdict;

    #[test]
    fn a_file_is_there_young_and_of_the_right_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backup");
        let probe = |max_age, min_size, max_size| file(&FileProbe { path: path.clone(), max_age, min_size, max_size });
        assert_eq!(probe(None, None, None).text, format!("{} is not there", path.display()));
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(probe(Some(Duration::from_secs(3600)), Some(5), Some(5)).verdict, Verdict::Ok);
        let old = std::fs::metadata(&path).unwrap().modified().unwrap() - Duration::from_secs(7200);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let outcome = probe(Some(Duration::from_secs(3600)), Some(6), None);
        assert_eq!(outcome.verdict, Verdict::Failed);
        assert!(outcome.text.ends_with("was changed 2h0m ago, more than 1h and has 5 B, less than 6 B"), "{}", outcome.text);
        assert_eq!(probe(None, None, Some(4)).verdict, Verdict::Failed);
    }

    #[test]
    fn the_machine_is_judged_by_what_is_declared() {
        let probe = HostProbe {
            memory_available: Some(0.0001),
            disk_free: None,
            inodes_free: None,
            path: "/proc".into(),
            cpu_pressure: None,
            memory_pressure: None,
            io_pressure: None,
        };
        assert_eq!(host(&probe).verdict, Verdict::Ok);
        let outcome = host(&HostProbe { memory_available: Some(1.0), ..probe.clone() });
        assert!(outcome.verdict == Verdict::Failed && outcome.text.ends_with("% of the memory is available"), "{outcome:?}");
        let outcome = host(&HostProbe { disk_free: Some(0.5), path: "/no/such".into(), ..probe });
        assert!(outcome.verdict == Verdict::Unknown && outcome.values.len() == 1, "{outcome:?}");
    }
}
