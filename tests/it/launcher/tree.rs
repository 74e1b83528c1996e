//! Whole trees of processes.

use std::collections::BTreeSet;
use std::time::Instant;

use ms_supervisor::base::exit::{ExitCause, Signal};
use ms_supervisor::launcher::wire::{Credentials, HeldState, Output, Spawn, SpawnStep, Target, ToBrain, ToLauncher};

use super::bench::{Bench, is_alive, is_root, wait_for};

#[tokio::test]
async fn a_daemon_that_slipped_away_is_found_and_killed() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    // A child that is not waited for becomes an orphan when the main process ends.
    let by_environment = "(setsid sh -c 'echo $$ > stray; exec sleep 1000' &)";
    // Nothing tells whose this is, but that the unit has just lost a process.
    let by_time = "(env -i PATH=\"$PATH\" setsid sh -c 'echo $$ > stray; exec sleep 1000' &)";
    let by_session = "(env -i PATH=\"$PATH\" sh -c 'echo $$ > stray; exec sleep 1000' &)";
    for (run, script) in (1..).zip([by_environment, by_time, by_session]) {
        let _none_yet = std::fs::remove_file(bench.path("stray"));
        brain.spawn(bench.script("a", run, &format!("{script}; while [ ! -s stray ]; do sleep 0.01; done"))).await;
        let (exit, leftovers) = brain.exit("a").await;
        assert_eq!((exit.cause, leftovers), (ExitCause::Code(0), true), "{script}");
        let stray = bench.number_in("stray");
        brain.send(ToLauncher::Spawn(Box::new(bench.spec("a", 99, &["/bin/true"]))));
        assert!(matches!(brain.hear().await.0, ToBrain::SpawnFailed { run: 99, step: SpawnStep::Busy, errno: libc::EEXIST, .. }));
        assert!(is_alive(stray));
        brain.ack("a", run);
        brain.signal("a", run, Signal::KILL, Target::Tree);
        assert_eq!(brain.hear().await.0, ToBrain::Gone { unit: "a".into(), run });
        assert!(!is_alive(stray));
    }
    brain.run(bench.spec("a", 100, &["/bin/true"])).await;
}

#[tokio::test]
async fn leftovers_outlive_brains_in_memory_too() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    brain
        .spawn(bench.script("a", 1, "(setsid sh -c 'echo $$ > stray; exec sleep 1000' &); while [ ! -s stray ]; do sleep 0.01; done"))
        .await;
    brain.exit("a").await;
    brain.ack("a", 1);
    brain.run(bench.spec("b", 1, &["/bin/true"])).await;
    brain.kill().await;
    let mut brain = bench.connect();
    let (_, held) = brain.introduction().await;
    assert_eq!(held[0].2, HeldState::Leftovers);
    brain.signal("a", 1, Signal::TERM, Target::Tree);
    assert_eq!(brain.hear().await.0, ToBrain::Gone { unit: "a".into(), run: 1 });
}

#[tokio::test]
async fn a_signal_to_a_tree_reaches_every_level() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let script = "sh -c 'sleep 1000 & echo $! > third; wait' & echo $! > second; (setsid sh -c 'echo $$ > away; exec sleep 1000' &); wait";
    let (main, ..) = brain.spawn(bench.script("a", 1, script)).await;
    let pids = ["second", "third", "away"].map(|name| bench.number_in(name));
    brain.signal("a", 1, Signal::TERM, Target::Tree);
    let (exit, leftovers) = brain.exit("a").await;
    assert_eq!((exit.process, exit.cause), (main, ExitCause::Signal { signal: Signal::TERM, core: false }));
    if leftovers {
        assert_eq!(brain.hear().await.0, ToBrain::Gone { unit: "a".into(), run: 1 });
    }
    assert!(pids.iter().all(|&pid| !is_alive(pid)));
}

#[tokio::test]
async fn many_units_start_and_end_at_once() {
    const UNITS: usize = 200;
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let begun = Instant::now();
    for unit in 0..UNITS {
        let spec = bench.spec(&format!("u{unit}"), 1, &["/bin/sleep", "1000"]);
        brain.send(ToLauncher::Spawn(Box::new(Spawn { output: Output::Null, ..spec })));
    }
    let mut pids = Vec::new();
    for _ in 0..UNITS {
        let (ToBrain::Spawned { process, .. }, fds) = brain.hear().await else { panic!("no start") };
        assert!(fds.pidfd.is_some());
        pids.push(process.pid);
    }
    let started = begun.elapsed();
    for unit in 0..UNITS {
        brain.signal(&format!("u{unit}"), 1, Signal::KILL, Target::Tree);
    }
    let mut ended = BTreeSet::new();
    for _ in 0..UNITS {
        let (ToBrain::Exited { unit, leftovers: false, .. }, _) = brain.hear().await else { panic!("no clean end") };
        ended.insert(unit);
    }
    assert_eq!(ended.len(), UNITS);
    assert!(pids.iter().all(|&pid| !is_alive(pid)));
    eprintln!("{UNITS} units: started in {started:?}, ended in {:?}", begun.elapsed() - started);
}

#[tokio::test]
async fn a_fork_bomb_does_not_get_away() {
    if !is_root() {
        eprintln!("SKIPPED: only root can give a bomb a user of its own to bound it by");
        return;
    }
    const USER: u32 = 64_321;
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    // It lives on the file's existence, so that not even a launcher that fails leaves it to others.
    std::fs::set_permissions(bench.directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(bench.path("fuse"), "").unwrap();
    // Shells do not agree on the letter.
    let bomb = "ulimit -p 60 2> /dev/null || ulimit -u 60 || exit; bomb() { [ -e fuse ] || exit; bomb & while [ -e fuse ]; do (bomb &) 2> /dev/null; done; }; bomb";
    let credentials = Some(Credentials { uid: USER, gid: USER, groups: vec![] });
    let spec = bench.script("bomb", 1, bomb);
    brain.spawn(Spawn { credentials, output: Output::Null, ..spec }).await;
    let count = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter(|process| {
                std::os::unix::fs::MetadataExt::uid(&process.metadata().unwrap_or_else(|_| std::fs::metadata("/").unwrap())) == USER
            })
            .count()
    };
    wait_for("an explosion", || (count() > 30).then_some(()));
    brain.signal("bomb", 1, Signal::KILL, Target::Tree);
    let (_, leftovers) = brain.exit("bomb").await;
    if leftovers {
        assert_eq!(brain.hear().await.0, ToBrain::Gone { unit: "bomb".into(), run: 1 });
    }
    assert_eq!(count(), 0);
}
