//! What a cgroup uses, and how often it was at its limits: a few small files of the kernel, counted for everything in it together.

use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::cgroup::Cgroup;
use crate::event::GroupUse;

/// How often a cgroup was at its limits, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Processes killed because memory was short.
    pub oom_kills: u64,
    /// Times it was slowed down because of `memory_high`.
    pub high: u64,
    /// Processes and threads that could not be made because of `tasks_max`.
    pub tasks: u64,
}

impl Hits {
    /// As they are at the least now: a look that has begun before another may end after it.
    #[must_use]
    pub fn not_before(self, earlier: Self) -> Self {
        Self { oom_kills: self.oom_kills.max(earlier.oom_kills), high: self.high.max(earlier.high), tasks: self.tasks.max(earlier.tasks) }
    }
}

/// How often the cgroup at `path` was at its limits. A file that is not there counts nothing.
///
/// # Errors
/// The cgroup is gone.
pub fn hits(path: &Path) -> io::Result<Hits> {
    let cgroup = Cgroup::at(path.to_path_buf())?;
    let count = |name: &str, key: &str| Some(field(&cgroup.read(name).ok()?, key).unwrap_or(0));
    Ok(Hits {
        // Each process counts, those that were killed together too, and those in cgroups a unit has made itself.
        oom_kills: count("memory.events", "oom_kill").unwrap_or(0),
        // Its own limit, and not one of those below it.
        high: count("memory.events.local", "high").unwrap_or(0),
        // Older kernels have one file only, and count there where the process was to be made.
        tasks: count("pids.events.local", "max").or_else(|| count("pids.events", "max")).unwrap_or(0),
    })
}

/// What the cgroup at `path` uses, as far as its controllers tell.
///
/// # Errors
/// The cgroup is gone.
pub fn used(path: &Path) -> io::Result<GroupUse> {
    let cgroup = Cgroup::at(path.to_path_buf())?;
    let read = |name: &str| cgroup.read(name).ok();
    let number = |name: &str| read(name)?.trim().parse().ok();
    let cpu = read("cpu.stat").unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "microseconds are exact enough")]
    let seconds = |key: &str| field(&cpu, key).map(|micros| micros as f64 / 1e6);
    let io = read("io.stat");
    let bytes =
        |key: &str| io.as_ref().map(|io| io.split_whitespace().filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).sum());
    Ok(GroupUse {
        memory: number("memory.current"),
        memory_peak: number("memory.peak"),
        swap: number("memory.swap.current"),
        cpu: seconds("usage_usec"),
        throttled: seconds("throttled_usec"),
        tasks: number("pids.current"),
        read: bytes("rbytes="),
        written: bytes("wbytes="),
        oom_kills: read("memory.events").as_deref().and_then(|events| field(events, "oom_kill")),
    })
}

/// The least that the cgroups above the one at `path` guarantee, and which of them: a guarantee below is worth no more.
#[must_use]
pub fn guaranteed_above(path: &Path) -> Option<(std::path::PathBuf, u64)> {
    let above = path.ancestors().skip(1).map_while(|above| {
        // The top has no such file; above that is no cgroup.
        let text = std::fs::read_to_string(above.join("memory.min")).ok()?;
        Some((above.to_path_buf(), text.trim().parse().unwrap_or(u64::MAX)))
    });
    above.min_by_key(|(_, guaranteed)| *guaranteed)
}

/// The share of the last ten seconds in which something in the cgroup waited for memory.
#[must_use]
pub fn memory_pressure(path: &Path) -> Option<f64> {
    Some(waiting::<f64>(path, "avg10=")? / 100.0)
}

/// For how long something in the cgroup has waited for memory, since that was made.
#[must_use]
pub fn memory_waited(path: &Path) -> Option<Duration> {
    waiting(path, "total=").map(Duration::from_micros)
}

/// A number of how much something in the cgroup waits for memory.
fn waiting<T: FromStr>(path: &Path, key: &str) -> Option<T> {
    let text = Cgroup::at(path.to_path_buf()).ok()?.read("memory.pressure").ok()?;
    let some = text.lines().find(|line| line.starts_with("some"))?;
    some.split_whitespace().find_map(|word| word.strip_prefix(key))?.parse().ok()
}

/// How much memory the cgroup uses that cannot be dropped at once, in bytes: without the page cache nobody has used for a while.
#[must_use]
pub fn working_set(path: &Path) -> Option<u64> {
    let cgroup = Cgroup::at(path.to_path_buf()).ok()?;
    let current: u64 = cgroup.read("memory.current").ok()?.trim().parse().ok()?;
    Some(current.saturating_sub(field(&cgroup.read("memory.stat").ok()?, "inactive_file").unwrap_or(0)))
}

/// The number behind `key` in lines of `key number`.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_names() {
        let events = "low 0\nhigh 12\nmax 3\noom 2\noom_kill 1\noom_group_kill 5\n";
        assert_eq!((field(events, "oom_kill"), field(events, "oom"), field(events, "high")), (Some(1), Some(2), Some(12)));
        assert_eq!(field(events, "nothing"), None);
    }

    #[test]
    fn how_long_is_waited_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let text = "some avg10=12.50 avg60=0.83 avg300=2.64 total=21135472\nfull avg10=4.00 avg60=0.00 avg300=0.00 total=1500000\n";
        std::fs::write(directory.path().join("memory.pressure"), text).unwrap();
        assert_eq!(memory_pressure(directory.path()), Some(0.125));
        assert_eq!(memory_waited(directory.path()), Some(Duration::from_micros(21_135_472)));
        assert_eq!(memory_waited(Path::new("/nowhere")), None);
    }

    #[test]
    fn counters_do_not_go_back() {
        let earlier = Hits { oom_kills: 1, high: 5, tasks: 0 };
        assert_eq!(Hits { oom_kills: 0, high: 7, tasks: 0 }.not_before(earlier), Hits { oom_kills: 1, high: 7, tasks: 0 });
    }

    #[test]
    fn what_is_gone_is_an_error() {
        assert!(hits(Path::new("/nowhere/at/all")).is_err() && used(Path::new("/nowhere/at/all")).is_err());
    }
}
