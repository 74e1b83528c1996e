//! A daemon in a directory of its own, looked at from outside.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Fault;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ms-supervisor");

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon at work. Dropped, it ends with everything it runs.
pub(crate) struct Node {
    directory: tempfile::TempDir,
    launcher: Child,
}

impl Node {
    /// Starts it with these files, and waits until it answers.
    pub(crate) fn start(files: &[(&str, String)]) -> Result<Self, Fault> {
        let directory = tempfile::Builder::new().prefix("health-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            std::fs::write(path, text)?;
        }
        let mut command = Command::new(PROGRAM);
        command.arg("-C").arg(directory.path()).args(["run", "--quiet", "--listen", "none"]);
        let launcher = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let node = Self { directory, launcher };
        node.until("DaemonReady", |event| event["type"] == "DaemonReady")?;
        Ok(node)
    }

    /// How everything stands.
    pub(crate) fn status(&self) -> Result<Value, Fault> {
        let output = Command::new(PROGRAM).arg("-C").arg(self.directory.path()).args(["status", "--json"]).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Every event so far.
    pub(crate) fn events(&self) -> Result<Vec<Value>, Fault> {
        let text = std::fs::read_to_string(self.directory.path().join(".ms-supervisor/events.jsonl")).unwrap_or_default();
        // The last line may be on its way.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// The first event of this kind, once there is one.
    pub(crate) fn until(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Result<Value, Fault> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(event) = self.events()?.into_iter().find(&is_it) {
                return Ok(event);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("there was no {what}").into())
    }

    /// What launcher, brain and keeper have used of the processor.
    pub(crate) fn processor_time(&self) -> Result<Duration, Fault> {
        let status = self.status()?;
        let pids = ["launcher_pid", "pid", "keeper_pid"].map(|name| status["daemon"][name].as_u64());
        pids.into_iter().flatten().map(processor_time).sum()
    }
}

/// What a process has of the machine's memory, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// All that is resident.
    pub(crate) resident: u64,
    /// What of that is no file: what it has allocated, and its stacks.
    pub(crate) anonymous: u64,
    /// How many threads it has.
    pub(crate) threads: u64,
}

impl Memory {
    /// Of this process.
    pub(crate) fn of(pid: u64) -> Result<Self, Fault> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64, Fault> {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = value.and_then(|value| value.split_whitespace().next()).ok_or_else(|| format!("the kernel tells no {name}"))?;
            Ok(number.parse()?)
        };
        Ok(Self { resident: field("VmRSS")?, anonymous: field("RssAnon")?, threads: field("Threads")? })
    }
}

/// What a process has used, with its threads that have ended.
fn processor_time(pid: u64) -> Result<Duration, Fault> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may hold anything, come the fields from the third on.
    let fields = stat.rsplit_once(')').ok_or("the kernel tells no times")?.1.split_whitespace();
    let ticks: u64 = fields.skip(14 - 3).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

impl Drop for Node {
    fn drop(&mut self) {
        // SIGQUIT: everything ends at once.
        let _gone = kill_process(Pid::from_child(&self.launcher), Signal::QUIT);
        let _reaped = self.launcher.wait();
    }
}
