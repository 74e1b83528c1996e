//! What a process was doing, for those who ask afterwards: what the kernel tells in /proc, before it is ended.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::base::id::UnitId;
use crate::base::time::Wall;

/// The most threads that are looked at.
const THREADS_MAX: usize = 256;

/// The most files of evidence there are. The oldest go first.
const FILES_MAX: usize = 1000;

/// Writes down what `pid`, the main process of `unit`, is doing at `now`, in a file in `directory`; the file. Blocks, as long as /proc takes.
///
/// # Errors
/// When the file cannot be written.
pub fn write(directory: &Path, unit: &UnitId, pid: u32, why: &str, now: Wall) -> std::io::Result<PathBuf> {
    keep(directory, &format!("{unit}-{pid}-{}.txt", now.0), format!("{unit}, process {pid}, {now}: {why}\n\n{}", of(pid)).as_bytes())
}

/// Keeps `bytes` as a file called `name` in `directory`, of which there is a bounded number; the file. Blocks.
///
/// # Errors
/// When the file cannot be written.
pub fn keep(directory: &Path, name: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    make_room(directory, FILES_MAX - 1);
    let path = directory.join(name);
    std::fs::write(&path, bytes)?;
    Ok(path)
}

/// Removes the oldest files, so that no more than so many are left.
fn make_room(directory: &Path, most: usize) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let file =
        |entry: std::fs::DirEntry| entry.metadata().ok().filter(std::fs::Metadata::is_file).map(|of| (of.modified().ok(), entry.path()));
    let mut files: Vec<_> = entries.filter_map(file).collect();
    files.sort();
    for (_, path) in &files[..files.len().saturating_sub(most)] {
        // Somebody else may have removed it, or nobody may: then there is one more.
        drop(std::fs::remove_file(path));
    }
}

/// What the kernel tells of a process and each of its threads.
fn of(pid: u32) -> String {
    let mut out = String::new();
    let read = |path: String| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned());
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
        make_room(directory.path(), 2);
        let left = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.collect::<std::collections::BTreeSet<_>>(), ["3", "4", "a"].map(String::from).into());
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
