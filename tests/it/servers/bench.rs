//! Starts a server, brings it into each of its states, and looks at it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ms_supervisor::base::choice::ProbeRole;
use ms_supervisor::base::outcome::{Outcome, Verdict};
use ms_supervisor::os::check::{Memory, Surroundings, check, slow};
use ms_supervisor::os::logfile::live_path;
use ms_supervisor::plan::{ProbeKind, ProbePlan};

use serde_json::json;

use crate::daemon::bench::{Daemon, until};

/// How long a server may take to do what is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a probe may take here, where it should succeed; and where it has to run out.
pub(super) const AMPLE: Duration = Duration::from_secs(20);
pub(super) const SHORT: Duration = Duration::from_millis(300);

/// What stands between a probe and a slow server delays each answer by so much.
pub(super) const DELAY: Duration = Duration::from_millis(150);

/// A server, and how it is looked at.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) directory: tempfile::TempDir,
    pub(super) port: u16,
    pub(super) program: Vec<String>,
    pub(super) running: Option<Child>,
    /// Its process, or the last one that it had.
    pub(super) pid: u32,
    /// What the looks at it remember.
    pub(super) memory: Memory,
}

impl Server {
    /// `None` if the program is not installed. `words` may hold `{port}` and `{dir}`.
    pub(super) fn new(name: &'static str, words: &[&str]) -> Option<Self> {
        if find(words[0]).is_none() {
            println!("SKIPPED: {} is not installed", words[0]);
            return None;
        }
        let directory = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let fill = |word: &&str| word.replace("{port}", &port.to_string()).replace("{dir}", &directory.path().display().to_string());
        let program = words.iter().map(fill).collect();
        Some(Self { name, directory, port, program, running: None, pid: 0, memory: Memory::default() })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A file with these contents; its path.
    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text.replace("{port}", &self.port.to_string()).replace("{dir}", &self.directory.path().display().to_string()))
            .unwrap();
        // Some of them are passwords.
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// What it says is the log of the unit `a`.
    pub(super) fn log(&self) -> PathBuf {
        live_path(self.directory.path(), "a")
    }

    pub(super) fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new(find(&self.program[0]).unwrap());
        command.args(&self.program[1..]).current_dir(self.directory.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let running = command.spawn().unwrap();
        self.pid = running.id();
        self.running = Some(running);
    }

    pub(super) fn signal(&self, signal: i32) {
        crate::daemon::bench::kill(self.pid, signal);
    }

    /// Makes it stand still, and waits until all its threads do.
    pub(super) fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let stopped = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
        };
        let tasks = format!("/proc/{}/task", self.pid);
        crate::daemon::bench::until("it stands still", || fs::read_dir(&tasks).unwrap().flatten().all(stopped).then_some(()));
    }

    pub(super) fn end(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    pub(super) fn look(&mut self, kind: &ProbeKind, timeout: Duration, slow_after: Option<Duration>) -> (Outcome, Duration) {
        look_with(kind, timeout, slow_after, (self.pid, self.directory.path()), &mut self.memory)
    }

    /// Looks until the verdict is as wanted, starting the server again if it ends by itself (one that was killed may leave a mess).
    pub(super) fn until(&mut self, kind: &ProbeKind, wanted: Verdict) -> (Outcome, Duration) {
        let begun = Instant::now();
        loop {
            let (outcome, took) = self.look(kind, AMPLE, None);
            if outcome.verdict == wanted {
                return (outcome, took);
            }
            let log = || fs::read_to_string(self.log()).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{}: {outcome:?}\n{}", self.name, log());
            if let Some(child) = &mut self.running
                && child.try_wait().unwrap().is_some()
                && wanted == Verdict::Ok
            {
                self.start();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// The states of a server in which something else has to be done, besides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Wrong,
    Hanging,
}

/// What undoes what was done to a server.
pub(super) type Undo = Box<dyn FnOnce()>;

/// The kinds of look that are made at one server.
pub(super) struct Looks<'a> {
    /// The right one, given where the server is.
    pub(super) right: &'a dyn Fn(&str) -> ProbeKind,
    /// One that has to fail, with a part of why.
    pub(super) wrong: Option<(ProbeKind, &'a str)>,
    /// Whether what stands between can delay it.
    pub(super) delayed: bool,
    /// What is found where the server stands still, with a part of why.
    pub(super) hanging: (Verdict, &'a str),
    /// What is done to the server in a state.
    pub(super) stage: &'a dyn Fn(&Server, State) -> Option<Undo>,
    /// Whether a fault shows only after a time.
    pub(super) patient: bool,
}

impl<'a> Looks<'a> {
    /// Nothing special.
    pub(super) fn new(right: &'a dyn Fn(&str) -> ProbeKind) -> Self {
        Self { right, wrong: None, delayed: false, hanging: (Verdict::Failed, ""), stage: &|_, _| None, patient: false }
    }
}

/// Where programs are that are not for everybody's path.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap();
    let places = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]);
    let mut found = places.map(|place| Path::new(place).join(program)).filter(|path| path.is_file());
    found.next()
}

/// A program is run by a whole daemon: it is asked what its probe has found.
pub(super) fn look_by_daemon(words: &[String], timeout: Duration) -> (Outcome, Duration) {
    let times = format!("period: 1h, timeout: {}ms", timeout.as_millis());
    let probe = json!(words);
    let mut daemon = Daemon::prepared(&[(
        "units/a.yaml",
        &format!("unit: a\nexec: sleep 1000\nprobes: [{{role: startup, command: {probe}, {times}}}]\n"),
    )]);
    daemon.start();
    until("it answers", || daemon.answers());
    let found = until("it has looked", || Some(daemon.status("a")["probes"][0].take()).filter(|probe| probe["took"].as_f64() > Some(0.0)));
    let outcome = |name: &str| serde_json::from_value(found[name].clone()).unwrap();
    let outcome = Outcome { verdict: outcome("verdict"), text: found["text"].as_str().unwrap().into(), values: Vec::new() };
    (outcome, Duration::from_secs_f64(found["took"].as_f64().unwrap()))
}

pub(super) fn look(kind: &ProbeKind, timeout: Duration, slow_after: Option<Duration>, pid: u32) -> (Outcome, Duration) {
    look_with(kind, timeout, slow_after, (pid, Path::new("/nonexistent")), &mut Memory::default())
}

/// Looks at a process that has its log in this directory.
pub(super) fn look_with(
    kind: &ProbeKind,
    timeout: Duration,
    slow_after: Option<Duration>,
    (pid, logs): (u32, &Path),
    memory: &mut Memory,
) -> (Outcome, Duration) {
    if let ProbeKind::Command(words) = kind {
        return look_by_daemon(words, timeout);
    }
    let plan = ProbePlan {
        remediation: None,
        breaker: None,
        name: kind.as_str().into(),
        role: ProbeRole::Liveness,
        kind: kind.clone(),
        period: timeout,
        min_period: None,
        timeout,
        slow_after,
        initial_delay: Duration::ZERO,
        failure_threshold: 1,
        success_threshold: 1,
    };
    let environment = vec![("PATH".to_owned(), std::env::var("PATH").unwrap())];
    let surroundings = Surroundings { unit: "a".into(), pid, directory: "/".into(), environment, logs: logs.into(), cgroup: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let (outcome, kept) = runtime.block_on(check(&plan, &surroundings, std::mem::take(memory)));
    let took = begun.elapsed();
    *memory = kept;
    (slow(&plan, took, outcome), took)
}

/// A row of the table.
pub(super) fn tell(name: &str, state: &str, (outcome, took): &(Outcome, Duration)) {
    println!("| {name:<11} | {state:<7} | {:<8} | {:>8.2} ms | {} |", outcome.verdict.as_str(), took.as_secs_f64() * 1e3, outcome.text);
}

/// Looks at a server in each of its states.
pub(super) fn examine(server: &mut Server, looks: &Looks<'_>) {
    let name = server.name;
    let right = (looks.right)(&server.address());
    let find = |server: &mut Server, kind: &ProbeKind, timeout: Duration, (verdict, why): (Verdict, &str)| {
        let found = if looks.patient { server.until(kind, verdict) } else { server.look(kind, timeout, None) };
        assert!(found.0.verdict == verdict && found.0.text.contains(why), "{:?}", found.0);
        found
    };
    println!();
    server.memory = Memory::default();
    server.start();
    server.until(&right, Verdict::Ok);
    // The first connection is the one that warms everything up.
    tell(name, "up", &server.until(&right, Verdict::Ok));
    if looks.delayed {
        let slow = server.look(&(looks.right)(&delayed(&server.address())), AMPLE, Some(DELAY / 2));
        assert_eq!(slow.0.verdict, Verdict::Degraded, "{:?}", slow.0);
        tell(name, "slow", &slow);
    }
    if let Some((wrong, why)) = &looks.wrong {
        let undo = (looks.stage)(server, State::Wrong);
        tell(name, "wrong", &find(server, wrong, AMPLE, (Verdict::Failed, why)));
        undo.into_iter().for_each(|undo| undo());
        server.until(&right, Verdict::Ok);
    }
    server.stop();
    let undo = (looks.stage)(server, State::Hanging);
    tell(name, "hanging", &find(server, &right, SHORT, looks.hanging));
    server.signal(libc::SIGCONT);
    undo.into_iter().for_each(|undo| undo());
    server.until(&right, Verdict::Ok);
    server.end();
    tell(name, "gone", &find(server, &right, AMPLE, (Verdict::Failed, "")));
    server.start();
    let begun = Instant::now();
    let (back, _) = server.until(&right, Verdict::Ok);
    tell(name, "back", &(back, begun.elapsed()));
}

/// The address of a go-between that delays what the server at `address` says.
pub(super) fn delayed(address: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (own, address) = (listener.local_addr().unwrap().to_string(), Arc::new(address.to_owned()));
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(address.as_str()) else { continue };
            let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || carry(client, server, Duration::ZERO));
            std::thread::spawn(move || carry(back, forth, DELAY));
        }
    });
    own
}

pub(super) fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        std::thread::sleep(delay);
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
