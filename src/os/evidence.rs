//! What a process was doing, for those who ask afterwards: what the kernel tells in /proc, before it is ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::foreign::doing;
use super::{clock, private};
use crate::base::id::UnitId;
use crate::base::time::{Mono, Wall};

/// The most threads that are looked at.
const THREADS_MAX: usize = 256;

/// The most files of evidence there are. The oldest go first.
const FILES_MAX: usize = 1000;

/// The most bytes they have together. The oldest go first.
const BYTES_MAX: u64 = 64 << 20;

/// The most bytes of one file; what is beyond is cut off.
const FILE_MAX: usize = 1 << 20;

/// The most bytes of one file of /proc: a process may have megabytes of arguments.
const READ_MAX: u64 = 64 << 10;

/// What a unit was doing is written down once in so long. The rest is counted.
const EVERY: Duration = Duration::from_secs(60);

/// Writes down what `pid`, the main process of `unit`, is doing at `now`, in a file in `directory`; the file. Blocks, as long as /proc takes.
///
/// # Errors
/// When the file cannot be written, or that was done for the unit less than a minute ago.
pub fn write(directory: &Path, unit: &UnitId, pid: u32, why: &str, now: Wall) -> io::Result<PathBuf> {
    let left_out = take_turn(&mut TURNS.lock().unwrap_or_else(PoisonError::into_inner), unit, clock::mono());
    let left_out = left_out.ok_or_else(|| io::Error::other("that was written down less than a minute ago"))?;
    let more =
        if left_out == 0 { String::new() } else { format!("{left_out} more, soon after the one before this, were not written down\n") };
    keep(directory, &format!("{unit}-{pid}-{}.txt", now.0), format!("{unit}, process {pid}, {now}: {why}\n{more}\n{}", of(pid)).as_bytes())
}

/// When what a unit was doing was written down last, and how often it was not since. Who is not heard of for a minute is forgotten.
type Turns = BTreeMap<UnitId, (Mono, u32)>;

static TURNS: Mutex<Turns> = Mutex::new(BTreeMap::new());

/// How many were left out before this one; `None`: this one is, too.
fn take_turn(turns: &mut Turns, unit: &UnitId, now: Mono) -> Option<u32> {
    let left_out = match turns.get_mut(unit) {
        Some((last, left_out)) if now - *last < EVERY => {
            *left_out = left_out.saturating_add(1);
            return None;
        }
        Some((_, left_out)) => *left_out,
        None => 0,
    };
    turns.retain(|_, (last, _)| now - *last < EVERY);
    turns.insert(unit.clone(), (now, 0));
    Some(left_out)
}

/// Keeps `bytes` as a file called `name` in `directory`, of which there is a bounded number, and which are of a bounded size; the file. Blocks.
///
/// # Errors
/// When the file cannot be written.
pub fn keep(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let bytes = &bytes[..bytes.len().min(FILE_MAX)];
    private::directory(directory)?;
    make_room(directory, FILES_MAX - 1, BYTES_MAX - bytes.len() as u64);
    let path = directory.join(name);
    private::write(&path, bytes)?;
    Ok(path)
}

/// Removes the oldest files, so that no more than so many are left, with so many bytes.
fn make_room(directory: &Path, most: usize, most_bytes: u64) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let file = |entry: std::fs::DirEntry| {
        let found = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some((found.modified().ok(), entry.path(), found.len()))
    };
    let mut files: Vec<_> = entries.filter_map(file).collect();
    files.sort();
    let (mut left, mut bytes) = (files.len(), files.iter().map(|(_, _, length)| length).sum::<u64>());
    for (_, path, length) in files {
        if left <= most && bytes <= most_bytes {
            return;
        }
        // Somebody else may have removed it, or nobody may: then there is one more.
        drop(std::fs::remove_file(path));
        (left, bytes) = (left - 1, bytes - length);
    }
}

/// What the kernel tells of a process and each of its threads.
fn of(pid: u32) -> String {
    let mut out = String::new();
    doing(format_args!("looking at what process {pid} is doing"));
    for name in ["cmdline", "status", "limits"] {
        // Not everybody may read everything.
        if let Ok(text) = read(format!("/proc/{pid}/{name}")) {
            let _infallible = write!(out, "== {name}\n{text}\n\n");
        }
    }
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let _infallible = write!(out, "== descriptors: {descriptors}\n\n");
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for thread in threads.take(THREADS_MAX).map(|entry| entry.path().display().to_string()) {
        let of = |name: &str| read(format!("{thread}/{name}")).unwrap_or_else(|fault| format!("({fault})"));
        let state = of("stat").rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?');
        let number = thread.rsplit('/').next().unwrap_or_default();
        let (name, place, call, stack) = (of("comm"), of("wchan"), of("syscall"), of("stack"));
        let _infallible = write!(out, "== thread {number} {name}, state {state}, waits in {place}, system call {call}\n{stack}\n\n");
    }
    out
}

fn read(path: String) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_files_make_room() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..5 {
            let path = keep(directory.path(), &number.to_string(), b"x").unwrap();
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(number);
            std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
        }
        std::fs::create_dir(directory.path().join("a")).unwrap();
        make_room(directory.path(), 2, 2);
        let left = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.collect::<std::collections::BTreeSet<_>>(), ["3", "4", "a"].map(String::from).into());
        make_room(directory.path(), 2, 1);
        assert!(!directory.path().join("3").exists() && directory.path().join("4").exists());
        let path = keep(directory.path(), "large", &vec![0; FILE_MAX + 1]).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().len(), FILE_MAX as u64);
    }

    #[test]
    fn a_unit_is_looked_at_once_a_minute_and_the_rest_is_counted() {
        let (mut turns, at) = (Turns::new(), |seconds: u64| Mono(seconds * 1_000_000_000));
        let (a, b) = (UnitId::from("a"), UnitId::from("b"));
        assert_eq!(take_turn(&mut turns, &a, at(100)), Some(0));
        assert_eq!([101, 130, 159].map(|now| take_turn(&mut turns, &a, at(now))), [None; 3]);
        assert_eq!(take_turn(&mut turns, &b, at(159)), Some(0));
        assert_eq!(take_turn(&mut turns, &a, at(160)), Some(3));
        assert_eq!(take_turn(&mut turns, &a, at(220)), Some(0));
        assert_eq!(turns.len(), 1);
    }

    #[test]
    fn it_tells_of_every_thread() {
        let directory = tempfile::tempdir().unwrap();
        let path = write(&directory.path().join("incidents"), &"a@1".into(), std::process::id(), "no answer", Wall(0)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(path.ends_with(format!("incidents/a@1-{}-0.txt", std::process::id())));
        assert!(text.starts_with(&format!("a@1, process {}, 1970-01-01T00:00:00.000Z: no answer\n", std::process::id())), "{text}");
        assert!(text.contains("== status\nName:") && text.contains("== thread ") && text.contains("== descriptors: "), "{text}");
        // One that is gone leaves little to tell.
        assert!(of(u32::MAX).contains("descriptors: 0"));
    }
}
