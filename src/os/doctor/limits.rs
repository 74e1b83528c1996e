//! What a process may use: its own limits, and those of its cgroup, which a container has by the same means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::line;
use crate::os::timekeeping::Timekeeping;
use crate::os::{cgroup, clock};

/// What a process may use; none is no limit, or nothing known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Open descriptors: the soft limit and the hard one.
    pub descriptors: Option<(u64, u64)>,
    /// Processes of its user.
    pub processes: Option<u64>,
    /// The highest process id and one.
    pub pid_max: Option<u64>,
    /// The tightest limit of memory on the way up, in bytes, and how much of it is used.
    pub memory: Option<Bound>,
    /// The tightest limit of tasks.
    pub tasks: Option<Bound>,
    /// Processors it may use at a time.
    pub cpus: Option<f64>,
    /// The machine's memory, in bytes.
    pub machine_memory: Option<u64>,
}

/// A limit of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// At most.
    pub max: u64,
    /// How much is used.
    pub used: Option<u64>,
    /// Whose limit it is.
    pub cgroup: PathBuf,
}

impl Limits {
    /// Those of the process `pid`.
    #[must_use]
    pub fn look(pid: u32) -> Self {
        let own = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let way: Vec<PathBuf> = cgroup::directory_of(pid)
            .map(|own| own.ancestors().take_while(|at| at.join("cgroup.procs").exists()).map(Path::to_owned).collect())
            .unwrap_or_default();
        let (descriptors, hard) = (row(&own, "Max open files", 0), row(&own, "Max open files", 1));
        Self {
            descriptors: descriptors.zip(hard),
            processes: row(&own, "Max processes", 0),
            pid_max: line("/proc/sys/kernel/pid_max").and_then(|text| text.parse().ok()),
            memory: tightest(&way, "memory.max", "memory.current"),
            tasks: tightest(&way, "pids.max", "pids.current"),
            cpus: way.iter().filter_map(|at| cpus(&line(at.join("cpu.max"))?)).reduce(f64::min),
            machine_memory: line("/proc/meminfo").and_then(|text| machine_memory(&text)),
        }
    }
}

fn tightest(way: &[PathBuf], max: &str, used: &str) -> Option<Bound> {
    let bounds = way.iter().filter_map(|at| Some((line(at.join(max))?.parse().ok()?, at)));
    let (max, at) = bounds.min()?;
    Some(Bound { max, used: line(at.join(used)).and_then(|text| text.parse().ok()), cgroup: at.clone() })
}

/// `100000 50000` or `max 100000`: time, and in which time.
fn cpus(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then(|| quota / period)
}

/// A number in a row of `/proc/PID/limits`; `unlimited` is none.
fn row(text: &str, name: &str, place: usize) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().nth(place)?.parse().ok()
}

fn machine_memory(text: &str) -> Option<u64> {
    let kib: u64 = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// How time is kept here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clocks {
    /// What the kernel knows of the wall clock, or why it may not be asked.
    pub wall: Option<Timekeeping>,
    /// Seconds since 1970.
    pub seconds: i64,
    /// For how long the machine was suspended since it was started.
    pub suspended: Duration,
    /// What the processor's time is taken from.
    pub source: Option<String>,
    /// The time zone by name.
    pub zone: Option<String>,
}

impl Clocks {
    /// Those of this machine.
    #[must_use]
    pub fn look() -> Self {
        let now = |id| {
            let time = rustix::time::clock_gettime(id);
            Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
        };
        let (running, all) = (now(rustix::time::ClockId::Monotonic), now(rustix::time::ClockId::Boottime));
        Self {
            wall: Timekeeping::now().ok(),
            seconds: clock::wall().0 / 1000,
            // One is read after the other: less than a moment is no suspension.
            suspended: Some(all.saturating_sub(running)).filter(|time| *time > Duration::from_millis(100)).unwrap_or_default(),
            source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            zone: jiff::tz::TimeZone::try_system().ok().and_then(|zone| zone.iana_name().map(str::to_owned)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             unlimited            unlimited            processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(
            (row(text, "Max open files", 0), row(text, "Max open files", 1), row(text, "Max processes", 0)),
            (Some(1024), Some(524_288), None)
        );
        assert_eq!((cpus("50000 100000"), cpus("max 100000")), (Some(0.5), None));
        assert_eq!(machine_memory("MemTotal:        2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
    }

    #[test]
    fn the_tightest_limit_on_the_way_counts() {
        let directory = tempfile::tempdir().unwrap();
        let (top, below) = (directory.path().to_owned(), directory.path().join("below"));
        std::fs::create_dir(&below).unwrap();
        for (at, max, current) in [(&top, "4096\n", "2000\n"), (&below, "max\n", "1000\n")] {
            std::fs::write(at.join("memory.max"), max).unwrap();
            std::fs::write(at.join("memory.current"), current).unwrap();
        }
        let bound = tightest(&[below, top.clone()], "memory.max", "memory.current").unwrap();
        assert_eq!(bound, Bound { max: 4096, used: Some(2000), cgroup: top });
    }

    #[test]
    fn this_process_has_limits() {
        let limits = Limits::look(std::process::id());
        assert!(limits.descriptors.is_some() && limits.machine_memory.is_some(), "{limits:?}");
        assert!(Clocks::look().seconds > 1_500_000_000);
    }
}
