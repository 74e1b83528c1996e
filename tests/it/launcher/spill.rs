//! Output pipes while there is no brain.

use std::fs;
use std::io::Read;

use ms_supervisor::base::exit::{ExitCause, Signal};
use ms_supervisor::launcher::wire::{Output, Spawn, SpillTo, Target, ToLauncher};

use super::bench::{Bench, Brain, exists, wait_for};

/// More than any pipe holds.
const LINES: u64 = 2_000_000;

fn expected() -> String {
    (1..=LINES).map(|number| format!("{number}\n")).collect()
}

/// Whoever connects to nobody is dead at once.
fn without_brains(bench: &Bench, work: impl FnOnce()) {
    let (socket, away) = (bench.path("brain.sock"), bench.path("away.sock"));
    fs::rename(&socket, &away).unwrap();
    work();
    fs::rename(&away, &socket).unwrap();
}

/// The launcher has heard everything.
async fn heard(bench: &Bench, brain: &mut Brain) {
    assert_eq!(brain.run(bench.script("heard", 9, "exit 0")).await.cause, ExitCause::Code(0));
}

#[tokio::test]
async fn without_a_brain_no_unit_waits_and_no_byte_is_lost_or_doubled() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let script = format!("seq 1 {LINES}; touch done; exec sleep 1000");
    let (_, _, fds) = brain.spawn(Spawn { output: Output::Pipe, ..bench.script("a", 1, &script) }).await;
    let to = SpillTo { path: bench.path("a.log"), limit: u64::MAX, may_drop: true };
    brain.send(ToLauncher::Spill { unit: "a".into(), to });
    // The brain has read some of it, and written it down.
    let mut pipe = fs::File::from(fds.output.unwrap());
    let mut begin = vec![0; 10_000];
    rustix::io::ioctl_fionbio(&pipe, false).unwrap();
    pipe.read_exact(&mut begin).unwrap();
    rustix::io::ioctl_fionbio(&pipe, true).unwrap();
    fs::write(bench.path("a.log"), &begin).unwrap();
    drop(pipe);
    heard(&bench, &mut brain).await;
    let pid = brain.pid;
    without_brains(&bench, || {
        super::bench::kill(pid, Signal::KILL);
        wait_for("the unit to write everything", || exists(&bench.path("done")).then_some(()));
        let length = || fs::metadata(bench.path("a.log")).unwrap().len();
        wait_for("everything", || (length() == expected().len() as u64).then_some(()));
    });
    drop(brain);
    let mut brain = bench.connect();
    let (_, held) = brain.introduction().await;
    let mut rest = Vec::new();
    let read = fs::File::from(held.into_iter().next().unwrap().4.output.unwrap()).read_to_end(&mut rest);
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(rest, b"");
    assert!(fs::read_to_string(bench.path("a.log")).unwrap() == expected());
    brain.signal("a", 1, Signal::KILL, Target::Tree);
}

#[tokio::test]
async fn what_has_no_room_is_dropped_and_told_or_waits() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    for (unit, may_drop) in [("drops", true), ("waits", false)] {
        let script = format!("seq 1 {LINES}; touch {unit}.done; exec sleep 1000");
        brain.spawn(Spawn { output: Output::Pipe, ..bench.script(unit, 1, &script) }).await;
        let to = SpillTo { path: bench.path(&format!("{unit}.log")), limit: 100_000, may_drop };
        brain.send(ToLauncher::Spill { unit: unit.into(), to });
    }
    heard(&bench, &mut brain).await;
    let pid = brain.pid;
    without_brains(&bench, || {
        super::bench::kill(pid, Signal::KILL);
        wait_for("the one that may drop", || exists(&bench.path("drops.done")).then_some(()));
        wait_for("the other's share", || fs::metadata(bench.path("waits.log")).is_ok_and(|file| file.len() == 100_000).then_some(()));
    });
    drop(brain);
    let mut brain = bench.connect();
    let (_, held) = brain.introduction().await;
    let drops = held.into_iter().find(|(unit, ..)| unit.as_str() == "drops").unwrap();
    let mut rest = Vec::new();
    let _would_block = fs::File::from(drops.4.output.unwrap()).read_to_end(&mut rest);
    let text = fs::read_to_string(bench.path("drops.log")).unwrap();
    assert!(expected().starts_with(&text[..100_000]));
    // One for each brain that began in between.
    let gaps = text.lines().filter_map(|line| line.strip_prefix("[ms-supervisor: "));
    let lost: usize = gaps.map(|gap| gap.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert!(expected().as_bytes().ends_with(&rest));
    assert_eq!(100_000 + lost + rest.len(), expected().len());
    assert!(!exists(&bench.path("waits.done")));
    assert!(expected().starts_with(&fs::read_to_string(bench.path("waits.log")).unwrap()));
    for unit in ["drops", "waits"] {
        brain.signal(unit, 1, Signal::KILL, Target::Tree);
    }
}

#[tokio::test]
async fn a_brain_that_lets_a_pipe_fill_and_says_nothing_is_replaced() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let script = format!("seq 1 {LINES}; exec sleep 1000");
    brain.spawn(Spawn { output: Output::Pipe, ..bench.script("a", 1, &script) }).await;
    let to = SpillTo { path: bench.path("a.log"), limit: u64::MAX, may_drop: true };
    brain.send(ToLauncher::Spill { unit: "a".into(), to });
    heard(&bench, &mut brain).await;
    let mut next = bench.connect();
    next.introduction().await;
    assert!(bench.stderr().contains("it is silent, and a unit waits to write"), "{}", bench.stderr());
    next.signal("a", 1, Signal::KILL, Target::Tree);
}
