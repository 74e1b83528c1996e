//! Finds the processes that units watch: one pass over /proc for all of them.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;
use rustix::fs::{Mode, OFlags, openat, readlinkat};

use super::foreign::doing;
use super::pid_file::{self, Named};
use super::{cgroup, clock, sample, users};
use crate::base::id::UnitId;
use crate::base::identity::Identity;
use crate::base::time::Wall;
use crate::event::ProcessSample;
use crate::plan::WatchPlan;

/// How much of a command line is looked at, in bytes.
const COMMAND_MAX: usize = 64 << 10;

/// How much of it is shown, in bytes.
pub const SHOWN_MAX: usize = 200;

/// A process that was started so much later than its pid file was written is not the one that is meant: clocks are read twice.
const WRITTEN_BEFORE: Duration = Duration::from_secs(1);

/// In the flags of proc_pid_stat(5): a thread of the kernel.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// So far up it is looked whose a process is.
const ANCESTORS_MAX: usize = 4096;

/// What one unit looks for.
#[derive(Clone, Debug)]
pub struct Criteria {
    plan: WatchPlan,
    command_line: Option<Regex>,
}

/// A unit that looks for processes.
#[derive(Clone, Debug)]
pub struct Seeker {
    /// What it looks for.
    pub criteria: std::sync::Arc<Criteria>,
    /// Those it has found before.
    pub known: BTreeSet<Identity>,
    /// What was looked up for it.
    pub looked_up: LookedUp,
}

/// What one look has found for a unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// The processes that fit, the oldest first.
    pub found: BTreeMap<Identity, Sight>,
    /// Why some could not be found.
    pub trouble: Option<String>,
}

/// A process that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// Its command line, cut to [`SHOWN_MAX`]; in brackets its name, if it has none.
    pub command: String,
    /// When it was started.
    pub started: Wall,
    /// What it uses.
    pub sample: ProcessSample,
}

impl Criteria {
    /// What `plan` looks for. A plan holds only patterns that compile.
    #[must_use]
    pub fn new(plan: &WatchPlan) -> Self {
        Self { plan: plan.clone(), command_line: plan.command_line.as_ref().and_then(|pattern| Regex::new(pattern).ok()) }
    }
}

/// What has to be looked up for a look, where others may keep us waiting.
#[derive(Clone, Debug, Default)]
pub struct LookedUp {
    /// The program, symbolic links followed.
    exe: Option<PathBuf>,
    /// What the pid file says.
    pid: Option<Result<Named, ()>>,
    user: Option<u32>,
    /// Why something could not be found.
    trouble: Option<String>,
}

impl LookedUp {
    /// It cannot be looked up, for this reason: nothing new is found, and what is known stays.
    #[must_use]
    pub fn failed(why: String) -> Self {
        Self { pid: Some(Err(())), trouble: Some(why), ..Self::default() }
    }
}

impl Criteria {
    /// Whether anything has to be looked up.
    #[must_use]
    pub const fn names_something(&self) -> bool {
        self.plan.exe.is_some() || self.plan.pid_file.is_some() || self.plan.user.is_some()
    }

    /// Looks it up. Blocks, as long as files and the user database take.
    #[must_use]
    pub fn look_up(&self) -> LookedUp {
        let mut trouble = None;
        let exe = self.plan.exe.as_ref();
        let exe = exe.map(|path| {
            doing(format_args!("looking at {}", path.display()));
            std::fs::canonicalize(path).unwrap_or_else(|_| path.clone())
        });
        let pid = self.plan.pid_file.as_ref().map(|path| {
            let found = pid_file::read(path);
            found.map_err(|fault| trouble = Some(format!("cannot read the pid file {}: {fault}", path.display())))
        });
        let user = self.plan.user.as_deref().and_then(|user| {
            let uid = users::uid_of(user);
            uid.map_err(|fault| trouble = Some(fault.to_string())).ok()
        });
        LookedUp { exe, pid, user, trouble }
    }
}

/// Looks for everything that `seekers` want. Processes below `ours`, and those themselves, are nobody's. Blocks for about 20 µs per process of
/// the machine, and longer where a process is too busy to show its command line.
///
/// # Errors
/// When /proc cannot be read.
pub fn look(seekers: &BTreeMap<UnitId, Seeker>, ours: &BTreeSet<u32>) -> io::Result<BTreeMap<UnitId, Look>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::openat(rustix::fs::CWD, "/proc", flags, Mode::empty())?;
    let mut processes = BTreeMap::new();
    sample::each_name(&proc, |name| {
        let Some(pid) = std::str::from_utf8(name).ok().and_then(|name| name.parse::<u32>().ok()) else { return };
        // One that is gone by now is no process any more.
        if let Some(process) = read(&proc, pid) {
            processes.insert(pid, process);
        }
    })?;
    let scale = Scale::now();
    let looked = seekers.iter().map(|(unit, seeker)| (unit.clone(), seeker.look(&processes, ours, &scale)));
    Ok(looked.collect())
}

impl Seeker {
    fn look(&self, all: &BTreeMap<u32, Process<'_>>, ours: &BTreeSet<u32>, scale: &Scale) -> Look {
        let mut look = Look { trouble: self.looked_up.trouble.clone(), ..Look::default() };
        let wanted = Wanted { criteria: &self.criteria, found: &self.looked_up };
        for process in wanted.candidates(all, &self.known) {
            let is_known = self.known.contains(&process.identity);
            let fits = match process.state {
                // It has ended, or its first thread has: its descriptor tells which.
                'Z' | 'X' => is_known,
                // What was believed once stays so: the clock may have been set meanwhile.
                _ if !is_known && wanted.is_too_old_for(process, scale) => {
                    let pid = process.identity.pid;
                    look.trouble = Some(format!("process {pid} was started after the pid file that names it was written"));
                    false
                }
                _ if wanted.is_of_somebody_else(process) => {
                    let pid = process.identity.pid;
                    look.trouble = Some(format!("process {pid} does not belong to the user who has written the pid file that names it"));
                    false
                }
                _ => wanted.fits(process).unwrap_or(is_known),
            };
            if fits && !is_below(process, all, ours) {
                look.found.insert(process.identity, process.sight(scale));
            }
        }
        look
    }
}

/// A process, with what is read of it when somebody wants to know.
struct Process<'a> {
    proc: &'a OwnedFd,
    identity: Identity,
    name: String,
    state: char,
    parent: u32,
    user: Duration,
    system: Duration,
    threads: u64,
    resident: u64,
    command: OnceCell<Option<Vec<u8>>>,
    exe: OnceCell<Option<PathBuf>>,
    cgroup: OnceCell<Option<String>>,
}

/// Reads what is needed of every process. Threads of the kernel are nobody's.
fn read(proc: &OwnedFd, pid: u32) -> Option<Process<'_>> {
    let file = openat(proc, format!("{pid}/stat"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 1024];
    let length = rustix::io::read(&file, &mut buffer).ok()?;
    parse(proc, pid, buffer.get(..length)?)
}

fn parse<'a>(proc: &'a OwnedFd, pid: u32, stat: &[u8]) -> Option<Process<'a>> {
    // The name may hold anything, parentheses too.
    let (open, close) = (stat.iter().position(|&byte| byte == b'(')?, stat.iter().rposition(|&byte| byte == b')')?);
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let mut words = std::str::from_utf8(stat.get(close + 2..)?).ok()?.split_ascii_whitespace();
    let state = words.next()?.chars().next()?;
    // Field numbers of proc_pid_stat(5), of which the first here is the fourth.
    let fields: Vec<&str> = words.take(22).collect();
    let field = |number: usize| fields.get(number - 4).and_then(|word| word.parse::<u64>().ok());
    if field(9)? & KERNEL_THREAD != 0 {
        return None;
    }
    let ticks = |number| Some(ticks_to_time(field(number)?));
    Some(Process {
        proc,
        identity: Identity { started: field(22)?, pid },
        name,
        state,
        parent: u32::try_from(field(4)?).ok()?,
        user: ticks(14)?,
        system: ticks(15)?,
        threads: field(20)?,
        resident: field(24).unwrap_or(0).saturating_mul(rustix::param::page_size() as u64),
        command: OnceCell::new(),
        exe: OnceCell::new(),
        cgroup: OnceCell::new(),
    })
}

fn ticks_to_time(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_secs(ticks / per_second) + Duration::from_nanos(ticks % per_second * 1_000_000_000 / per_second)
}

impl Process<'_> {
    /// The words of its command line, each with a NUL at its end; empty for one that has none.
    fn command(&self) -> Option<&[u8]> {
        let read = || {
            let path = format!("{}/cmdline", self.identity.pid);
            let file = openat(self.proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
            let mut text = Vec::new();
            let mut limited = io::Read::take(std::fs::File::from(file), COMMAND_MAX as u64);
            io::Read::read_to_end(&mut limited, &mut text).ok()?;
            Some(text)
        };
        self.command.get_or_init(read).as_deref()
    }

    /// The same with spaces in between.
    fn command_line(&self) -> Option<String> {
        let text = self.command()?;
        let end = text.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let text: Vec<u8> = text.get(..end)?.iter().map(|&byte| if byte == 0 { b' ' } else { byte }).collect();
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Its program; none, if we may not know.
    fn exe(&self) -> Option<&Path> {
        use std::os::unix::ffi::OsStringExt as _;
        let read = || {
            let path = readlinkat(self.proc, format!("{}/exe", self.identity.pid), Vec::new()).ok()?.into_bytes();
            // What was replaced on disk is still the same program.
            let path = path.strip_suffix(b" (deleted)").map_or(path.clone(), <[u8]>::to_vec);
            Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
        };
        self.exe.get_or_init(read).as_deref()
    }

    fn cgroup(&self) -> Option<&str> {
        self.cgroup.get_or_init(|| cgroup::of_process(self.identity.pid)).as_deref()
    }

    /// The user it acts as. The owner of its directory in /proc is another one if it has changed that.
    fn user(&self) -> Option<u32> {
        self.users()?.get(1).copied()
    }

    /// The users it is, acts as, and could act as again: real, effective, saved.
    fn users(&self) -> Option<Vec<u32>> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.identity.pid)).ok()?;
        let ids = text.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().take(3);
        ids.map(|id| id.parse().ok()).collect()
    }

    fn is_called(&self, name: &str) -> Option<bool> {
        if self.name == name {
            return Some(true);
        }
        let first = self.command().map(|words| words.split(|&byte| byte == 0).next().unwrap_or_default());
        if first.is_some_and(|word| word.rsplit(|&byte| byte == b'/').next() == Some(name.as_bytes())) {
            return Some(true);
        }
        match self.exe() {
            Some(exe) => Some(exe.file_name().is_some_and(|file| file == name)),
            // Its own name and its command line are there for everybody to see.
            None => first.map(|_| false),
        }
    }

    fn sight(&self, scale: &Scale) -> Sight {
        let command = self.command_line().filter(|line| !line.is_empty());
        let mut command = command.unwrap_or_else(|| format!("[{}]", self.name)).replace(|letter: char| letter.is_control(), " ");
        command.truncate(command.floor_char_boundary(SHOWN_MAX));
        let sample = ProcessSample {
            at: scale.now,
            user: self.user,
            system: self.system,
            resident: self.resident,
            threads: self.threads,
            descriptors: sample::descriptors(self.proc, self.identity.pid),
        };
        Sight { command, started: scale.started(self.identity), sample }
    }
}

/// Whether a process is among `ours` or below one of those.
fn is_below(process: &Process<'_>, all: &BTreeMap<u32, Process<'_>>, ours: &BTreeSet<u32>) -> bool {
    let mut pid = process.identity.pid;
    // Parents that end meanwhile cannot make a circle; a bound costs nothing.
    for _ in 0..ANCESTORS_MAX {
        if ours.contains(&pid) {
            return true;
        }
        match all.get(&pid) {
            Some(process) if process.parent != 0 => pid = process.parent,
            _ => return false,
        }
    }
    false
}

/// Criteria with what was looked up for this look.
struct Wanted<'a> {
    criteria: &'a Criteria,
    found: &'a LookedUp,
}

impl Wanted<'_> {
    /// Those that may fit at all. If the pid file cannot be read, nothing new can be found.
    fn candidates<'p, 'q>(&self, all: &'p BTreeMap<u32, Process<'q>>, known: &BTreeSet<Identity>) -> Vec<&'p Process<'q>> {
        match self.found.pid {
            None => all.values().collect(),
            Some(Ok(named)) => all.get(&named.pid).into_iter().collect(),
            Some(Err(())) => all.values().filter(|process| known.contains(&process.identity)).collect(),
        }
    }

    /// Whether nothing but the pid file speaks for a process, and that was written before it was started.
    fn is_too_old_for(&self, process: &Process<'_>, scale: &Scale) -> bool {
        let WatchPlan { name, exe, command_line, cgroup, .. } = &self.criteria.plan;
        let is_sole = name.is_none() && exe.is_none() && command_line.is_none() && cgroup.is_none();
        let by = i64::try_from(WRITTEN_BEFORE.as_millis()).unwrap_or(0);
        is_sole && matches!(self.found.pid, Some(Ok(named)) if scale.started(process.identity).0 > named.written.0.saturating_add(by))
    }

    /// Whether a pid file names a process for which its owner cannot speak.
    fn is_of_somebody_else(&self, process: &Process<'_>) -> bool {
        let Some(Ok(Named { only_of: Some(owner), .. })) = self.found.pid else { return false };
        process.users().is_none_or(|users| users.iter().any(|user| *user != owner))
    }

    /// Whether a process fits; `None` if that cannot be seen.
    fn fits(&self, process: &Process<'_>) -> Option<bool> {
        let WatchPlan { name, cgroup, user, .. } = &self.criteria.plan;
        let by_pid = || if matches!(self.found.pid, Some(Err(()))) { None } else { Some(true) };
        let by_name = || name.as_ref().map_or(Some(true), |name| process.is_called(name));
        let by_exe = || self.found.exe.as_ref().map_or(Some(true), |exe| Some(process.exe()? == exe));
        let by_cgroup = || cgroup.as_ref().map_or(Some(true), |above| Some(is_in(process.cgroup()?, above)));
        let by_command =
            || self.criteria.command_line.as_ref().map_or(Some(true), |wanted| Some(wanted.is_match(&process.command_line()?)));
        let by_user = || if user.is_some() { Some(process.user()? == self.found.user?) } else { Some(true) };
        let points: [&dyn Fn() -> Option<bool>; 6] = [&by_pid, &by_name, &by_exe, &by_cgroup, &by_command, &by_user];
        let mut fits = Some(true);
        for point in points {
            match point() {
                // Whatever cannot be seen in another point.
                Some(false) => return Some(false),
                Some(true) => {}
                None => fits = None,
            }
        }
        fits
    }
}

/// Whether a cgroup is `above` or below it.
fn is_in(cgroup: &str, above: &str) -> bool {
    above == "/" || cgroup.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The clocks of one look.
struct Scale {
    now: Wall,
    since_boot: Duration,
}

impl Scale {
    fn now() -> Self {
        Self { now: clock::wall(), since_boot: Duration::from_nanos(clock::boottime().0) }
    }

    fn started(&self, process: Identity) -> Wall {
        let ago = self.since_boot.saturating_sub(ticks_to_time(process.started));
        Wall(self.now.0.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(0)))
    }
}

/// When a process was started, on the wall clock.
#[must_use]
pub fn started(process: Identity) -> Wall {
    Scale::now().started(process)
}

#[cfg(test)]
mod tests;
