//! Where one supervisor is tried: the units it shall run, the records they keep, and every process below this one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ms_supervisor::os::process;
use rustix::process::{Pid, Signal, kill_process};

use crate::Fault;
use crate::site::{below_us, now, pause, reap_everything};

/// How long a supervisor may take for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Words of a record.
const WORDS: usize = 6;

/// What a unit does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Log,
    Silent,
    Escape,
}

impl Mode {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Silent => "silent",
            Self::Escape => "escape",
        }
    }
}

/// A place for one supervisor.
pub(super) struct Place {
    directory: tempfile::TempDir,
    program: PathBuf,
    /// What the units do, by number.
    pub(super) units: Vec<Mode>,
}

impl Place {
    pub(super) fn new(above: &Path, program: &Path, units: Vec<Mode>) -> Result<Self, Fault> {
        // A socket's path may not be long.
        let directory = tempfile::Builder::new().prefix("s").rand_bytes(3).tempdir_in(above)?;
        for name in ["records", "logs"] {
            std::fs::create_dir(directory.path().join(name))?;
        }
        Ok(Self { directory, program: program.to_owned(), units })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The log file, or the directory of log files, of unit `number`.
    pub(super) fn log(&self, number: usize) -> PathBuf {
        self.path().join("logs").join(format!("u{number}"))
    }

    /// Program and arguments of unit `number`.
    pub(super) fn words(&self, number: usize) -> [String; 4] {
        let records = self.path().join("records").display().to_string();
        [self.program.display().to_string(), number.to_string(), records, self.units[number].word().into()]
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, Fault> {
        let path = self.path().join(name);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// What a file holds; nothing if there is none.
    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read(self.path().join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Starts what stays in the foreground; its process id.
    pub(super) fn spawn(&self, mut command: Command) -> Result<u32, Fault> {
        let said = File::options().create(true).append(true).open(self.path().join("said"))?;
        let child = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).spawn()?;
        Ok(child.id())
    }

    /// Runs a command to its end; what it printed, whatever its exit code was: many tell with it how the units are.
    pub(super) fn run(&self, mut command: Command) -> Result<String, Fault> {
        // Into a file: a daemon that it leaves behind may hold the other end of a pipe.
        let path = self.path().join("printed");
        let printed = File::create(&path)?;
        let mut child = command.stdin(Stdio::null()).stdout(printed.try_clone()?).stderr(printed).spawn()?;
        let start = now();
        while child.try_wait()?.is_none() {
            if now() - start > PATIENCE.as_nanos() as u64 {
                child.kill()?;
                child.wait()?;
                return Err(format!("{command:?} does not end").into());
            }
            pause(LOOK);
        }
        Ok(self.read("printed"))
    }

    /// Every run of unit `number` there ever was.
    pub(super) fn runs(&self, number: usize) -> Result<Vec<Run>, Fault> {
        Ok(self.all_runs()?.into_iter().filter(|run| run.unit == Some(number)).collect())
    }

    /// Every run there ever was, of what escaped too.
    pub(super) fn all_runs(&self) -> Result<Vec<Run>, Fault> {
        let mut runs = Vec::new();
        for entry in std::fs::read_dir(self.path().join("records"))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some((unit, _)) = name.split_once('-') else { continue };
            let bytes = std::fs::read(&path)?;
            let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
            let Ok([pid, started, second, _begun, written, refused]) = <[u64; WORDS]>::try_from(words) else { continue };
            if pid != 0 {
                let (pid, is_second) = (u32::try_from(pid)?, second != 0);
                runs.push(Run { unit: unit.parse().ok(), pid, started, is_second, written, refused });
            }
        }
        Ok(runs)
    }

    /// The runs that are alive, of units only.
    pub(super) fn alive(&self) -> Result<Vec<Run>, Fault> {
        Ok(self.all_runs()?.into_iter().filter(|run| run.unit.is_some() && run.is_alive()).collect())
    }
}

/// A process of a unit, by its own record.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// Nothing for what escaped.
    pub(super) unit: Option<usize>,
    pub(super) pid: u32,
    started: u64,
    /// Whether another run of the same unit was alive when it began.
    pub(super) is_second: bool,
    pub(super) written: u64,
    pub(super) refused: u64,
}

impl Run {
    pub(super) fn is_alive(&self) -> bool {
        is_alive(self.pid, self.started)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), Fault> {
        match Pid::from_raw(i32::try_from(self.pid)?) {
            Some(pid) if self.is_alive() => Ok(kill_process(pid, signal)?),
            _ => Err(format!("process {} has gone", self.pid).into()),
        }
    }
}

/// Whether it runs; what has ended and was not reaped does not.
fn is_alive(pid: u32, started: u64) -> bool {
    let is_it = process::stat(pid).is_some_and(|stat| stat.started == started);
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    is_it && status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits until `state` holds, at most for `time`; whether it does. Orphans are reaped meanwhile, as init would.
pub(super) fn wait(time: Duration, mut state: impl FnMut() -> Result<bool, Fault>) -> Result<bool, Fault> {
    let start = now();
    loop {
        reap_everything();
        if state()? {
            return Ok(true);
        }
        if now() - start > time.as_nanos() as u64 {
            return Ok(false);
        }
        pause(LOOK);
    }
}

/// Lets time pass.
pub(super) fn let_pass(time: Duration) -> Result<(), Fault> {
    wait(time, || Ok(false)).map(drop)
}

/// Kills `pid`, which must be below this process, and waits until it is gone.
pub(super) fn kill(pid: u32) -> Result<(), Fault> {
    let started = process::stat(pid).ok_or("the supervisor has gone")?.started;
    if !below_us().contains(&pid) {
        return Err(format!("process {pid} is not ours to kill").into());
    }
    kill_process(Pid::from_raw(i32::try_from(pid)?).ok_or("a process has a number")?, Signal::KILL)?;
    wait(PATIENCE, || Ok(!is_alive(pid, started))).map(drop)
}

/// Whoever is left below this process ends, however a trial did.
pub(super) struct Sweep;

impl Drop for Sweep {
    fn drop(&mut self) {
        // The one who starts another for it may come later in the list.
        let _swept = wait(PATIENCE, || {
            for pid in below_us().into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
                // It may have gone by itself.
                let _gone = kill_process(pid, Signal::KILL);
            }
            Ok(reap_everything())
        });
    }
}
