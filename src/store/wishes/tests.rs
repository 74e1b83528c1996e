//! The store, with files that are broken, gone, or on a full disk.

use std::fs;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use super::*;

type Reports = Arc<Mutex<Vec<Report>>>;

fn open(directory: &Path) -> (Wishes, Vec<String>, Opened, Reports) {
    let reports = Reports::default();
    let heard = reports.clone();
    let (wishes, stopped, opened) = Wishes::open(directory, move |report| heard.lock().unwrap().push(report)).unwrap();
    (wishes, stopped.into_iter().map(|wish| wish.target).collect(), opened, reports)
}

fn found(directory: &Path) -> Vec<String> {
    open(directory).1
}

async fn stop(wishes: &Wishes, target: &str) -> Result<(), String> {
    wishes.stop(target, 7, Wall(1000)).await
}

#[tokio::test]
async fn wishes_are_kept_and_lifted() {
    let directory = tempfile::tempdir().unwrap();
    let (wishes, before, opened, _) = open(directory.path());
    assert_eq!((before, opened), (vec![], Opened::Good));
    for target in ["a", "b", "c"] {
        stop(&wishes, target).await.unwrap();
    }
    wishes.lift("b").await.unwrap();
    // As after a loss of power: what is on the disk now, whatever the thread still holds.
    let elsewhere = tempfile::tempdir().unwrap();
    for file in fs::read_dir(directory.path()).unwrap().flatten() {
        fs::copy(file.path(), elsewhere.path().join(file.file_name())).unwrap();
    }
    assert_eq!(found(elsewhere.path()), ["a", "c"]);
    drop(wishes);
    let wish = Wishes::open(directory.path(), |_| {}).unwrap().1.remove(0);
    assert_eq!(wish, Stopped { target: "a".into(), uid: 7, at: Wall(1000) });
}

/// Closes the store, and waits until its thread has made a copy and let go of the file.
async fn close(wishes: Wishes, directory: &Path) {
    wishes.close().await;
    assert!(!directory.join("store.db-wal").exists());
}

/// Fills the store, with a copy after each wish.
async fn with_copies(directory: &Path) {
    for target in ["first", "second"] {
        let (wishes, ..) = open(directory);
        stop(&wishes, target).await.unwrap();
        close(wishes, directory).await;
    }
}

#[tokio::test]
async fn a_broken_file_gives_way_to_its_newest_good_copy() {
    let spoil = |path: &Path, how: &str| match how {
        "cut" => fs::OpenOptions::new().write(true).open(path).unwrap().set_len(100).unwrap(),
        "garbage" => fs::write(path, "x".repeat(8192)).unwrap(),
        _ => {
            // A page that is no page any more.
            let mut bytes = fs::read(path).unwrap();
            bytes[4096..].fill(0x5a);
            fs::write(path, bytes).unwrap();
        }
    };
    for how in ["cut", "garbage", "page"] {
        let directory = tempfile::tempdir().unwrap();
        with_copies(directory.path()).await;
        let file = directory.path().join("store.db");
        spoil(&file, how);
        let (wishes, stopped, opened, _) = open(directory.path());
        assert_eq!((stopped, opened), (vec!["first".to_owned(), "second".to_owned()], Opened::Restored(1)), "{how}");
        close(wishes, directory.path()).await;
        spoil(&file, how);
        spoil(&directory.path().join("store.db.1"), how);
        let (wishes, stopped, opened, _) = open(directory.path());
        assert_eq!((stopped, opened), (vec!["first".to_owned()], Opened::Restored(2)), "{how}");
        close(wishes, directory.path()).await;
        for name in ["store.db", "store.db.1", "store.db.2"] {
            spoil(&directory.path().join(name), how);
        }
        let (_, stopped, opened, _) = open(directory.path());
        assert_eq!((stopped, opened), (vec![], Opened::Lost), "{how}");
        assert!(directory.path().join("store.broken.3").exists(), "{how}: they are kept for a look");
    }
}

#[test]
fn a_newer_store_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(directory.path().join("store.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 99").unwrap();
    let error = Wishes::open(directory.path(), |_| {}).unwrap_err().to_string();
    assert!(error.contains("written by a newer ms-supervisor (schema 99, mine is 1)"), "{error}");
}

#[tokio::test]
async fn a_file_that_was_taken_away_is_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (wishes, ..) = open(directory.path());
    stop(&wishes, "a").await.unwrap();
    for file in fs::read_dir(directory.path()).unwrap().flatten() {
        fs::remove_file(file.path()).unwrap();
    }
    stop(&wishes, "b").await.unwrap();
    assert_eq!(found(directory.path()), ["a", "b"]);
}

#[tokio::test]
async fn a_full_disk_is_told_and_caught_up_with() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&directory.path().join("disk")) else {
        return println!("SKIPPED: no file system can be mounted here");
    };
    let disk = &disk.0;
    let (wishes, _, _, reports) = open(disk);
    stop(&wishes, "a").await.unwrap();
    let ballast = disk.join("ballast");
    drop(fs::File::create(&ballast).unwrap().write_all(&vec![0; 1 << 20]));
    let mut kept = vec!["a".to_owned()];
    let error = loop {
        let target = format!("b{:03}", kept.len());
        let result = stop(&wishes, &target).await;
        kept.push(target);
        if let Err(error) = result {
            break error;
        }
        assert!(kept.len() < 1000, "the disk never was full");
    };
    assert!(error.contains("full"), "{error}");
    assert!(matches!(&reports.lock().unwrap()[..], [Report::Failed(_)]));
    fs::remove_file(&ballast).unwrap();
    // Nobody has to ask again.
    while reports.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(reports.lock().unwrap()[1], Report::Resumed);
    assert_eq!(found(disk), kept);
    wishes.close().await;
}

/// A file system of 256 KiB, as long as it lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let mounted = tool("mount", &["-t", "tmpfs", "-o", "size=256k", "none"], path);
        mounted.then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        tool("umount", &["-l"], &self.0);
    }
}

#[expect(clippy::disallowed_methods, reason = "a small file system of its own")]
fn tool(name: &str, arguments: &[&str], path: &Path) -> bool {
    std::process::Command::new(name).args(arguments).arg(path).status().is_ok_and(|status| status.success())
}

#[test]
fn old_wishes_for_what_is_gone_are_dropped() {
    let wish = |target: &str, at: i64| Stopped { target: target.into(), uid: 0, at: Wall(at) };
    let day = 24 * 3600 * 1000;
    let (meant, old) =
        still_meant(vec![wish("here", 0), wish("gone", 0), wish("lately", 20 * day)], |target| target == "here", Wall(31 * day));
    assert_eq!((meant.len(), old), (2, vec!["gone".to_owned()]));
}
