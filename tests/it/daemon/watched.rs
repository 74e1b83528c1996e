//! Processes that somebody else starts: found, pinned, watched, and left alone.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::bench::{Daemon, is_alive, kill, until};
use super::metrics::{free_address, get};

/// A process of ours, which to the daemon is a stranger.
pub(super) struct Stranger(Child);

impl Stranger {
    /// A program that waits, under a name that nobody else has.
    pub(super) fn called(name: &str) -> Self {
        Self::run(Command::new("cat").arg0(unique(name)))
    }

    fn run(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn kill(mut self, signal: i32) {
        kill(self.pid(), signal);
        self.0.wait().unwrap();
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Several runs of the tests may be on at once.
pub(super) fn unique(name: &str) -> String {
    format!("ms-{name}-{}", std::process::id())
}

/// `sshd: {watch: …}`, looked for so seldom that what is seen of an end is not seen by looking.
fn watch(unit: &str, criteria: &str) -> String {
    format!("unit: {unit}\nwatch: {{{criteria}, period: 1h}}\n")
}

#[track_caller]
fn found(daemon: &Daemon, unit: &str, pid: u32) {
    until("it is found", || (daemon.status(unit)["pid"] == pid && daemon.status(unit)["ready"] == true).then_some(()));
}

fn count(daemon: &Daemon, kind: &str) -> usize {
    daemon.events().iter().filter(|event| event["type"] == kind).count()
}

#[test]
fn a_stranger_is_found_seen_to_end_and_found_again() {
    let name = unique("ends");
    let first = Stranger::called("ends");
    let mut daemon = Daemon::prepared(&[("units/all.yaml", &format!("unit: sshd\nwatch: {{name: {name}, period: 200ms}}\n"))]);
    let address = free_address();
    daemon.start_with(&["run", "--quiet", "--listen", &address]);
    let told = daemon.event("ProcessFound", |data| data["unit"] == "sshd")["data"].clone();
    assert_eq!((told["pid"].clone(), told["command"].clone()), (first.pid().into(), name.clone().into()));
    daemon.event("UnitFound", |data| data["pid"] == first.pid() && data["matches"] == 1 && data["gone"].is_null());
    found(&daemon, "sshd", first.pid());
    let text = daemon.ok(&["status", "sshd"]);
    assert!(text.contains(&format!("Watched: not started by us: name {name}\n")) && text.contains("Found: 1, at least 1 needed"), "{text}");
    assert!(daemon.ok(&["status"]).contains("not started by us") && daemon.ok(&["tree"]).contains("not started by us"));
    assert_eq!(get(&address, "/healthz").unwrap().0, 200);
    let page = get(&address, "/metrics").unwrap().1;
    for line in
        ["ms_unit_up{unit=\"sshd\",supervisor=\"root\"} 1", "ms_unit_processes{unit=\"sshd\"} 1", "ms_unit_threads{unit=\"sshd\"} 1"]
    {
        assert!(page.contains(line), "{line} in\n{page}");
    }
    let pid = first.pid();
    first.kill(9);
    let gone = daemon.event("ProcessGone", |data| data["unit"] == "sshd")["data"].clone();
    let cause = gone["cause"].clone();
    // Older kernels do not tell of others' children.
    assert!(cause["signal"]["signal"] == 9 || cause == "unknown", "{gone}");
    assert!(
        gone["pid"] == pid && gone["left"] == 0 && gone["last"]["threads"] == 1 && gone["last"]["resident"].as_u64() > Some(0),
        "{gone}"
    );
    daemon.event("UnitLost", |data| data["unit"] == "sshd" && data["left"] == 0 && data["needed"] == 1);
    until("it shows", || (daemon.status("sshd")["state"] == "failed").then_some(()));
    let status = daemon.status("sshd");
    assert!(status["reason"].as_str().unwrap().starts_with(&format!("gone: pid {pid}: it has ended: ")), "{status}");
    assert!(status["watch"]["gone_since"].is_string() || status["watch"]["gone_since"].is_number(), "{status}");
    let (code, text) = get(&address, "/healthz").unwrap();
    assert!(code == 503 && text.contains("sshd"), "{text}");
    let second = Stranger::called("ends");
    let back = daemon.event("UnitFound", |data| data["pid"] == second.pid())["data"].clone();
    assert!(back["gone"].as_f64() > Some(0.0), "{back}");
    found(&daemon, "sshd", second.pid());
    assert_eq!((count(&daemon, "UnitLost"), count(&daemon, "UnitFound"), daemon.status("sshd")["restarts"].clone()), (1, 2, 1.into()));
    let supervisor = daemon.events().into_iter().filter(|event| event["type"] == "ChildTerminated").count();
    assert_eq!(supervisor, 0, "its supervisor has nothing to do with it");
}

#[test]
fn everything_that_is_known_of_a_process_finds_it() {
    let mut daemon = Daemon::prepared(&[]);
    let program = daemon.path("stranger");
    fs::create_dir_all(daemon.path("units")).unwrap();
    fs::copy("/bin/cat", &program).unwrap();
    let by_exe = Stranger::run(&mut Command::new(&program));
    let by_line = Stranger::run(Command::new("sh").args(["-c", "read line", &unique("line"), "two"]));
    let by_pid = Stranger::called("pid");
    daemon.write("run/x.pid", &format!("{}\n", by_pid.pid()));
    let uid = rustix::process::geteuid().as_raw();
    let units = [
        watch("exe", &format!("exe: {}", program.display())),
        watch("line", &format!("command_line: '{} (one|two)$', user: {uid}", unique("line"))),
        watch("pid", "pid_file: run/x.pid"),
        watch("nobody", &format!("command_line: '{} (one|two)$', user: 54321", unique("line"))),
    ];
    daemon.write("units/all.yaml", &units.join("---\n"));
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    until("it answers", || daemon.answers());
    found(&daemon, "exe", by_exe.pid());
    found(&daemon, "line", by_line.pid());
    found(&daemon, "pid", by_pid.pid());
    assert_eq!(daemon.status("nobody")["state"], "waiting");
    for (unit, stranger) in [("exe", by_exe), ("line", by_line), ("pid", by_pid)] {
        let pid = stranger.pid();
        stranger.kill(15);
        daemon.event("ProcessGone", |data| data["unit"] == unit && data["pid"] == pid);
    }
    // The file still names it.
    until("its number is not taken for it", || (daemon.status("pid")["state"] == "failed").then_some(()));
}

#[test]
fn a_cgroup_and_what_is_below_it_find_their_processes() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find_map(|line| line.contains(" cgroup2 ").then(|| line.split(' ').nth(1).unwrap().to_owned()));
    let Some(mount) = mount.filter(|mount| fs::create_dir(Path::new(mount).join(unique("cgroup"))).is_ok()) else {
        println!("SKIPPED: no cgroup v2 can be made here");
        return;
    };
    let cgroup = Path::new(&mount).join(unique("cgroup"));
    let below = cgroup.join("below");
    fs::create_dir(&below).unwrap();
    let stranger = Stranger::called("cgroup");
    fs::write(below.join("cgroup.procs"), stranger.pid().to_string()).unwrap();
    let path = fs::read_to_string(format!("/proc/{}/cgroup", stranger.pid())).unwrap();
    let path = path.lines().find_map(|line| line.strip_prefix("0::")).unwrap().trim_end_matches("/below").to_owned();
    let daemon = Daemon::up(&[("units/a.yaml", &watch("a", &format!("cgroup: {path}")))]);
    found(&daemon, "a", stranger.pid());
    stranger.kill(9);
    daemon.event("UnitLost", |_| true);
    until("the cgroup is empty", || fs::remove_dir(&below).ok());
    fs::remove_dir(&cgroup).unwrap();
}

#[test]
fn many_may_fit_and_the_oldest_is_the_main_one() {
    let mut strangers: Vec<_> = (0..4).map(|_| Stranger::called("many")).collect();
    strangers.sort_by_key(|stranger| {
        (
            fs::read_to_string(format!("/proc/{}/stat", stranger.pid())).unwrap().split(' ').nth(21).unwrap().parse::<u64>().unwrap(),
            stranger.pid(),
        )
    });
    let daemon = Daemon::up(&[("units/a.yaml", &watch("a", &format!("name: {}, min: 3", unique("many"))))]);
    found(&daemon, "a", strangers[0].pid());
    assert_eq!(daemon.status("a")["watch"]["matches"], 4);
    assert_eq!(count(&daemon, "ProcessFound"), 4);
    strangers.remove(0).kill(9);
    found(&daemon, "a", strangers[0].pid());
    assert_eq!((daemon.status("a")["watch"]["matches"].clone(), count(&daemon, "UnitLost")), (3.into(), 0));
    strangers.pop().unwrap().kill(9);
    daemon.event("UnitLost", |data| data["left"] == 2 && data["needed"] == 3);
    strangers.pop().unwrap().kill(9);
    daemon.events_of("ProcessGone", "a", 3);
    assert_eq!((count(&daemon, "UnitLost"), daemon.status("a")["pid"].clone()), (1, strangers[0].pid().into()));
}

#[test]
fn others_wait_for_it_and_go_down_with_it() {
    let name = unique("needed");
    let units = format!(
        "unit: db\nwatch: {{name: {name}, period: 200ms}}\n---\nunit: needs\nexec: sleep 1000\nrequires: db\n---\n\
         unit: bound\nexec: sleep 1001\nbinds: db\nrestart: {{backoff: none}}\n"
    );
    let mut daemon = Daemon::prepared(&[("units/all.yaml", &units)]);
    daemon.start();
    until("it answers", || daemon.answers());
    until("they wait", || ["needs", "bound"].iter().all(|unit| daemon.status(unit)["reason"] == "waiting for db").then_some(()));
    assert_eq!(daemon.status("db")["reason"], format!("looking for name {name}: 0 of 1 found"));
    let first = Stranger::called("needed");
    daemon.event("UnitActive", |data| data["unit"] == "needs");
    daemon.event("UnitActive", |data| data["unit"] == "bound");
    let pids = daemon.pids();
    first.kill(9);
    daemon.event("UnitUnbound", |data| data["unit"] == "bound" && data["from"] == "db");
    until("it waits again", || (daemon.status("bound")["state"] == "waiting").then_some(()));
    assert_eq!(daemon.pids().get("needs"), pids.get("needs"));
    let second = Stranger::called("needed");
    daemon.events_of("UnitActive", "bound", 2);
    found(&daemon, "db", second.pid());
}

#[test]
fn nobody_ends_it_but_whoever_runs_it() {
    let stranger = Stranger::called("alone");
    let name = unique("alone");
    let mut daemon = Daemon::up(&[("units/a.yaml", &watch("a", &format!("name: {name}")))]);
    found(&daemon, "a", stranger.pid());
    daemon.ok(&["stop", "a"]);
    until("it is not watched", || (daemon.status("a")["state"] == "stopped" && daemon.status("a")["pid"].is_null()).then_some(()));
    assert!(is_alive(stranger.pid()));
    daemon.ok(&["start", "a"]);
    found(&daemon, "a", stranger.pid());
    for command in ["restart", "pause", "resume"] {
        let refused = daemon.cli(&[command, "a"]);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
        assert!(!refused.status.success() && text.contains("it was not started by us"), "{command}: {text}");
    }
    assert_eq!(daemon.status("a")["ready"], true);
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    assert!(is_alive(stranger.pid()) && count(&daemon, "UnitLost") == 0);
}

#[test]
fn a_signal_goes_to_the_process_that_is_pinned() {
    let mut daemon = Daemon::prepared(&[]);
    let script = format!("trap 'echo got > {}' USR1; while :; do sleep 0.05; done", daemon.path("got").display());
    let stranger = Stranger::run(Command::new("sh").args(["-c", &script, &unique("signal")]));
    daemon.write("units/a.yaml", &watch("a", &format!("command_line: 'done {}$'", unique("signal"))));
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    until("it answers", || daemon.answers());
    found(&daemon, "a", stranger.pid());
    daemon.ok(&["signal", "USR1", "a"]);
    until("it has got it", || (daemon.read("got") == "got\n").then_some(()));
    daemon.event("UnitSignalled", |data| data["unit"] == "a");
    let refused = daemon.cli(&["signal", "--whole", "USR1", "a"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("only its main process"), "{refused:?}");
}

#[test]
fn another_brain_finds_it_again_and_tells_what_it_has_missed() {
    let stranger = Stranger::called("brain");
    let daemon = Daemon::up(&[("units/a.yaml", &watch("a", &format!("name: {}", unique("brain"))))]);
    found(&daemon, "a", stranger.pid());
    kill(daemon.brain_pid(), 9);
    daemon.event("UnitAdopted", |data| data["unit"] == "a" && data["pid"] == stranger.pid());
    found(&daemon, "a", stranger.pid());
    assert_eq!((count(&daemon, "ProcessFound"), count(&daemon, "UnitFound"), count(&daemon, "ProcessGone")), (1, 1, 0));
    // It ends while nobody looks.
    let brain = daemon.brain_pid();
    kill(brain, 9);
    let pid = stranger.pid();
    stranger.kill(9);
    let gone = daemon.event("ProcessGone", |data| data["unit"] == "a")["data"].clone();
    assert!(gone["pid"] == pid && gone["command"] == unique("brain"), "{gone}");
    daemon.event("UnitLost", |_| true);
    // What is gone stays so, and is not told again.
    until("it answers", || daemon.answers());
    until("it shows", || (daemon.status("a")["state"] == "failed").then_some(()));
    kill(daemon.brain_pid(), 9);
    daemon.events_of_kind("DaemonStarted", 4);
    until("it is known to be gone", || (daemon.answers().is_some() && daemon.status("a")["state"] == "failed").then_some(()));
    assert_eq!((count(&daemon, "ProcessGone"), count(&daemon, "UnitLost")), (1, 1));
}

#[test]
fn a_reload_looks_for_something_else_and_touches_nothing_more() {
    let (one, two) = (Stranger::called("reload-one"), Stranger::called("reload-two"));
    let own = "---\nunit: own\nexec: sleep 1000\n";
    let units = |name: &str| watch("a", &format!("name: {}", unique(name))) + own;
    let daemon = Daemon::up(&[("units/all.yaml", &units("reload-one"))]);
    found(&daemon, "a", one.pid());
    let pid = daemon.pids()["own"];
    daemon.write("units/all.yaml", &units("reload-two"));
    let text = daemon.ok(&["reload"]);
    assert!(text.contains("unit a: change live: watch"), "{text}");
    found(&daemon, "a", two.pid());
    assert_eq!((daemon.pids()["own"], count(&daemon, "UnitLost"), count(&daemon, "ProcessGone")), (pid, 0, 0));
    // We run it ourselves, and then somebody else does again.
    daemon.write("units/all.yaml", &format!("unit: a\nexec: sleep 1001\n{own}"));
    daemon.ok(&["reload"]);
    daemon.event("UnitActive", |data| data["unit"] == "a");
    assert!(is_alive(two.pid()) && daemon.status("a")["watch"].is_null());
    let ours = daemon.pids()["a"];
    daemon.write("units/all.yaml", &units("reload-two"));
    daemon.ok(&["reload"]);
    found(&daemon, "a", two.pid());
    assert!(!is_alive(ours));
    daemon.write("units/all.yaml", own.trim_start_matches("---\n"));
    daemon.ok(&["reload"]);
    until("it is gone", || (daemon.whole_status()["units"].as_array().unwrap().len() == 1).then_some(()));
    assert!(is_alive(two.pid()) && daemon.pids()["own"] == pid);
}

#[test]
fn its_probes_say_whether_it_is_well_and_end_nothing() {
    let mut daemon = Daemon::prepared(&[("well", "")]);
    let stranger = Stranger::called("probes");
    let probe = "probes: [{name: file, command: [sh, -c, 'test -e well || exit 2'], period: 100ms, timeout: 5s, failure_threshold: 2}]\n";
    daemon.write("units/a.yaml", &(watch("a", &format!("name: {}", unique("probes"))) + probe));
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    until("it answers", || daemon.answers());
    found(&daemon, "a", stranger.pid());
    until("it passes", || (daemon.status("a")["probes"][0]["standing"] == "passing").then_some(()));
    fs::remove_file(daemon.path("well")).unwrap();
    daemon.event("UnitUnready", |data| data["unit"] == "a");
    until("it shows", || (daemon.status("a")["ready"] == false).then_some(()));
    assert_eq!(
        (daemon.status("a")["state"].clone(), daemon.status("a")["probes"][0]["role"].clone()),
        ("active".into(), "liveness".into())
    );
    daemon.write("well", "");
    daemon.event("UnitReady", |data| data["unit"] == "a");
    found(&daemon, "a", stranger.pid());
    assert!(is_alive(stranger.pid()) && count(&daemon, "UnitUnwell") == 0);
}

#[test]
fn what_we_have_started_ourselves_is_no_stranger() {
    let name = unique("ours");
    let own = format!("unit: own\nexec: [sh, -c, 'sh -c \"read line; exit 1\" {name} < fifo', {name}]\n");
    let units = own + "---\n" + &watch("a", &format!("command_line: '{name}$'"));
    let daemon = Daemon::prepared(&[("units/all.yaml", &units)]);
    nix::unistd::mkfifo(&daemon.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut daemon = daemon;
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    until("it answers", || daemon.answers());
    let stranger = Stranger::run(Command::new("sh").args(["-c", "read line", &name]));
    // A look is made at once.
    daemon.ok(&["stop", "a"]);
    daemon.ok(&["start", "a"]);
    found(&daemon, "a", stranger.pid());
    assert_eq!(daemon.status("a")["watch"]["matches"], 1);
}

/// The owner of a pid file would have an operator signal whomever that owner likes.
#[test]
fn a_pid_file_of_somebody_else_does_not_name_our_processes() {
    if !nix::unistd::geteuid().is_root() {
        return println!("SKIPPED: files of others take root");
    }
    let place = tempfile::Builder::new().prefix("ms-pid").tempdir_in("/var").unwrap();
    let stranger = Stranger::run(Command::new("sleep").arg("1000"));
    let file = place.path().join("x.pid");
    fs::write(&file, stranger.pid().to_string()).unwrap();
    std::os::unix::fs::chown(place.path(), Some(4321), Some(4321)).unwrap();
    std::os::unix::fs::chown(&file, Some(4321), Some(4321)).unwrap();
    let unit = format!("unit: a\nwatch: {{pid_file: {}, period: 100ms}}\n", file.display());
    let mut daemon = Daemon::prepared(&[("units/a.yaml", &unit)]);
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    until("it says why", || {
        daemon.status("a").to_string().contains("does not belong to the user who has written the pid file").then_some(())
    });
    assert!(!daemon.cli(&["signal", "USR1", "a"]).status.success() && is_alive(stranger.pid()));
    // In a file of root's, where root decides, the same is believed.
    std::os::unix::fs::chown(place.path(), Some(0), Some(0)).unwrap();
    std::os::unix::fs::chown(&file, Some(0), Some(0)).unwrap();
    found(&daemon, "a", stranger.pid());
}
