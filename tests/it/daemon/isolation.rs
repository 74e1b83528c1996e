//! What a unit is kept from, seen from inside of it.

use super::bench::{Daemon, kill, until};

/// Prints what it is and what it can do, then stays.
const LOOKS: &str = r#"#!/bin/sh
can() { name=$1; shift; if "$@" > /dev/null 2>&1; then echo "$name: yes"; else echo "$name: no"; fi; }
grep -E '^(Uid|Groups|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | tr '\t' ' '
can tmp_of_others test -e "$1"
can write_tmp touch "$1.own"
can write_usr touch /usr/ms-supervisor-test
can read_passwd cat /etc/passwd
can read_hosts cat /etc/hosts
can fork sh -c :
can unshare unshare -r true
can see_network grep -q eth /proc/net/dev
echo "networks: $(grep -c : /proc/net/dev)"
echo done
exec sleep 1000
"#;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A daemon whose unit `a` looks around, what that needs, and what it saw.
fn look(more: &str) -> (Daemon, (tempfile::TempDir, tempfile::NamedTempFile), String) {
    let program = tempfile::Builder::new().prefix("ms-look").tempdir_in("/var").unwrap();
    let script = program.path().join("look");
    std::fs::write(&script, LOOKS).unwrap();
    // It has to be read by whoever it is run as.
    std::fs::set_permissions(program.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let others = tempfile::Builder::new().prefix("ms-others").tempfile_in("/tmp").unwrap();
    let unit = format!("unit: a\nexec: [sh, {}, {}]\nworking_directory: /\n{more}", script.display(), others.path().display());
    let daemon = Daemon::up(&[("units/a.yaml", &unit)]);
    let seen = until("it has looked", || Some(daemon.ok(&["logs", "a"])).filter(|log| log.contains("done")));
    (daemon, (program, others), seen)
}

#[track_caller]
fn holds(seen: &str, lines: &[&str]) {
    for line in lines {
        assert!(seen.lines().any(|seen| seen.ends_with(line)), "no `{line}` in\n{seen}");
    }
}

#[test]
fn root_can_be_walled_in() {
    if !is_root() {
        return println!("SKIPPED: mounts and namespaces take root");
    }
    let isolation = "isolation: {private_tmp: true, protect_system: strict, private_network: true, capabilities: [CAP_NET_BIND_SERVICE], \
                     inaccessible_paths: [/etc/hosts, /home], system_call_filter: strict}\n";
    let (daemon, files, seen) = look(isolation);
    holds(&seen, &["CapEff: 0000000000000400", "CapBnd: 0000000000000400", "NoNewPrivs: 1", "Seccomp: 2"]);
    holds(&seen, &["tmp_of_others: no", "write_tmp: yes", "write_usr: no", "read_passwd: yes", "read_hosts: no", "fork: yes"]);
    holds(&seen, &["unshare: no", "see_network: no", "networks: 1"]);
    assert!(!files.1.path().with_extension("own").exists());
    let keys = daemon.status("a")["isolation"]["keys"].to_string();
    assert!(keys.contains("private_tmp") && keys.contains("system_call_filter"), "{keys}");
    assert!(daemon.ok(&["status", "a"]).contains("Isolation: no_new_privileges, capabilities, private_tmp"));
    // Another isolation needs another process.
    let before = daemon.pids()["a"];
    let unit = daemon.read("units/a.yaml");
    daemon.write("units/a.yaml", &unit.replace("private_network: true", "private_network: false"));
    assert!(daemon.ok(&["reload"]).contains("unit a: restart, because isolation changed"));
    until("it is another one", || daemon.pids().get("a").is_some_and(|pid| *pid != before).then_some(()));
}

#[test]
fn another_user_keeps_what_is_named_and_nothing_else() {
    if !is_root() {
        return println!("SKIPPED: to become another user takes root");
    }
    let (_daemon, _files, seen) =
        look("user: nobody\nisolation: {capabilities: [net_raw], supplementary_groups: [12345], keyring_mode: private}\n");
    holds(&seen, &["CapEff: 0000000000002000", "CapBnd: 0000000000002000", "CapAmb: 0000000000002000", "NoNewPrivs: 1"]);
    assert!(seen.contains("65534") && seen.contains("12345"), "{seen}");
    let (_daemon, _files, seen) = look("user: nobody\nisolation: {}\n");
    holds(&seen, &["CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 0"]);
}

#[test]
fn landlock_needs_no_privilege() {
    let (_daemon, _files, seen) =
        look("isolation: {landlock: {read: [/proc, /etc/hosts, /var, /dev], write: [/dev/null], execute: [/usr, /bin, /lib, -/lib64]}}\n");
    holds(&seen, &["read_passwd: no", "read_hosts: yes", "write_tmp: no", "write_usr: no", "fork: yes"]);
}

#[test]
fn a_filtered_call_fails_or_kills() {
    let unit = |name: &str, action: &str| {
        let filter = format!("isolation: {{system_call_filter: {{profile: default, action: {action}}}}}");
        format!("unit: {name}\nexec: [unshare, -r, 'true']\nrestart: temporary\n{filter}\n")
    };
    let daemon = Daemon::up(&[("units/a.yaml", &unit("a", "kill")), ("units/b.yaml", &unit("b", "errno"))]);
    let cause = |unit: &str| daemon.event("UnitExited", |data| data["unit"] == unit)["data"]["cause"].to_string();
    assert!(cause("a").contains("31") || cause("a").contains("SYS"), "{}", cause("a"));
    assert!(cause("b").contains("code"), "{}", cause("b"));
}

#[test]
fn what_cannot_be_had_fails_the_start_or_is_told() {
    let missing = "unit: a\nexec: sleep 1000\nisolation: {read_only_paths: /nothing/here}\n";
    let hidden = "unit: b\nexec: sleep 1000\nworking_directory: /tmp\nisolation: {private_tmp: true}\n";
    let blocked = "unit: c\nexec: sleep 1000\nisolation: {landlock: {read: /etc}}\n";
    let mut daemon = Daemon::prepared(&[("units/a.yaml", missing), ("units/b.yaml", hidden), ("units/c.yaml", blocked)]);
    daemon.start();
    let why = |unit: &str| {
        let event = daemon.event("UnitStartFailed", |data| data["unit"] == unit);
        event["data"]["reason"].to_string()
    };
    assert!(why("a").contains("write `-/nothing/here` if it may be missing"), "{}", why("a"));
    assert!(why("b").contains("private_tmp hides its working directory, /tmp"), "{}", why("b"));
    assert!(why("c").contains("have to be below one of landlock.execute"), "{}", why("c"));
}

#[test]
fn a_probe_is_no_hole_in_the_wall() {
    if !is_root() {
        return println!("SKIPPED: namespaces take root");
    }
    let probe = "probes: [{name: inside, command: [sh, -c, 'grep -c : /proc/net/dev; ls /tmp/ms-others*.own > /dev/null && ! touch /usr/x 2> /dev/null'], \
                 period: 100ms, initial_delay: 0s, role: readiness, timeout: 10s}]\n";
    let keys = format!("isolation: {{private_network: true, private_tmp: true, read_only_paths: /usr}}\n{probe}");
    let (daemon, _files, _) = look(&keys);
    until("it has passed", || (daemon.status("a")["probes"][0]["text"] == "1").then_some(()));
    // The namespaces are those of the next process, too.
    kill(daemon.pids()["a"], 9);
    daemon.events_of("UnitActive", "a", 2);
}
