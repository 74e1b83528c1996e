//! What lives on a mount that never answers fails alone: the table of all paths that the brain opens for a unit.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use super::bench::{Daemon, until};
use super::metrics::{free_address, get};
use crate::hung::HungMount;

const HONEST: &str = "unit: honest\nexec: sleep 1000\n";

/// Units that cannot be started: what of them lies there, and what is said about it. `{mount}` is the mount.
const STARTS: [(&str, &str, &str); 10] = [
    ("environment", "exec: sleep 1000\nenvironment_file: {mount}/env", "reading {mount}/env took longer than"),
    ("optional", "exec: sleep 1000\nenvironment_file: -{mount}/env", "reading {mount}/env took longer than"),
    ("users", "exec: sleep 1000\nuser: '4321'\ngroup: '4321'\nenvironment_file: {mount}/env", "reading {mount}/env took longer than"),
    ("program", "exec: {mount}/program", "looking for the program {mount}/program took longer than"),
    ("relative", "exec: ./program\nworking_directory: {mount}", "looking for the program ./program took longer than"),
    ("search", "exec: program\nenvironment: {PATH: '{mount}'}", "looking for the program program took longer than"),
    ("secret", "exec: sleep 1000\nsecrets: {db: {mount}/key}", "reading {mount}/key took longer than"),
    ("reference", "exec: sleep 1000\nenvironment: {TOKEN: '${file:{mount}/key}'}", "reading {mount}/key took longer than"),
    ("isolated", "exec: sleep 1000\nisolation: {read_only_paths: ['{mount}/data']}", "looking at {mount}/data took longer than"),
    ("landlocked", "exec: sleep 1000\nisolation: {landlock: {read: ['{mount}/data']}}", "looking at {mount}/data took longer than"),
];

/// Probes that fail: `{port}` is a port where somebody listens and never answers.
const PROBES: [(&str, &str); 12] = [
    ("file", "file: {path: '{mount}/beat'}"),
    ("disk", "host: {disk_free: 1%, path: '{mount}/data'}"),
    ("certificates", "http: {url: 'https://127.0.0.1:{port}/', tls: {ca_file: '{mount}/ca.pem'}}"),
    ("http_socket", "http: {url: 'http://localhost/', socket: '{mount}/http.sock'}"),
    ("tcp_socket", "tcp: '{mount}/tcp.sock'"),
    ("redis", "redis: {address: '127.0.0.1:{port}', password_file: '{mount}/key'}"),
    ("nats_socket", "nats: {address: '{mount}/nats.sock'}"),
    ("postgresql", "postgresql: {address: '127.0.0.1:{port}', password_file: '{mount}/key'}"),
    ("postgresql_socket", "postgresql: {address: '{mount}/.s.PGSQL.5432'}"),
    ("mysql", "mysql: {address: '127.0.0.1:{port}', password_file: '{mount}/key'}"),
    ("mysql_socket", "mysql: {address: '{mount}/mysql.sock'}"),
    ("command", "command: ['{mount}/probe']"),
];

/// Paths that are looked for all the time, and never found.
const WATCHES: [(&str, &str); 3] = [
    ("watched_pid", "watch: {pid_file: '{mount}/x.pid'}"),
    ("watched_exe", "watch: {exe: '{mount}/program'}"),
    ("forking", "exec: [sh, -c, 'sleep 1000 & sleep 0.1']\npid_file: '{mount}/x.pid'"),
];

struct Bench {
    daemon: Daemon,
    mount: HungMount,
    _listener: TcpListener,
}

fn bench() -> Option<Bench> {
    let mount = HungMount::hung()?;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, port) = (mount.path("").display().to_string(), listener.local_addr().unwrap().port().to_string());
    let daemon = Daemon::prepared(&[("units/honest.yaml", HONEST)]);
    let write = |name: &str, text: &str| {
        let text = text.replace("{mount}", &at).replace("{port}", &port);
        daemon.write(&format!("units/{name}.yaml"), &format!("unit: {name}\n{text}\n"));
    };
    for (name, text, _) in STARTS {
        write(name, &format!("{text}\nreadiness: {{tcp: '127.0.0.1:1', timeout: 1s}}"));
    }
    for (name, probe) in PROBES {
        // Several looks in no time: only one of them is out.
        let probe = format!("probes: [{{name: p, role: observe, {probe}, period: 200ms, timeout: 150ms, initial_delay: 0s}}]");
        write(name, &format!("exec: sleep 1000\n{probe}"));
    }
    for (name, text) in WATCHES {
        write(name, text);
    }
    // Many fail again and again here, and nobody is given up for that.
    let names =
        STARTS.iter().map(|(name, ..)| *name).chain(PROBES.iter().map(|(name, _)| *name)).chain(WATCHES.iter().map(|(name, _)| *name));
    let children = names.chain(["honest"]).collect::<Vec<_>>().join(", ");
    daemon.write("supervisors/root.yaml", &format!("supervisor: root\nintensity: 10000\nperiod: 1s\nchildren: [{children}]\n"));
    Some(Bench { daemon, mount, _listener: listener })
}

/// How many threads of the brain look at what others own, and how many it has in all.
fn threads(daemon: &Daemon) -> (usize, usize) {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.brain_pid())).unwrap();
    let names: Vec<_> = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok()).collect();
    (names.iter().filter(|name| name.trim() == "foreign").count(), names.len())
}

#[test]
fn only_what_lives_on_a_dead_mount_fails() {
    let Some(mut bench) = bench() else { return };
    let (daemon, at) = (&mut bench.daemon, bench.mount.path("").display().to_string());
    let address = free_address();
    daemon.start_with(&["run", "--listen", &address]);
    daemon.event("UnitActive", |data| data["unit"] == "honest");
    println!("| what lives there  | what is said |");
    for (name, _, wanted) in STARTS {
        let wanted = wanted.replace("{mount}", &at);
        let told = |data: &serde_json::Value| data["unit"] == *name && data["reason"].to_string().contains(&wanted);
        let event = daemon.event("UnitStartFailed", told);
        println!("| {name:<17} | {} |", event["data"]["reason"].to_string().replace(&at, "/mnt"));
    }
    for (name, _) in PROBES {
        let probe = || daemon.status(name)["probes"][0].take();
        let failed = until(name, || {
            Some(probe()).filter(|probe| matches!(probe["verdict"].as_str(), Some("failed" | "unknown")) && probe["text"] != "")
        });
        println!("| {name:<17} | {} |", failed["text"].to_string().replace(&at, "/mnt"));
    }
    let trouble = until("the watched one says why", || {
        let text = daemon.status("watched_pid").to_string();
        text.contains("has not come to an end").then_some(text)
    });
    assert!(trouble.contains("x.pid"), "{trouble}");
    println!("{} requests wait on the mount, {:?} threads (looking, all)", bench.mount.held(), threads(daemon));
    let page = until("the page", || get(&address, "/metrics")).1;
    let hanging: Vec<_> = page.lines().filter(|line| line.starts_with("ms_lookups_hanging{")).collect();
    println!("{}", hanging.join(", "));
    assert!(["start", "probe", "other"].iter().all(|purpose| {
        let count = hanging.iter().find_map(|line| line.strip_prefix(&format!("ms_lookups_hanging{{purpose=\"{purpose}\"}} ")));
        count.is_some_and(|count| count != "0")
    }));
    // One for each that asks at most, and not one for each time.
    let most = STARTS.len() + PROBES.len() + WATCHES.len();
    until("no more hang than ask, and the others are done", || (threads(daemon).0 <= most + 4).then_some(()));
    daemon.kill_and_see("honest", &["honest"]);
    let begun = std::time::Instant::now();
    for (name, ..) in STARTS {
        daemon.ok(&["stop", name]);
    }
    println!("stopped after {:?}", begun.elapsed());
    daemon.ok(&["restart", "honest"]);
    daemon.ok(&["reload"]);
    println!("restarted and reloaded after {:?}", begun.elapsed());
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0), "{}", daemon.printed());
}

#[test]
fn starts_that_hang_give_their_turn_to_others_and_are_stopped_at_once() {
    let Some(mount) = HungMount::serving(&[("env", "A=1\n", 0o600)]) else { return };
    let unit = format!("unit: many\ninstances: 70\nexec: sleep 1000\nenvironment_file: {}\n", mount.path("env").display());
    let mut daemon = Daemon::prepared(&[("units/many.yaml", &unit), ("units/zz.yaml", "unit: zz\nexec: sleep 1000\n")]);
    mount.hang();
    daemon.start();
    // More than may start at once wait there, for half a minute.
    daemon.event("UnitActive", |data| data["unit"] == "zz");
    // In the kernel, too, only one asks the server for a name; the others wait for him.
    until("all wait there", || (threads(&daemon).0 >= 70 && mount.held() > 0).then_some(()));
    daemon.ok(&["stop", "many@1"]);
    assert_eq!(daemon.status("many@1")["state"], "stopped");
    assert!(daemon.events().iter().all(|event| event["type"] != "UnitStartFailed"), "nobody's time is over");
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0), "{}", daemon.printed());
}

#[test]
fn a_server_that_goes_away_takes_only_its_own_with_it() {
    let Some(mount) = HungMount::serving(&[("env", "A=1\n", 0o600), ("beat", "", 0o644)]) else { return };
    let at = mount.path("");
    let unit = format!(
        "unit: a\nexec: sleep 1000\nenvironment_file: {0}/env\nprobes: [{{file: {0}/beat, role: observe, period: 200ms, timeout: 150ms}}]\n",
        at.display()
    );
    let mut daemon = Daemon::up(&[("units/a.yaml", &unit), ("units/honest.yaml", HONEST)]);
    let probe = |daemon: &Daemon| daemon.status("a")["probes"][0].take();
    until("it is well", || (probe(&daemon)["verdict"] == "ok").then_some(()));
    mount.hang();
    let text = until("it is found", || Some(probe(&daemon)["text"].to_string()).filter(|text| text.contains("has not come to an end")));
    assert!(text.contains("looking at ") && text.contains("beat"), "{text}");
    daemon.kill_and_see("honest", &["honest"]);
    until("one look of a probe at a time", || (threads(&daemon).0 <= 4).then_some(()));
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0), "{}", daemon.printed());
}

/// Who owns the directory of the file cannot lead root elsewhere, nor feed it for ever, nor have it wait.
#[test]
fn an_environment_file_of_the_units_user_is_no_way_into_roots() {
    if !nix::unistd::geteuid().is_root() {
        return println!("SKIPPED: other users take root");
    }
    let place = tempfile::Builder::new().prefix("ms-env").tempdir_in("/var").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| place.path().join(name);
    fs::write(at("key"), "ROOTS=canary\n").unwrap();
    fs::set_permissions(at("key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(at("app")).unwrap();
    std::os::unix::fs::symlink("../key", at("app/link")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("app/zero")).unwrap();
    nix::unistd::mkfifo(&at("app/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(at("app/large"), vec![b'#'; (1 << 20) + 1]).unwrap();
    fs::write(at("app/own"), "MINE=1\n").unwrap();
    for name in ["", "link", "zero", "fifo", "large", "own"] {
        std::os::unix::fs::lchown(at("app").join(name), Some(4321), Some(4321)).unwrap();
    }
    fs::set_permissions(at("app/own"), fs::Permissions::from_mode(0o600)).unwrap();
    let files: Vec<_> = ["key", "app/link", "app/zero", "app/fifo", "app/large", "app/own"]
        .map(|file| {
            let name = file.replace('/', "_");
            let user = "user: '4321'\ngroup: '4321'\nworking_directory: /";
            let text = format!("unit: {name}\nexec: sleep 1000\n{user}\nenvironment_file: {}\n", at(file).display());
            (format!("units/{name}.yaml"), text)
        })
        .into();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let mut daemon = Daemon::prepared(&files);
    daemon.start();
    for (unit, wanted) in [
        ("app_link", "is a link: "),
        ("app_zero", "it is not a regular file"),
        ("app_fifo", "it is not a regular file"),
        ("app_large", "it is larger than 1.0 MiB"),
    ] {
        let event = daemon.event("UnitStartFailed", |data| data["unit"] == unit);
        let reason = event["data"]["reason"].to_string();
        assert!(reason.contains(wanted), "{unit}: {reason}");
        println!("| {unit:<9} | {} |", reason.replace(&place.path().display().to_string(), ""));
    }
    // Root's own file, where root has laid it, and the user's own.
    daemon.event("UnitActive", |data| data["unit"] == "key");
    daemon.event("UnitActive", |data| data["unit"] == "app_own");
}

/// Variables decide what a process loads: for one of root's only root says them.
#[test]
fn nobody_but_root_says_what_a_unit_of_roots_loads() {
    if !nix::unistd::geteuid().is_root() {
        return println!("SKIPPED: other users take root");
    }
    let place = tempfile::Builder::new().prefix("ms-env").tempdir_in("/var").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    for (name, mode, owner) in [("loose", 0o666, 0), ("theirs", 0o644, 4321), ("roots", 0o644, 0)] {
        fs::write(at(name), "LD_PRELOAD=\n").unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(at(name), Some(owner), Some(owner)).unwrap();
    }
    fs::create_dir(at("open")).unwrap();
    fs::write(at("open/env"), "A=1\n").unwrap();
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let unit = |name: &str, user: &str, file: &str| format!("unit: {name}\nexec: sleep 1000\n{user}environment_file: {}\n", at(file));
    let root = "user: root\n";
    let text = [
        unit("loose", "", "loose"),
        unit("named", root, "loose"),
        unit("theirs", "", "theirs"),
        unit("open", "", "open/env"),
        unit("roots", "", "roots"),
        unit("named_roots", root, "roots"),
    ];
    let mut daemon = Daemon::prepared(&[("units/all.yaml", &text.join("---\n"))]);
    daemon.start();
    for (unit, wanted) in [
        ("loose", "others may change it (mode 666)"),
        ("named", "others may change it (mode 666)"),
        ("theirs", "it belongs to user 4321"),
        ("open", "others may write the directory"),
    ] {
        let event = daemon.event("UnitStartFailed", |data| data["unit"] == unit);
        let reason = event["data"]["reason"].to_string();
        assert!(reason.contains(wanted), "{unit}: {reason}");
    }
    for unit in ["roots", "named_roots"] {
        daemon.event("UnitActive", |data| data["unit"] == unit);
    }
}
