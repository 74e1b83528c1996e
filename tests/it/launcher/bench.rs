//! A launcher under test, and its brains.

use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use ms_supervisor::base::exit::Signal;
use ms_supervisor::base::id::UnitId;
use ms_supervisor::base::scheduling::Scheduling;
use ms_supervisor::launcher::Options;
use ms_supervisor::launcher::link::{FdSet, Link, Receiver, Sender};
use ms_supervisor::launcher::wire::{Exit, HeldState, Output, Process, Spawn, Target, ToBrain, ToLauncher};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

/// How long anything may take. Long, because other tests run meanwhile.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

const VARIABLE: &str = "MS_TEST_BRAIN";

/// Where a thread of each brain hangs.
pub(super) const HANGS_AT: &str = "MS_TEST_HANGS_AT";

/// No test, but what the launcher starts as its brain: it passes its socket on, and exits with the code it gets in return.
#[test]
fn brain_process() {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let mut test = UnixStream::connect(path).unwrap();
    let number = std::env::var("MS_LAUNCHER_FD").unwrap().parse().unwrap();
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    let socket = rustix::process::pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).unwrap();
    let rights = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&rights)));
    sendmsg(&test, &[IoSlice::new(&std::process::id().to_le_bytes())], &mut control, SendFlags::empty()).unwrap();
    if let Some(path) = std::env::var_os(HANGS_AT) {
        // As the brain does: a thread that may hang holds no descriptor of anybody's.
        std::thread::spawn(move || {
            #[expect(unsafe_code, reason = "unshare of rustix has no safe form that is not deprecated")]
            // SAFETY: the thread has and uses no descriptor but those it opens after this.
            unsafe {
                rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES).unwrap();
            }
            (3..1000).for_each(close);
            fs::metadata(path)
        });
    }
    let mut code = [0];
    // An end of the stream is the end of the test.
    let _end = test.read(&mut code);
    std::process::exit(code[0].into());
}

fn close(number: i32) {
    #[expect(unsafe_code, reason = "close(2) of a number")]
    // SAFETY: the table of descriptors is this thread's own, and nothing in it is used again.
    unsafe {
        libc::close(number);
    }
}

/// A launcher.
pub(super) struct Bench {
    pub(super) directory: tempfile::TempDir,
    pub(super) launcher: Child,
    listener: UnixListener,
}

fn launcher_in(directory: &Path, run_directory: PathBuf) -> Command {
    let brain = [std::env::current_exe().unwrap().into_os_string(), "launcher::bench::brain_process".into(), "--exact".into()];
    let options = Options { lock_fd: None, brain: brain.to_vec(), run_directory, after: None };
    let mut command = Command::new(env!("CARGO_BIN_EXE_ms-supervisor"));
    command.args(options.to_argv().unwrap()).env(VARIABLE, directory.join("brain.sock"));
    let append = |name| File::options().create(true).append(true).open(directory.join(name)).unwrap();
    command.stdout(append("stdout")).stderr(append("stderr"));
    command
}

impl Bench {
    pub(super) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(super) fn start_with(change: impl FnOnce(&mut Command)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        Self::start_at(directory, run, change)
    }

    /// With its run directory in `place`.
    pub(super) fn start_in(place: PathBuf, change: impl FnOnce(&mut Command)) -> Self {
        Self::start_at(tempfile::tempdir().unwrap(), place.join("run"), change)
    }

    fn start_at(directory: tempfile::TempDir, run: PathBuf, change: impl FnOnce(&mut Command)) -> Self {
        let listener = UnixListener::bind(directory.path().join("brain.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut command = launcher_in(directory.path(), run);
        change(&mut command);
        Self { launcher: command.spawn().unwrap(), listener, directory }
    }

    /// Kills the launcher, as `kill -9` does.
    pub(super) fn kill_launcher(&mut self) {
        self.launcher.kill().unwrap();
        self.launcher.wait().unwrap();
    }

    /// Starts a launcher in the place of the one that is gone.
    pub(super) fn start_again(&mut self) {
        self.launcher = launcher_in(self.directory.path(), self.path("run")).spawn().unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// The next brain, before it has heard anything.
    pub(super) fn connect(&self) -> Brain {
        let control = wait_for("a brain", || self.listener.accept().ok()).0;
        control.set_nonblocking(false).unwrap();
        let mut pid = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&control, &mut [IoSliceMut::new(&mut pid)], &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
        let socket: OwnedFd = ancillary
            .drain()
            .find_map(|message| if let RecvAncillaryMessage::ScmRights(mut fds) = message { fds.next() } else { None })
            .expect("the socket");
        let raw = socket.try_clone().unwrap();
        let (sender, receiver) = Link::from_fd(socket).unwrap();
        Brain { control, pid: u32::from_le_bytes(pid), raw, sender, receiver }
    }

    /// The first brain, with the introduction behind it.
    pub(super) async fn first_brain(&self) -> Brain {
        let mut brain = self.connect();
        let (generation, held) = brain.introduction().await;
        assert_eq!((generation, held.len()), (0, 0));
        brain
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(self.launcher.id(), signal);
    }

    /// The launcher ends.
    pub(super) fn exit_status(&mut self) -> ExitStatus {
        wait_for("the end of the launcher", || self.launcher.try_wait().unwrap())
    }

    /// A start that says nothing special: `argv` with stdout and stderr in a file named after the unit.
    pub(super) fn spec(&self, unit: &str, run: u64, argv: &[&str]) -> Spawn {
        Spawn {
            unit: unit.into(),
            run,
            program: argv[0].into(),
            arguments: argv.iter().map(|&word| word.to_owned()).collect(),
            environment: vec![format!("PATH={}", std::env::var("PATH").unwrap()), format!("MS_TEST_RUN={}", self.path("run").display())],
            directory: self.directory.path().into(),
            credentials: None,
            umask: 0o022,
            stderr: None,
            nice: 0,
            scheduling: Scheduling::default(),
            group: Vec::new(),
            limits: Vec::new(),
            input: None,
            output: Output::File(self.path(&format!("{unit}.log"))),
            notify: None,
            ready_fd: None,
            confinement: None,
            secrets: vec![],
        }
    }

    pub(super) fn script(&self, unit: &str, run: u64, script: &str) -> Spawn {
        self.spec(unit, run, &["/bin/sh", "-c", script])
    }

    pub(super) fn log(&self, unit: &str) -> String {
        fs::read_to_string(self.path(&format!("{unit}.log"))).unwrap_or_default()
    }

    /// A number that a unit writes into a file.
    pub(super) fn number_in(&self, name: &str) -> u32 {
        wait_for(name, || fs::read_to_string(self.path(name)).ok()?.strip_suffix('\n')?.trim().parse().ok())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the launcher's stderr:\n{}", self.stderr());
        }
        if matches!(self.launcher.try_wait(), Ok(None)) {
            self.signal(Signal(libc::SIGQUIT));
            let _status = self.launcher.wait();
        }
    }
}

/// A brain that is played by the test.
pub(super) struct Brain {
    control: UnixStream,
    pub(super) pid: u32,
    /// The socket, to say on it what is no message.
    pub(super) raw: OwnedFd,
    sender: Sender,
    receiver: Receiver,
}

impl Brain {
    pub(super) fn send(&self, message: ToLauncher) {
        self.sender.send(message);
    }

    pub(super) fn signal(&self, unit: &str, run: u64, signal: Signal, target: Target) {
        self.send(ToLauncher::Signal { unit: unit.into(), run, signal, target });
    }

    pub(super) fn ack(&self, unit: &str, run: u64) {
        self.send(ToLauncher::Ack { unit: unit.into(), run });
    }

    /// The next message; who the keeper is and how long turns take may be told at any time, and is no matter here.
    pub(super) async fn hear(&mut self) -> (ToBrain, FdSet) {
        loop {
            let heard = tokio::time::timeout(DEADLINE, self.receiver.recv()).await.expect("a message in time");
            let heard = heard.unwrap().expect("a message before the launcher closes the socket");
            if !matches!(heard.0, ToBrain::Keeper { .. } | ToBrain::Turns { .. }) {
                return heard;
            }
        }
    }

    /// The launcher has closed the socket.
    pub(super) async fn hear_nothing_more(&mut self) {
        while tokio::time::timeout(DEADLINE, self.receiver.recv()).await.expect("an end in time").unwrap().is_some() {}
    }

    /// The generation, and every unit held.
    pub(super) async fn introduction(&mut self) -> (u32, Vec<(UnitId, u64, HeldState, Vec<u8>, FdSet)>) {
        let (ToBrain::Hello { generation, .. }, _) = self.hear().await else { panic!("no hello") };
        let mut units = Vec::new();
        loop {
            match self.hear().await {
                (ToBrain::Held { unit, run, state, note, .. }, fds) => units.push((unit, run, state, note, fds)),
                (ToBrain::HeldEnd, _) => return (generation, units),
                (other, _) => panic!("in the introduction: {other:?}"),
            }
        }
    }

    /// Starts a unit that can be started.
    pub(super) async fn spawn(&mut self, spec: Spawn) -> (Process, Option<i32>, FdSet) {
        let key = (spec.unit.clone(), spec.run);
        self.send(ToLauncher::Spawn(Box::new(spec)));
        match self.hear().await {
            (ToBrain::Spawned { unit, run, process, output_lost, .. }, fds) if (&unit, run) == (&key.0, key.1) => {
                (process, output_lost, fds)
            }
            (other, _) => panic!("instead of a start: {other:?}"),
        }
    }

    /// Waits for the end of a main process.
    pub(super) async fn exit(&mut self, unit: &str) -> (Exit, bool) {
        match self.hear().await {
            (ToBrain::Exited { unit: ended, exit, leftovers, .. }, _) if ended.as_str() == unit => (exit, leftovers),
            (other, _) => panic!("instead of the end of {unit}: {other:?}"),
        }
    }

    /// Starts a unit, waits for its end, acknowledges it.
    pub(super) async fn run(&mut self, spec: Spawn) -> Exit {
        let (unit, run) = (spec.unit.clone(), spec.run);
        let (process, ..) = self.spawn(spec).await;
        let (exit, leftovers) = self.exit(unit.as_str()).await;
        assert_eq!((exit.process, leftovers), (process, false));
        self.ack(unit.as_str(), run);
        exit
    }

    /// Lets the brain's process exit, unless the launcher has ended it already.
    pub(super) fn exit_with(&mut self, code: u8) {
        let _gone = self.control.write_all(&[code]);
    }

    /// Kills the brain's process, after what was sent has gone to the socket: the runtime of a test has one thread only.
    pub(super) async fn kill(self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        kill(self.pid, Signal::KILL);
    }
}

/// Waits until `condition` holds.
pub(super) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "no {what} in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(super) fn kill(pid: u32, signal: Signal) {
    let signal = rustix::process::Signal::from_named_raw(signal.0).unwrap();
    rustix::process::kill_process(pid_of(pid), signal).unwrap();
}

pub(super) fn is_alive(pid: u32) -> bool {
    rustix::process::test_kill_process(pid_of(pid)).is_ok()
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The words of /proc/PID/stat from field 3 on.
pub(super) fn stat_words(text: &str) -> Vec<&str> {
    text.rsplit_once(')').unwrap().1.split_whitespace().collect()
}

pub(super) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
