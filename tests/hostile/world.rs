//! Where it happens: a process id and a mount namespace of our own, a disk for the daemon, files of root's, and what is declared.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio, exit};

use crate::honest::records;

/// Says that we are in namespaces of our own, and where.
pub(crate) const INSIDE: &str = "--inside";

/// What a test says and ends with where the machine lacks what it needs.
const SKIPPED: i32 = 77;

/// Users that nobody else has.
const HONEST: u32 = 61_900;
const SPOOFER: u32 = 61_013;

/// What `python3` is for everybody: one in root's home is not.
const PYTHON: &str = "/usr/bin/python3";

/// What every canary holds. It looks like a file of variables, for what is read as one.
pub(crate) const CANARY: &str = "CANARY=of-root-alone\n";

/// The honest kinds: name, instances (none: one plain unit), user, and what is declared besides.
pub(crate) const HONEST_KINDS: [(&str, usize, u32, &str); 5] = [
    ("honest", 30, HONEST, "logs: {mode: direct, max_size: 64KiB, max_total: 256KiB}\n"),
    ("piped", 9, HONEST, "logs: {mode: pipe, max_size: 64KiB, max_total: 256KiB}\n"),
    (
        "pinging",
        9,
        HONEST,
        "readiness: {notify: true}\nwatchdog: {timeout: 30s, detector: timeout}\nlogs: {max_size: 64KiB, max_total: 256KiB}\n",
    ),
    // It has what others must not see, and is root: what it executes is what they would like to change.
    (
        "helper",
        0,
        0,
        "secrets: {db: BASE/keys/helper}\nenvironment: {TOKEN: CANARY-of-helper}\nlogs: {max_size: 64KiB, max_total: 256KiB}\n",
    ),
    // It never says that it is ready: who else does has lied.
    (
        "witness",
        0,
        SPOOFER,
        "readiness: {notify: true, timeout: 10h}\nwatchdog: {timeout: 10h, detector: timeout}\nlogs: {max_size: 64KiB, max_total: 256KiB}\n",
    ),
];

/// What a log of a hostile unit may take, in bytes, as declared for each of them.
const HOSTILE_LOG: u64 = 1 << 20;

/// What a log of an honest unit may take.
const HONEST_LOG: u64 = 256 << 10;

/// What a unit may write into a direct log between two looks, which are a tenth of a second apart while it grows, on a disk that takes a gigabyte a
/// second: beyond twice its quota it stands still.
const BETWEEN_LOOKS: u64 = 128 << 20;

/// What is in the state directory besides logs: two generations of the journal, the store with its backups, incidents, the plan.
pub(crate) const STATE: u64 = 192 << 20;

/// The hostile kinds: name, instances, user, whether it can gain no privileges, and what is declared besides.
pub(crate) const HOSTILE_KINDS: [(&str, usize, u32, bool, &str); 15] = [
    ("plain", 0, 61_001, false, ""),
    ("pair", 2, 61_002, false, ""),
    ("notify", 0, 61_003, false, "readiness: {notify: true, timeout: 5s}\nprobes: [{command: [/bin/true], period: 1s, role: observe}]\n"),
    (
        "probed",
        0,
        61_004,
        true,
        "isolation: {protect_system: full}\nprobes: [{command: [/bin/sh, -c, 'printf \"\\033[2J\"'], period: 300ms, role: observe}]\n",
    ),
    ("secret", 0, 61_005, false, "secrets: {db: BASE/keys/db, TOKEN: {file: BASE/keys/db, as: environment}}\n"),
    (
        "files",
        0,
        61_006,
        false,
        "environment_file: BASE/own/files/env\nworking_directory: BASE/own/files/cwd\nreadiness: {notify: true, timeout: 5s}\n\
         probes: [{file: {path: BASE/own/files/beat}, period: 500ms, timeout: 200ms, role: observe}]\n",
    ),
    ("pidfile", 0, 61_007, false, "pid_file: BASE/own/pidfile/x.pid\nreadiness: {notify: true, timeout: 3s}\n"),
    ("direct", 0, 61_008, false, ""),
    ("piped-evil", 0, 61_009, false, ""),
    ("watchdog", 0, 61_010, false, "watchdog: 2s\n"),
    ("crash", 0, 61_011, false, ""),
    (
        "server",
        0,
        61_012,
        true,
        "isolation: {system_call_filter: default}\nprobes:\n\
         - {name: pg, postgresql: {address: \"127.0.0.1:PEER\", password_file: BASE/own/server/password}, period: 500ms, timeout: 400ms, role: observe}\n\
         - {name: redis, redis: {address: \"127.0.0.1:PEER\", password_file: BASE/own/server/password}, period: 500ms, timeout: 400ms, role: observe}\n\
         - {name: http, http: \"http://127.0.0.1:PEER/\", period: 500ms, timeout: 400ms, role: observe}\n\
         - {name: metrics, metrics: {url: \"http://127.0.0.1:PEER/\", series: [{name: x, max: 1}]}, period: 500ms, timeout: 400ms, role: observe}\n",
    ),
    (
        "spoofer",
        0,
        SPOOFER,
        true,
        "readiness: {notify: true, timeout: 5s}\nisolation: {landlock: {read: [/etc, /proc, BASE], write: [/dev, BASE/own/spoofer, BASE/loot, BASE/counts], execute: [/usr, /lib, -/lib64]}}\n",
    ),
    (
        "rootless",
        0,
        0,
        true,
        "isolation: {capabilities: [], protect_system: strict, private_tmp: true, read_only_paths: [/sys, /proc/sys, -/proc/sysrq-trigger], \
         read_write_paths: [BASE/own/rootless, BASE/loot, BASE/counts], \
         inaccessible_paths: [BASE/canary, BASE/keys, BASE/service/credentials, BASE/run/.ms-supervisor], system_call_filter: default}\n",
    ),
    (
        "landlock",
        0,
        0,
        true,
        "isolation: {capabilities: [], system_call_filter: default, landlock: {read: [/etc, /proc, BASE/attacks.py], \
         write: [/dev, BASE/own/landlock, BASE/loot, BASE/counts], execute: [/usr, /lib, -/lib64]}}\nreadiness: {notify: true, timeout: 5s}\n",
    ),
];

/// Whether `name` is a log that a hostile unit writes directly.
pub(crate) fn is_looked_at(name: &str) -> bool {
    let kind = name.strip_prefix("logs/").and_then(|unit| unit.split('@').next()).unwrap_or_default();
    !kind.starts_with("piped") && HOSTILE_KINDS.iter().any(|(hostile, ..)| *hostile == kind)
}

/// How many bytes `name` may take on the daemon's disk, if it is a log; all that is none may take [`STATE`] together.
pub(crate) fn log_bound(name: &str) -> Option<u64> {
    let unit = name.strip_prefix("logs/")?;
    let kind = unit.split('@').next()?;
    let declared = if HOSTILE_KINDS.iter().any(|(hostile, ..)| *hostile == kind) { HOSTILE_LOG } else { HONEST_LOG };
    // A pipe's quota is strict, but a file that is renamed while we look may be counted twice.
    Some(if kind.starts_with("piped") { 2 * declared + (256 << 10) } else { 2 * declared + BETWEEN_LOOKS })
}

/// The run directory.
pub(crate) fn service(base: &Path) -> PathBuf {
    base.join("service")
}

/// The units of `kind`.
pub(crate) fn instances(kind: &str, count: usize) -> Vec<String> {
    if count == 0 { vec![kind.to_owned()] } else { (1..=count).map(|number| format!("{kind}@{number}")).collect() }
}

/// Runs ourselves in namespaces of our own, and clears away what is left of it whatever happens there. A cgroup of our own holds all of it.
pub(crate) fn outside(arguments: &[String], keep: bool) -> ExitCode {
    skip_without_means();
    let temporary = tempfile::Builder::new().prefix("hostile").tempdir_in("/var").unwrap();
    let base = temporary.path().to_owned();
    let cgroup = own_cgroup();
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "-m", "-p", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]);
    let mut child = command.arg(own).args(arguments).arg(INSIDE).arg(&base).spawn().unwrap();
    // Its own child, which is to be in there, waits until it is told.
    let inside = cgroup.as_ref().is_some_and(|cgroup| fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).is_ok());
    fs::write(base.join("begin"), if inside { "in a cgroup" } else { "in none" }).unwrap();
    let status = child.wait().unwrap();
    if let Some(cgroup) = cgroup {
        let _may_be_old = fs::write(cgroup.join("cgroup.kill"), "1");
        remove_cgroup(&cgroup);
    }
    if keep {
        println!("kept: {}", temporary.keep().display());
    }
    ExitCode::from(u8::try_from(status.code().or(status.signal()).unwrap_or(1)).unwrap_or(1))
}

fn skip_without_means() {
    let is_there = |program: &str, arguments: &[&str]| {
        let tried = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let lacking = if !nix::unistd::geteuid().is_root() {
        "hostile units are other users: that takes root"
    } else if !is_there("unshare", &["-m", "-p", "--fork", "--mount-proc", "true"]) {
        "no mount and process id namespace may be made here"
    } else if !is_there("setpriv", &["--reuid", "61001", "--clear-groups", PYTHON, "-c", "import ctypes"]) {
        "/usr/bin/python3 does not run as another user here"
    } else {
        return;
    };
    println!("SKIPPED: {lacking}");
    exit(SKIPPED);
}

/// A cgroup below ours, if there are cgroups to be made.
fn own_cgroup() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4))?;
    let place = fs::read_to_string("/proc/self/cgroup").ok()?;
    let place = place.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = Path::new(mount).join(place).join(format!("hostile-{}", std::process::id()));
    fs::create_dir(&path).ok().map(|()| path)
}

fn remove_cgroup(path: &Path) {
    for _ in 0..200 {
        let below = fs::read_dir(path).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        below.for_each(|entry| remove_cgroup(&entry.path()));
        if fs::remove_dir(path).is_ok() || !path.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    println!("cannot remove {}", path.display());
}

fn make(path: &Path, owner: u32, mode: u32) {
    fs::create_dir_all(path).unwrap();
    give(path, owner, mode);
}

fn file(path: &Path, text: &str, owner: u32, mode: u32) {
    fs::write(path, text).unwrap();
    give(path, owner, mode);
}

fn give(path: &Path, owner: u32, mode: u32) {
    chown(path, Some(owner), Some(owner)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    fs::create_dir_all(at).unwrap();
    Command::new("mount").args(arguments).arg(at).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Makes everything below `base`.
pub(crate) fn build(base: &Path, seed: u64, port: u16, own_user: bool) {
    give(base, 0, 0o755);
    // A disk of its own: what floods it harms nobody outside, and direct logs need a file system that can collapse.
    let image = base.join("disk");
    File::create(&image).unwrap().set_len(6 << 30).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=1,nodiscard"]).arg(&image).status();
    if !(made.is_ok_and(|status| status.success()) && mount(&["-o", "loop", image.to_str().unwrap()], &base.join("run"))) {
        println!("no disk of its own for the daemon: it writes to that of /var");
    }
    assert!(mount(&["-t", "tmpfs", "-o", "size=512m,nr_inodes=200k,mode=755", "hostile"], &base.join("own")), "cannot mount a tmpfs");
    // As /run is, where the daemon's run directory is when it is a service.
    assert!(mount(&["-t", "tmpfs", "-o", "size=256m,nr_inodes=200k,mode=755", "service"], &service(base)), "cannot mount a tmpfs");
    for (path, mode) in [("run", 0o755), ("run/units", 0o755), ("run/supervisors", 0o755), ("canary", 0o700), ("canary/directory", 0o700)] {
        make(&base.join(path), 0, mode);
    }
    for (path, mode) in [("keys", 0o700), ("counts", 0o755), ("records", 0o755), ("locks", 0o755), ("loot", 0o1777)] {
        make(&base.join(path), 0, mode);
    }
    file(&base.join("violations"), "", 0, 0o666);
    file(&base.join("canary/secret"), CANARY, 0, 0o600);
    file(&base.join("canary/spared"), "-900\n", 0, 0o600);
    file(&base.join("keys/helper"), CANARY, 0, 0o600);
    file(&base.join("keys/db"), "its own\n", 0, 0o600);
    file(&base.join("attacks.py"), include_str!("attacks.py"), 0, 0o644);
    fs::copy("/bin/sleep", base.join("own/setuid")).unwrap();
    fs::set_permissions(base.join("own/setuid"), Permissions::from_mode(0o4755)).unwrap();
    // Programs of the tests may lie where other users do not get to.
    fs::copy(std::env::current_exe().unwrap(), base.join("honest")).unwrap();
    for (kind, _, user, _, _) in HOSTILE_KINDS {
        make(&base.join("own").join(kind), user, 0o700);
        make(&base.join("own").join(kind).join("cwd"), user, 0o700);
        for name in ["env", "password", "x.pid", "watched.pid", "beat"] {
            file(&base.join("own").join(kind).join(name), "", user, 0o600);
        }
        file(&base.join("counts").join(kind), "", user, 0o600);
    }
    for (kind, count, user, _) in HONEST_KINDS {
        for unit in instances(kind, count) {
            file(&records(base).join(&unit), "", user, 0o600);
            file(&base.join("locks").join(&unit), "", user, 0o600);
        }
    }
    declare(base, seed, port, own_user);
}

fn declare(base: &Path, seed: u64, port: u16, own_user: bool) {
    let many = |count: usize| if count == 0 { String::new() } else { format!("instances: {count}\n") };
    let mut text = String::new();
    for (kind, count, user, more) in HONEST_KINDS {
        text += &format!(
            "---\nunit: {kind}\n{}exec: [BASE/honest, unit, {kind}, BASE]\nuser: \"{user}\"\ngroup: \"{user}\"\n\
             restart: {{backoff: {{kind: linear, first: 0s, base: 1ms, step: 0s, max: 1ms}}}}\n{more}",
            many(count)
        );
    }
    let flags = if own_user { "own-user" } else { "none" };
    for (kind, count, user, _, more) in HOSTILE_KINDS {
        let mode = if kind == "piped-evil" { "pipe" } else { "direct" };
        let base_delay = if kind == "crash" { "10ms" } else { "100ms" };
        let directory = if more.contains("working_directory") { "" } else { "working_directory: /\n" };
        text += &format!(
            "---\nunit: {kind}\n{}exec: [{PYTHON}, -u, BASE/attacks.py, \"{seed}\", BASE, \"{port}\", {flags}]\nuser: \"{user}\"\ngroup: \"{user}\"\n\
             nice: 5\nrlimits: {{nproc: 600, core: 0}}\nshutdown: 500ms\n\
             restart: {{backoff: {{kind: linear, first: {base_delay}, base: {base_delay}, step: 0s, max: {base_delay}}}}}\n\
             logs: {{mode: {mode}, max_size: 256KiB, max_total: {HOSTILE_LOG}B}}\n{directory}{more}",
            many(count)
        );
    }
    text += "---\nunit: watched\nwatch: {pid_file: BASE/own/pidfile/watched.pid, period: 500ms}\n";
    let text = text.trim_start_matches("---\n").replace("BASE", &base.display().to_string()).replace("PEER", &(port + 1).to_string());
    fs::write(base.join("run/units/all.yaml"), text).unwrap();
    let honest = HONEST_KINDS.iter().map(|kind| kind.0);
    let children: Vec<_> = honest.chain(HOSTILE_KINDS.iter().map(|kind| kind.0)).chain(["watched"]).collect();
    let root = format!("supervisor: root\nintensity: 1000000\nperiod: 1s\nchildren: [{}]\n", children.join(", "));
    fs::write(base.join("run/supervisors/root.yaml"), root).unwrap();
}
