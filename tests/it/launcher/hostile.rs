//! Units and disks that make whoever starts them wait: they fail alone, and the launcher waits for none of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use ms_supervisor::base::exit::{ExitCause, Signal};
use ms_supervisor::launcher::wire::{
    Confinement, Credentials, HeldState, Landlock, Mount, MountKind, Output, Spawn, SpawnStep, Target, ToBrain, ToLauncher,
};

use super::bench::{Bench, Brain, HANGS_AT, is_alive, is_root, kill, wait_for};
use crate::hung::HungMount;

/// The first of some users that nobody else has here: one for each attack, as they would hit each other.
const NOBODY: u32 = 43_220;

const ATTACKS: [&str; 7] = ["stop", "quit", "trace", "write", "slow", "limits", "dump"];

/// Every path that a start looks at, on a mount that does not answer: what hangs there, and the step it is said to hang at.
fn hanging(bench: &Bench, mount: &Path) -> Vec<(&'static str, SpawnStep, Spawn)> {
    let base = |name: &str| bench.spec(name, 1, &["/bin/sleep", "1000"]);
    let confined = |confinement| Some(Box::new(confinement));
    let landlock = Landlock { read: vec![mount.join("x")], ..Landlock::default() };
    let place = Mount { path: mount.join("x"), kind: MountKind::ReadOnly };
    let log = Output::File(mount.join("a.log"));
    vec![
        ("directory", SpawnStep::WorkingDirectory, Spawn { directory: mount.join("x"), ..base("directory") }),
        ("program", SpawnStep::Exec, Spawn { program: mount.join("x"), ..base("program") }),
        ("log", SpawnStep::Log, Spawn { output: log, ..base("log") }),
        ("stderr", SpawnStep::Log, Spawn { stderr: Some(mount.join("b.log")), ..base("stderr") }),
        ("input", SpawnStep::Input, Spawn { input: Some(mount.join("x")), ..base("input") }),
        (
            "landlock",
            SpawnStep::LandlockPath(0),
            Spawn { confinement: confined(Confinement { landlock: Some(landlock), ..Confinement::default() }), ..base("landlock") },
        ),
        (
            "place",
            SpawnStep::Mount(0),
            Spawn { confinement: confined(Confinement { mounts: vec![place], ..Confinement::default() }), ..base("place") },
        ),
    ]
}

/// Keeps an honest unit going: starts it, kills it, hears of both. Everything else that is heard meanwhile is returned.
async fn keep_going(brain: &mut Brain, bench: &Bench, runs: std::ops::Range<u64>) -> Vec<ToBrain> {
    let mut others = Vec::new();
    for run in runs {
        brain.send(ToLauncher::Spawn(Box::new(bench.spec("honest", run, &["/bin/sleep", "1000"]))));
        loop {
            match brain.hear().await.0 {
                ToBrain::Spawned { unit, .. } if unit.as_str() == "honest" => brain.signal("honest", run, Signal::KILL, Target::Main),
                ToBrain::Exited { unit, exit, .. } if unit.as_str() == "honest" => {
                    assert_eq!(exit.cause, ExitCause::Signal { signal: Signal::KILL, core: false });
                    brain.ack("honest", run);
                    break;
                }
                ToBrain::SpawnFailed { unit, step, errno, .. } if unit.as_str() == "honest" => panic!("honest: {step:?} {errno}"),
                other => others.push(other),
            }
        }
    }
    others
}

#[tokio::test]
async fn a_mount_that_hangs_holds_only_those_who_start_there() {
    if !is_root() {
        return println!("SKIPPED: mounting needs root");
    }
    let Some(mount) = HungMount::hung() else { return };
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let cases = hanging(&bench, &mount.path(""));
    for (_, _, spec) in &cases {
        brain.send(ToLauncher::Spawn(Box::new(spec.clone())));
    }
    // None of them has been given up yet: that takes ten seconds, and these here much less.
    let early = keep_going(&mut brain, &bench, 1..21).await;
    assert_eq!(early, [], "they still hang");
    let mut failed = BTreeMap::new();
    while failed.len() < cases.len() {
        match brain.hear().await.0 {
            ToBrain::SpawnFailed { unit, run: 1, step, errno: libc::ETIMEDOUT } => drop(failed.insert(unit.to_string(), step)),
            other => panic!("instead of a start that takes too long: {other:?}"),
        }
    }
    let expected: BTreeMap<_, _> = cases.iter().map(|(name, step, _)| ((*name).to_owned(), *step)).collect();
    assert_eq!(failed, expected);
    println!("a start that hangs at: {failed:?}");
    // What waits for a dead disk cannot be killed: as long as it is there, it is a leftover, and there is no second one.
    let again = Spawn { run: 2, ..cases[0].2.clone() };
    brain.send(ToLauncher::Spawn(Box::new(again)));
    let busy = ToBrain::SpawnFailed { unit: "directory".into(), run: 2, step: SpawnStep::Busy, errno: libc::EEXIST };
    assert_eq!(brain.hear().await.0, busy);
    drop(mount);
    let mut gone = Vec::new();
    while gone.len() < cases.len() {
        match brain.hear().await.0 {
            ToBrain::Gone { unit, run: 1 } => gone.push(unit),
            other => panic!("instead of the end of a leftover: {other:?}"),
        }
    }
    brain.spawn(bench.spec("directory", 3, &["/bin/sleep", "1000"])).await;
}

#[tokio::test]
async fn processes_that_cannot_be_killed_do_not_keep_the_daemon_from_ending() {
    if !is_root() {
        return println!("SKIPPED: mounting needs root");
    }
    let Some(mount) = HungMount::hung() else { return };
    let mut bench = Bench::start();
    let mut brain = bench.first_brain().await;
    for (_, _, spec) in hanging(&bench, &mount.path("")) {
        brain.send(ToLauncher::Spawn(Box::new(spec)));
    }
    keep_going(&mut brain, &bench, 1..2).await;
    brain.send(ToLauncher::Exit { code: 5 });
    brain.hear_nothing_more().await;
    brain.exit_with(0);
    assert_eq!(bench.exit_status().code(), Some(5));
    assert!(bench.stderr().contains("cannot end these processes"), "{}", bench.stderr());
}

/// A thread of the brain waits for a dead disk when the brain is killed: the process stays, as nothing ends such a thread, and is replaced all the same.
#[tokio::test]
async fn a_brain_whose_threads_hang_is_replaced() {
    if !is_root() {
        return println!("SKIPPED: mounting needs root");
    }
    let Some(mount) = HungMount::hung() else { return };
    let mut bench = Bench::start_with(|command| {
        command.env(HANGS_AT, mount.path("x"));
    });
    let mut brain = bench.first_brain().await;
    let (process, ..) = brain.spawn(bench.spec("honest", 1, &["/bin/sleep", "1000"])).await;
    wait_for("a thread that hangs", || (mount.held() > 0).then_some(()));
    let first = brain.pid;
    kill(first, Signal::KILL);
    // The test has copies of the brain's socket, which would be closed now.
    rustix::net::shutdown(&brain.raw, rustix::net::Shutdown::Both).unwrap();
    let mut brain = bench.connect();
    let (_, held) = brain.introduction().await;
    assert!(matches!(held[0].2, HeldState::Running(found) if found == process), "{:?}", held[0].2);
    assert!(is_alive(first), "its thread waits");
    brain.send(ToLauncher::Exit { code: 0 });
    brain.hear_nothing_more().await;
    assert_eq!(bench.exit_status().code(), Some(0), "nothing of its threads can be ended");
    println!("{}", bench.stderr());
}

/// Does everything to the processes of its user that it may do, for as long as it lives.
const ATTACKER: &str = r#"
import ctypes, os, resource, signal, sys
libc = ctypes.CDLL(None)
me, how = os.getpid(), sys.argv[1]
while True:
    for name in os.listdir('/proc'):
        if not name.isdigit() or int(name) == me:
            continue
        pid = int(name)
        try:
            if os.stat('/proc/' + name).st_uid not in (os.getuid(), 0):
                continue
            if how == 'stop':
                os.kill(pid, signal.SIGSTOP)
            elif how == 'quit':
                os.kill(pid, signal.SIGQUIT)
            elif how == 'trace':
                libc.ptrace(16, pid, 0, 0)
            elif how == 'write':
                os.open('/proc/%d/mem' % pid, os.O_RDWR)
            elif how == 'slow':
                os.setpriority(os.PRIO_PROCESS, pid, 19)
                os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
            elif how == 'limits':
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, 0))
                resource.prlimit(pid, resource.RLIMIT_AS, (0, 0))
            elif how == 'dump':
                libc.prctl(4, 1)
                os.readlink('/proc/%d/exe' % pid)
                os.kill(pid, signal.SIGTSTP)
        except OSError:
            pass
    if how == 'stop':
        try:
            os.kill(-1, signal.SIGSTOP)
        except OSError:
            pass
"#;

/// A unit that does `how` to everything of its user, beside one of the same user that is started again and again, and an honest one.
async fn attacked(how: &str) {
    if !is_root() {
        return println!("SKIPPED: becoming another user needs root");
    }
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let uid = NOBODY + (0..).zip(ATTACKS).find(|(_, known)| *known == how).unwrap().0;
    let user = || Some(Credentials { uid, gid: uid, groups: vec![] });
    let attacker = Spawn {
        credentials: user(),
        directory: "/".into(),
        ..bench.spec("attacker", 1, &["/usr/bin/env", "python3", "-c", ATTACKER, how])
    };
    brain.spawn(attacker).await;
    let victim = |run| Spawn { credentials: user(), directory: "/".into(), ..bench.spec("victim", run, &["/bin/true"]) };
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    let mut run = 0;
    let mut is_out = false;
    for round in 0..40 {
        if !is_out {
            run += 1;
            is_out = true;
            brain.send(ToLauncher::Spawn(Box::new(victim(run))));
        }
        for heard in keep_going(&mut brain, &bench, round * 5 + 1..round * 5 + 6).await {
            let outcome = match heard {
                ToBrain::Spawned { .. } => "started".to_owned(),
                ToBrain::Exited { unit, exit, leftovers: false, .. } if unit.as_str() == "victim" => {
                    brain.ack("victim", run);
                    is_out = false;
                    exit.cause.to_string()
                }
                ToBrain::SpawnFailed { step, errno, .. } => {
                    is_out = false;
                    format!("failed at {step:?}: {errno}")
                }
                other => panic!("{other:?}"),
            };
            *outcomes.entry(outcome).or_default() += 1;
        }
        if is_out {
            // It may be stopped once it runs: then it is its user's.
            brain.signal("victim", run, Signal::KILL, Target::Main);
        }
    }
    println!("{how}: 200 restarts of an honest unit; the one of the same user: {outcomes:?}");
}

#[tokio::test]
async fn a_user_that_stops_its_processes_stops_nobody_else() {
    attacked(ATTACKS[0]).await;
}

#[tokio::test]
async fn a_user_that_does_all_else_to_its_processes_hurts_nobody_else() {
    for how in &ATTACKS[1..] {
        attacked(how).await;
    }
}

/// Nobody reads stderr: the pipe is full before the launcher says anything.
#[tokio::test]
async fn a_stderr_that_nobody_reads_holds_nobody() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let theirs = writer.try_clone().unwrap();
    rustix::fs::fcntl_setfl(writer.as_fd(), rustix::fs::OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(writer.as_fd(), rustix::fs::OFlags::empty()).unwrap();
    drop(writer);
    let mut bench = Bench::start_with(|command| {
        command.stderr(theirs);
    });
    let mut brain = bench.first_brain().await;
    keep_going(&mut brain, &bench, 1..3).await;
    for run in 3..6 {
        // The launcher complains of each death.
        brain.kill().await;
        brain = bench.connect();
        brain.introduction().await;
        keep_going(&mut brain, &bench, run..run + 1).await;
    }
    brain.send(ToLauncher::Exit { code: 0 });
    brain.hear_nothing_more().await;
    brain.exit_with(0);
    assert_eq!(bench.exit_status().code(), Some(0), "with much left to say");
    drop(reader);
}

/// A disk of our own, which can be made to hang.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let (image, at) = (place.path().join("image"), place.path().join("disk"));
        fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        fs::create_dir(&at).unwrap();
        let run = |program: &str, arguments: &[&Path]| {
            Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let made = run("mkfs.ext4", &[Path::new("-q"), &image]) && run("mount", &[Path::new("-o"), Path::new("loop"), &image, &at]);
        if !made {
            println!("SKIPPED: a file system of our own cannot be mounted");
            return None;
        }
        Some(Self(place))
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("disk")
    }

    /// From now on nothing can be written, or not any more.
    fn freeze(&self, freeze: bool) {
        let flag = if freeze { "--freeze" } else { "--unfreeze" };
        assert!(Command::new("fsfreeze").arg(flag).arg(self.path()).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _thawed = Command::new("fsfreeze").arg("--unfreeze").arg(self.path()).stderr(Stdio::null()).status();
        let _unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_run_directory_whose_disk_hangs_costs_new_starts_only() {
    if !is_root() {
        return println!("SKIPPED: mounting needs root");
    }
    let Some(disk) = Disk::new() else { return };
    let mut bench = Bench::start_in(disk.path(), |_| {});
    let mut brain = bench.first_brain().await;
    let honest = |run| bench.spec("honest", run, &["/bin/sleep", "1000"]);
    let (process, ..) = brain.spawn(honest(1)).await;
    disk.freeze(true);
    let late = Spawn { notify: Some(disk.path().join("late.sock")), ..bench.spec("late", 1, &["/bin/sleep", "1000"]) };
    brain.send(ToLauncher::Spawn(Box::new(late)));
    let hangs = |unit: &str, step| ToBrain::SpawnFailed { unit: unit.into(), run: 1, step, errno: libc::ETIMEDOUT };
    assert_eq!(brain.hear().await.0, hangs("late", SpawnStep::NotifySocket));
    brain.send(ToLauncher::Spawn(Box::new(bench.spec("later", 1, &["/bin/sleep", "1000"]))));
    // What runs is stopped and heard of all the same.
    brain.signal("honest", 1, Signal::TERM, Target::Main);
    let (exit, _) = brain.exit("honest").await;
    assert_eq!((exit.process, exit.cause), (process, ExitCause::Signal { signal: Signal::TERM, core: false }));
    brain.ack("honest", 1);
    assert_eq!(brain.hear().await.0, hangs("later", SpawnStep::Book));
    disk.freeze(false);
    assert_eq!(brain.hear().await.0, ToBrain::Gone { unit: "later".into(), run: 1 });
    let (process, ..) = brain.spawn(honest(2)).await;
    // The book is right again: the next launcher finds what runs.
    wait_for("the book", || {
        let book = fs::read(disk.path().join("run/book")).ok()?;
        book.chunks(4096).any(|slot| slot.get(..4) == Some(&process.pid.to_le_bytes())).then_some(())
    });
    brain.send(ToLauncher::Exit { code: 0 });
    brain.hear_nothing_more().await;
    brain.exit_with(0);
    assert_eq!(bench.exit_status().code(), Some(0));
}
