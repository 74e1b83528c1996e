use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command as Program;
use std::sync::Mutex;

use super::sink::TURN;
use super::*;
use crate::event::GapReason;
use crate::os::logfile::LogReader;
use crate::plan::LogOverflow;

/// A pipe as the launcher makes it: the read end does not block.
fn output_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

fn log(dir: &Path) -> PumpLog {
    bounded(dir, LogsPlan { max_size: 256 * 1024, keep: 100, max_total: u64::MAX, ..LogsPlan::default() })
}

fn bounded(dir: &Path, plan: LogsPlan) -> PumpLog {
    PumpLog::new(dir, "a", 1, LogsPlan { mode: LogMode::Pipe, ..plan })
}

/// Nothing but rotations is expected.
fn no_loss(report: PumpReport) {
    assert!(matches!(report, PumpReport::Rotated { .. }), "{report:?}");
}

fn read(dir: &Path, unit: &str) -> Vec<u8> {
    let mut follow = LogReader::open(dir, unit).follow(0);
    let mut all = Vec::new();
    while follow.grown() {
        all.extend(follow.poll_bytes().unwrap().bytes);
    }
    all
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn two_megabytes_of_several_units_arrive_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let pump = Pump::start(no_loss).unwrap();
    let text = |unit: &str| -> Vec<u8> { (0..150_000).flat_map(|number| format!("{unit} {number}\n").into_bytes()).collect() };
    let units = ["a", "b", "c"];
    std::thread::scope(|scope| {
        for unit in units {
            let (pipe, write) = output_pipe().unwrap();
            pump.add(unit.into(), pipe, log(dir.path()));
            scope.spawn(move || File::from(write).write_all(&text(unit)).unwrap());
        }
    });
    drop(pump);
    for unit in units {
        assert!(read(dir.path(), unit) == text(unit), "{unit}");
        assert!(std::fs::metadata(live_path(dir.path(), unit)).unwrap().len() <= 256 * 1024 + TURN as u64);
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().count() > 6, "it was rotated");
}

#[test]
fn a_pipe_that_comes_again_is_the_same_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let pump = Pump::start(no_loss).unwrap();
    let (pipe, write) = output_pipe().unwrap();
    let mut write = File::from(write);
    let mut expected = String::new();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    pump.add("a".into(), pipe.try_clone().unwrap(), log(dir.path()));
    let mut before = 0;
    for round in 0..30 {
        pump.add("a".into(), pipe.try_clone().unwrap(), log(dir.path()));
        writeln!(write, "round {round}").unwrap();
        expected += &format!("round {round}\n");
        wait_for("the line", || read(dir.path(), "a") == expected.as_bytes());
        before = if round == 0 { open() } else { before };
    }
    assert!(open() <= before + 2, "each run has taken another descriptor");
}

#[test]
fn two_runs_share_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let pump = Pump::start(no_loss).unwrap();
    let mut writers = Vec::new();
    for _ in 0..2 {
        let (pipe, write) = output_pipe().unwrap();
        pump.add("a".into(), pipe, log(dir.path()));
        writers.push(File::from(write));
    }
    for round in 0..10 {
        for (run, writer) in writers.iter_mut().enumerate() {
            let line = format!("round {round} run {run}\n");
            writer.write_all(line.as_bytes()).unwrap();
            wait_for("the line", || read(dir.path(), "a").ends_with(line.as_bytes()));
        }
    }
    drop(pump);
    assert_eq!(read(dir.path(), "a").len(), 20 * "round 0 run 0\n".len());
}

/// A tiny memory file system, for as long as it lives.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Program::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        println!("SKIPPED: mounting a file system needs root");
        None
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Program::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_blocks_nobody_and_the_gap_is_told() {
    let Some(disk) = TinyDisk::new() else { return };
    let dir = disk.0.path();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reports);
    let pump = Pump::start(move |report| seen.lock().unwrap().push(report)).unwrap();
    let other = dir.join("other");
    std::fs::write(&other, vec![0; 128 * 1024]).unwrap();
    let (pipe, write) = output_pipe().unwrap();
    let mut write = File::from(write);
    pump.add("a".into(), pipe, bounded(dir, LogsPlan { max_size: 1 << 20, ..LogsPlan::default() }));
    let line = [b'x'; 99];
    let lines = 10_000;
    for _ in 0..lines {
        write.write_all(&line).unwrap();
        write.write_all(b"\n").unwrap();
    }
    wait_for("the loss", || !reports.lock().unwrap().is_empty());
    std::fs::remove_file(&other).unwrap();
    wait_for("the end of the loss", || reports.lock().unwrap().iter().any(|report| matches!(report, PumpReport::Lost { over: true, .. })));
    writeln!(write, "and on it goes").unwrap();
    drop(pump);
    let text = String::from_utf8(read(dir, "a")).unwrap();
    assert!(text.ends_with("\nand on it goes\n"), "{}", &text[text.len() - 200..]);
    let told: u64 = text.lines().filter(|line| line.contains("no space left on device")).filter_map(dropped).sum();
    let written = text.bytes().filter(|byte| *byte == b'x').count() as u64 + text.lines().filter(|line| line.ends_with('x')).count() as u64;
    let ours = lines * 100;
    // A line cut by the gap ends in a newline that is not its own.
    assert!(told > 0 && (written + told).abs_diff(ours) <= 2, "{written} written, {told} lost of {ours}");
    let news: u64 = reports.lock().unwrap().iter().map(|report| if let PumpReport::Lost { news, .. } = report { *news } else { 0 }).sum();
    assert_eq!(news, told, "what is reported adds up");
}

/// How many bytes a line says are gone.
fn dropped(line: &str) -> Option<u64> {
    line.strip_prefix("[ms-supervisor: ")?.split_once(" bytes dropped, ")?.0.parse().ok()
}

/// Writes numbered lines until told to stop; how many bytes that were.
fn flood(mut write: File, stop: &std::sync::atomic::AtomicBool) -> u64 {
    let mut total = 0;
    for number in 0_u64.. {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            break;
        }
        let line = format!("line {number:>20}\n");
        write.write_all(line.as_bytes()).unwrap();
        total += line.len() as u64;
    }
    total
}

#[test]
fn what_comes_too_fast_is_dropped_in_whole_lines_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (told, stop) = (Arc::new(Mutex::new(0)), std::sync::atomic::AtomicBool::new(false));
    let sum = Arc::clone(&told);
    let pump = Pump::start(move |report| {
        if let PumpReport::Lost { news, why, .. } = report {
            assert_eq!(why.why, GapReason::RateLimit);
            *sum.lock().unwrap() += news;
        }
    })
    .unwrap();
    let (pipe, write) = output_pipe().unwrap();
    pump.add("a".into(), pipe, bounded(dir.path(), LogsPlan { rate_limit: Some(64 * 1024), ..LogsPlan::default() }));
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| flood(File::from(write), &stop));
        wait_for("two gaps", || read(dir.path(), "a").split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"[")).count() >= 2);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap()
    });
    wait_for("the end", || {
        let text = String::from_utf8(read(dir.path(), "a")).unwrap();
        let gaps: u64 = text.lines().filter_map(dropped).sum();
        gaps == *told.lock().unwrap() && {
            let ours: u64 = text.lines().filter(|line| !line.starts_with('[')).map(|line| line.len() as u64 + 1).sum();
            (ours + gaps).abs_diff(written) <= 2 * text.lines().count() as u64
        }
    });
    drop(pump);
    let text = String::from_utf8(read(dir.path(), "a")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[0].starts_with('[')) {
        assert!(pair[1].len() == 25 && pair[1].starts_with("line "), "after a gap comes a whole line: {pair:?}");
    }
}

#[test]
fn a_unit_that_is_to_wait_waits_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (waiting, stop) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), std::sync::atomic::AtomicBool::new(false));
    let told = Arc::clone(&waiting);
    let pump = Pump::start(move |report| match report {
        PumpReport::Waiting { why, .. } => {
            assert_eq!(why.why, GapReason::Quota);
            told.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        report => no_loss(report),
    })
    .unwrap();
    let plan = LogsPlan { max_size: 64 * 1024, keep: 100, max_total: 3 << 20, overflow: LogOverflow::Block, ..LogsPlan::default() };
    let (pipe, write) = output_pipe().unwrap();
    pump.add("a".into(), pipe, bounded(dir.path(), plan));
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| flood(File::from(write), &stop));
        wait_for("the unit waits", || waiting.load(std::sync::atomic::Ordering::Relaxed));
        let used = crate::os::logfile::used(dir.path(), "a").unwrap();
        assert!(used <= (3 << 20) + TURN as u64, "{used}");
        // Room for it: by now as much was written as may be, and a pipe full more.
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        crate::os::logfile::remove_archives(dir.path(), "a", 1 << 20, None).unwrap();
        writer.join().unwrap()
    });
    wait_for("everything", || LogReader::open(dir.path(), "a").range().unwrap().end == written);
    let text = String::from_utf8(read(dir.path(), "a")).unwrap();
    let numbers: Vec<u64> = text.lines().skip(1).map(|line| line[5..].trim().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a line is missing");
}

#[test]
fn a_rotation_on_demand_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let pump = Pump::start(no_loss).unwrap();
    let (pipe, write) = output_pipe().unwrap();
    let log = bounded(dir.path(), LogsPlan { max_size: 1 << 30, max_total: u64::MAX, keep: 1000, ..LogsPlan::default() });
    let plan = log.plan.clone();
    pump.add("a".into(), pipe, log);
    let rotate = || {
        let (sender, done) = mpsc::channel();
        pump.rotate("a".into(), dir.path().to_owned(), plan.clone(), move |done| drop(sender.send(done)));
        done.recv().unwrap().unwrap().rotated
    };
    let (written, rotated) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| flood(File::from(write), &stop));
        let mut rotated = 0;
        while rotated < 20 {
            rotated += u32::from(rotate() > 0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (writer.join().unwrap(), rotated)
    });
    drop(pump);
    let text = String::from_utf8(read(dir.path(), "a")).unwrap();
    assert_eq!(text.len() as u64, written);
    assert!((0..).zip(text.lines()).all(|(number, line): (u64, _)| line[5..].trim().parse() == Ok(number)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), rotated as usize + 1);
}

/// A journal: a socket and what it has got.
struct FakeJournal {
    socket: std::os::unix::net::UnixDatagram,
    _directory: tempfile::TempDir,
    log: PumpLog,
}

impl FakeJournal {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let plan = LogsPlan { mode: LogMode::Journald, ..LogsPlan::default() };
        let log = PumpLog { journal: path, ..PumpLog::new(directory.path(), "a", 7, plan) };
        Self { socket, _directory: directory, log }
    }

    /// The next entry: its fields, and the message.
    fn next(&self) -> (String, Vec<u8>) {
        let mut buffer = vec![0; 1 << 20];
        let length = self.socket.recv(&mut buffer).unwrap();
        let at = buffer[..length].windows(9).position(|window| window == b"\nMESSAGE\n").unwrap();
        let size = u64::from_le_bytes(buffer[at + 9..at + 17].try_into().unwrap());
        let message = buffer[at + 17..length - 1].to_vec();
        assert_eq!(message.len() as u64, size);
        (String::from_utf8(buffer[..at].to_vec()).unwrap(), message)
    }
}

#[test]
fn lines_go_to_the_journal_and_the_unfinished_one_stays_in_the_pipe() {
    let journal = FakeJournal::new();
    // What the launcher wrote while there was no daemon comes first.
    std::fs::write(&journal.log.spill, "spilled 1\nspilled 2").unwrap();
    let pump = Pump::start(no_loss).unwrap();
    let (pipe, write) = output_pipe().unwrap();
    let mut write = File::from(write);
    write.write_all(b"hello\n<3>bad\n\nunfin").unwrap();
    pump.add("a".into(), pipe.try_clone().unwrap(), journal.log.clone());
    let mut texts = Vec::new();
    for _ in 0..4 {
        texts.push(journal.next());
    }
    let messages: Vec<_> = texts.iter().map(|(_, message)| String::from_utf8_lossy(message).into_owned()).collect();
    assert_eq!(messages, ["spilled 1", "spilled 2", "hello", "bad"]);
    assert!(texts[2].0.starts_with("PRIORITY=6\n") && texts[2].0.contains("MS_UNIT=a\nMS_RUN=7\n"), "{}", texts[2].0);
    assert!(texts[3].0.starts_with("PRIORITY=3\n"), "{}", texts[3].0);
    assert!(!journal.log.spill.exists());
    wait_for("what was handed over to leave the pipe", || rustix::io::ioctl_fionread(&pipe).unwrap() == 5);
    write.write_all(b"ished\n").unwrap();
    assert_eq!(journal.next().1, b"unfinished");
    // Longer than an entry may be: in pieces, and nothing of it is missing.
    let long = vec![b'y'; 300_000];
    let mut pieces = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| write.write_all(&[&long[..], b"\n"].concat()).unwrap());
        while pieces.len() < long.len() {
            pieces.extend(journal.next().1);
        }
    });
    assert!(pieces == long);
    write.write_all(b"the end").unwrap();
    drop(pump);
    assert_eq!(journal.next().1, b"the end");
}

#[test]
fn a_journal_that_is_away_loses_nothing_of_a_unit_that_waits() {
    let mut journal = FakeJournal::new();
    journal.log.plan.overflow = LogOverflow::Block;
    let path = journal.log.journal.clone();
    std::fs::remove_file(&path).unwrap();
    let waiting = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = Arc::clone(&waiting);
    let pump = Pump::start(move |report| {
        assert!(matches!(report, PumpReport::Waiting { .. }), "{report:?}");
        told.store(true, std::sync::atomic::Ordering::Relaxed);
    })
    .unwrap();
    let (pipe, write) = output_pipe().unwrap();
    let mut write = File::from(write);
    pump.add("a".into(), pipe, journal.log.clone());
    let lines: Vec<_> = (0..1000).map(|number| format!("line {number}")).collect();
    write.write_all(lines.iter().map(|line| format!("{line}\n")).collect::<String>().as_bytes()).unwrap();
    wait_for("it waits", || waiting.load(std::sync::atomic::Ordering::Relaxed));
    journal.socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    journal.socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for line in &lines {
        assert_eq!(journal.next().1, line.as_bytes());
    }
}
