//! What the bench does: starts the daemon, kills honest units and waits for their successors, asks what an operator asks, and ends it all.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use ms_supervisor::base::rng::Rng;
use ms_supervisor::os::clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::honest;
use crate::watch::{Seen, Watch, left};
use crate::world::{HONEST_KINDS, HOSTILE_KINDS, instances, service};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ms-supervisor");

/// How long anything may take that has to be in the end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long one answer of the daemon may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a door may stay shut to the bench, which comes as others do.
pub(crate) const SHUT: Duration = Duration::from_secs(30);

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    /// The units that were killed, in order: unit and process id.
    pub(crate) killed: Vec<(String, u32)>,
    /// How long their successors took, in nanoseconds.
    pub(crate) back: Vec<u64>,
    /// Honest units that did not come back, or not as they should.
    pub(crate) disturbed: Vec<String>,
    /// What an operator must not see, or not wait for.
    pub(crate) operator: Vec<String>,
    /// For how long each door gave no answer, at the longest.
    pub(crate) shut: BTreeMap<&'static str, Duration>,
    /// How long each command took, at the longest.
    pub(crate) commands: BTreeMap<&'static str, Duration>,
    /// The launcher's longest turn, in seconds, as it says itself.
    pub(crate) turn: Option<f64>,
    /// How long the daemon took to end, if it did.
    pub(crate) ended: Option<Duration>,
    pub(crate) left: Vec<String>,
}

struct Driver {
    base: PathBuf,
    port: u16,
    stop: AtomicBool,
    outcome: Mutex<Outcome>,
}

/// Has everything run for `duration`.
pub(crate) fn run(base: &Path, port: u16, seed: u64, duration: Duration) -> Outcome {
    let mut canary = Command::new("/bin/sleep").arg("424242").spawn().unwrap();
    let mut daemon = start(base);
    let driver = Driver { base: base.to_owned(), port, stop: AtomicBool::new(false), outcome: Mutex::default() };
    driver.wait_for_the_honest(&mut daemon);
    let mut watch = Watch {
        base: base.to_owned(),
        launcher: daemon.id(),
        canary: canary.id(),
        trusted: vec![PathBuf::from(PROGRAM), base.join("honest"), std::env::current_exe().unwrap()],
        seen: Seen::default(),
    };
    scope(|threads| {
        threads.spawn(|| driver.kill_honest_ones(seed));
        threads.spawn(|| driver.be_an_operator(seed));
        let watch = &mut watch;
        let driver = &driver;
        threads.spawn(move || {
            while !driver.stop.load(Ordering::Relaxed) {
                watch.look();
                sleep(Duration::from_secs(1));
            }
        });
        sleep(duration);
        driver.stop.store(true, Ordering::Relaxed);
    });
    watch.look();
    let died = daemon.try_wait().unwrap();
    let mut outcome = driver.outcome.into_inner().unwrap();
    if let Some(status) = died {
        outcome.disturbed.push(format!("the launcher has ended by itself: {status}"));
    }
    outcome.seen = watch.seen;
    end(&mut daemon, &mut outcome);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline && !left(canary.id()).is_empty() {
        sleep(Duration::from_millis(50));
    }
    outcome.left = left(canary.id());
    let _it_may_be_gone = canary.kill();
    let _status = canary.wait();
    outcome
}

/// Starts the daemon as the service does that is shipped: it goes before its units, is spared by the kernel when memory is short (or believes so),
/// and tells its children that they do not and are not.
fn start(base: &Path) -> Child {
    let log = fs::File::create(base.join("daemon.out")).unwrap();
    let spared = base.join("canary/spared");
    let script = "mount --bind \"$1\" /proc/$$/oom_score_adj; shift; exec \"$@\"";
    let mut command = Command::new("nice");
    command.args(["-n", "-5", "/bin/sh", "-c", script, "sh"]).arg(spared);
    command.arg(PROGRAM).arg("-C").arg(base.join("run")).args(["run", "--quiet"]);
    command.env("MS_HOSTILE", "CANARY-of-daemon").env("MS_RUN_DIR", service(base)).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn end(daemon: &mut Child, outcome: &mut Outcome) {
    let begin = Instant::now();
    let pid = Pid::from_raw(i32::try_from(daemon.id()).unwrap());
    let _it_may_be_gone = kill(pid, Signal::SIGTERM);
    while begin.elapsed() < PATIENCE {
        if matches!(daemon.try_wait(), Ok(Some(_))) {
            outcome.ended = Some(begin.elapsed());
            return;
        }
        sleep(Duration::from_millis(10));
    }
    let _hard = kill(pid, Signal::SIGKILL);
    let _status = daemon.wait();
}

impl Driver {
    fn note(&self, deed: impl FnOnce(&mut Outcome)) {
        deed(&mut self.outcome.lock().unwrap());
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn wait_for_the_honest(&self, daemon: &mut Child) {
        let end = Instant::now() + PATIENCE;
        for unit in honest_units() {
            while honest::read(&self.base, &unit).starts.is_empty() {
                if Instant::now() > end || matches!(daemon.try_wait(), Ok(Some(_))) {
                    return self.note(|outcome| outcome.disturbed.push(format!("{unit} was never started, perhaps others as well")));
                }
                sleep(Duration::from_millis(20));
            }
        }
    }

    /// One after the other, so that each is measured alone.
    fn kill_honest_ones(&self, seed: u64) {
        let mut rng = Rng::derive(seed, &["honest"]);
        let units: Vec<String> = honest_units().into_iter().filter(|unit| unit != "witness").collect();
        while self.goes_on() {
            let unit = &units[usize::try_from(rng.next_u64() % units.len() as u64).unwrap()];
            let starts = honest::read(&self.base, unit).starts;
            let Some((pid, _)) = starts.last().copied() else { continue };
            let at = clock::mono().0;
            if kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).is_err() {
                self.note(|outcome| outcome.disturbed.push(format!("{unit}: process {pid} was gone before it was killed")));
                sleep(Duration::from_secs(1));
                continue;
            }
            let end = Instant::now() + PATIENCE;
            let successor = loop {
                let next = honest::read(&self.base, unit).starts.get(starts.len()).copied();
                if next.is_some() || Instant::now() > end {
                    break next;
                }
                sleep(Duration::from_millis(1));
            };
            self.note(|outcome| {
                outcome.killed.push((unit.clone(), pid));
                match successor {
                    Some((_, begun)) => outcome.back.push(begun.saturating_sub(at)),
                    None => outcome.disturbed.push(format!("{unit} was killed and not started again within {} s", PATIENCE.as_secs())),
                }
            });
            sleep(Duration::from_millis(20 + rng.next_u64() % 200));
        }
    }

    /// Asks all there is to ask, gives some commands, and sees that nothing has been changed by others.
    fn be_an_operator(&self, seed: u64) {
        let mut rng = Rng::derive(seed, &["operator"]);
        let socket = service(&self.base).join("control.sock");
        let mut answered: BTreeMap<&'static str, Instant> = BTreeMap::new();
        while self.goes_on() {
            let asked = [
                ("control socket", by_socket(&socket, "/v1/units/helper")),
                ("health by the port", by_port(self.port, "/livez")),
                ("metrics by the control socket", by_socket(&socket, "/metrics")),
                ("the witness", by_socket(&socket, "/v1/units/witness")),
                ("what is set", by_socket(&socket, "/v1/overrides")),
            ];
            for (door, answer) in asked {
                let last = answered.entry(door).or_insert_with(Instant::now);
                let shut = last.elapsed();
                self.note(|outcome| {
                    let longest = outcome.shut.entry(door).or_default();
                    *longest = shut.max(*longest);
                });
                let Some(answer) = answer else { continue };
                *last = Instant::now();
                if let Some(wrong) = self.is_wrong(door, &answer) {
                    self.note(|outcome| outcome.operator.push(wrong));
                }
            }
            match rng.next_u64() % 6 {
                0 => self.command("signal watched", &["signal", "SIGTERM", "watched"]),
                1 => self.command("restart", &["restart", hostile(&mut rng)]),
                2 => {
                    let unit = hostile(&mut rng);
                    self.command("stop", &["stop", unit]);
                    self.command("start", &["start", unit]);
                }
                3 => self.command("reload", &["reload"]),
                4 => self.command("status UNIT", &["status", hostile(&mut rng)]),
                _ => self.command("events", &["events"]),
            }
            self.command("status", &["status"]);
            sleep(Duration::from_millis(500));
        }
    }

    fn is_wrong(&self, door: &str, answer: &str) -> Option<String> {
        let value: Value = serde_json::from_str(answer).unwrap_or_default();
        match door {
            "control socket" => {
                let program = value["exec"][0].as_str().unwrap_or_default();
                (program != self.base.join("honest").to_str().unwrap()).then(|| format!("helper executes {program:?}"))
            }
            "the witness" => (value["state"] == "active").then(|| "the witness is active: somebody else has said so for it".to_owned()),
            "what is set" => {
                let none = value.as_array().is_none_or(Vec::is_empty) && !answer.contains("helper");
                (!none).then(|| format!("something is set: {answer}"))
            }
            "metrics by the control socket" => {
                let turn = answer.lines().find_map(|line| line.strip_prefix("ms_launcher_turn_seconds{window=\"all\"} "));
                if let Some(turn) = turn.and_then(|turn| turn.parse().ok()) {
                    self.note(|outcome| outcome.turn = Some(turn));
                }
                None
            }
            _ => None,
        }
    }

    /// Gives a command; what it prints holds nothing a terminal obeys.
    fn command(&self, name: &'static str, arguments: &[&str]) {
        let begin = Instant::now();
        let output = patient(&self.base, arguments);
        let took = begin.elapsed();
        self.note(|outcome| {
            let longest = outcome.commands.entry(name).or_default();
            *longest = took.max(*longest);
            let Some(output) = output else {
                return outcome.operator.push(format!("`{}` was not done within {} s", arguments.join(" "), SHUT.as_secs()));
            };
            let printed = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&printed);
            if let Some(line) = text.lines().find(|line| line.chars().any(|char| char.is_control() && char != '\t')) {
                outcome.operator.push(format!("`{}` prints control characters", arguments[0]));
                drop(fs::write(self.base.join("escapes"), line));
            }
        });
    }
}

/// What a command printed, if it was done in time.
fn patient(base: &Path, arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", &SHUT.as_secs().to_string(), PROGRAM, "-C"]).arg(base.join("run")).args(arguments);
    let output = command.env("MS_RUN_DIR", service(base)).stdin(Stdio::null()).output().unwrap();
    // What timeout(1) ends with when it had to kill.
    (output.status.code() != Some(137)).then_some(output)
}

fn hostile(rng: &mut Rng) -> &'static str {
    HOSTILE_KINDS[usize::try_from(rng.next_u64() % HOSTILE_KINDS.len() as u64).unwrap()].0
}

/// Every honest unit.
pub(crate) fn honest_units() -> Vec<String> {
    HONEST_KINDS.iter().flat_map(|(kind, count, ..)| instances(kind, *count)).collect()
}

fn by_socket(socket: &Path, path: &str) -> Option<String> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    ask(stream, path)
}

fn by_port(port: u16, path: &str) -> Option<String> {
    let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    ask(stream, path)
}

/// The body of the answer.
fn ask(mut stream: impl std::io::Read + std::io::Write, path: &str) -> Option<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    std::io::Read::by_ref(&mut stream).take(16 << 20).read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    (head.starts_with("HTTP/1.1 200")).then(|| body.to_owned())
}
