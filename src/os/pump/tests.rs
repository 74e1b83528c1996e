use std::io::Write;
use std::path::Path;
use std::process::Command as Program;
use std::sync::Mutex;

use super::*;
use crate::os::logfile::LogReader;

/// A pipe as the launcher makes it: the read end does not block.
fn output_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

fn log(dir: &Path) -> PumpLog {
    PumpLog { dir: dir.to_owned(), max_size: 256 * 1024, keep: 100 }
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
    let pump = Pump::start(|report| panic!("{report:?}")).unwrap();
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
fn a_removed_unit_leaves_nothing_in_its_pipe_and_can_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let pump = Pump::start(|report| panic!("{report:?}")).unwrap();
    let (pipe, write) = output_pipe().unwrap();
    let mut write = File::from(write);
    for round in 0..3 {
        pump.add("a".into(), pipe.try_clone().unwrap(), log(dir.path()));
        writeln!(write, "round {round}").unwrap();
        pump.remove("a".into());
    }
    drop(pump);
    assert_eq!(read(dir.path(), "a"), b"round 0\nround 1\nround 2\n");
}

#[test]
fn two_runs_share_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let pump = Pump::start(|report| panic!("{report:?}")).unwrap();
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
    pump.add("a".into(), pipe, PumpLog { max_size: 1 << 20, ..log(dir) });
    let line = [b'x'; 99];
    let lines = 10_000;
    for _ in 0..lines {
        write.write_all(&line).unwrap();
        write.write_all(b"\n").unwrap();
    }
    wait_for("the loss", || !reports.lock().unwrap().is_empty());
    std::fs::remove_file(&other).unwrap();
    wait_for("the end of the loss", || reports.lock().unwrap().last().is_some_and(|report| report.over));
    writeln!(write, "and on it goes").unwrap();
    drop(pump);
    let text = String::from_utf8(read(dir, "a")).unwrap();
    assert!(text.ends_with("\nand on it goes\n"), "{}", &text[text.len() - 200..]);
    let told: u64 = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("[ms-supervisor: ")?.strip_suffix(" bytes lost: no space left on device]")?.parse::<u64>().ok()
        })
        .sum();
    let written = text.bytes().filter(|byte| *byte == b'x').count() as u64 + text.lines().filter(|line| line.ends_with('x')).count() as u64;
    let ours = lines * 100;
    // A line cut by the gap ends in a newline that is not its own.
    assert!(told > 0 && (written + told).abs_diff(ours) <= 2, "{written} written, {told} lost of {ours}");
}
