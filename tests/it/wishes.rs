//! What was acknowledged is kept, whenever the process that keeps it is killed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use ms_supervisor::base::time::Wall;
use ms_supervisor::store::wishes::Wishes;

const VARIABLE: &str = "MS_TEST_WISHES";

/// How often the writer is killed.
const KILLS: usize = 200;

/// No test, but the process that is killed: it wishes one thing after the other, and says each that was acknowledged.
#[tokio::test]
async fn writer_process() {
    let Some(directory) = std::env::var_os(VARIABLE) else { return };
    let (wishes, known, _) = Wishes::open(Path::new(&directory), |_| {}).unwrap();
    let mut out = std::io::stdout();
    for number in known.len().. {
        let target = format!("unit-{number:06}");
        wishes.stop(&target, 0, Wall(0)).await.unwrap();
        writeln!(out, "{target}").unwrap();
    }
}

#[test]
fn no_moment_to_die_loses_an_acknowledged_wish() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..KILLS {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["wishes::writer_process", "--exact", "--nocapture"])
            .env(VARIABLE, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        // Sooner or later; what it still says until it dies counts, too.
        let mut left = round % 7;
        for line in lines.filter(|line| line.starts_with("unit-")) {
            acknowledged.insert(line);
            match left {
                0 => drop(writer.kill()),
                _ => left -= 1,
            }
        }
        writer.wait().unwrap();
    }
    let (_, stopped, _) = Wishes::open(directory.path(), |_| {}).unwrap();
    let kept: BTreeSet<String> = stopped.into_iter().map(|wish| wish.target).collect();
    assert!(acknowledged.len() > KILLS, "{}", acknowledged.len());
    let lost: Vec<_> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    println!("{KILLS} kills, {} wishes acknowledged, none lost", acknowledged.len());
}
