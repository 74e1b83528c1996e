//! What outlives a brain, and how the daemon ends.

use std::io::Write;
use std::os::unix::net::UnixStream;

use ms_supervisor::base::exit::{ExitCause, Signal};
use ms_supervisor::launcher::wire::{HeldState, NOTE_MAX, Spawn, Target, ToBrain, ToLauncher};

use tokio::net::UnixDatagram;

use super::bench::{Bench, DEADLINE, exists, is_alive, kill, wait_for};

#[tokio::test]
async fn units_do_not_notice_the_death_of_a_brain() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let (a, ..) = brain.spawn(bench.spec("a", 5, &["/bin/sleep", "1000"])).await;
    let (b, ..) = brain.spawn(bench.spec("b", 6, &["/bin/sleep", "1000"])).await;
    brain.send(ToLauncher::Note { unit: "a".into(), note: b"remember".to_vec() });
    brain.send(ToLauncher::Note { unit: "a".into(), note: vec![0; NOTE_MAX + 1] });
    brain.run(bench.script("c", 7, "exit 0")).await;
    brain.kill().await;
    kill(b.pid, Signal::KILL);

    let mut brain = bench.connect();
    let (generation, held) = brain.introduction().await;
    assert_eq!((generation, held.len()), (1, 3));
    let (unit, run, state, note, fds) = &held[0];
    assert_eq!((unit.as_str(), *run, *state, &note[..]), ("a", 5, HeldState::Running(a), &b"remember"[..]));
    assert!(fds.pidfd.is_some());
    let HeldState::Exited { exit, leftovers: false } = held[1].2 else { panic!("{:?}", held[1].2) };
    assert_eq!((held[1].1, exit.process, exit.cause), (6, b, ExitCause::Signal { signal: Signal::KILL, core: false }));
    assert_eq!(held[2].2, HeldState::Idle);
    brain.kill().await;

    // Not acknowledged: told again, the same.
    let mut brain = bench.connect();
    let (generation, held) = brain.introduction().await;
    assert_eq!((generation, held[1].2), (2, HeldState::Exited { exit, leftovers: false }));
    brain.ack("b", 6);
    brain.send(ToLauncher::Forget { unit: "c".into() });
    brain.send(ToLauncher::Forget { unit: "a".into() });
    brain.run(bench.script("d", 8, "exit 0")).await;
    brain.kill().await;

    let mut brain = bench.connect();
    let (_, held) = brain.introduction().await;
    let units: Vec<_> = held.iter().map(|(unit, _, state, ..)| (unit.as_str(), *state)).collect();
    assert_eq!(units, [("a", HeldState::Running(a)), ("b", HeldState::Idle), ("d", HeldState::Idle)]);
    brain.signal("a", 5, Signal::KILL, Target::Main);
    brain.exit("a").await;
    brain.ack("a", 5);
    brain.run(bench.script("e", 9, "exit 0")).await;
    brain.kill().await;

    let mut brain = bench.connect();
    let (_, held) = brain.introduction().await;
    assert_eq!(held.iter().map(|(unit, ..)| unit.as_str()).collect::<Vec<_>>(), ["b", "d", "e"], "a is forgotten");
    assert!(bench.stderr().contains("cannot keep a note of 1025 bytes for a"), "{}", bench.stderr());
}

#[tokio::test]
async fn a_brain_that_speaks_nonsense_is_replaced() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let (a, ..) = brain.spawn(bench.spec("a", 1, &["/bin/sleep", "1000"])).await;
    UnixStream::from(brain.raw.try_clone().unwrap()).write_all(&[0xff; 64]).unwrap();
    let mut brain = bench.connect();
    let (generation, held) = brain.introduction().await;
    assert_eq!((generation, held[0].2), (1, HeldState::Running(a)));
    assert!(bench.stderr().contains("SIGABRT"), "{}", bench.stderr());
}

#[tokio::test]
async fn a_brain_that_cannot_begin_ends_the_daemon() {
    let mut bench = Bench::start();
    bench.connect().exit_with(3);
    assert_eq!(bench.exit_status().code(), Some(3));
}

#[test]
fn a_brain_that_is_not_there_ends_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["launcher", "run", "-", "/no/such/brain"];
    let launcher =
        std::process::Command::new(env!("CARGO_BIN_EXE_ms-supervisor")).args(arguments).current_dir(&directory).output().unwrap();
    assert_eq!(launcher.status.code(), Some(1));
    let stderr = String::from_utf8(launcher.stderr).unwrap();
    assert!(stderr.contains("cannot start the brain: Exec: No such file or directory"), "{stderr}");
}

#[tokio::test]
async fn a_brain_that_fails_later_is_replaced() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    brain.run(bench.script("a", 1, "exit 0")).await;
    brain.exit_with(3);
    let mut brain = bench.connect();
    assert_eq!(brain.introduction().await.0, 1);
}

#[tokio::test]
async fn the_end_leaves_nothing() {
    let mut bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let notify = bench.path("notify");
    let spec = bench.script("a", 1, "setsid sleep 1000 & echo $! > child; trap '' TERM; wait");
    let (a, ..) = brain.spawn(Spawn { notify: Some(notify.clone()), ..spec }).await;
    // Its own session, no variable to know it by, and its parent's unit still alive: it is nobody's, and found nevertheless.
    let script = "(env -i PATH=\"$PATH\" setsid sh -c 'echo $$ > orphan; exec sleep 1000' &); exec sleep 1000";
    let (b, ..) = brain.spawn(bench.script("b", 1, script)).await;
    let (child, orphan) = (bench.number_in("child"), bench.number_in("orphan"));
    brain.send(ToLauncher::Exit { code: 5 });
    brain.hear_nothing_more().await;
    for pid in [a.pid, b.pid, child, orphan] {
        assert!(!is_alive(pid));
    }
    brain.exit_with(0);
    assert_eq!(bench.exit_status().code(), Some(5));
    assert!(!exists(&notify));
    assert_eq!(bench.stderr(), "");
}

#[tokio::test]
async fn a_brain_may_exit_right_after_saying_so() {
    let mut bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let (a, ..) = brain.spawn(bench.spec("a", 1, &["/bin/sleep", "1000"])).await;
    let message = postcard::to_stdvec(&ToLauncher::Exit { code: 0 }).unwrap();
    let mut frame = u32::try_from(message.len()).unwrap().to_le_bytes().to_vec();
    frame.extend(message);
    UnixStream::from(brain.raw.try_clone().unwrap()).write_all(&frame).unwrap();
    brain.exit_with(0);
    assert_eq!(bench.exit_status().code(), Some(0));
    assert!(!is_alive(a.pid));
}

#[tokio::test]
async fn requests_to_end_reach_every_brain_and_the_third_is_an_order() {
    let mut bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let (a, ..) = brain.spawn(bench.script("a", 1, "trap '' TERM; sleep 1000")).await;
    let told = |signal| ToBrain::Signalled { signal: Signal(signal) };
    for signal in [libc::SIGHUP, libc::SIGTERM] {
        bench.signal(Signal(signal));
        assert_eq!(brain.hear().await.0, told(signal));
    }
    brain.kill().await;
    let mut brain = bench.connect();
    brain.introduction().await;
    assert_eq!(brain.hear().await.0, told(libc::SIGTERM));
    bench.signal(Signal(libc::SIGINT));
    assert_eq!(brain.hear().await.0, told(libc::SIGINT));
    bench.signal(Signal(libc::SIGINT));
    assert_eq!(bench.exit_status().code(), Some(130));
    assert!(!is_alive(a.pid) && !is_alive(brain.pid));
    assert!(bench.stderr().contains("SIGINT: killing everything"), "{}", bench.stderr());
}

#[tokio::test]
async fn systemd_hears_the_brain_and_signs_of_life() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("systemd");
    let systemd = UnixDatagram::bind(&path).unwrap();
    let bench = Bench::start_with(|command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000000");
    });
    let mut brain = bench.first_brain().await;
    let hear = async || {
        let mut bytes = [0; 100];
        let length = tokio::time::timeout(DEADLINE, systemd.recv(&mut bytes)).await.expect("a notification in time").unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert_eq!(hear().await, "WATCHDOG=1");
    brain.send(ToLauncher::Notify { state: "READY=1\nSTATUS=fine".into() });
    assert_eq!(hear().await, "READY=1\nSTATUS=fine");
    brain.send(ToLauncher::Alive);
    let environment = std::fs::read(format!("/proc/{}/environ", brain.pid)).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("MS_LAUNCHER_FD=3") && !environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"));
    brain.run(bench.script("a", 1, "exit 0")).await;
    wait_for("nothing to complain about", || bench.stderr().is_empty().then_some(()));
}

#[tokio::test]
async fn brains_that_keep_dying_are_tried_seldom_and_units_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("systemd");
    let systemd = UnixDatagram::bind(&path).unwrap();
    let bench = Bench::start_with(|command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let mut brain = bench.first_brain().await;
    let (a, ..) = brain.spawn(bench.spec("a", 1, &["/bin/sleep", "1000"])).await;
    for _ in 0..4 {
        brain.exit_with(3);
        brain = bench.connect();
    }
    let notice = bench.path("run/safe-mode");
    assert!(!notice.exists());
    brain.exit_with(3);
    let told = wait_for("safe mode", || std::fs::read_to_string(&notice).ok().filter(|text| text.ends_with('\n')));
    let wanted = "safe mode: the brain has died 5 times in a row, the last time with exit code 3; 1 units run on; next try in 10s";
    assert_eq!(told.trim_end(), wanted);
    let mut bytes = [0; 200];
    let length = tokio::time::timeout(DEADLINE, systemd.recv(&mut bytes)).await.expect("a notification in time").unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes[..length]), format!("STATUS={wanted}"));
    let mut brain = bench.connect();
    let (generation, held) = brain.introduction().await;
    assert_eq!((generation, held[0].2), (5, HeldState::Running(a)));
    brain.send(ToLauncher::Alive);
    brain.run(bench.script("b", 1, "true")).await;
    wait_for("the end of safe mode", || (!notice.exists()).then_some(()));
}

#[tokio::test]
async fn a_brain_killed_from_outside_is_not_to_blame() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    for generation in 1..=12 {
        brain.send(ToLauncher::Alive);
        brain.kill().await;
        brain = bench.connect();
        assert_eq!(brain.introduction().await.0, generation);
    }
    assert!(!bench.path("run/safe-mode").exists());
}
