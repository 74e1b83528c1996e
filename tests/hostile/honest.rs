//! What runs as an honest unit. It keeps a record of its own, apart from everything the daemon knows: when each of its processes began, what each was
//! told, and whether another one was alive beside it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::thread::{sleep, spawn};
use std::time::Duration;

use ms_supervisor::os::clock;
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::FlockOperation;

/// How often one gives a sign of life, and writes a line.
const BEAT: Duration = Duration::from_millis(500);

/// What a unit has written down of itself.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Its processes, one after the other: process id, and when it began on the monotonic clock, in nanoseconds.
    pub(crate) starts: Vec<(u32, u64)>,
    /// The processes that were asked to end.
    pub(crate) told: Vec<u32>,
}

/// Where records are.
pub(crate) fn records(base: &Path) -> PathBuf {
    base.join("records")
}

/// The record of `unit`.
pub(crate) fn read(base: &Path, unit: &str) -> Record {
    let mut record = Record::default();
    let text = fs::read_to_string(records(base).join(unit)).unwrap_or_default();
    // Each line is written at once; who looks meanwhile sees no end of the last one.
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["start", pid, at] => record.starts.push((pid.parse().unwrap(), at.parse().unwrap())),
            ["told", pid] => record.told.push(pid.parse().unwrap()),
            _ => panic!("{unit} has written {line:?}"),
        }
    }
    record
}

/// Runs as a unit of `kind`, until it is told to end.
pub(crate) fn run(kind: &str, base: &Path) -> ! {
    let at = clock::mono().0;
    let mut awaited = SigSet::empty();
    awaited.add(Signal::SIGTERM);
    awaited.thread_block().unwrap();
    let unit = std::env::var("MS_UNIT").expect("the daemon names the unit");
    let path = records(base).join(&unit);
    let mut record = OpenOptions::new().append(true).open(&path).unwrap();
    let own = std::process::id();
    let _lock = alone(base, &unit);
    record.write_all(format!("start {own} {at}\n").as_bytes()).unwrap();
    let beats = kind == "pinging";
    if kind != "witness" {
        spawn(move || live(beats));
    }
    awaited.wait().unwrap();
    record.write_all(format!("told {own}\n").as_bytes()).unwrap();
    exit(0);
}

fn live(beats: bool) {
    let own = UnixDatagram::unbound().unwrap();
    let socket = std::env::var_os("NOTIFY_SOCKET");
    let tell = |what: &str| drop(socket.as_ref().map(|socket| own.send_to(what.as_bytes(), socket)));
    tell("READY=1");
    loop {
        if beats {
            tell("WATCHDOG=1");
        }
        let _whatever_becomes_of_it = writeln!(std::io::stdout(), "an honest line");
        sleep(BEAT);
    }
}

/// Held as long as the process lives.
fn alone(base: &Path, unit: &str) -> File {
    let lock = OpenOptions::new().read(true).write(true).open(base.join("locks").join(unit)).unwrap();
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let other = fs::read_to_string(base.join("locks").join(unit)).unwrap_or_default();
        let mut violations = OpenOptions::new().append(true).open(base.join("violations")).unwrap();
        writeln!(violations, "{unit}: process {} was started while process {} lives", std::process::id(), other.trim()).unwrap();
        exit(99);
    }
    lock.set_len(0).unwrap();
    lock.write_at(std::process::id().to_string().as_bytes(), 0).unwrap();
    lock
}
