//! Starting processes, what they find, and how their end is told.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;

use ms_supervisor::base::exit::{ExitCause, Signal};
use ms_supervisor::launcher::wire::{Credentials, Output, Spawn, SpawnStep, Target, ToBrain, ToLauncher};

use super::bench::{Bench, Brain, exists, is_root, stat_words, wait_for};

#[tokio::test]
async fn a_small_program_is_not_said_to_be_as_large_as_the_launcher() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    assert_eq!(brain.run(bench.spec("a", 1, &["/bin/true"])).await.usage.max_rss, 0);
}

#[tokio::test]
async fn an_exit_is_told_with_what_it_has_used() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let exit = brain.run(bench.spec("a", 1, &["/usr/bin/env", "python3", "-c", "x = 'x' * 60_000_000; exit(7)"])).await;
    assert_eq!(exit.cause, ExitCause::Code(7));
    assert!((60_000_000..120_000_000).contains(&exit.usage.max_rss), "{:?}", exit.usage);
    assert!(!(exit.usage.user + exit.usage.system).is_zero());
    assert!(exit.at > exit.process.started && exit.at_wall >= exit.process.started_wall);
}

#[tokio::test]
async fn a_deadly_signal_is_told_with_its_core_dump() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let exit = brain.run(bench.script("a", 1, "ulimit -c 0; kill -SEGV $$")).await;
    assert_eq!(exit.cause, ExitCause::Signal { signal: Signal(libc::SIGSEGV), core: false });
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.starts_with(['|', '/']) {
        eprintln!("SKIPPED: core dumps go to {}", pattern.trim());
        return;
    }
    let exit = brain.run(bench.script("a", 2, "ulimit -c unlimited; kill -ABRT $$")).await;
    let dumped = fs::read_dir(bench.directory.path()).unwrap().flatten().any(|file| file.file_name().to_string_lossy().starts_with("core"));
    assert_eq!(exit.cause, ExitCause::Signal { signal: Signal(libc::SIGABRT), core: dumped });
}

#[tokio::test]
async fn every_failure_names_its_step() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let missing = bench.path("missing");
    fs::write(bench.path("text"), "no program").unwrap();
    let user = |groups| Credentials { uid: 65534, gid: 65534, groups };
    let (bad_groups, groups_errno) = if is_root() { (user(vec![1; 70_000]), libc::EINVAL) } else { (user(vec![]), libc::EPERM) };
    let base = || bench.spec("a", 1, &["/bin/true"]);
    let mut cases = vec![
        (SpawnStep::Exec, libc::ENOENT, Spawn { program: missing.clone(), ..base() }),
        (SpawnStep::Exec, libc::EACCES, Spawn { program: bench.path("text"), ..base() }),
        (SpawnStep::Exec, libc::EINVAL, Spawn { arguments: vec!["a\0b".into()], ..base() }),
        (SpawnStep::Exec, libc::E2BIG, Spawn { arguments: vec!["x".repeat(200 << 10)], ..base() }),
        (SpawnStep::WorkingDirectory, libc::ENOENT, Spawn { directory: missing.clone(), ..base() }),
        (SpawnStep::NotifySocket, libc::ENOENT, Spawn { notify: Some(missing.join("socket")), ..base() }),
        (SpawnStep::Stdio, libc::EBADF, Spawn { ready_fd: Some(i32::MAX), ..base() }),
        (SpawnStep::Groups, groups_errno, Spawn { credentials: Some(bad_groups), ..base() }),
    ];
    if !is_root() {
        cases.push((SpawnStep::Nice, libc::EACCES, Spawn { nice: -5, ..base() }));
    }
    for (run, (step, errno, spec)) in (1..).zip(cases) {
        brain.send(ToLauncher::Spawn(Box::new(Spawn { run, ..spec })));
        assert_eq!(brain.hear().await.0, ToBrain::SpawnFailed { unit: "a".into(), run, step, errno });
    }
    brain.run(bench.spec("a", 100, &["/bin/true"])).await;
}

#[tokio::test]
async fn a_unit_never_has_two_main_processes() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    brain.spawn(bench.spec("a", 1, &["/bin/sleep", "1000"])).await;
    brain.send(ToLauncher::Spawn(Box::new(bench.spec("a", 2, &["/bin/sleep", "1000"]))));
    let busy = ToBrain::SpawnFailed { unit: "a".into(), run: 2, step: SpawnStep::Busy, errno: libc::EEXIST };
    assert_eq!(brain.hear().await.0, busy);
    brain.signal("a", 2, Signal::KILL, Target::Main);
    brain.signal("a", 1, Signal::TERM, Target::Main);
    let (exit, _) = brain.exit("a").await;
    assert_eq!(exit.cause, ExitCause::Signal { signal: Signal::TERM, core: false });
    brain.spawn(bench.spec("a", 2, &["/bin/sleep", "1000"])).await;
}

#[tokio::test]
async fn a_process_finds_what_it_was_promised_and_nothing_else() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let mut run = async |unit: &str, spec: Spawn| {
        brain.run(spec).await;
        bench.log(unit)
    };

    let own_stat = "umask; read -r line < /proc/$$/stat; echo \"$line\"; pwd";
    let (umask, nice) = (0o027, 3);
    let log = run("a", Spawn { umask, nice, ..bench.script("a", 1, own_stat) }).await;
    let lines: Vec<&str> = log.lines().collect();
    let stat = stat_words(lines[1]);
    let pid = lines[1].split(' ').next().unwrap();
    assert_eq!((lines[0], stat[2], stat[3], stat[16]), ("0027", pid, pid, "3"), "umask, group, session, nice");
    assert_eq!(lines[2], bench.directory.path().to_str().unwrap());

    let environment = vec!["B=2".to_owned(), "A=1 with spaces".to_owned(), "C=".to_owned()];
    let log = run("b", Spawn { environment, ..bench.spec("b", 1, &["/usr/bin/env"]) }).await;
    let (declared, invocation) = log.split_once("MS_INVOCATION_ID=b:1:").unwrap();
    assert_eq!((declared, invocation.trim_end().len()), ("B=2\nA=1 with spaces\nC=\n", 16));

    // 3 is the directory that ls reads.
    assert_eq!(run("c", bench.spec("c", 1, &["/bin/ls", "/proc/self/fd"])).await, "0\n1\n2\n3\n");
    for ready_fd in [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 40] {
        let unit = format!("ready{ready_fd}");
        let log = run(&unit, Spawn { ready_fd: Some(ready_fd), ..bench.spec(&unit, 1, &["/bin/ls", "/proc/self/fd"]) }).await;
        let own = if ready_fd == 3 { 4 } else { 3 };
        let mut expected = [0, 1, 2, own, ready_fd];
        expected.sort_unstable();
        let mut found: Vec<i32> = log.lines().map(|line| line.parse().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "the pipe at {ready_fd}");
    }

    let log = run("d", bench.spec("d", 1, &["/bin/cat", "/proc/self/status"])).await;
    let signals = ["SigBlk", "SigIgn", "SigCgt"].map(|name| log.lines().find(|line| line.starts_with(name)).unwrap());
    assert!(signals.iter().all(|line| line.ends_with("\t0000000000000000")), "{signals:?}");
    assert_eq!(run("e", bench.spec("e", 1, &["/bin/readlink", "/proc/self/fd/0"])).await, "/dev/null\n");
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    assert_eq!(run("f", bench.script("f", 1, "ulimit -n")).await.trim(), files.map_or("unlimited".into(), |files| files.to_string()));

    fs::write(bench.path("here"), "#!/bin/sh\necho \"$0\"\n").unwrap();
    fs::set_permissions(bench.path("here"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(run("g", bench.spec("g", 1, &["./here"])).await, "./here\n");
}

#[tokio::test]
async fn credentials_are_taken_on() {
    if !is_root() {
        eprintln!("SKIPPED: becoming another user needs root");
        return;
    }
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let credentials = Some(Credentials { uid: 65533, gid: 65532, groups: vec![7, 8] });
    let socket = bench.path("notify");
    let spec = bench.spec("a", 1, &["/bin/grep", "-E", "^(Uid|Gid|Groups|CapEff)", "/proc/self/status"]);
    brain.spawn(Spawn { credentials, notify: Some(socket.clone()), directory: "/".into(), ..spec }).await;
    brain.exit("a").await;
    let found: Vec<String> = bench.log("a").lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = ["Uid: 65533 65533 65533 65533", "Gid: 65532 65532 65532 65532", "Groups: 7 8", "CapEff: 0000000000000000"];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn output_is_appended_to_a_file() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    for run in 1..=2 {
        brain.run(bench.script("a", run, &format!("echo out {run}; echo err {run} >&2"))).await;
    }
    assert_eq!(bench.log("a"), "out 1\nerr 1\nout 2\nerr 2\n");
    assert_eq!(fs::metadata(bench.path("a.log")).unwrap().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn a_unit_whose_log_cannot_be_opened_runs_without() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    fs::write(bench.path("target"), "").unwrap();
    std::os::unix::fs::symlink(bench.path("target"), bench.path("link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        rustix::fs::makedev(0, 0),
    )
    .unwrap();
    for (run, (log, errno)) in (1..).zip([("no/such/log", libc::ENOENT), ("link", libc::ELOOP), ("fifo", libc::ENXIO)]) {
        let output = Output::File(bench.path(log));
        let script = bench.script("a", run, "readlink /proc/self/fd/1 > seen");
        let (_, output_lost, _) = brain.spawn(Spawn { output, ..script }).await;
        assert_eq!(output_lost, Some(errno), "{log}");
        let (exit, _) = brain.exit("a").await;
        assert_eq!(exit.cause, ExitCause::Code(0));
    }
    let script = bench.script("a", 9, "readlink /proc/self/fd/2 > \"$PWD/seen\"");
    brain.run(Spawn { output: Output::Null, ..script }).await;
    assert_eq!(fs::read_to_string(bench.path("seen")).unwrap(), "/dev/null\n");
}

#[tokio::test]
async fn a_pipe_outlives_runs_and_brains() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let spec = |run, script: &str| Spawn { output: Output::Pipe, ..bench.script("a", run, script) };
    let (_, _, fds) = brain.spawn(spec(1, "echo one; echo two >&2; exit 0")).await;
    let first = fds.output.unwrap();
    brain.exit("a").await;
    let (_, _, fds) = brain.spawn(spec(2, "while [ ! -e go ]; do sleep 0.01; done; echo three; echo four; exit $?")).await;
    let same = |a, b| rustix::fs::fstat(a).unwrap().st_ino == rustix::fs::fstat(b).unwrap().st_ino;
    assert!(same(first, fds.output.unwrap()));
    brain.kill().await;
    let mut brain = bench.connect();
    let (_, mut held) = brain.introduction().await;
    fs::write(bench.path("go"), "").unwrap();
    let (exit, _) = brain.exit("a").await;
    assert_eq!(exit.cause, ExitCause::Code(0));
    let mut bytes = [0; 100];
    let length = fs::File::from(held.remove(0).4.output.unwrap()).read(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes[..length]), "one\ntwo\nthree\nfour\n");
    brain.run(bench.script("a", 3, "exit 0")).await;
}

#[tokio::test]
async fn a_notification_socket_is_there_while_the_run_is() {
    let bench = Bench::start();
    let mut brain = bench.first_brain().await;
    let path = bench.path("notify");
    fs::write(&path, "in the way").unwrap();
    let spec = Spawn { notify: Some(path.clone()), ..bench.spec("a", 1, &["/bin/sleep", "1000"]) };
    let (_, _, fds) = brain.spawn(spec).await;
    let socket = UnixDatagram::from(fds.notify.unwrap());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    UnixDatagram::unbound().unwrap().send_to(b"READY=1", &path).unwrap();
    let mut bytes = [0; 100];
    let length = socket.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"READY=1");
    brain.signal("a", 1, Signal::KILL, Target::Main);
    brain.exit("a").await;
    wait_for("removal of the socket", || (!exists(&path)).then_some(()));
}

#[tokio::test]
async fn a_readiness_pipe_leads_to_the_brain() {
    let bench = Bench::start();
    let mut brain: Brain = bench.first_brain().await;
    let spec = Spawn { ready_fd: Some(7), ..bench.script("a", 1, "echo yes >&7; exec sleep 1000") };
    let (_, _, fds) = brain.spawn(spec).await;
    let mut pipe = fs::File::from(fds.ready.unwrap());
    let mut bytes = [0; 4];
    wait_for("readiness", || pipe.read_exact(&mut bytes).ok());
    assert_eq!(&bytes, b"yes\n");
}
