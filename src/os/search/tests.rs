use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use super::*;

/// A program that waits until it is dropped.
struct Program(Child);

impl Program {
    /// `cat` under another name.
    fn called(name: &str) -> Self {
        let program = Self(Command::new("cat").arg0(name).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
        let line = format!("/proc/{}/cmdline", program.0.id());
        let end = Instant::now() + Duration::from_secs(20);
        while !std::fs::read(&line).is_ok_and(|line| line.starts_with(name.as_bytes())) {
            assert!(Instant::now() < end, "it does not run");
            std::thread::sleep(Duration::from_millis(1));
        }
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn look_for(plan: WatchPlan, known: BTreeSet<Identity>, ours: &[u32]) -> Look {
    let criteria = Arc::new(Criteria::new(&plan));
    let seeker = Seeker { looked_up: criteria.look_up(), criteria, known };
    let seekers = BTreeMap::from([(UnitId::from("a"), seeker)]);
    look(&seekers, &ours.iter().copied().collect()).unwrap().remove("a").unwrap()
}

fn pids(plan: WatchPlan) -> Vec<u32> {
    look_for(plan, BTreeSet::new(), &[]).found.keys().map(|process| process.pid).collect()
}

#[test]
fn processes_are_found_by_everything_that_is_known_of_them() {
    let first = Program::called("/x/ms-search-one");
    let second = Program::called("ms-search-two");
    let (one, two) = (first.0.id(), second.0.id());
    let name = |name: &str| WatchPlan { name: Some(name.into()), ..WatchPlan::default() };
    assert_eq!(pids(name("ms-search-one")), [one]);
    assert!(pids(name("ms-search")).is_empty());
    let line = |line: &str| WatchPlan { command_line: Some(line.into()), ..WatchPlan::default() };
    assert_eq!(pids(line("^(/x/)?ms-search-(one|two)$")), [one, two]);
    let exe = std::fs::read_link(format!("/proc/{one}/exe")).unwrap();
    let by_exe = WatchPlan { exe: Some(exe.clone()), ..line("search-two") };
    assert_eq!(pids(by_exe.clone()), [two]);
    assert!(pids(WatchPlan { exe: Some("/bin/no-such-thing".into()), ..by_exe }).is_empty());
    // By a link to it as well.
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&exe, &link).unwrap();
    assert_eq!(pids(WatchPlan { exe: Some(link), ..line("search-two") }), [two]);
    let own = cgroup::of_process(one).unwrap();
    assert_eq!(pids(WatchPlan { cgroup: Some(own), ..name("ms-search-one") }), [one]);
    assert!(pids(WatchPlan { cgroup: Some("/no/such".into()), ..name("ms-search-one") }).is_empty());
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(pids(WatchPlan { user: Some(uid.to_string()), ..name("ms-search-one") }), [one]);
    assert!(pids(WatchPlan { user: Some("54321".into()), ..name("ms-search-one") }).is_empty());
    let nobody = look_for(WatchPlan { user: Some("no-such-user".into()), ..name("ms-search-one") }, BTreeSet::new(), &[]);
    assert_eq!(nobody.trouble.unwrap(), "cannot find user `no-such-user`: no such user on this machine");
    assert!(nobody.found.is_empty());
    // What is below ours is nobody's.
    assert!(look_for(name("ms-search-one"), BTreeSet::new(), &[std::process::id()]).found.is_empty());
    let look = look_for(name("ms-search-one"), BTreeSet::new(), &[two]);
    let sight = &look.found.values().next().unwrap();
    assert!(sight.command == "/x/ms-search-one" && sight.sample.threads == 1 && sight.sample.resident > 4096, "{sight:?}");
    assert!((clock::wall().0 - sight.started.0).abs() < 60_000 && sight.sample.descriptors >= 3, "{sight:?}");
}

#[test]
fn a_pid_file_is_believed_if_it_is_younger_than_the_process() {
    let program = Program::called("ms-search-pid");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.pid");
    let plan = WatchPlan { pid_file: Some(path.clone()), ..WatchPlan::default() };
    let missing = look_for(plan.clone(), BTreeSet::new(), &[]);
    assert!(missing.found.is_empty() && missing.trouble.unwrap().starts_with("cannot read the pid file "));
    std::fs::write(&path, program.0.id().to_string()).unwrap();
    let found = look_for(plan.clone(), BTreeSet::new(), &[]);
    assert_eq!((found.found.len(), found.trouble), (1, None));
    let known: BTreeSet<_> = found.found.keys().copied().collect();
    // One that is older than the process was written for another one.
    let file = std::fs::File::open(&path).unwrap();
    file.set_modified(std::fs::metadata("/proc/self/exe").unwrap().modified().unwrap() - Duration::from_secs(86_400)).unwrap();
    let stale = look_for(plan.clone(), BTreeSet::new(), &[]);
    assert!(stale.found.is_empty() && stale.trouble.unwrap().ends_with("was started after the pid file that names it was written"));
    let named = WatchPlan { name: Some("ms-search-pid".into()), ..plan.clone() };
    assert_eq!(pids(named.clone()), [program.0.id()]);
    assert!(pids(WatchPlan { name: Some("another".into()), ..named }).is_empty());
    // What is known stays, whatever becomes of the file, until it names another one.
    assert_eq!(look_for(plan.clone(), known.clone(), &[]).found.len(), 1);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(look_for(plan.clone(), known.clone(), &[]).found.len(), 1);
    std::fs::write(&path, std::process::id().to_string()).unwrap();
    assert!(!look_for(plan, known.clone(), &[]).found.contains_key(known.first().unwrap()));
}

#[test]
fn odd_names_do_not_confuse() {
    let proc = rustix::fs::openat(rustix::fs::CWD, "/proc", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let stat = b"42 (a) R (b) S 17 42 42 0 -1 4194304 100 0 0 0 150 50 7 8 20 0 3 0 12345 1000000 99 18446744073709551615 1";
    let process = parse(&proc, 42, stat).unwrap();
    assert_eq!((&*process.name, process.state, process.parent, process.threads), ("a) R (b", 'S', 17, 3));
    assert_eq!((process.identity, process.resident > 99), (Identity { started: 12345, pid: 42 }, true));
    assert!(process.user > process.system && process.system > Duration::ZERO);
    let kernel = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 18446744073709551615 0";
    assert!(parse(&proc, 2, kernel).is_none(), "a thread of the kernel");
    for broken in [&b""[..], b"42 (a", b"42 (a)", b"42 (a) S x"] {
        assert!(parse(&proc, 42, broken).is_none());
    }
}

#[test]
fn cgroups_contain_what_is_below_them() {
    assert!(is_in("/a/b", "/a") && is_in("/a", "/a") && is_in("/a", "/") && is_in("/", "/"));
    assert!(!is_in("/ab", "/a") && !is_in("/", "/a"));
}
