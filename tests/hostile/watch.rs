//! What is looked at from outside while it runs: who has become what, what root's files hold, and what all of it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::world::{CANARY, HOSTILE_KINDS, service};

/// What is seen of one part of the daemon.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Use {
    pub(crate) at_start: u64,
    pub(crate) peak: u64,
    pub(crate) last: u64,
    pub(crate) descriptors: usize,
    pub(crate) descriptors_last: usize,
    pub(crate) threads: usize,
    /// How long its threads have worked, and waited for a processor, in nanoseconds.
    pub(crate) worked: u64,
    pub(crate) waited: u64,
}

/// What has been seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) launcher: Use,
    pub(crate) brain: Use,
    /// Every brain there was.
    pub(crate) brains: BTreeSet<u32>,
    pub(crate) disk_peak: u64,
    /// The most that each log, and each other thing on the disk, has taken.
    pub(crate) on_disk: BTreeMap<String, u64>,
    /// How many processes of hostile units were looked at.
    pub(crate) looked_at: usize,
    /// Privileges somebody has who must not.
    pub(crate) gained: BTreeSet<String>,
}

/// Whom and what to look at.
pub(crate) struct Watch {
    pub(crate) base: PathBuf,
    pub(crate) launcher: u32,
    /// A process of root's that belongs to no unit.
    pub(crate) canary: u32,
    /// Programs that are trusted: the daemon's and ours.
    pub(crate) trusted: Vec<PathBuf>,
    pub(crate) seen: Seen,
}

impl Watch {
    pub(crate) fn look(&mut self) {
        self.memory();
        self.disk();
        self.canaries();
        let first = self.privileges();
        if !first.is_empty() {
            // A process that is just being made is root's for a moment; whoever has gained something has it for longer.
            sleep(Duration::from_millis(100));
            let second = self.privileges();
            self.seen.gained.extend(first.intersection(&second).cloned());
        }
    }

    fn memory(&mut self) {
        measure(self.launcher, &mut self.seen.launcher);
        if let Some(brain) = brain(self.launcher) {
            self.seen.brains.insert(brain);
            measure(brain, &mut self.seen.brain);
        }
    }

    fn disk(&mut self) {
        let mut sizes = BTreeMap::new();
        size(&self.base.join("run/.ms-supervisor"), &mut sizes);
        size(&service(&self.base), &mut sizes);
        self.seen.disk_peak = self.seen.disk_peak.max(sizes.values().sum());
        for (name, bytes) in sizes {
            let peak = self.seen.on_disk.entry(name).or_default();
            *peak = bytes.max(*peak);
        }
    }

    fn canaries(&mut self) {
        let text = fs::read_to_string(self.base.join("canary/secret")).unwrap_or_default();
        if text != CANARY {
            self.seen.gained.insert(format!("a file of root's now holds {text:?}"));
        }
        for entry in fs::read_dir(self.base.join("canary/directory")).unwrap().flatten() {
            self.seen.gained.insert(format!("in a directory of root's there is {}", entry.path().display()));
        }
        if !Path::new(&format!("/proc/{}", self.canary)).exists() || state(self.canary) != Some('S') {
            self.seen.gained.insert("a process of root's that belongs to nobody was stopped or ended".into());
        }
        for entry in fs::read_dir(self.base.join("loot")).unwrap().flatten() {
            let unit = entry.file_name().to_string_lossy().into_owned();
            let unit = unit.rsplit_once('.').map_or(unit.as_str(), |(unit, _)| unit);
            let text = fs::read(entry.path()).unwrap_or_default();
            let deeds: BTreeSet<String> = String::from_utf8_lossy(&text).lines().map(nameless).collect();
            self.seen.gained.extend(deeds.into_iter().map(|deed| format!("{unit}: {deed}")));
        }
    }

    /// What each process of a hostile unit has that it must not have.
    fn privileges(&mut self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let own = fs::read_link("/proc/self/ns/user").ok();
        for pid in ms_supervisor::os::process::all() {
            let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else { continue };
            let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
            if self.trusted.contains(&program) || pid == self.canary || pid == 1 {
                continue;
            }
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
            let users: BTreeSet<u32> = field("Uid:").split_whitespace().filter_map(|user| user.parse().ok()).collect();
            self.seen.looked_at += 1;
            let kind = kind_of(pid);
            // What the bench itself starts.
            if kind.is_none() && program.ends_with("timeout") {
                continue;
            }
            let declared = HOSTILE_KINDS.iter().find(|(name, ..)| kind.as_deref() == Some(name));
            let who = format!("{} ({})", kind.as_deref().unwrap_or("of no unit"), program.display());
            let known = match declared {
                Some((_, _, user, _, _)) => users.iter().eq([user]),
                None => users.len() == 1 && users.iter().all(|user| HOSTILE_KINDS.iter().any(|kind| kind.2 == *user)),
            };
            if !known {
                found.insert(format!("{who}, pid {pid}, has the users {users:?}"));
            }
            // In a user namespace of its own a process may do everything, and nothing outside.
            let is_ours = fs::read_link(format!("/proc/{pid}/ns/user")).ok() == own;
            let capable = ["CapEff:", "CapPrm:", "CapAmb:"].iter().any(|name| field(name).bytes().any(|digit| digit != b'0'));
            if is_ours && capable {
                found.insert(format!("{who}, pid {pid}, has capabilities: {}", field("CapEff:")));
            }
            if declared.is_some_and(|declared| declared.3) && field("NoNewPrivs:") != "1" {
                found.insert(format!("{who}, pid {pid}, can gain privileges"));
            }
        }
        found
    }
}

/// What was done, whichever process it was done to.
fn nameless(line: &str) -> String {
    let words = line.split(' ').map(|word| if word.parse::<u32>().is_ok() { "N" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// The kind of unit a process belongs to, by its cgroup.
fn kind_of(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let place = text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
    let (unit, _) = place.rsplit('/').find_map(|name| name.split_once(':').filter(|(_, run)| *run != "supervisor"))?;
    Some(unit.split('@').next()?.to_owned())
}

fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The brain's process: the launcher's child that runs `brain`.
pub(crate) fn brain(launcher: u32) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{launcher}/task")).ok()?.flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect::<String>();
    let is_brain =
        |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split(|byte| *byte == 0).nth(1) == Some(b"brain"));
    lists.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_brain)
}

fn measure(pid: u32, into: &mut Use) {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return };
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    // The kernel's own peak misses nothing between two looks.
    let (now, peak) = (kib("VmRSS:"), kib("VmHWM:"));
    if into.at_start == 0 {
        into.at_start = now;
    }
    into.peak = into.peak.max(peak);
    into.last = now;
    into.descriptors_last = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    into.descriptors = into.descriptors.max(into.descriptors_last);
    let threads: Vec<_> = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().collect();
    into.threads = into.threads.max(threads.len());
    let times = threads.iter().filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    let times: Vec<Vec<u64>> = times.map(|text| text.split_whitespace().filter_map(|number| number.parse().ok()).collect()).collect();
    let sum = |at: usize| times.iter().filter_map(|time| time.get(at)).sum();
    (into.worked, into.waited) = (sum(0), sum(1));
}

/// What is on the disk below `path`, in bytes, by what the files are of: their names up to where they are numbered. Directories are kept in a
/// list, not on the stack: they may be deep.
fn size(path: &Path, sizes: &mut BTreeMap<String, u64>) {
    let mut left = vec![path.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                left.push(entry.path());
            }
            let name = entry.path().strip_prefix(path).map_or_else(|_| String::new(), |name| name.display().to_string());
            let name = name.split_once(".log").map_or(name.as_str(), |(unit, _)| unit);
            let name = if name.starts_with("incidents/") || name.starts_with("credentials/") { name.split('/').next() } else { Some(name) };
            *sizes.entry(name.unwrap_or_default().to_owned()).or_default() += data.blocks() * 512;
        }
    }
}

/// What is left of units when the daemon has ended.
pub(crate) fn left(canary: u32) -> Vec<String> {
    let mut found: BTreeMap<u32, String> = BTreeMap::new();
    for pid in ms_supervisor::os::process::all().filter(|pid| *pid != 1 && *pid != canary) {
        // What is dead and waits for somebody to look is nobody's harm.
        if !matches!(state(pid), None | Some('Z' | 'X')) {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command[..command.len().min(120)]).replace('\0', " ");
            found.insert(pid, format!("process {pid} is left, of {}: {command}", kind_of(pid).unwrap_or_else(|| "no unit".into())));
        }
    }
    found.into_values().collect()
}
