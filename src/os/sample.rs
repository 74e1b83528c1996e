//! What processes use, by unit: one pass over /proc for all units.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, openat, statat};
use rustix::time::{ClockId, clock_gettime};

use crate::base::id::UnitId;
use crate::base::time::Wall;

/// The most processes of one unit that are followed down the tree; more are counted in no unit.
pub const TREE_MAX: usize = 100_000;

/// Why no sample could be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot read /proc: {0}")]
pub struct SampleError(#[from] io::Error);

/// What the processes of a unit use: the main process and all its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// CPU time in user mode, in seconds, with that of children that have ended and were waited for.
    pub user_seconds: f64,
    /// CPU time in the kernel, in seconds, likewise.
    pub system_seconds: f64,
    /// The sum of the resident sets, in bytes. Pages that processes share are counted once for each.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors of the processes that let us look.
    pub descriptors: u64,
    /// Processes.
    pub processes: u64,
    /// When the main process was started.
    pub started: Wall,
}

/// What one pass has found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Each unit whose main process is there.
    pub units: BTreeMap<UnitId, Sample>,
    /// This process alone.
    pub own: Sample,
}

/// Takes a sample of the process trees below the main processes `mains`. Blocks for about 10 µs per process of the machine.
///
/// A process is counted in the nearest unit above it, in one at most.
///
/// # Errors
/// When /proc cannot be read.
pub fn sample(mains: &BTreeMap<UnitId, u32>) -> Result<Samples, SampleError> {
    let scale = Scale::now();
    let proc = rustix::fs::open("/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from)?;
    let processes = read_all(&proc)?;
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (&pid, process) in &processes {
        children.entry(process.parent).or_default().push(pid);
    }
    let is_main: std::collections::BTreeSet<u32> = mains.values().copied().collect();
    let mut samples = Samples::default();
    for (unit, &main) in mains {
        let Some(process) = processes.get(&main) else { continue };
        let mut sample = Sample { started: scale.started(process), ..Sample::default() };
        let mut rest = vec![main];
        while let Some(pid) = rest.pop() {
            let Some(process) = processes.get(&pid) else { continue };
            sample.add(process, &scale, descriptors(&proc, pid));
            if sample.processes < TREE_MAX as u64 {
                let below = children.get(&pid).into_iter().flatten();
                rest.extend(below.filter(|child| !is_main.contains(child)));
            }
        }
        samples.units.insert(unit.clone(), sample);
    }
    let own = std::process::id();
    if let Some(process) = processes.get(&own) {
        samples.own.started = scale.started(process);
        samples.own.add(process, &scale, descriptors(&proc, own));
    }
    Ok(samples)
}

/// Takes a sample of one process tree, without looking at any other process; `None` if its main process is gone.
///
/// # Errors
/// When /proc cannot be read.
pub fn tree(main: u32) -> Result<Option<Sample>, SampleError> {
    let scale = Scale::now();
    let proc = rustix::fs::open("/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from)?;
    let Some(process) = read_stat(&proc, main) else { return Ok(None) };
    let mut sample = Sample { started: scale.started(&process), ..Sample::default() };
    let mut rest = vec![main];
    while let Some(pid) = rest.pop() {
        let Some(process) = read_stat(&proc, pid) else { continue };
        sample.add(&process, &scale, descriptors(&proc, pid));
        if sample.processes < TREE_MAX as u64 {
            super::process::children(pid, &mut rest);
        }
    }
    Ok(Some(sample))
}

impl Sample {
    fn add(&mut self, process: &Process, scale: &Scale, descriptors: u64) {
        self.user_seconds += process.user_ticks * scale.seconds_per_tick;
        self.system_seconds += process.system_ticks * scale.seconds_per_tick;
        self.resident_bytes += process.resident_pages * scale.page;
        self.threads += process.threads;
        self.descriptors += descriptors;
        self.processes += 1;
    }
}

/// What the kernel's units are worth.
struct Scale {
    seconds_per_tick: f64,
    page: u64,
    /// When the machine was started, in milliseconds since the epoch.
    boot: f64,
}

impl Scale {
    #[expect(clippy::cast_precision_loss, reason = "ticks, seconds and nanoseconds of the next centuries fit well enough")]
    fn now() -> Self {
        let millis = |id| {
            let time = clock_gettime(id);
            time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
        };
        Self {
            seconds_per_tick: 1.0 / rustix::param::clock_ticks_per_second() as f64,
            page: rustix::param::page_size() as u64,
            boot: millis(ClockId::Realtime) - millis(ClockId::Boottime),
        }
    }

    fn started(&self, process: &Process) -> Wall {
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds since the epoch")]
        Wall((self.boot + process.start_ticks * self.seconds_per_tick * 1e3) as i64)
    }
}

/// What /proc/PID/stat says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Process {
    parent: u32,
    user_ticks: f64,
    system_ticks: f64,
    threads: u64,
    start_ticks: f64,
    resident_pages: u64,
}

impl Process {
    fn parse(stat: &[u8]) -> Option<Self> {
        // The program's name may hold anything, parentheses too; what follows the last one does not.
        let close = stat.iter().rposition(|&byte| byte == b')')?;
        let text = std::str::from_utf8(stat.get(close + 2..)?).ok()?;
        let mut fields = [0_i64; 22];
        for (field, word) in fields.iter_mut().zip(text.split_ascii_whitespace()).skip(1) {
            *field = word.parse().ok().or_else(|| word.parse::<u64>().ok().map(|_| i64::MAX))?;
        }
        // Field numbers of proc_pid_stat(5), of which the first here is the third.
        let field = |number: usize| fields.get(number - 3).copied();
        #[expect(clippy::cast_precision_loss, reason = "hundredths of seconds")]
        let ticks = |number| field(number).map(|ticks| ticks as f64);
        Some(Self {
            parent: u32::try_from(field(4)?).ok()?,
            user_ticks: ticks(14)? + ticks(16)?,
            system_ticks: ticks(15)? + ticks(17)?,
            threads: u64::try_from(field(20)?).ok()?,
            start_ticks: ticks(22)?,
            resident_pages: u64::try_from(field(24)?).unwrap_or(0),
        })
    }
}

fn read_all(proc: &OwnedFd) -> io::Result<BTreeMap<u32, Process>> {
    let mut processes = BTreeMap::new();
    each_name(proc, |name| {
        let Some(pid) = std::str::from_utf8(name).ok().and_then(|name| name.parse::<u32>().ok()) else { return };
        // One that is gone by now is no process any more.
        if let Some(process) = read_stat(proc, pid) {
            processes.insert(pid, process);
        }
    })?;
    Ok(processes)
}

fn read_stat(proc: &OwnedFd, pid: u32) -> Option<Process> {
    let file = openat(proc, format!("{pid}/stat"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 1024];
    let length = rustix::io::read(&file, &mut buffer).ok()?;
    Process::parse(buffer.get(..length)?)
}

/// How many descriptors `pid` has open; 0 if we may not look.
pub(super) fn descriptors(proc: &OwnedFd, pid: u32) -> u64 {
    let path = format!("{pid}/fd");
    // Since Linux 6.2 the size of the directory is the number of its entries.
    if let Some(size) = statat(proc, path.as_str(), AtFlags::empty()).ok().and_then(|stat| u64::try_from(stat.st_size).ok())
        && size > 0
    {
        return size;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = openat(proc, path.as_str(), flags, Mode::empty()) else { return 0 };
    let mut count = 0;
    match each_name(&directory, |name| count += u64::from(!name.starts_with(b"."))) {
        Ok(()) => count,
        Err(_) => 0,
    }
}

pub(super) fn each_name(directory: impl AsFd, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        each(entry?.file_name().to_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// A shell with children, killed when dropped.
    struct Tree(Child);

    impl Tree {
        fn new(script: &str) -> Self {
            Self(Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            // Its children read from our end of the pipe and end with it.
            drop(self.0.stdin.take());
            let _ = self.0.wait();
        }
    }

    fn wait_for(mains: &BTreeMap<UnitId, u32>, mut done: impl FnMut(&Samples) -> bool) -> Samples {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let samples = sample(mains).unwrap();
            if done(&samples) {
                return samples;
            }
            assert!(Instant::now() < deadline, "{samples:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_tree_is_summed_up_and_inner_units_are_apart() {
        let tree = Tree::new("exec 3<&0; cat <&3 & sh -c 'cat <&3 & cat <&3; wait' & cat <&3; wait");
        let mut mains = BTreeMap::from([(UnitId::from("a"), tree.0.id())]);
        let whole = wait_for(&mains, |samples| samples.units.values().any(|sample| sample.processes == 6));
        let outer = whole.units["a"];
        assert!(outer.threads == 6 && outer.resident_bytes > 6 * 4096 && outer.descriptors >= 18, "{outer:?}");
        let (now, own) = (clock_gettime(ClockId::Realtime).tv_sec * 1000, whole.own);
        assert!((now - outer.started.0).abs() < 60_000, "{now} {outer:?}");
        assert!(own.processes == 1 && own.threads >= 1 && own.descriptors >= 3 && own.resident_bytes > 1 << 20, "{own:?}");
        // The shell within becomes a unit of its own.
        let text = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", tree.0.id())).unwrap();
        let inner = text
            .split_whitespace()
            .map(|pid| pid.parse::<u32>().unwrap())
            .find(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sh"));
        mains.insert("b".into(), inner.unwrap());
        mains.insert("missing".into(), u32::MAX);
        let apart = sample(&mains).unwrap();
        assert_eq!(apart.units.values().map(|sample| sample.processes).collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn cpu_time_of_children_that_ended_counts() {
        let tree = Tree::new("(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done); cat");
        let mains = BTreeMap::from([(UnitId::from("a"), tree.0.id())]);
        wait_for(&mains, |samples| samples.units.get("a").is_some_and(|sample| sample.processes == 2 && sample.user_seconds >= 0.05));
    }

    #[test]
    fn odd_names_do_not_confuse() {
        let stat = b"42 (a) R 7 (b) S 17 42 42 0 -1 4194304 100 0 0 0 5 6 7 8 20 0 3 0 12345 1000000 99 18446744073709551615 1";
        let expected = Process { parent: 17, user_ticks: 12.0, system_ticks: 14.0, threads: 3, start_ticks: 12345.0, resident_pages: 99 };
        assert_eq!(Process::parse(stat), Some(expected));
        for broken in [&b""[..], b"42 (a", b"42 (a)", b"42 (a) S x"] {
            assert_eq!(Process::parse(broken), None);
        }
    }
}
