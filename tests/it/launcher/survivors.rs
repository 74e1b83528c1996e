//! The launcher is killed, and the next one finds what it has left.

use std::fs;
use std::io::Read;

use ms_supervisor::base::exit::{ExitCause, Signal};
use ms_supervisor::launcher::wire::{HeldState, Output, Process, Target, ToBrain, ToLauncher};

use super::bench::{Bench, Brain, kill, wait_for};

/// Whether `pid` runs. Where nobody reaps orphans at once, a dead one may still be seen for a while.
fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// What the next launcher says that it holds of `unit`.
async fn held(brain: &mut Brain, unit: &str) -> (u64, HeldState, Vec<u8>, ms_supervisor::launcher::link::FdSet) {
    let (_, held) = brain.introduction().await;
    let found = held.into_iter().find(|(id, ..)| id.as_str() == unit);
    found.map(|(_, run, state, note, fds)| (run, state, note, fds)).unwrap_or_else(|| panic!("{unit} is not known"))
}

fn running(state: HeldState) -> Process {
    let HeldState::Running(process) = state else { panic!("{state:?}") };
    process
}

/// Kernels before 6.15 do not tell how others' children end.
fn told_or_unknown(cause: ExitCause, wanted: ExitCause) {
    if cause == ExitCause::Unknown {
        println!("SKIPPED: this kernel does not tell how others' children end");
    } else {
        assert_eq!(cause, wanted);
    }
}

#[tokio::test]
async fn survivors_are_found_and_not_started_twice() {
    let mut bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let (process, ..) = brain.spawn(bench.script("a", 7, "while [ ! -e go ]; do sleep 0.02; done; exit 3")).await;
    brain.send(ToLauncher::Note { unit: "a".into(), note: vec![1, 2, 3] });
    brain.run(bench.script("ended", 1, "true")).await;
    brain.ack("ended", 1);
    brain.run(bench.script("never-acknowledged", 4, "exit 9")).await;
    bench.kill_launcher();
    bench.start_again();
    let mut brain = bench.connect();
    let (generation, mut known) = brain.introduction().await;
    assert_eq!(generation, 0);
    known.sort_by(|a, b| a.0.cmp(&b.0));
    let [a, ended, unheard] = &known[..] else { panic!("{known:?}") };
    assert_eq!((a.1, running(a.2), &a.3[..]), (7, process, &[1, 2, 3][..]));
    assert!(a.4.pidfd.is_some());
    // On a disk the book is written by a thread of its own: what was acknowledged just before the launcher died may be told again, as it was.
    let is_again = |state| matches!(state, HeldState::Exited { exit, leftovers: false } if exit.cause == ExitCause::Code(0));
    assert!(ended.1 == 1 && (ended.2 == HeldState::Idle || is_again(ended.2)), "{ended:?}");
    let HeldState::Exited { exit, leftovers: false } = unheard.2 else { panic!("{unheard:?}") };
    assert_eq!(exit.cause, ExitCause::Code(9), "it was reaped before the launcher died");

    brain.send(ToLauncher::Spawn(Box::new(bench.script("a", 8, "true"))));
    let (answer, _) = brain.hear().await;
    assert!(matches!(answer, ToBrain::SpawnFailed { run: 8, .. }), "{answer:?}");
    fs::write(bench.path("go"), "").unwrap();
    let (exit, leftovers) = brain.exit("a").await;
    assert_eq!((exit.process, leftovers), (process, false));
    told_or_unknown(exit.cause, ExitCause::Code(3));
    // Now it may run again, as a child as any other.
    let exit = brain.run(bench.script("a", 8, "exit 4")).await;
    assert_eq!(exit.cause, ExitCause::Code(4));
    brain.send(ToLauncher::Exit { code: 0 });
    brain.hear_nothing_more().await;
    brain.exit_with(0);
    assert!(bench.exit_status().success());
    assert!(!bench.path("run/book").exists(), "an orderly end leaves nothing to find");
}

#[tokio::test]
async fn what_ended_while_nobody_was_there_is_not_guessed() {
    let mut bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let (process, ..) = brain.spawn(bench.script("a", 1, "exec sleep 1000")).await;
    bench.kill_launcher();
    kill(process.pid, Signal::KILL);
    wait_for("its end", || (!is_alive(process.pid)).then_some(()));
    bench.start_again();
    let (run, state, ..) = held(&mut bench.connect(), "a").await;
    let HeldState::Exited { exit, leftovers: false } = state else { panic!("{state:?}") };
    assert_eq!((run, exit.process), (1, process));
    // Where orphans are reaped late it can still be seen.
    assert!(matches!(exit.cause, ExitCause::Unknown | ExitCause::Signal { signal: Signal::KILL, .. }), "{exit:?}");
}

#[tokio::test]
async fn everything_of_a_survivor_is_killed() {
    let mut bench = Bench::start();
    let mut brain = bench.first_brain().await;
    // A child below the main process, and an orphan in a session of its own.
    let script = "sleep 1000 & echo $! > child; (setsid sleep 1001 & echo $! > orphan); while :; do sleep 0.05; done";
    brain.spawn(bench.script("a", 1, script)).await;
    let pids = ["child", "orphan"].map(|name| wait_for(name, || fs::read_to_string(bench.path(name)).ok()?.trim().parse::<u32>().ok()));
    bench.kill_launcher();
    bench.start_again();
    let mut brain = bench.connect();
    let (_, state, ..) = held(&mut brain, "a").await;
    let main = running(state).pid;
    brain.signal("a", 1, Signal::KILL, Target::Tree);
    let (exit, leftovers) = brain.exit("a").await;
    told_or_unknown(exit.cause, ExitCause::Signal { signal: Signal::KILL, core: false });
    if leftovers {
        let (message, _) = brain.hear().await;
        assert!(matches!(message, ToBrain::Gone { run: 1, .. }), "{message:?}");
    }
    for pid in pids.into_iter().chain([main]) {
        wait_for("the end of all", || (!is_alive(pid)).then_some(()));
    }
}

#[tokio::test]
async fn what_a_dead_main_process_has_left_is_found_and_killed() {
    let mut bench = Bench::start();
    let mut brain = bench.first_brain().await;
    brain.spawn(bench.script("a", 1, "(setsid sleep 1000 & echo $! > orphan); exec sleep 1001")).await;
    let orphan = wait_for("the orphan", || fs::read_to_string(bench.path("orphan")).ok()?.trim().parse::<u32>().ok());
    let main = wait_for("the main process", || {
        let pid = ms_supervisor::os::process::all()
            .find(|&pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x001001\0"));
        pid.filter(|&pid| is_alive(pid))
    });
    bench.kill_launcher();
    kill(main, Signal::KILL);
    wait_for("its end", || (!is_alive(main)).then_some(()));
    bench.start_again();
    let mut brain = bench.connect();
    let (_, state, ..) = held(&mut brain, "a").await;
    assert!(matches!(state, HeldState::Exited { leftovers: true, .. }), "{state:?}");
    brain.ack("a", 1);
    brain.signal("a", 1, Signal::KILL, Target::Tree);
    let (message, _) = brain.hear().await;
    assert!(matches!(message, ToBrain::Gone { run: 1, .. }), "{message:?}");
    assert!(!is_alive(orphan));
}

#[tokio::test]
async fn output_in_a_pipe_waits_for_the_next_launcher() {
    let mut bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i + 1)); done; echo > done; exec sleep 1000";
    let spec = ms_supervisor::launcher::wire::Spawn { output: Output::Pipe, ..bench.script("a", 1, script) };
    let (_, _, fds) = brain.spawn(spec).await;
    drop((fds, brain));
    bench.kill_launcher();
    // Nobody else has the pipe now, and nothing ends the writer.
    wait_for("the writer", || bench.path("done").exists().then_some(()));
    bench.start_again();
    let (_, state, _, fds) = held(&mut bench.connect(), "a").await;
    running(state);
    let mut lines = String::new();
    let mut pipe = fs::File::from(fds.output.expect("the pipe"));
    wait_for("every line", || {
        let mut buffer = [0; 65536];
        let length = pipe.read(&mut buffer).unwrap_or(0);
        lines.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        lines.ends_with("line 1999\n").then_some(())
    });
    assert!(lines.lines().enumerate().all(|(number, line)| line == format!("line {number}")), "{lines}");
}

/// However often and whenever the launcher is killed, a unit has one process, or none if it was never started.
#[tokio::test]
async fn no_moment_to_die_gives_a_unit_two_processes() {
    const UNITS: u64 = 20;
    let mut bench = Bench::start();
    let mut run = 0;
    for round in 0..25 {
        let mut brain = bench.connect();
        let (_, known) = brain.introduction().await;
        let alive: Vec<String> =
            known.iter().filter(|held| matches!(held.2, HeldState::Running(_))).map(|held| held.0.to_string()).collect();
        for number in 0..UNITS {
            let unit = format!("u{number}");
            run += 1;
            if alive.contains(&unit) {
                brain.signal(&unit, known.iter().find(|held| held.0.as_str() == unit).unwrap().1, Signal::KILL, Target::Tree);
            } else {
                brain.send(ToLauncher::Spawn(Box::new(bench.script(&unit, run, "exec sleep 1000"))));
            }
        }
        // Sooner or later within what was ordered.
        for _ in 0..(round * 7) % 20 {
            brain.hear().await;
        }
        bench.kill_launcher();
        bench.start_again();
    }
    let mut brain = bench.connect();
    let (_, known) = brain.introduction().await;
    let mut processes: Vec<(String, u32)> = Vec::new();
    for (unit, _, state, ..) in known {
        if let HeldState::Running(process) = state {
            processes.push((unit.to_string(), process.pid));
        }
    }
    // What says of itself that it belongs to this daemon, whatever the launcher knows.
    let own = bench.path("run").display().to_string();
    let mut found: Vec<u32> = ms_supervisor::os::process::all()
        .filter(|&pid| ms_supervisor::os::process::variable(pid, "MS_TEST_RUN").is_some_and(|value| value == own) && is_alive(pid))
        .collect();
    let mut known: Vec<u32> = processes.iter().map(|(_, pid)| *pid).collect();
    found.sort_unstable();
    known.sort_unstable();
    assert_eq!(found, known, "{processes:?}\n{}", bench.stderr());
    brain.send(ToLauncher::Exit { code: 0 });
    brain.hear_nothing_more().await;
    brain.exit_with(0);
    assert!(bench.exit_status().success());
    assert!(found.iter().all(|&pid| !is_alive(pid)));
}
