//! Remediation: what is done, step by step, about what fails again and again.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::bench::{Daemon, is_alive, kill, until};
use super::watched::{Stranger, unique};

/// Fails until the file `well` is there.
const PROBE: &str = "name: file, role: observe, command: [sh, -c, 'test -e well || { echo gone; exit 2; }'], period: 100ms, timeout: 5s, failure_threshold: 1";

/// Scripts run as the user of the test: as nobody else they could not reach its directory.
fn own_user() -> &'static str {
    if nix::unistd::geteuid().is_root() { ", user: root" } else { "" }
}

fn daemon_with(unit: &str, scripts: &[(&str, &str)]) -> Daemon {
    let mut daemon = Daemon::prepared(&[("units/all.yaml", unit)]);
    for (name, text) in scripts {
        let path = format!("scripts/{name}");
        daemon.write(&path, text);
        fs::set_permissions(daemon.path(&path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir_all(daemon.path("scripts")).unwrap();
    fs::set_permissions(daemon.path("scripts"), fs::Permissions::from_mode(0o755)).unwrap();
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    daemon
}

/// What has been told of remedies: stage, step and why.
fn told(daemon: &Daemon) -> Vec<(String, u64, String)> {
    let events = daemon.events().into_iter().filter(|event| event["type"] == "Remediation");
    let of = |event: Value| {
        let data = &event["data"];
        (data["stage"].as_str().unwrap().to_owned(), data["step"].as_u64().unwrap_or(0), data["why"].as_str().unwrap_or("").to_owned())
    };
    events.map(of).collect()
}

fn stage(daemon: &Daemon, stage: &str, step: u64) -> Value {
    daemon.event("Remediation", |data| data["stage"] == stage && data["step"].as_u64().unwrap_or(0) == step)["data"].clone()
}

#[test]
fn a_script_is_told_everything_and_what_it_mends_is_well_again() {
    let script = "#!/bin/sh\ncat > context.json\nenv | grep ^MS_ > variables\nls -l \"$MS_EVIDENCE\"\necho mended it >&2\ntouch well\n";
    let unit = format!(
        "unit: a\nexec: sleep 1000\nprobes: [{{{PROBE}, remediation: {{steps: [{{run: [mend, 50%%], mode: enforce{}}}], cool_down: 5s, reset_after: 1s}}}}]\n",
        own_user()
    );
    let daemon = daemon_with(&unit, &[("mend", script)]);
    let (started, ended) = (stage(&daemon, "started", 1), stage(&daemon, "ended", 1));
    assert_eq!((started["action"].as_str(), started["why"].as_str()), (Some("run: mend …"), Some("probe file: gone")));
    assert_eq!(ended["success"], true, "{ended}");
    let printed = fs::read_to_string(ended["file"].as_str().unwrap()).unwrap();
    assert!(printed.contains("/incidents/a-") && printed.ends_with("mended it\n"), "{printed}");
    let context: Value = serde_json::from_str(&daemon.read("context.json")).unwrap();
    let schema: Value = serde_json::from_str(&daemon.ok(&["schema", "remedy"])).unwrap();
    assert!(jsonschema::is_valid(&schema, &context), "{context}");
    assert_eq!((context["unit"].as_str(), context["probe"].as_str()), (Some("a"), Some("file")));
    let pid = daemon.pids()["a"];
    assert_eq!((context["pid"].as_u64(), context["status"]["state"].as_str()), (Some(pid.into()), Some("active")));
    assert!(fs::read_to_string(context["evidence"].as_str().unwrap()).unwrap().contains("== cmdline\nsleep 1000"));
    assert_eq!(fs::read_to_string(started["file"].as_str().unwrap()).unwrap(), daemon.read("context.json"));
    let variables = daemon.read("variables");
    for line in ["MS_UNIT=a", "MS_PROBE=file", "MS_STEP=1", "MS_ACTION=run: mend 50%", &format!("MS_MAINPID={pid}")] {
        assert!(variables.lines().any(|found| found == line), "{line}: {variables}");
    }
    stage(&daemon, "over", 0);
    assert_eq!(daemon.pids()["a"], pid, "nobody has restarted it");
    // What goes wrong later has the first step again.
    fs::remove_file(daemon.path("well")).unwrap();
    daemon.events_of("Remediation", "a", 5);
    assert_eq!(told(&daemon)[3].1, 1);
}

#[test]
fn beyond_restarts_of_its_own_it_only_says_what_it_would_do() {
    let steps = "steps: [restart, {run: mend}, {notify: 'http://127.0.0.1:1/'}, give_up]";
    let unit = format!("unit: a\nexec: sleep 1000\nprobes: [{{{PROBE}, remediation: {{{steps}, cool_down: 200ms}}}}]\n");
    let daemon = daemon_with(&unit, &[("mend", "#!/bin/sh\ntouch done\n")]);
    stage(&daemon, "exhausted", 0);
    let told: Vec<_> = told(&daemon).into_iter().map(|(stage, step, _)| format!("{stage} {step}")).collect();
    assert_eq!(told, ["started 1", "ended 1", "withheld 2", "withheld 3", "withheld 4", "exhausted 0"]);
    daemon.events_of("UnitActive", "a", 2);
    assert!(!daemon.path("done").exists() && daemon.status("a")["held"] == false);
    let text = daemon.ok(&["status", "a"]);
    assert!(text.contains("Remedy: no remedy of probe file is left: somebody has to look at it"), "{text}");
    let events = daemon.ok(&["events"]);
    assert!(events.contains("remedy 2 of probe file would be `run: mend`: probe file: gone (mode: observe)"), "{events}");
}

#[test]
fn a_dry_run_looks_whether_it_could_be_done() {
    let steps = "steps: [{run: mend}, {run: none}, {run: anybodys}, {notify: 'http://127.0.0.1:1/'}, {restart: branch}, give_up]";
    let unit = format!("unit: a\nexec: sleep 1000\nprobes: [{{{PROBE}, remediation: {{{steps}, cool_down: 0s, mode: dry_run}}}}]\n");
    let daemon = daemon_with(&unit, &[("mend", "#!/bin/sh\ntouch done\n"), ("anybodys", "#!/bin/sh\ntouch done\n")]);
    fs::set_permissions(daemon.path("scripts/anybodys"), fs::Permissions::from_mode(0o777)).unwrap();
    stage(&daemon, "exhausted", 0);
    let whys: Vec<_> = told(&daemon).into_iter().map(|(_, _, why)| why).collect();
    let whom = if nix::unistd::geteuid().is_root() { " as user 65534" } else { "" };
    let scripts = daemon.path("scripts").display().to_string();
    let wanted = [
        format!("could: {scripts}/mend{whom}"),
        format!("could not: cannot look at {scripts}/none: No such file or directory"),
        format!("could not: {scripts}/anybodys can be changed by others; chmod go-w {scripts}/anybodys"),
        "could not: cannot connect to 127.0.0.1:1: Connection refused".into(),
        "could not: `root` is the root of the tree; ".into(),
        "could: it is there".into(),
    ];
    for (why, wanted) in whys.iter().zip(&wanted) {
        assert!(why.starts_with(&format!("probe file: gone (mode: dry_run; {wanted}")), "{why}");
    }
    assert!(!daemon.path("done").exists() && daemon.status("a")["held"] == false);
}

#[test]
fn dependents_and_branches_are_restarted_and_what_is_stopped_stays_so() {
    let ladder = "remediation: {steps: [{restart: dependents}, {restart: branch}], cool_down: 1h}";
    let units = format!(
        "unit: db\nexec: sleep 1000\nprobes: [{{{PROBE}, {ladder}}}]\n---\nunit: web\nexec: sleep 1001\nrequires: db\n---\n\
         unit: page\nexec: sleep 1002\nrequires: web\n---\nunit: kept\nexec: sleep 1003\nrequires: db\n---\n\
         unit: beside\nexec: sleep 1004\n---\nunit: other\nexec: sleep 1005\n"
    );
    let tree = "supervisor: root\nchildren: [branch, other]\n---\nsupervisor: branch\nchildren: [db, web, page, kept, beside]\n";
    let mut daemon = Daemon::prepared(&[("units/all.yaml", &units), ("supervisors/all.yaml", tree), ("well", "")]);
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    daemon.ok(&["stop", "kept"]);
    let first = daemon.pids();
    fs::remove_file(daemon.path("well")).unwrap();
    assert_eq!(stage(&daemon, "ended", 1)["success"], true);
    let second = daemon.pids();
    let changed: Vec<_> = second.iter().filter(|(unit, pid)| first[*unit] != **pid).map(|(unit, _)| unit.as_str()).collect();
    assert_eq!(changed, ["db", "page", "web"]);
    // The same, with less patience: the next step, and everything below the supervisor.
    let steps = units.replace("cool_down: 1h", "cool_down: 100ms").replace("{restart: dependents}, ", "");
    daemon.write("units/all.yaml", &steps);
    daemon.write("well", "");
    daemon.ok(&["reload"]);
    until("it passes", || (daemon.status("db")["probes"][0]["standing"] == "passing").then_some(()));
    fs::remove_file(daemon.path("well")).unwrap();
    until("the branch is restarted", || told(&daemon).iter().filter(|(stage, ..)| stage == "ended").nth(1).map(drop));
    let third = daemon.pids();
    let changed: Vec<_> = third.iter().filter(|(unit, pid)| second[*unit] != **pid).map(|(unit, _)| unit.as_str()).collect();
    assert_eq!(changed, ["beside", "db", "page", "web"]);
    assert!(daemon.status("kept")["held"] == true && !third.contains_key("kept"));
}

#[test]
fn somebody_is_told_and_in_the_end_it_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut chunk) = (String::new(), [0; 4096]);
        while !request.ends_with('}') {
            let length = stream.read(&mut chunk).unwrap();
            request.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
        }
        stream.write_all(b"HTTP/1.1 204 Thanks\r\n\r\n").unwrap();
        request
    });
    let ladder = format!("remediation: {{steps: [{{notify: '{url}'}}, give_up], failures: 2, cool_down: 100ms, mode: enforce}}");
    let unit = format!("unit: a\nexec: [sh, -c, 'sleep 0.1; exit 3']\nrestart: {{backoff: {{kind: none}}}}\n{ladder}\n");
    let tree = "supervisor: root\nintensity: 1000\nperiod: 1s\nchildren: [a]\n";
    let mut daemon = Daemon::prepared(&[("units/a.yaml", &unit), ("supervisors/root.yaml", tree)]);
    daemon.start();
    let (notified, given_up) = (stage(&daemon, "ended", 1), stage(&daemon, "ended", 2));
    assert_eq!((notified["success"].clone(), given_up["success"].clone()), (true.into(), true.into()), "{notified}");
    let heard = heard.join().unwrap();
    let body: Value = serde_json::from_str(heard.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((body["unit"].as_str(), body["why"].as_str(), body["step"].as_u64()), (Some("a"), Some("exit code 3"), Some(1)));
    until("it is held", || (daemon.status("a")["held"] == true).then_some(()));
    let text = daemon.ok(&["status", "a"]);
    assert!(text.contains("remediation: exit code 3"), "{text}");
    stage(&daemon, "over", 0);
}

#[test]
fn another_brain_goes_on_where_the_last_one_stood() {
    let ladder = "remediation: {steps: [{restart: unit, cool_down: 2s}, give_up], cool_down: 1h}";
    let daemon = daemon_with(&format!("unit: a\nexec: sleep 1000\nprobes: [{{{PROBE}, {ladder}}}]\n"), &[]);
    stage(&daemon, "ended", 1);
    kill(daemon.brain_pid(), 9);
    daemon.events_of_kind("DaemonStarted", 2);
    stage(&daemon, "withheld", 2);
    let steps: Vec<_> = told(&daemon).into_iter().map(|(stage, step, _)| format!("{stage} {step}")).collect();
    assert_eq!(steps, ["started 1", "ended 1", "withheld 2"]);
}

#[test]
fn a_script_that_hangs_is_killed_with_all_it_has_begun() {
    let script = "#!/bin/sh\necho begun\ntrap '' TERM\nsetsid sh -c 'echo $$ > away; exec sleep 1000' &\nwhile :; do sleep 1; done\n";
    let step = format!("{{run: hang, timeout: 1s, mode: enforce{}}}", own_user());
    let unit = format!("unit: a\nexec: sleep 1000\nprobes: [{{{PROBE}, remediation: {{steps: [{step}], cool_down: 1h}}}}]\n");
    let daemon = daemon_with(&unit, &[("hang", script)]);
    let away: u32 = until("it has begun", || daemon.read("away").trim().parse().ok());
    let ended = stage(&daemon, "ended", 1);
    assert_eq!((ended["success"].clone(), ended["why"].as_str()), (false.into(), Some("it did not end within 1s")));
    assert_eq!(fs::read_to_string(ended["file"].as_str().unwrap()).unwrap(), "begun\n");
    until("what it has left is gone", || (!is_alive(away)).then_some(()));
}

#[test]
fn who_is_stopped_by_an_operator_needs_no_remedy() {
    let unit = "unit: a\nexec: [sh, -c, 'exit 3']\nrestart: {backoff: {kind: none, first: 100ms}}\n\
                remediation: {steps: [{restart: unit, cool_down: 500ms}, {run: mend, mode: enforce}], failures: 2}\n";
    let tree = "supervisor: root\nintensity: 1000\nperiod: 1s\nchildren: [a]\n";
    let mut daemon = Daemon::prepared(&[("units/a.yaml", unit), ("supervisors/root.yaml", tree)]);
    daemon.start();
    stage(&daemon, "started", 1);
    daemon.ok(&["stop", "a"]);
    stage(&daemon, "over", 0);
    assert!(told(&daemon).iter().all(|(_, step, _)| *step < 2), "{:?}", told(&daemon));
}

#[test]
fn what_is_only_watched_is_not_restarted_but_somebody_is_asked_to() {
    let step = format!("{{run: ask, mode: enforce{}}}", own_user());
    let ladder = format!("{{steps: [{step}], failures: 1, cool_down: 1s, reset_after: 1s}}");
    let unit = format!("unit: a\nwatch: {{name: {}, period: 200ms}}\nremediation: {ladder}\n", unique("asked"));
    let daemon = daemon_with(&unit, &[("ask", "#!/bin/sh\ntouch asked\n")]);
    let other = Stranger::called("asked");
    daemon.event("UnitFound", |data| data["unit"] == "a");
    other.kill(libc::SIGKILL);
    let ended = stage(&daemon, "ended", 1);
    assert!(ended["success"] == true && daemon.path("asked").exists(), "{ended}");
    let _back = Stranger::called("asked");
    daemon.events_of("UnitFound", "a", 2);
    stage(&daemon, "over", 0);
}
