//! Files.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::base::outcome::{Outcome, Value};
use crate::base::quantity::format_size;
use crate::base::time::{approx_duration, format_duration};
use crate::os::clock;
use crate::os::foreign::doing;
use crate::plan::FileProbe;

/// Looks at a file.
pub(super) fn check(probe: &FileProbe) -> Outcome {
    let path = probe.path.display();
    doing(format_args!("looking at {path}"));
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
    let (least, most) = (probe.min_size.map(|size| size as f64), probe.max_size.map(|size| size as f64));
    let values = vec![
        value("age", age.as_secs_f64(), "s").at_most(probe.max_age.map(|max| max.as_secs_f64())),
        value("size", size as f64, "B").at_least(least).at_most(most),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::outcome::Verdict;

    #[test]
    fn a_file_is_there_young_and_of_the_right_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backup");
        let probe = |max_age, min_size, max_size| check(&FileProbe { path: path.clone(), max_age, min_size, max_size });
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
}
