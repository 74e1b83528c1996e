use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::base::time::Wall;
use crate::os::logfile::{LogReader, live_path};

/// A directory whose file system can collapse, if the temporary one can.
fn directory() -> Option<TempDir> {
    let dir = tempfile::tempdir().unwrap();
    if supports_collapse(dir.path()) {
        return Some(dir);
    }
    println!("SKIPPED: the temporary directory's file system cannot collapse");
    None
}

fn append(dir: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(live_path(dir, "a")).unwrap()
}

/// Bounds of which only these matter.
fn bounds(max_size: u64, keep: u32) -> LogsPlan {
    LogsPlan { max_size, keep, max_total: u64::MAX, ..LogsPlan::default() }
}

/// The whole stream as a reader sees it.
fn stream(dir: &Path) -> Vec<u8> {
    let mut follow = LogReader::open(dir, "a").follow(0);
    let mut all = Vec::new();
    while follow.grown() {
        let chunk = follow.poll_bytes().unwrap();
        if !chunk.bytes.is_empty() {
            assert_eq!(chunk.offset, all.len() as u64, "a gap");
        }
        all.extend(chunk.bytes);
    }
    all
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Carries out the first `steps` steps of a rotation, then stops dead.
fn cut_after(steps: usize, dir: &Path) {
    let files = Files::new(dir, "a");
    let live = open(&files.live(), true).unwrap().unwrap();
    let rotation = Rotation::plan(&files, &live, |size| size).unwrap().unwrap();
    if steps == 0 {
        // Cut in the middle of the copy.
        std::fs::write(files.part(rotation.base), b"half a co").unwrap();
        return;
    }
    let part = rotation.copy().unwrap();
    if steps >= 2 {
        rotation.commit().unwrap();
    }
    if steps >= 3 {
        rotation.publish(&part).unwrap();
    }
    if steps >= 4 {
        rotation.collapse().unwrap();
    }
}

#[test]
fn a_cut_at_any_step_loses_and_doubles_nothing() {
    // Equal lines whose length divides the block: nothing in the contents tells what has been collapsed.
    let equal = "the same again.\n".repeat(1000).into_bytes();
    let numbered: Vec<u8> = (0..3000).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    for (text, earlier) in [(&equal, false), (&equal, true), (&numbered, false), (&numbered, true)] {
        for steps in 0..=4 {
            let Some(dir) = directory() else { return };
            let dir = dir.path();
            let mut expected = text.clone();
            append(dir).write_all(text).unwrap();
            if earlier {
                assert!(rotate_direct(dir, "a", &bounds(0, 9), false).unwrap().rotated > 0);
                append(dir).write_all(text).unwrap();
                expected.extend(text);
            }
            cut_after(steps, dir);
            assert_eq!(stream(dir), expected, "seen after step {steps}");
            append(dir).write_all(text).unwrap();
            expected.extend(text);
            assert_eq!(stream(dir), expected, "seen after step {steps} and more output");
            recover(dir, "a").unwrap();
            assert_eq!(stream(dir), expected, "recovered after step {steps}");
            assert!(!names(dir).iter().any(|name| name.ends_with(".part")), "{:?}", names(dir));
            rotate_direct(dir, "a", &bounds(0, 9), false).unwrap();
            assert_eq!(stream(dir), expected, "rotated after step {steps}");
        }
    }
}

#[test]
fn what_looks_like_a_marker_is_only_output() {
    let Some(dir) = directory() else { return };
    let mut text = Marker { base: 0, len: 8192 }.encode().to_vec();
    text.resize(20_000, b'x');
    append(dir.path()).write_all(&text).unwrap();
    recover(dir.path(), "a").unwrap();
    assert_eq!(stream(dir.path()), text);
    assert_eq!(rotate_direct(dir.path(), "a", &bounds(0, 3), false).unwrap().rotated, 16_384);
    assert_eq!(stream(dir.path()), text);
}

/// A unit owns its log: it can truncate it and write at its head whatever a rotation would, with any numbers.
#[test]
fn a_forged_marker_turns_no_bound_off() {
    let Some(dir) = directory() else { return };
    let bounds = LogsPlan { max_total: 256 << 10, ..bounds(64 << 10, 3) };
    append(dir.path()).write_all(&vec![b'x'; 200 << 10]).unwrap();
    rotate_direct(dir.path(), "a", &bounds, false).unwrap();
    let end = Listing::read(&Files::new(dir.path(), "a")).unwrap().archives.last().unwrap().end();
    let start = Listing::read(&Files::new(dir.path(), "a")).unwrap().archives.last().unwrap().start;
    // One byte; whole blocks that are not there; more than there are; the very archive; nothing at all.
    for (base, len) in
        [(end - 1, 1), (end.saturating_sub(1 << 20), 1 << 20), (0, end), (start, end - start), (end, 0), (u64::MAX, u64::MAX)]
    {
        let mut live = append(dir.path());
        live.set_len(0).unwrap();
        live.write_all(&Marker { base, len }.encode()).unwrap();
        for _ in 0..8 {
            live.write_all(&vec![b'y'; 100 << 10]).unwrap();
            rotate_direct(dir.path(), "a", &bounds, false).unwrap_or_else(|error| panic!("{base} {len}: {error}"));
            assert!(used(dir.path(), "a").unwrap() <= bounds.max_total, "{base} {len}");
        }
    }
}

/// A unit truncates its log in the very moment between two steps of a rotation: that is told apart from a disk that cannot be used.
#[test]
fn a_log_that_becomes_shorter_while_it_is_rotated_is_known_to_have() {
    let Some(dir) = directory() else { return };
    let files = Files::new(dir.path(), "a");
    append(dir.path()).write_all(&vec![b'x'; 200 << 10]).unwrap();
    let live = open(&files.live(), true).unwrap().unwrap();
    let rotation = Rotation::plan(&files, &live, |size| size).unwrap().unwrap();
    let part = rotation.copy().unwrap();
    live.set_len(4096).unwrap();
    assert!(matches!(rotation.collapse(), Err(LogError::Shortened { .. })));
    std::fs::remove_file(part).unwrap();
    assert!(matches!(rotation.copy(), Err(LogError::Shortened { .. })));
}

/// A flood is given up again and again: what holds the place of what is gone does not pile up.
#[test]
fn of_a_flood_no_more_empty_archives_stay_than_are_kept() {
    let Some(dir) = directory() else { return };
    let bounds = LogsPlan { max_total: 64 << 10, ..bounds(16 << 10, 1) };
    let mut live = append(dir.path());
    let mut gaps = 0;
    for _ in 0..20 {
        live.write_all(&vec![b'y'; 300 << 10]).unwrap();
        gaps += rotate_direct(dir.path(), "a", &bounds, false).unwrap().dropped();
    }
    let archives = Listing::read(&Files::new(dir.path(), "a")).unwrap().archives;
    assert!(archives.len() <= 2, "{} archives", archives.len());
    assert_eq!(LogReader::open(dir.path(), "a").range().unwrap().end, 20 * (300 << 10), "every byte has its place in the stream");
    assert!(gaps > 19 * (200 << 10), "{gaps} bytes were dropped");
}

/// What is reserved behind the end of a log has no length, and fills the disk all the same.
#[test]
fn what_is_reserved_behind_the_end_counts_and_is_given_back() {
    let Some(dir) = directory() else { return };
    let mut live = append(dir.path());
    live.write_all(b"a line\n").unwrap();
    for offset in [0, 1 << 30] {
        fallocate(&live, FallocateFlags::KEEP_SIZE, offset, 32 << 20).unwrap();
        assert!(used(dir.path(), "a").unwrap() >= 32 << 20, "it is seen");
        rotate_direct(dir.path(), "a", &bounds(1 << 20, 3), false).unwrap();
        assert!(used(dir.path(), "a").unwrap() <= 4096, "it is given back");
        assert!(live.metadata().unwrap().blocks() * 512 <= 8192, "to the file system");
        assert_eq!(stream(dir.path()), b"a line\n");
    }
}

#[test]
fn the_oldest_archives_go_first_and_offsets_stay() {
    let Some(dir) = directory() else { return };
    let dir = dir.path();
    for keep in [3, 2, 1] {
        for _ in 0..6 {
            append(dir).write_all(&[b'x'; 8192]).unwrap();
            let report = rotate_direct(dir, "a", &bounds(4096, keep), false).unwrap();
            assert_eq!(report.dropped(), 0);
        }
        let archives = names(dir).iter().filter(|name| name.starts_with("a.log.")).count();
        assert_eq!(archives, keep as usize, "{:?}", names(dir));
    }
    assert_eq!(LogReader::open(dir, "a").range().unwrap().end, 3 * 6 * 8192);
    let report = rotate_direct(dir, "a", &bounds(1 << 20, 1), false).unwrap();
    assert_eq!(report, RotateReport::default(), "small enough");
}

#[test]
fn memory_file_systems_cannot_collapse() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    assert!(!supports_collapse(dir.path()));
    append(dir.path()).write_all(&[b'x'; 20_000]).unwrap();
    assert!(matches!(rotate_direct(dir.path(), "a", &bounds(0, 3), false), Err(LogError::NoCollapse { .. })));
    assert_eq!(names(dir.path()), ["a.log"]);
    assert_eq!(std::fs::read(live_path(dir.path(), "a")).unwrap(), [b'x'; 20_000], "the head is untouched");
}

#[test]
fn renaming_keeps_the_stream_too() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut expected: Vec<u8> = Vec::new();
    for round in 0..5 {
        let text = format!("line {round}\n").into_bytes();
        append(dir.path()).write_all(&text).unwrap();
        expected.extend(&text);
        let (_, report) = rotate_pipe(dir.path(), "a", &bounds(0, 9)).unwrap();
        assert_eq!(report.rotated, text.len() as u64);
    }
    assert_eq!(stream(dir.path()), expected);
    let (_, report) = rotate_pipe(dir.path(), "a", &bounds(0, 2)).unwrap();
    assert_eq!((report.rotated, report.removed), (0, 3));
    assert_eq!(LogReader::open(dir.path(), "a").range().unwrap(), 21..35);
}

/// Numbers as a reader sees them while they are written and rotated.
#[derive(Default)]
struct Check {
    next: u64,
}

impl Check {
    fn take(&mut self, follow: &mut crate::os::logfile::Follow) {
        for line in follow.poll().unwrap() {
            assert_eq!(line.text.parse(), Ok(self.next), "at {}", line.offset);
            self.next += 1;
        }
    }
}

#[test]
fn rotation_under_a_writer_at_full_speed() {
    let Some(dir) = directory() else { return };
    let dir = dir.path();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let deadline = Instant::now() + Duration::from_secs(60);
    append(dir);
    let rotations = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut live = append(dir);
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                live.write_all(format!("{number}\n").as_bytes()).unwrap();
                number += 1;
            }
            written.store(number, Ordering::Relaxed);
        });
        let reader = scope.spawn(|| {
            let (mut follow, mut check) = (LogReader::open(dir, "a").follow(0), Check::default());
            while !stop.load(Ordering::Relaxed) {
                check.take(&mut follow);
            }
            (follow, check)
        });
        let mut rotations = 0;
        while rotations < 30 && Instant::now() < deadline && !reader.is_finished() {
            rotations += u32::from(rotate_direct(dir, "a", &bounds(64 * 1024, 1000), false).unwrap().rotated > 0);
        }
        stop.store(true, Ordering::Relaxed);
        let (mut follow, mut check) = reader.join().unwrap();
        let total = || written.load(Ordering::Relaxed);
        while (total() == 0 || check.next < total()) && Instant::now() < deadline {
            check.take(&mut follow);
        }
        assert_eq!(check.next, total());
        rotations
    });
    assert!(rotations >= 20, "{rotations} rotations");
    let again: Vec<u8> = (0..written.into_inner()).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    assert!(stream(dir) == again, "read once more, from cold");
    println!("{rotations} rotations, {} bytes", again.len());
}

#[test]
fn beyond_the_quota_the_oldest_goes_and_the_gap_is_noted() {
    let Some(dir) = directory() else { return };
    let dir = dir.path();
    let plan = LogsPlan { max_total: 40_000, ..bounds(8192, 100) };
    let (mut written, mut dropped) = (0, 0);
    for round in 0..20_i64 {
        append(dir).write_all(&[b'x'; 10_000]).unwrap();
        written += 10_000;
        Index::observe(dir, "a", Wall(1_000_000 * (round + 1)), written, 0).unwrap();
        dropped += rotate_direct(dir, "a", &plan, false).unwrap().dropped();
        let used = used(dir, "a").unwrap();
        assert!(used <= 40_000, "{used} bytes in round {round}");
    }
    let range = LogReader::open(dir, "a").range().unwrap();
    assert_eq!((range.start, range.end), (dropped, written));
    let [gap] = gaps::load(&Files::new(dir, "a"))[..] else { panic!("one gap") };
    assert_eq!((gap.start, gap.end, gap.why, gap.from), (0, dropped, GapReason::Quota, Wall(1_000_000)));
    assert!(gap.to > gap.from);
    // More than the quota at once: what is too much is not even copied.
    append(dir).write_all(&vec![b'y'; 200_000]).unwrap();
    let report = rotate_direct(dir, "a", &plan, false).unwrap();
    assert!(report.dropped() > 160_000 && used(dir, "a").unwrap() <= 40_000, "{report:?}");
    assert_eq!(LogReader::open(dir, "a").range().unwrap().end, written + 200_000);
    // A log whose unit is to wait loses nothing.
    append(dir).write_all(&vec![b'z'; 200_000]).unwrap();
    let waits = LogsPlan { overflow: LogOverflow::Pause, ..plan };
    assert_eq!(rotate_direct(dir, "a", &waits, false).unwrap().dropped(), 0);
    assert!(used(dir, "a").unwrap() > 200_000);
}

#[test]
fn the_quota_holds_for_renamed_files_too() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let dir = dir.path();
    let plan = LogsPlan { max_total: 35_000, ..bounds(0, 100) };
    for _ in 0..10 {
        append(dir).write_all(&[b'x'; 10_000]).unwrap();
        rotate_pipe(dir, "a", &plan).unwrap();
        assert!(used(dir, "a").unwrap() <= 35_000);
    }
    assert_eq!(LogReader::open(dir, "a").range().unwrap(), 70_000..100_000);
    // Not even the newest stays, if it is too much; the place in the stream does.
    append(dir).write_all(&[b'x'; 50_000]).unwrap();
    let (_, report) = rotate_pipe(dir, "a", &plan).unwrap();
    assert_eq!(report.dropped(), 80_000);
    assert_eq!(LogReader::open(dir, "a").range().unwrap(), 150_000..150_000);
    append(dir).write_all(b"on").unwrap();
    assert_eq!(LogReader::open(dir, "a").range().unwrap(), 150_000..150_002);
}

#[test]
fn archives_are_removed_up_to_a_place() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let dir = dir.path();
    for _ in 0..4 {
        append(dir).write_all(&[b'x'; 100]).unwrap();
        rotate_pipe(dir, "a", &bounds(0, 9)).unwrap();
    }
    let report = remove_archives(dir, "a", 200, None).unwrap();
    assert_eq!((report.removed, report.dropped()), (2, 0));
    let report = remove_archives(dir, "a", 399, Some(GapReason::Total)).unwrap();
    assert_eq!((report.removed, report.dropped()), (0, 100));
    assert_eq!(LogReader::open(dir, "a").range().unwrap(), 300..400);
    assert_eq!(remove_archives(dir, "a", 400, None).unwrap().removed, 1);
    assert_eq!(remove_archives(dir, "a", 400, None).unwrap(), RotateReport::default());
    assert_eq!(LogReader::open(dir, "a").range().unwrap(), 400..400);
}

/// A small ext4 of its own, for as long as it lives.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, mount) = (dir.path().join("image"), dir.path().join("mount"));
        File::create(&image).unwrap().set_len(8 << 20).unwrap();
        std::fs::create_dir(&mount).unwrap();
        let run = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let ready =
            run(Command::new("mkfs.ext4").arg("-q").arg(&image)) && run(Command::new("mount").args(["-o", "loop"]).args([&image, &mount]));
        if !ready {
            println!("SKIPPED: needs root, mkfs.ext4 and loop devices");
        }
        ready.then_some(Self(dir))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("mount")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_costs_the_oldest_archives_first() {
    let Some(disk) = SmallDisk::new() else { return };
    let dir = disk.path();
    let fill = |bytes: usize| append(&dir).write_all(&vec![b'x'; bytes]);
    for _ in 0..4 {
        fill(1 << 20).unwrap();
        assert_eq!(rotate_direct(&dir, "a", &bounds(0, 9), false).unwrap().gaps, []);
    }
    let mut written = 4 << 20;
    while fill(64 * 1024).is_ok() {
        written += 64 * 1024;
    }
    let end = LogReader::open(&dir, "a").range().unwrap().end;
    assert!(end >= written);
    let report = rotate_direct(&dir, "a", &bounds(0, 9), false).unwrap();
    assert!(report.gaps[0].why == GapReason::DiskFull && report.rotated > 0, "{report:?}");
    let range = LogReader::open(&dir, "a").range().unwrap();
    assert_eq!(range.end, end, "offsets stay");
    fill(1000).unwrap();
    assert_eq!(LogReader::open(&dir, "a").range().unwrap().end, end + 1000);
    // Other people's bytes fill the disk: nothing to remove but the head itself.
    let other = File::create(dir.join("other")).unwrap();
    fill(1 << 20).unwrap();
    while (&other).write_all(&[0; 4096]).is_ok() {}
    let end = end + 1000 + (1 << 20);
    let mut dropped = 0;
    for _ in 0..3 {
        dropped += rotate_direct(&dir, "a", &bounds(0, 9), false).unwrap().dropped();
        let _ = (&other).write_all(&vec![0; 4 << 20]);
    }
    assert_eq!(LogReader::open(&dir, "a").range().unwrap().end, end);
    println!("{dropped} bytes dropped");
}
