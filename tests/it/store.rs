//! The store as a process that is killed sees it: what it was told is safe, is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use ms_supervisor::base::rng::Rng;
use ms_supervisor::base::time::Wall;
use ms_supervisor::event::{Desired, Wish};
use ms_supervisor::os::clock;
use ms_supervisor::store::wishes::{Clocks, Loaded, Store};

const KILLS: u64 = 220;

/// Set for the process that is killed: where it writes, and its first number.
const WRITER: &str = "MS_TEST_STORE_WRITER";

fn open(directory: &Path) -> (Store, Loaded) {
    let clocks = Clocks { mono: clock::mono, wall: clock::wall };
    let (store, loaded) = Store::start(directory.to_owned(), clocks, |report| panic!("{report:?}")).unwrap();
    (store, loaded.blocking_recv().unwrap())
}

fn wish(number: u64) -> Wish {
    Wish { number, desired: Desired::Stopped, uid: 0, at: Wall(1), why: Some("x".repeat(usize::try_from(number % 300).unwrap())) }
}

/// Not a test but the process the next one kills: it writes wishes, several at once, and tells which are safe.
#[test]
fn writer() {
    let Ok(order) = std::env::var(WRITER) else { return };
    let (first, directory) = order.split_once(' ').unwrap();
    let (store, _) = open(Path::new(directory));
    let mut number: u64 = first.parse().unwrap();
    loop {
        let answers: Vec<_> = (number..number + 5).map(|number| store.record(&format!("unit{}", number % 50), wish(number))).collect();
        for answer in answers {
            answer.blocking_recv().unwrap().unwrap();
            // Not buffered, nor captured by the test harness.
            writeln!(std::io::stderr(), "safe {number}").unwrap();
            number += 1;
        }
    }
}

#[test]
fn what_was_acknowledged_survives_hundreds_of_kills() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let seed = u64::from(std::process::id());
    let mut rng = Rng::derive(seed, &["kills"]);
    let (mut next, mut acknowledged) = (1, 0);
    for round in 0..KILLS {
        let mut writer = Command::new(std::env::current_exe().unwrap());
        writer.args(["--exact", "store::writer", "--nocapture"]).env(WRITER, format!("{next} {}", directory.path().display()));
        let mut writer = writer.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(writer.stderr.take().unwrap()).lines();
        let mut safe = 0;
        let enough = rng.next_u64() % 23;
        let number = |line: String| line.strip_prefix("safe ").and_then(|number| number.parse::<u64>().ok());
        for line in said.by_ref().take(usize::try_from(enough).unwrap()) {
            safe = number(line.unwrap()).expect("only numbers");
        }
        // Somewhere in the next transaction, or in the first: in the middle of opening.
        for _ in 0..rng.next_u64() % 100_000 {
            std::hint::spin_loop();
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        safe = said.map_while(Result::ok).filter_map(number).last().unwrap_or(safe);
        let (store, loaded) = open(directory.path());
        let wishes = loaded.unwrap();
        for number in next.max(safe.saturating_sub(49))..=safe {
            let found =
                wishes.get(&format!("unit{}", number % 50)).unwrap_or_else(|| panic!("seed {seed}, round {round}: {number} is lost"));
            // A later one may have been written and not acknowledged.
            assert!(found.number >= number && *found == wish(found.number), "seed {seed}, round {round}: {found:?} instead of {number}");
        }
        assert!(wishes.len() >= usize::try_from(acknowledged.min(50)).unwrap(), "seed {seed}, round {round}: older ones are lost");
        acknowledged = acknowledged.max(safe);
        next = wishes.values().map(|wish| wish.number).max().unwrap_or(0).max(safe) + 1;
        drop(store);
    }
    println!("{KILLS} kills, {acknowledged} wishes acknowledged, none lost; seed {seed}");
    assert!(acknowledged > KILLS);
}
