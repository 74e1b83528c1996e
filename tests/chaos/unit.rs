//! What runs as a unit. It keeps a record of its own, apart from everything the daemon knows: who it is, how many lines it has written, and
//! whether another process of the same unit was alive beside it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::thread::sleep;
use std::time::Duration;

use ms_supervisor::base::rng::Rng;
use ms_supervisor::os::clock;
use rustix::fs::FlockOperation;

/// Every kind of unit, and how many of each there are.
pub(crate) const KINDS: [(&str, usize); 11] = [
    ("clean", 20),
    ("silent", 10),
    ("piped", 20),
    ("flapping", 10),
    ("deaf", 8),
    ("forking", 8),
    ("storm", 4),
    ("flood", 4),
    ("slow", 8),
    ("holding", 8),
    ("daemon", 8),
];

/// How much a flood writes at once, in bytes.
pub(crate) const CHUNK: usize = 16 << 10;

/// How many chunks one process floods its log with.
const CHUNKS: u64 = 64;

/// Where records are.
pub(crate) fn records(directory: &Path) -> PathBuf {
    directory.join("records")
}

/// A process's own account.
struct Account {
    token: String,
    record: File,
    lines: u64,
    /// Held as long as the process lives; its descriptor goes to no child.
    _lock: File,
}

/// Runs as a unit of `kind`.
pub(crate) fn run(kind: &str, directory: &Path) -> ! {
    let unit = std::env::var("MS_UNIT").expect("the daemon names the unit");
    if kind == "daemon" {
        daemonize(directory);
    }
    let mut account = open(&unit, directory);
    let mut rng = Rng::derive(u64::from(std::process::id()), &[&unit]);
    let mut pause = |longest: u64| Duration::from_millis(10 + rng.next_u64() % longest);
    match kind {
        "silent" => {}
        "flapping" => {
            account.say();
            sleep(pause(1500));
            exit(3);
        }
        "daemonized" => fs::write(format!("{unit}.pid"), std::process::id().to_string()).expect("a pid file"),
        "deaf" => ignore_term(),
        "forking" => {
            // Its grandchild leaves the session, and knows nothing of the daemon but what its environment says.
            drop(Command::new("sh").args(["-c", "(setsid sleep 1000 >/dev/null 2>&1 &) &"]).status());
        }
        "storm" => loop {
            let children: Vec<_> = (0..8).filter_map(|_| Command::new("true").spawn().ok()).collect();
            children.into_iter().for_each(|mut child| drop(child.wait()));
            account.say();
            sleep(pause(400));
        },
        "flood" => {
            let chunk = vec![b'x'; CHUNK];
            for _ in 0..CHUNKS {
                account.write(&chunk);
                sleep(Duration::from_millis(5));
            }
        }
        "slow" => {
            sleep(pause(1500));
            let socket = std::env::var_os("NOTIFY_SOCKET").expect("a socket");
            // Without a launcher nobody listens: the next one does.
            while UnixDatagram::unbound().and_then(|own| own.send_to(b"READY=1", &socket)).is_err() {
                sleep(Duration::from_millis(50));
            }
        }
        "holding" => drop(Command::new("sh").args(["-c", "sleep 1000 &"]).status()),
        _ => {}
    }
    loop {
        if kind != "silent" && kind != "flood" {
            account.say();
        }
        sleep(pause(150));
    }
}

/// Starts the daemon in a session of its own, and ends. The daemon names itself.
fn daemonize(directory: &Path) -> ! {
    let own = std::env::current_exe().expect("we are running");
    let started = Command::new("setsid").arg("-f").arg(own).args(["unit", "daemonized"]).arg(directory).status();
    exit(started.map_or(98, |status| status.code().unwrap_or(98)));
}

fn open(unit: &str, directory: &Path) -> Account {
    let lock = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(directory.join("locks").join(unit)).unwrap();
    let own = std::process::id();
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let other = fs::read_to_string(directory.join("locks").join(unit)).unwrap_or_default();
        let mut violations = OpenOptions::new().create(true).append(true).open(directory.join("violations")).unwrap();
        writeln!(violations, "{unit}: process {own} was started while process {} lives", other.trim()).unwrap();
        exit(99);
    }
    lock.set_len(0).unwrap();
    lock.write_at(own.to_string().as_bytes(), 0).unwrap();
    let token = format!("{own}-{:x}", clock::mono().0);
    let record = records(directory).join(unit);
    fs::create_dir_all(&record).unwrap();
    let record = File::create(record.join(&token)).unwrap();
    Account { token, record, lines: 0, _lock: lock }
}

impl Account {
    /// Writes a line, and then that it has been written.
    fn say(&mut self) {
        let line = format!("{} {}\n", self.token, self.lines + 1);
        self.write(line.as_bytes());
    }

    /// One write(2): what it takes is in the log, what it refuses is not.
    fn write(&mut self, bytes: &[u8]) {
        if rustix::io::write(rustix::stdio::stdout(), bytes) == Ok(bytes.len()) {
            self.lines += 1;
            self.record.write_at(&self.lines.to_le_bytes(), 0).unwrap();
        }
    }
}

/// For this process and those it starts.
fn ignore_term() {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTERM);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None).unwrap();
}
