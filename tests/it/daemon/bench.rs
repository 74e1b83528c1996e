//! Starts a daemon in a directory of its own and looks at it from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take. Generous: nothing here measures time.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon in a directory of its own. Dropping it ends it and everything it runs.
pub(crate) struct Daemon {
    temporary: tempfile::TempDir,
    directory: PathBuf,
    launcher: Option<Child>,
    /// Variables the daemon is started with.
    environment: Vec<(&'static str, &'static str)>,
}

impl Daemon {
    /// Writes `files` and starts nothing.
    pub(crate) fn prepared(files: &[(&str, &str)]) -> Self {
        let temporary = tempfile::Builder::new().prefix("d").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let new = Self { directory: temporary.path().to_owned(), temporary, launcher: None, environment: Vec::new() };
        for (name, text) in files {
            new.write(name, text);
        }
        new
    }

    /// Goes on in a directory below its own.
    pub(crate) fn move_to(&mut self, name: &str) {
        self.directory = self.temporary.path().join(name);
    }

    /// Writes `files`, starts the daemon and waits until the tree is up.
    pub(crate) fn up(files: &[(&str, &str)]) -> Self {
        let mut new = Self::prepared(files);
        new.start();
        new.event("DaemonReady", |_| true);
        new
    }

    /// Has the daemon started with this variable set.
    /// One that is ready, with cgroups, if there are any here, or without.
    pub(crate) fn up_with(files: &[(&str, &str)], cgroups: bool) -> Option<Self> {
        let mut daemon = Self::prepared(files);
        if !cgroups {
            daemon.environment("MS_NO_CGROUPS", "1");
        }
        daemon.start();
        daemon.event("DaemonReady", |_| true);
        if cgroups && daemon.daemon()["cgroup"].is_null() {
            println!("SKIPPED: there is no place for cgroups here");
            return None;
        }
        Some(daemon)
    }

    pub(crate) fn environment(&mut self, name: &'static str, value: &'static str) {
        self.environment.push((name, value));
    }

    pub(crate) fn start(&mut self) {
        self.start_with(&["run", "--listen", "none"]);
    }

    pub(crate) fn start_with(&mut self, arguments: &[&str]) {
        self.start_program(env!("CARGO_BIN_EXE_ms-supervisor"), arguments);
    }

    /// Starts the daemon from a program at another path.
    pub(crate) fn start_program(&mut self, program: &str, arguments: &[&str]) {
        let log = fs::File::create(self.path("daemon.out")).unwrap();
        let mut command = Command::new(program);
        command.arg("-C").arg(&self.directory).args(arguments).stdin(Stdio::null()).envs(self.environment.iter().copied());
        let launcher = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.launcher = Some(launcher);
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What the daemon itself printed.
    pub(crate) fn printed(&self) -> String {
        self.read("daemon.out")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ms-supervisor"));
        command.arg("-C").arg(&self.directory).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command of the CLI.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts a command of the CLI that goes on; its output goes to the file `out`.
    pub(crate) fn begin(&self, arguments: &[&str], out: &str) -> Child {
        let out = fs::File::create(self.path(out)).unwrap();
        self.command(arguments).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap()
    }

    /// Runs a command of the CLI that has to succeed; what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{}\n{}", text(&output.stdout), text(&output.stderr), self.printed());
        text(&output.stdout)
    }

    /// Whether the daemon answers yet.
    pub(crate) fn answers(&self) -> Option<()> {
        self.cli(&["status"]).status.success().then_some(())
    }

    pub(crate) fn launcher_pid(&self) -> u32 {
        self.launcher.as_ref().unwrap().id()
    }

    /// The brain is the launcher's child that runs `brain`.
    pub(crate) fn brain_pid(&self) -> u32 {
        let launcher = self.launcher_pid();
        let is_brain =
            |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split(|byte| *byte == 0).nth(1) == Some(b"brain"));
        until("the brain runs", || children(launcher).into_iter().find(is_brain))
    }

    /// Every event so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.read(".ms-supervisor/events.jsonl");
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for an event of this type.
    #[track_caller]
    pub(crate) fn event(&self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = || self.events().into_iter().find(|event| event["type"] == kind && wanted(&event["data"]));
        match within(PATIENCE, found) {
            Some(event) => event,
            None => panic!("no {kind}; the daemon printed:\n{}\nits events:\n{}", self.printed(), self.read(".ms-supervisor/events.jsonl")),
        }
    }

    /// Waits until an event of this type has happened `count` times for `unit`.
    #[track_caller]
    pub(crate) fn events_of(&self, kind: &str, unit: &str, count: usize) {
        let seen = || self.events().iter().filter(|event| event["type"] == kind && event["subject"] == unit).count();
        if within(PATIENCE, || (seen() >= count).then_some(())).is_none() {
            panic!("{kind} of {unit} happened {} times, not {count}:\n{}", seen(), self.read(".ms-supervisor/events.jsonl"));
        }
    }

    /// Waits until an event of this type has happened `count` times.
    #[track_caller]
    pub(crate) fn events_of_kind(&self, kind: &str, count: usize) {
        until(kind, || (self.events().iter().filter(|event| event["type"] == kind).count() >= count).then_some(()));
    }

    pub(crate) fn whole_status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }

    /// How the daemon stands.
    pub(crate) fn daemon(&self) -> Value {
        self.whole_status()["daemon"].clone()
    }

    /// How every unit stands.
    fn all_status(&self) -> Vec<Value> {
        self.whole_status()["units"].as_array().unwrap().clone()
    }

    /// How `unit` stands.
    pub(crate) fn status(&self, unit: &str) -> Value {
        self.all_status().into_iter().find(|status| status["unit"] == unit).unwrap()
    }

    /// How `unit` stands, if the daemon answers and knows it.
    pub(crate) fn try_status(&self, unit: &str) -> Option<Value> {
        let output = self.cli(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        status["units"].as_array()?.iter().find(|status| status["unit"] == unit).cloned()
    }

    /// The main process of each unit that has one.
    pub(crate) fn pids(&self) -> BTreeMap<String, u32> {
        let pid = |status: &Value| Some((status["unit"].as_str()?.to_owned(), u32::try_from(status["pid"].as_u64()?).ok()?));
        self.all_status().iter().filter_map(pid).collect()
    }

    /// Kills the main process of `unit`, and waits until others have taken the places of those in `concerned`, and of no others.
    #[track_caller]
    pub(crate) fn kill_and_see(&self, unit: &str, concerned: &[&str]) {
        let before = self.pids();
        kill(before[unit], 9);
        let after = until("everybody is back", || {
            let after = self.pids();
            concerned.iter().all(|unit| after.get(*unit).is_some_and(|pid| *pid != before[*unit])).then_some(after)
        });
        for (other, pid) in &before {
            assert_eq!(after.get(other) != Some(pid), concerned.contains(&other.as_str()), "{other} when {unit} was killed");
        }
    }

    /// Kills the launcher, as `kill -9` does; its units run on, and the brain ends with it.
    pub(crate) fn kill_launcher(&mut self) {
        let brain = self.brain_pid();
        let mut launcher = self.launcher.take().unwrap();
        launcher.kill().unwrap();
        launcher.wait().unwrap();
        until("the brain is gone", || (!is_alive(brain)).then_some(()));
    }

    /// Sends the launcher a signal.
    pub(crate) fn signal(&self, signal: i32) {
        kill(self.launcher_pid(), signal);
    }

    /// Waits for the daemon to end; its exit code.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut launcher = self.launcher.take().unwrap();
        let status = within(PATIENCE, || launcher.try_wait().unwrap());
        let Some(status) = status else {
            kill(launcher.id(), 3);
            panic!("the daemon does not end; it printed:\n{}", self.printed());
        };
        status.code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.launcher.is_none() && self.path(".ms-supervisor/run/book").exists() {
            // A test failed while units had no launcher: another one ends them.
            self.start();
        }
        if let Some(mut launcher) = self.launcher.take() {
            // SIGQUIT: everything ends at once.
            kill(launcher.id(), 3);
            drop(launcher.wait());
        }
    }
}

pub(crate) fn kill(pid: u32, signal: i32) {
    let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
    // It may be gone already; the test will see.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z')
}

/// The children of every thread of `pid`.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Whether a process that never sleeps uses no processor time for a while: frozen or stopped.
pub(crate) fn is_idle(pid: u32) -> bool {
    let used = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // Fields 14 and 15 of proc_pid_stat(5), behind the name.
        let words = stat.rsplit_once(") ").unwrap().1.split(' ');
        words.skip(14 - 3).take(2).map(|word| word.parse::<u64>().unwrap()).sum::<u64>()
    };
    let before = used();
    std::thread::sleep(Duration::from_millis(300));
    used() == before
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, ask).unwrap_or_else(|| panic!("waited in vain: {what}"))
}

fn within<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
