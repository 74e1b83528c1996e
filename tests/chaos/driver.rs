//! The faults: what is done to the daemon, when, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ms_supervisor::base::rng::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::disk::Disk;
use crate::journal::Journal;
use crate::unit::{KINDS, records};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ms-supervisor");

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was done, and what was seen.
pub(crate) struct Outcome {
    /// How many faults of each kind.
    pub(crate) faults: BTreeMap<&'static str, usize>,
    pub(crate) events: Vec<Value>,
    /// Promises seen broken while it ran.
    pub(crate) broken: Vec<String>,
    /// How long a brain took to answer again, in milliseconds.
    pub(crate) back: Vec<u64>,
}

struct Driver {
    directory: PathBuf,
    rng: Rng,
    launcher: Child,
    journal: Journal,
    /// Units an operator has stopped.
    stopped: BTreeSet<String>,
    outcome: Outcome,
    generation: u32,
    /// Where the daemon's state is, if that can be filled.
    disk: Option<Disk>,
}

/// Tortures a daemon in `directory` for `duration`, and ends it in order.
pub(crate) fn run(seed: u64, duration: Duration, directory: &Path, full_disk: bool) -> Outcome {
    for name in ["locks", "records", "units", "supervisors"] {
        fs::create_dir_all(directory.join(name)).unwrap();
    }
    let disk = full_disk.then(|| Disk::mount(directory));
    declare(directory, 0, full_disk);
    let outcome = Outcome { faults: BTreeMap::new(), events: Vec::new(), broken: Vec::new(), back: Vec::new() };
    let mut driver = Driver {
        launcher: start(directory),
        journal: Journal::new(&directory.join(".ms-supervisor")),
        directory: directory.to_owned(),
        rng: Rng::derive(seed, &["faults"]),
        stopped: BTreeSet::new(),
        outcome,
        generation: 0,
        disk,
    };
    driver.until("the daemon is up", |driver| driver.status().is_some());
    let end = Instant::now() + duration;
    while Instant::now() < end {
        driver.fault();
        driver.journal.read();
    }
    driver.finish();
    driver.outcome.events = std::mem::take(&mut driver.journal.events);
    driver.outcome
}

/// The units; with a full disk they wait until there is room for what they write. `edition` is what a reload changes in one kind.
fn declare(directory: &Path, edition: u32, full_disk: bool) {
    let own = std::env::current_exe().unwrap();
    let mut text = String::new();
    for (kind, instances) in KINDS {
        let mut words: Vec<String> = vec![own.display().to_string(), "unit".into(), kind.into(), directory.display().to_string()];
        words.iter_mut().for_each(|word| *word = format!("{word:?}"));
        let mode = match kind {
            "silent" => "none",
            "piped" | "holding" => "pipe",
            _ if full_disk => "pipe",
            _ => "direct",
        };
        let overflow = if full_disk && mode == "pipe" { "block" } else { "drop_oldest" };
        let extra = match kind {
            "slow" => "readiness: notify\n",
            "daemon" => "pid_file: \"%n.pid\"\n",
            _ => "",
        };
        let edition = if kind == "silent" { edition } else { 0 };
        text += &format!(
            "---\nunit: {kind}\ninstances: {instances}\nexec: [{}]\nenvironment: {{CHAOS: {directory:?}, EDITION: \"{edition}\"}}\n\
             restart: {{backoff: {{kind: linear, first: 0s, base: 50ms, max: 500ms}}}}\nshutdown: 500ms\n\
             logs: {{mode: {mode}, max_size: 256KiB, keep: 1000, overflow: {overflow}}}\n{extra}",
            words.join(", ")
        );
    }
    fs::write(directory.join("units/all.yaml"), text.trim_start_matches("---\n")).unwrap();
    let children: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).collect();
    let root = format!("supervisor: root\nintensity: 1000000\nperiod: 1s\nchildren: [{}]\n", children.join(", "));
    fs::write(directory.join("supervisors/root.yaml"), root).unwrap();
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("-C").arg(directory).args(arguments).stdin(Stdio::null());
    command
}

fn start(directory: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(directory.join("daemon.out")).unwrap();
    command(directory, &["run", "--quiet", "--listen", "none"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

impl Driver {
    fn cli(&self, arguments: &[&str]) -> Output {
        command(&self.directory, arguments).output().unwrap()
    }

    fn status(&self) -> Option<Value> {
        let output = self.cli(&["status", "--json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).ok())?
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > end {
                self.outcome.broken.push(format!("in vain for {} s: {what}", PATIENCE.as_secs()));
                return;
            }
            sleep(Duration::from_millis(5));
            self.journal.read();
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.rng.next_u64() % limit as u64).unwrap_or(0)
    }

    fn fault(&mut self) {
        let name = match self.below(100) {
            0..46 => self.kill_brain(),
            46..50 => self.kill_launcher(),
            50..68 => self.kill_unit(),
            68..73 => self.freeze_unit(),
            73..78 => self.pause_unit(),
            78..86 => self.stop_or_start(),
            86..90 => self.reload(),
            90..92 => self.upgrade(),
            92..94 => self.abort_brain(),
            94..96 => self.damage_store(),
            96..99 if let Some(disk) = &self.disk => disk.fill_or_empty(),
            _ => {
                sleep(Duration::from_millis(300));
                "quiet"
            }
        };
        *self.outcome.faults.entry(name).or_default() += 1;
    }

    /// The brain's process: the launcher's child that runs `brain`.
    fn brain(&self) -> Option<u32> {
        let launcher = self.launcher.id();
        let tasks = fs::read_dir(format!("/proc/{launcher}/task")).ok()?.flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect::<String>();
        let is_brain =
            |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split(|byte| *byte == 0).nth(1) == Some(b"brain"));
        lists.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_brain)
    }

    fn kill_brain(&mut self) -> &'static str {
        if let Some(brain) = self.brain() {
            // Sometimes before it is up, sometimes a while after.
            sleep(Duration::from_millis(self.rng.next_u64() % 120));
            signal(brain, Signal::SIGKILL);
            if self.below(3) > 0 {
                self.answer_again();
            }
        }
        "brain killed"
    }

    fn abort_brain(&mut self) -> &'static str {
        if let Some(brain) = self.brain() {
            signal(brain, Signal::SIGABRT);
            // It answers until it has written down the stacks of its threads: that answer says nothing about the next one.
            self.until("the aborted brain ends", |driver| driver.brain() != Some(brain));
            self.answer_again();
        }
        "brain aborted"
    }

    fn answer_again(&mut self) {
        let begin = Instant::now();
        self.until("the daemon answers again", |driver| driver.status().is_some());
        self.outcome.back.push(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX));
    }

    fn kill_launcher(&mut self) -> &'static str {
        self.launcher.kill().unwrap();
        self.launcher.wait().unwrap();
        sleep(Duration::from_millis(self.rng.next_u64() % 200));
        self.launcher = start(&self.directory);
        self.answer_again();
        "launcher killed"
    }

    /// The main process of some unit that has one.
    fn victim(&mut self) -> Option<(String, u32)> {
        let at = self.below(100);
        let names: Vec<String> = fs::read_dir(self.directory.join("locks"))
            .unwrap()
            .flatten()
            .map(|file| file.file_name().to_string_lossy().into_owned())
            .collect();
        let name = names.get(at % names.len().max(1))?.clone();
        let pid = fs::read_to_string(self.directory.join("locks").join(&name)).ok()?.trim().parse().ok()?;
        let is_ours = fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            let wanted = format!("MS_UNIT={name}\0");
            environment.windows(wanted.len()).any(|window| window == wanted.as_bytes())
        });
        is_ours.then_some((name, pid))
    }

    fn kill_unit(&mut self) -> &'static str {
        if let Some((_, pid)) = self.victim() {
            signal(pid, Signal::SIGKILL);
        }
        "unit killed"
    }

    fn freeze_unit(&mut self) -> &'static str {
        if let Some((_, pid)) = self.victim() {
            signal(pid, Signal::SIGSTOP);
            sleep(Duration::from_millis(self.rng.next_u64() % 100));
            if self.below(4) > 0 {
                signal(pid, Signal::SIGCONT);
            }
        }
        "unit frozen"
    }

    /// Who was paused writes nothing until it goes on.
    fn pause_unit(&mut self) -> &'static str {
        if let Some((unit, pid)) = self.victim()
            && self.cli(&["pause", &unit]).status.success()
        {
            let accounts = || {
                let files = fs::read_dir(records(&self.directory).join(&unit)).into_iter().flatten().flatten();
                let own = files.filter(|file| file.file_name().to_string_lossy().starts_with(&format!("{pid}-")));
                own.filter_map(|file| fs::read(file.path()).ok()).collect::<Vec<_>>()
            };
            let before = accounts();
            sleep(Duration::from_millis(60));
            if accounts() != before {
                self.outcome.broken.push(format!("{unit} (pid {pid}) went on although it was paused"));
            }
            drop(self.cli(&["resume", &unit]));
        }
        "unit paused"
    }

    /// Writes nonsense over the file that remembers what operators want. Nobody may notice but the next brain, which says so.
    fn damage_store(&mut self) -> &'static str {
        let directory = self.directory.join(".ms-supervisor/store");
        let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|file| file.path());
        let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "db")).collect();
        let which = self.below(files.len().max(1));
        if let Some(path) = files.get(which)
            && let Ok(file) = fs::OpenOptions::new().write(true).open(path)
        {
            let length = file.metadata().map_or(0, |data| data.len());
            let at = self.rng.next_u64() % length.max(1);
            drop(std::os::unix::fs::FileExt::write_at(&file, &[0xa5; 512], at));
        }
        self.kill_brain();
        "store damaged"
    }

    /// What was acknowledged has to be so from then on.
    fn stop_or_start(&mut self) -> &'static str {
        let stopped = self.stopped.iter().next().cloned();
        if let Some(unit) = stopped.filter(|_| self.stopped.len() > 5) {
            // With exit code 6 it is done and not remembered: then it may be forgotten.
            if matches!(self.cli(&["start", &unit]).status.code(), Some(0 | 6)) {
                self.stopped.remove(&unit);
            }
        } else if let Some((unit, _)) = self.victim()
            && !self.stopped.contains(&unit)
            && self.cli(&["stop", &unit]).status.success()
        {
            self.stopped.insert(unit);
        }
        self.look_at_the_stopped();
        "unit stopped or started"
    }

    fn look_at_the_stopped(&mut self) {
        for unit in &self.stopped {
            let lock = fs::File::open(self.directory.join("locks").join(unit)).unwrap();
            if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
                self.outcome.broken.push(format!("{unit} runs although it was stopped"));
            }
        }
    }

    fn reload(&mut self) -> &'static str {
        self.generation += 1;
        if self.below(3) == 0 {
            let good = fs::read_to_string(self.directory.join("units/all.yaml")).unwrap();
            fs::write(self.directory.join("units/all.yaml"), format!("{good}\nfaulty: [\n")).unwrap();
            if self.cli(&["reload"]).status.code() == Some(0) {
                self.outcome.broken.push("a faulty file was applied".into());
            }
            fs::write(self.directory.join("units/all.yaml"), good).unwrap();
        } else {
            declare(&self.directory, self.generation, self.disk.is_some());
            // It may be killed meanwhile; what counts is that nobody else is touched.
            drop(self.cli(&["reload"]));
        }
        "reload"
    }

    fn upgrade(&mut self) -> &'static str {
        let copy = self.directory.join(format!("program{}", self.generation % 2));
        // The one that runs cannot be written to; a new file takes its name.
        drop(fs::remove_file(&copy));
        fs::copy(PROGRAM, &copy).unwrap();
        self.generation += 1;
        drop(self.cli(&["upgrade", &copy.display().to_string()]));
        self.until("the daemon answers after an upgrade", |driver| driver.status().is_some());
        "upgrade"
    }

    /// Everything comes up, is stopped, and the daemon ends.
    fn finish(&mut self) {
        if let Some(disk) = &self.disk {
            disk.empty();
        }
        self.until("the daemon answers in the end", |driver| driver.status().is_some());
        self.look_at_the_stopped();
        for (kind, _) in KINDS {
            let output = self.cli(&["stop", kind]);
            if !output.status.success() {
                self.outcome.broken.push(format!("{kind} could not be stopped: {}", String::from_utf8_lossy(&output.stderr).trim_end()));
            }
        }
        // What is still on its way to the logs and to the journal gets there.
        sleep(Duration::from_secs(3));
        signal(self.launcher.id(), Signal::SIGTERM);
        let end = Instant::now() + PATIENCE;
        while !matches!(self.launcher.try_wait(), Ok(Some(_))) {
            if Instant::now() > end {
                self.outcome.broken.push("the daemon does not end".into());
                signal(self.launcher.id(), Signal::SIGQUIT);
                drop(self.launcher.wait());
                break;
            }
            sleep(Duration::from_millis(10));
        }
        self.journal.read();
    }
}

/// Sends a signal to a process that may be gone.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let _gone = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}
