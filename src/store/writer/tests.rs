use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use super::super::generations::{DAMAGED_MAX, GENERATIONS};
use super::*;
use crate::base::rng::Rng;
use crate::event::Desired;

/// Each test is a process of its own, and has the time to itself.
static NOW: AtomicI64 = AtomicI64::new(1_700_000_000_000);

fn clocks() -> Clocks {
    let mono = || Mono(u64::try_from(NOW.load(Ordering::Relaxed)).unwrap() * 1_000_000);
    Clocks { mono, wall: || Wall(NOW.load(Ordering::Relaxed)) }
}

fn pass(time: Duration) {
    NOW.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
}

fn writer(directory: &Path) -> Writer {
    Writer::new(Files::new(directory.join("store")), clocks())
}

fn stop(number: u64) -> Wish {
    Wish { number, desired: Desired::Stopped, uid: 7, at: Wall(5), why: Some("new disk".into()) }
}

/// Writes so many wishes, makes a backup, and closes it all.
fn filled(directory: &Path, count: u64) -> BTreeMap<String, Wish> {
    let mut writer = writer(directory);
    for number in 1..=count {
        writer.wish(format!("unit{number}"), stop(number));
    }
    writer.write().unwrap();
    writer.tidy();
    assert_eq!(writer.status().backups, 1);
    writer.wishes()
}

#[test]
fn wishes_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let wishes = filled(directory.path(), 3);
    let mut again = writer(directory.path());
    again.wish("unit2".into(), Wish { desired: Desired::Started, why: None, ..stop(9) });
    again.write().unwrap();
    assert_eq!((again.wishes().len(), again.wishes()["unit1"].clone()), (3, wishes["unit1"].clone()));
    drop(again);
    let mut third = writer(directory.path());
    third.write().unwrap();
    assert_eq!((third.wishes()["unit2"].number, third.wishes()["unit2"].is_stop()), (9, false));
    assert_eq!(third.take_reports(), []);
    assert_eq!(third.status(), StoreStatus { wishes: 3, ..StoreStatus::default() });
}

/// One bit anywhere, or an end anywhere: what is read is what was written, or it is said where it came from.
#[test]
fn damage_is_found_and_the_backup_taken() {
    let directory = tempfile::tempdir().unwrap();
    let wishes = filled(directory.path(), 40);
    let path = directory.path().join("store/store.db");
    let good = std::fs::read(&path).unwrap();
    let mut rng = Rng::derive(1, &["damage"]);
    let (mut restored, mut newer) = (0, 0);
    for round in 0..400_usize {
        let mut bad = good.clone();
        let place = if round < 100 { round } else { usize::try_from(rng.next_u64() % good.len() as u64).unwrap() };
        if round % 4 == 3 {
            bad.truncate(place)
        } else {
            bad[place] ^= 1 << (round % 8)
        }
        std::fs::write(&path, &bad).unwrap();
        let mut writer = writer(directory.path());
        match writer.write() {
            Ok(()) => assert_eq!(writer.wishes(), wishes, "round {round}, byte {place}"),
            // The version itself: nothing is read, nothing is touched, and it is said.
            Err(why) => {
                newer += 1;
                assert!(why.contains("a later ms-supervisor wrote it") || why.contains("read-only"), "{why}, byte {place}");
                assert_eq!(std::fs::read(&path).unwrap(), bad);
            }
        }
        let reports = writer.take_reports();
        restored += usize::from(matches!(reports.as_slice(), [Report::Restored(StoreRestored { generation: Some(1), .. })]));
        drop(writer);
        std::fs::write(&path, &good).unwrap();
    }
    println!("400 damages: {restored} restored, {newer} refused, the others harmless");
    assert!(restored > 150 && newer < 10);
    let kept = std::fs::read_dir(directory.path().join("store")).unwrap();
    let kept = kept.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("damaged.")).count();
    assert!(kept <= 2 * usize::try_from(DAMAGED_MAX).unwrap(), "{kept}");
}

#[test]
fn generation_by_generation() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = writer(directory.path());
    for number in 1..=5 {
        first.wish("a".into(), stop(number));
        first.write().unwrap();
        first.tidy();
        let made = first.status().backups;
        first.wish("a".into(), stop(number + 10));
        first.write().unwrap();
        first.tidy();
        assert_eq!(first.status().backups, made, "it is too soon");
        assert!(first.patience() <= BACKUP_EVERY);
        // Within ten minutes the newest is overwritten, later it is kept.
        let now = first.files.made(1).unwrap().0 + if number < 3 { 5_000 } else { 601_000 };
        NOW.store(now, Ordering::Relaxed);
        first.backup_due = Some((clocks().mono)());
        first.wish("a".into(), stop(number));
        first.write().unwrap();
        first.tidy();
        assert_eq!(first.status().backups, made + 1);
        first.backed_up = None;
    }
    drop(first);
    let file = |name: String| directory.path().join("store").join(name);
    assert!(!file(format!("backup.{}.db", GENERATIONS + 1)).exists());
    for generation in 1..=GENERATIONS {
        std::fs::write(file("store.db".into()), b"no database").unwrap();
        let mut writer = writer(directory.path());
        writer.write().unwrap();
        let Some(restored) = writer.status().restored else { panic!("not restored") };
        assert_eq!(restored.generation, Some(generation), "{restored}");
        assert!(restored.to_string().starts_with(&format!("recovered from generation {generation}, of 20")), "{restored}");
        // The fourth and the fifth were kept twice: at their first and at their second backup.
        assert_eq!(writer.wishes()["a"].number, [5, 5, 4][usize::try_from(generation).unwrap() - 1]);
        drop(writer);
        std::fs::write(file(format!("backup.{generation}.db")), b"no backup").unwrap();
    }
    std::fs::write(file("store.db".into()), b"no database").unwrap();
    let mut last = writer(directory.path());
    last.write().unwrap();
    assert_eq!(last.wishes().len(), 0);
    assert!(last.status().restored.unwrap().to_string().starts_with("began anew, for want of a good backup"));
}

#[test]
fn a_later_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1);
    let path = directory.path().join("store/store.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    let before = std::fs::read(&path).unwrap();
    let mut writer = writer(directory.path());
    writer.wish("b".into(), stop(8));
    let why = "it has version 2, this program knows versions up to 1: a later ms-supervisor wrote it";
    assert_eq!(writer.write(), Err(why.to_owned()));
    assert_eq!(writer.write(), Err(why.to_owned()));
    assert_eq!(writer.take_reports(), [Report::Failed { why: why.into() }]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_takes_the_place_of_the_files_gets_all_wishes() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = writer(directory.path());
    first.wish("a".into(), stop(1));
    first.write().unwrap();
    std::fs::remove_dir_all(directory.path().join("store")).unwrap();
    first.wish("b".into(), stop(2));
    assert!(first.write().unwrap_err().starts_with("its file is gone"));
    first.write().unwrap();
    assert!(matches!(first.take_reports().as_slice(), [Report::Failed { .. }, Report::Recovered { written: 2 }]));
    let wishes = first.wishes();
    drop(first);
    let mut second = writer(directory.path());
    second.write().unwrap();
    assert_eq!(second.wishes(), wishes);
}

#[test]
fn a_locked_database_is_written_later() {
    let directory = tempfile::tempdir().unwrap();
    let before = filled(directory.path(), 1);
    let other = rusqlite::Connection::open(directory.path().join("store/store.db")).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE").unwrap();
    let mut writer = writer(directory.path());
    // Made while nobody knows what the disk has.
    writer.wish("unit9".into(), stop(9));
    writer.wish("unit1".into(), stop(7));
    assert_eq!(writer.write(), Err("another process keeps it locked".into()));
    assert_eq!(writer.patience(), RETRY);
    drop(other);
    writer.write().unwrap();
    assert_eq!(writer.wishes()["unit1"].number, 7);
    assert_eq!((writer.wishes().len(), before.len()), (2, 1));
}

#[test]
fn wishes_for_what_is_gone_are_kept_for_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = writer(directory.path());
    for number in 0..ABSENT_MAX as u64 + 2 {
        writer.wish(format!("old{number:03}"), stop(number));
    }
    writer.wish("here".into(), stop(999));
    let here = BTreeSet::from(["here".to_owned()]);
    writer.plan(&here);
    writer.write().unwrap();
    let forgotten = |reports: Vec<Report>| reports.iter().filter(|report| matches!(report, Report::Forgotten { .. })).count();
    assert_eq!((forgotten(writer.take_reports()), writer.wishes().len()), (2, ABSENT_MAX + 1));
    pass(ABSENT_FOR - Duration::from_secs(1));
    writer.plan(&BTreeSet::from(["here".to_owned(), "old100".to_owned()]));
    assert_eq!(forgotten(writer.take_reports()), 0);
    pass(Duration::from_secs(2));
    writer.plan(&here);
    assert_eq!(writer.wishes().keys().collect::<Vec<_>>(), ["here", "old100"]);
    writer.write().unwrap();
    drop(writer);
    let mut again = super::tests::writer(directory.path());
    again.write().unwrap();
    assert_eq!(again.wishes().len(), 2);
}
