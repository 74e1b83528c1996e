//! What depends on what, while it runs.

use std::collections::BTreeMap;

use super::bench::{Daemon, kill, until};

fn starts(daemon: &Daemon) -> BTreeMap<String, usize> {
    let mut starts = BTreeMap::new();
    for event in daemon.events().iter().filter(|event| event["type"] == "UnitActive") {
        *starts.entry(event["subject"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    starts
}

#[test]
fn what_binds_goes_down_with_its_dependency_and_comes_back_after_it() {
    let units = "unit: db\nexec: sleep 1000\nrestart: {backoff: {kind: none, first: 300ms}}\n---\nunit: web\nexec: sleep 1001\nbinds: db\n---\n\
                 unit: log\nexec: sleep 1002\nrequires: db\n";
    let daemon = Daemon::up(&[("units/all.yaml", units)]);
    let first = daemon.pids();
    kill(first["db"], 9);
    daemon.event("UnitUnbound", |data| data["unit"] == "web" && data["from"] == "db");
    daemon.events_of("UnitActive", "web", 2);
    let second = daemon.pids();
    assert_eq!(first["log"], second["log"], "who only requires it to start runs on");
    assert_ne!(first["web"], second["web"]);
    // Another brain sees it, too.
    kill(daemon.brain_pid(), 9);
    daemon.events_of_kind("DaemonStarted", 2);
    until("it answers", || daemon.answers());
    assert_eq!(daemon.pids(), second);
    daemon.ok(&["stop", "db"]);
    until("web waits for db", || (daemon.status("web")["state"] == "waiting").then_some(()));
    daemon.ok(&["start", "db"]);
    daemon.events_of("UnitActive", "web", 3);
    let restarts = daemon.events().iter().filter(|event| event["type"] == "ChildTerminated" && event["data"]["child"] == "web").count();
    assert_eq!(restarts, 0, "no supervisor has counted it");
}

#[test]
fn many_restarts_at_once_take_turns() {
    let units = "unit: web\nexec: sleep 1000\ninstances: 30\n";
    let settings = "listen: none\nrestart_budget: {restarts: 10, period: 1s}\n";
    let tree = "supervisor: root\nintensity: 1000\nperiod: 1s\nchildren: [web]\n";
    let daemon = Daemon::up(&[("units/web.yaml", units), ("supervisors/root.yaml", tree), ("daemon.yaml", settings)]);
    let first = daemon.pids();
    first.values().for_each(|pid| kill(*pid, 9));
    daemon.events_of_kind("UnitActive", 60);
    let held = |event: &serde_json::Value| (event["type"] == "UnitHeldBack").then(|| event["data"]["delay"].as_f64());
    let mut held: Vec<f64> = daemon.events().iter().filter_map(held).flatten().collect();
    held.sort_by(f64::total_cmp);
    // Ten at once, and one more for each tenth of a second that the killing took.
    assert!((1..=20).contains(&held.len()) && held.is_sorted_by(|one, other| one < other), "{held:?}");
    assert!(daemon.pids().iter().all(|(unit, pid)| first[unit] != *pid));
}

#[test]
fn a_flapping_dependency_is_no_storm() {
    let mut units = String::from("unit: db\nexec: [sh, -c, 'sleep 0.1; exit 1']\nrestart: {backoff: {kind: none}}\n");
    for number in 1..=20 {
        units += &format!("---\nunit: web{number}\nexec: sleep {number}000\nbinds: db\n");
    }
    let tree = "supervisor: root\nintensity: 1000\nperiod: 1s\nchildren: [db";
    let tree = (1..=20).fold(tree.to_owned(), |tree, number| format!("{tree}, web{number}")) + "]\n";
    let daemon = Daemon::up(&[("units/all.yaml", &units), ("supervisors/root.yaml", &tree)]);
    until("the dependency has failed forty times", || (starts(&daemon).get("db") >= Some(&40)).then_some(()));
    let mut starts = starts(&daemon);
    let flaps = starts.remove("db").unwrap();
    // Each of them comes after 0, 0.2, 0.4, 0.8 … seconds at most: five starts take three seconds.
    let (most, all) = (starts.values().max().unwrap(), starts.values().sum::<usize>());
    println!("{flaps} starts of the dependency, {all} of its 20 dependents, {most} of one at most");
    assert!(all * 2 < flaps * 20, "{flaps} starts of the dependency, {starts:?}");
}

#[test]
fn the_critical_chain_tells_what_a_start_waited_for() {
    let units = "unit: quick\nexec: sleep 1000\n---\nunit: slow\nexec: [sh, -c, 'sleep 0.3; echo >&3; exec sleep 1001']\nreadiness: {fd: 3}\n---\n\
                 unit: web\nexec: sleep 1002\nrequires: [quick, slow]\n";
    let daemon = Daemon::up(&[("units/all.yaml", units)]);
    let chain = || {
        let links: Vec<serde_json::Value> = serde_json::from_str(&daemon.ok(&["critical-chain", "web", "--json"])).unwrap();
        links.iter().map(|link| link["unit"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(chain(), ["web", "slow"]);
    let text = daemon.ok(&["critical-chain"]);
    assert!(text.starts_with("web @") && text.contains("\n└── slow @3"), "{text}");
    // Another brain knows it from the journal.
    kill(daemon.brain_pid(), 9);
    daemon.events_of_kind("DaemonStarted", 2);
    until("it answers", || daemon.answers());
    assert_eq!(chain(), ["web", "slow"]);
}
