//! Units that are against us.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::bench::{Daemon, is_idle, until};

/// A user that nobody else has here.
const USER: &str = "43218";

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A script that everybody may run, where everybody may look.
fn script(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::Builder::new().prefix("ms-hostile").tempdir_in("/var").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("script");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (directory, path)
}

/// The main process of an isolated unit leaves, once it has been found to be what was declared, for a mount namespace of its own, where /proc is what it wants it to be: the name of a file of root's. A
/// probe of the unit does not follow it there.
#[test]
fn a_unit_that_leaves_its_namespaces_takes_no_probe_along() {
    if !is_root() {
        return println!("SKIPPED: namespaces take root");
    }
    let (directory, target) = (tempfile::tempdir().unwrap(), "target");
    let target = directory.path().join(target);
    fs::write(&target, "ABCDEF").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
    let (_place, evil) = script(&format!(
        "#!/bin/sh\nmount -t tmpfs none /proc && mkdir /proc/self && ln -s {} /proc/self/oom_score_adj && echo left\nexec sleep 1000\n",
        target.display()
    ));
    let unit = format!(
        "unit: evil\nexec: [sh, -c, \"sleep 1; exec unshare -Urm {}\"]\nworking_directory: /\nuser: \"{USER}\"\ngroup: \"{USER}\"\n\
         isolation: {{protect_system: full}}\nprobes: [{{command: [/bin/true], period: 200ms, role: observe, name: looks}}]\n",
        evil.display()
    );
    let mut daemon = Daemon::prepared(&[("units/evil.yaml", &unit)]);
    // The launcher believes that the kernel spares it, as under systemd: then it tells its children to be like others.
    let spared = directory.path().join("spared");
    fs::write(&spared, "-900\n").unwrap();
    let wrapper = format!(
        "#!/bin/sh\nmount --make-rprivate / && mount --bind {} /proc/$$/oom_score_adj\nexec {} \"$@\"\n",
        spared.display(),
        env!("CARGO_BIN_EXE_ms-supervisor")
    );
    let (_place, wrapper) = script(&format!("#!/bin/sh\nexec unshare -m {} \"$@\"\n", script_beside(&directory, &wrapper).display()));
    daemon.start_program(wrapper.to_str().unwrap(), &["run", "--listen", "none"]);
    daemon.event("DaemonReady", |_| true);
    until("it has left", || daemon.ok(&["logs", "evil"]).contains("left").then_some(()));
    // A probe that begins from now on would find it there.
    let runs = || daemon.status("evil")["probes"][0]["runs"][0].as_u64().unwrap_or(0);
    let before = runs();
    until("probes in the namespaces that were made for it", || (runs() > before + 2).then_some(()));
    assert_eq!(fs::read_to_string(&target).unwrap(), "ABCDEF");
}

fn script_beside(directory: &tempfile::TempDir, text: &str) -> std::path::PathBuf {
    let path = directory.path().join("wrapper");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The next launcher does not have what was made for the unit. It sees that the unit is elsewhere, and does not go there.
#[test]
fn a_launcher_that_takes_over_does_not_follow_it_either() {
    if !is_root() {
        return println!("SKIPPED: namespaces take root");
    }
    let (_place, evil) = script("#!/bin/sh\necho left\nexec sleep 1000\n");
    let unit = |exec: String, name: &str| {
        format!(
            "unit: {name}\nexec: {exec}\nworking_directory: /\nuser: \"{USER}\"\ngroup: \"{USER}\"\n\
             isolation: {{protect_system: full}}\nprobes: [{{command: [/bin/true], period: 200ms, role: observe, name: looks}}]\n"
        )
    };
    let left = unit(format!("[sh, -c, \"sleep 1; exec unshare -Urm {}\"]", evil.display()), "left");
    let stayed = unit(format!("[{}]", evil.display()), "stayed");
    let mut daemon = Daemon::up(&[("units/left.yaml", &left), ("units/stayed.yaml", &stayed)]);
    until("it has left", || daemon.ok(&["logs", "left"]).contains("left").then_some(()));
    daemon.kill_launcher();
    daemon.start();
    let probe = |unit: &str, key: &str| daemon.try_status(unit).map(|status| status["probes"][0][key].to_string()).unwrap_or_default();
    until("a probe in the namespaces of one that has stayed", || probe("stayed", "standing").contains("passing").then_some(()));
    until("no probe elsewhere", || {
        probe("left", "text").contains("its main process is in others that it has made itself; restart the unit").then_some(())
    });
}

/// Where cgroups work, nothing runs outside of one.
#[test]
fn a_unit_that_cannot_have_a_cgroup_does_not_start() {
    let mut daemon = Daemon::up(&[("units/a.yaml", "unit: a\nexec: [sleep, \"1000\"]\n")]);
    let pid = daemon.pids()["a"];
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let Some(at) = own.lines().find_map(|line| line.strip_prefix("0::")).filter(|at| at.contains("/ms-supervisor-")) else {
        return println!("SKIPPED: there are no cgroups for units here");
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4)).unwrap();
    let base = Path::new(root).join(at.trim_start_matches('/').split_once("/a:").unwrap().0);
    let below = fs::read_dir(&base).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    fs::write(base.join("cgroup.max.descendants"), below.to_string()).unwrap();
    daemon.write("units/b.yaml", "unit: b\nexec: [sleep, \"1000\"]\n");
    daemon.cli(&["reload"]);
    let why = "cannot make a cgroup for it: there may be no more of them (`cgroup.max.descendants` of one above)";
    until("b is refused", || daemon.try_status("b").filter(|status| status["reason"].to_string().contains(why)).map(drop));
    assert!(!daemon.pids().contains_key("b"));
    fs::write(base.join("cgroup.max.descendants"), "max").unwrap();
    until("b starts by itself", || daemon.pids().contains_key("b").then_some(()));
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
}

/// A unit that writes as fast as it can, and one that does nothing.
const FLOOD: &str = "unit: flood\nexec: [\"yes\", flooding]\nlogs: {max_size: 1MiB, max_total: 8MiB}\n";
const CALM: &str = "unit: calm\nexec: [sleep, \"1000\"]\n";

fn flooded(files: &[(&str, &str)], cgroups: bool) -> Option<Daemon> {
    let daemon = Daemon::up_with(files, cgroups)?;
    daemon.event("LogFull", |event| event["unit"] == "flood");
    Some(daemon)
}

/// It stands still for a while, and goes on.
fn rests_and_works(pid: u32) {
    until("it stands still", || is_idle(pid).then_some(()));
    until("it goes on", || (!is_idle(pid)).then_some(()));
}

/// A unit that writes as fast as it can into its log stands still before it has filled the disk, is told of, and goes on.
#[test]
fn who_writes_faster_than_its_log_is_kept_stands_still_for_a_while() {
    for cgroups in [true, false] {
        let Some(daemon) = flooded(&[("units/flood.yaml", FLOOD), ("units/calm.yaml", CALM)], cgroups) else { continue };
        let pid = daemon.pids()["flood"];
        for _ in 0..3 {
            rests_and_works(pid);
        }
        assert_eq!(daemon.events().iter().filter(|event| event["type"] == "LogFull").count(), 1, "told once a minute");
        assert_eq!(daemon.pids()["flood"], pid, "it is the same process");
    }
}

/// Brain and launcher die while it stands still: who comes after them lets it go on.
#[test]
fn who_stands_still_for_its_log_goes_on_whoever_dies() {
    for cgroups in [true, false] {
        let Some(mut daemon) = flooded(&[("units/flood.yaml", FLOOD), ("units/calm.yaml", CALM)], cgroups) else { continue };
        let pid = daemon.pids()["flood"];
        super::bench::kill(daemon.brain_pid(), 9);
        rests_and_works(pid);
        daemon.kill_launcher();
        daemon.start();
        rests_and_works(pid);
        daemon.answers();
        daemon.ok(&["stop", "flood"]);
        assert!(!daemon.pids().contains_key("flood"), "it hears that it is to end");
    }
}

/// A process of the same user sends SIGCONT to what was stopped for its log. A frozen cgroup does not care; where there is none, such a unit is killed.
#[test]
fn who_is_let_go_on_by_others_is_killed_for_its_log() {
    for cgroups in [true, false] {
        let helper = "unit: helper\nexec: [sh, -c, \"while :; do kill -CONT $(cat flood.pid); done\"]\n";
        let flood = FLOOD.replace("[\"yes\", flooding]", "[sh, -c, \"echo $$ > flood.pid; exec yes flooding\"]");
        let Some(daemon) = flooded(&[("units/flood.yaml", flood.as_str()), ("units/helper.yaml", helper)], cgroups) else { continue };
        if cgroups {
            let pid = daemon.pids()["flood"];
            (0..3).for_each(|_| rests_and_works(pid));
            continue;
        }
        let told = daemon.event("UnitUnwell", |event| event["unit"] == "flood");
        assert!(told.to_string().contains("writes into its full log although it is stopped"), "{told}");
        daemon.event("UnitExited", |event| event["unit"] == "flood");
    }
}

/// A unit may take a lease on its own direct log: whoever opens it then waits until the kernel takes the lease away, in 45 seconds. We do not, and others' logs
/// are kept as ever.
#[test]
fn who_leases_its_log_keeps_nobody_elses_from_being_rotated() {
    let lease = "import fcntl, signal, sys, time\nsignal.signal(signal.SIGIO, signal.SIG_IGN)\nwhile True:\n    try:\n        \
                 fcntl.fcntl(1, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n    except OSError:\n        pass\n    \
                 sys.stdout.write('x' * 4000 + '\\n')\n    sys.stdout.flush()\n    time.sleep(0.01)\n";
    if !std::process::Command::new("python3").arg("--version").status().is_ok_and(|status| status.success()) {
        return println!("SKIPPED: there is no python3");
    }
    let logs = "logs: {max_size: 64KiB, keep: 3}\n";
    let leaser = format!("unit: leaser\nexec: [python3, lease.py]\n{logs}");
    let honest =
        format!("unit: honest\nexec: [sh, -c, 'while :; do head -c 4000 /dev/zero | tr \"\\\\0\" x; echo; sleep 0.01; done']\n{logs}");
    let mut daemon = Daemon::prepared(&[("units/leaser.yaml", &leaser), ("units/honest.yaml", &honest), ("lease.py", lease)]);
    // What shows the logs would hold them open, and nobody gets a lease on what others have open.
    daemon.start_with(&["run", "--listen", "none", "--no-logs"]);
    until("it is told that the log is leased", || {
        let told = daemon.cli(&["logs", "leaser"]);
        String::from_utf8(told.stderr).unwrap().contains("somebody holds a lease on it").then_some(())
    });
    let archives = || {
        let names = fs::read_dir(daemon.path(".ms-supervisor/logs")).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.filter_map(|name| name.into_string().ok()?.strip_prefix("honest.log.").map(str::to_owned));
        names.filter(|name| name.starts_with(|first: char| first.is_ascii_digit())).collect::<std::collections::BTreeSet<_>>()
    };
    let before = archives();
    until("all archives of the honest one are new ones", || {
        let now = archives();
        (!now.is_empty() && now.is_disjoint(&before)).then_some(())
    });
    daemon.ok(&["rotate", "honest"]);
    daemon.ok(&["logs", "-n", "1", "honest"]);
}
