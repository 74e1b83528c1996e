//! Where a supervisor is measured: a directory, the child program, the page, and the processes below this one.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ms_supervisor::os::process;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use rustix::time::{ClockId, clock_gettime};

use crate::Fault;
use crate::peer::Peer;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of what a supervisor that fails has said is told.
const LINES: usize = 3;

/// Bytes of a record: a value, usually a process id, and a time.
const RECORD: usize = 16;

/// Nanoseconds on the clock that the children use too.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A temporary directory with the child program in it.
pub(crate) struct Ground {
    directory: tempfile::TempDir,
    child: PathBuf,
}

impl Ground {
    /// Compiles the child.
    pub(crate) fn new() -> Result<Self, Fault> {
        let directory = tempfile::Builder::new().prefix("peers-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let child = directory.path().join("child");
        compile(include_str!("child.rs"), &child)?;
        Ok(Self { directory, child })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A place for one supervisor with `units` children.
    pub(crate) fn site(&self, units: usize) -> Result<Site, Fault> {
        let directory = tempfile::tempdir_in(self.directory.path())?;
        let page = Page::new(&directory.path().join("page"), units + 1)?;
        Ok(Site { directory, child: self.child.clone(), page, units })
    }
}

/// Makes a static program of a file of Rust.
pub(crate) fn compile(source: &str, program: &Path) -> Result<(), Fault> {
    let file = program.with_extension("rs");
    std::fs::write(&file, source)?;
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-O", "-C", "panic=abort", "-C", "strip=symbols"]);
    rustc.args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static", "-o"]);
    if !rustc.arg(program).arg(file).status()?.success() {
        return Err(format!("{} cannot be compiled", program.display()).into());
    }
    Ok(())
}

/// A place for one supervisor.
pub(crate) struct Site {
    directory: tempfile::TempDir,
    pub(crate) child: PathBuf,
    pub(crate) page: Page,
    pub(crate) units: usize,
}

impl Site {
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the supervisor, and waits until every unit is up; what that took, in nanoseconds.
    pub(crate) fn start(&self, peer: &dyn Peer) -> Result<(Running<'_>, u64), Fault> {
        let mut command = peer.prepare(self)?;
        let stderr = File::create(self.path().join("stderr"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let started = now();
        let supervisor = command.spawn()?;
        let mut running = Running { site: self, pid: Pid::from_child(&supervisor), supervisor, gone: false };
        match running.wait_for_all(started) {
            Ok(took) => Ok((running, took)),
            Err(fault) => {
                running.end();
                let said = std::fs::read_to_string(self.path().join("stderr")).unwrap_or_default();
                let last: Vec<_> = said.lines().rev().take(LINES).collect();
                Err(format!("{fault}; it said last: {}", last.join(" / ")).into())
            }
        }
    }
}

/// Where the children note their starts.
pub(crate) struct Page {
    file: File,
    path: PathBuf,
}

impl Page {
    fn new(path: &Path, records: usize) -> Result<Self, Fault> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len((records * RECORD) as u64)?;
        Ok(Self { file, path: path.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The value and the time in record `number`.
    pub(crate) fn record(&self, number: usize) -> Result<(u64, u64), Fault> {
        let mut record = [0; RECORD];
        self.file.read_exact_at(&mut record, (number * RECORD) as u64)?;
        Ok(decode(&record))
    }

    fn records(&self, count: usize) -> Result<Vec<(u64, u64)>, Fault> {
        let mut bytes = vec![0; count * RECORD];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes.as_chunks::<RECORD>().0.iter().map(decode).collect())
    }
}

fn decode(record: &[u8; RECORD]) -> (u64, u64) {
    let both = u128::from_le_bytes(*record);
    ((both & u128::from(u64::MAX)) as u64, (both >> 64) as u64)
}

/// A supervisor at work. However the measurement ends, nothing of it is left.
pub(crate) struct Running<'a> {
    pub(crate) site: &'a Site,
    supervisor: Child,
    pid: Pid,
    gone: bool,
}

impl Running<'_> {
    /// Waits until every unit has begun since `start`; how long after it the last one did, in nanoseconds.
    pub(crate) fn wait_for_all(&mut self, start: u64) -> Result<u64, Fault> {
        loop {
            let records = self.site.page.records(self.site.units)?;
            if records.iter().all(|&(_, at)| at > start) {
                return Ok(records.iter().map(|&(_, at)| at).max().unwrap_or(start) - start);
            }
            let up = records.iter().filter(|&&(_, at)| at > start).count();
            if now() - start > PATIENCE.as_nanos() as u64 {
                return Err(format!("only {up} of {} units came up", self.site.units).into());
            }
            if let Some(status) = self.supervisor.try_wait()? {
                return Err(format!("it has ended: {status}").into());
            }
            pause(Duration::from_millis(1));
        }
    }

    /// Waits until unit `number` has begun since `start`; how long after it, in nanoseconds.
    pub(crate) fn wait_for_one(&self, number: usize, start: u64) -> Result<u64, Fault> {
        while now() - start < PATIENCE.as_nanos() as u64 {
            let (_, at) = self.site.page.record(number)?;
            if at > start {
                return Ok(at - start);
            }
            pause(Duration::from_micros(50));
        }
        Err(format!("unit {number} does not come back").into())
    }

    /// Kills the process of unit `number`.
    pub(crate) fn kill_one(&self, number: usize) -> Result<(), Fault> {
        let (pid, _) = self.site.page.record(number)?;
        let pid = Pid::from_raw(i32::try_from(pid)?).ok_or("a unit has no process")?;
        Ok(kill_process(pid, Signal::KILL)?)
    }

    /// Asks it to stop, and waits until no process is left; how long that took, in nanoseconds.
    pub(crate) fn stop(mut self, signal: Signal) -> Result<u64, Fault> {
        let start = now();
        kill_process(self.pid, signal)?;
        while now() - start < PATIENCE.as_nanos() as u64 {
            if reap_everything() {
                self.gone = true;
                return Ok(now() - start);
            }
            pause(Duration::from_micros(100));
        }
        Err("it does not stop".into())
    }

    /// Every process of the supervisor that is no unit.
    pub(crate) fn own_processes(&self) -> Result<Vec<u32>, Fault> {
        let units: BTreeSet<u64> = self.site.page.records(self.site.units)?.into_iter().map(|(pid, _)| pid).collect();
        let mut own = below_us();
        own.retain(|pid| !units.contains(&u64::from(*pid)));
        Ok(own)
    }

    /// Kills whatever is left.
    fn end(&mut self) {
        let start = now();
        while !std::mem::replace(&mut self.gone, true) || now() - start < PATIENCE.as_nanos() as u64 {
            for pid in below_us().into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
                // It may have gone by itself.
                let _gone = kill_process(pid, Signal::KILL);
            }
            if reap_everything() {
                return;
            }
            pause(Duration::from_millis(1));
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.gone {
            self.end();
        }
    }
}

/// Reaps what has ended; whether there is no process left to end. Orphans of the supervisor become ours: we are subreaper.
/// Of whatever process group: `waitpid` without a process id would look at our own only.
pub(crate) fn reap_everything() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// Every process below this one.
pub(crate) fn below_us() -> Vec<u32> {
    let mut found = Vec::new();
    let mut next = vec![std::process::id()];
    while let Some(parent) = next.pop() {
        let from = found.len();
        process::children(parent, &mut found);
        next.extend_from_slice(&found[from..]);
    }
    found
}
