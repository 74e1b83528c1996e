//! Strategies, escalation and order, seen with real processes.

use super::bench::{Daemon, until};

const TREE: &[(&str, &str)] = &[
    ("supervisors/orchestration.yaml", "supervisor: orchestration\nstrategy: one_for_all\nchildren: [planner, ledger]\n"),
    ("supervisors/workers.yaml", "supervisor: workers\nchildren: [worker]\n"),
    ("supervisors/messaging.yaml", "supervisor: messaging\nstrategy: rest_for_one\nchildren: [bus, relay, announcer]\n"),
    (
        "units/all.yaml",
        "unit: planner\nexec: sleep 1000\n---\nunit: ledger\nexec: sleep 1000\n---\nunit: worker\ninstances: 3\nexec: sleep 1000\n---\n\
         unit: bus\nexec: sleep 1000\n---\nunit: relay\nexec: sleep 1000\n---\nunit: announcer\nexec: sleep 1000\n",
    ),
];

#[test]
fn each_strategy_restarts_whom_it_concerns() {
    let daemon = Daemon::up(TREE);
    daemon.kill_and_see("worker@2", &["worker@2"]);
    daemon.kill_and_see("ledger", &["planner", "ledger"]);
    daemon.kill_and_see("bus", &["bus", "relay", "announcer"]);
    daemon.kill_and_see("announcer", &["announcer"]);
    assert_eq!(daemon.status("worker@2")["restarts"], 1);
    assert_eq!(daemon.status("worker@1")["restarts"], 0);
    assert_eq!(daemon.status("planner")["restarts"], 1);
}

#[test]
fn everything_stops_in_reverse_order() {
    let mut daemon = Daemon::up(&[
        ("supervisors/all.yaml", "supervisor: all\nstart: ordered\nchildren: [a, b, c]\n"),
        ("units/all.yaml", "unit: a\nexec: sleep 1000\n---\nunit: b\nexec: sleep 1000\n---\nunit: c\nexec: sleep 1000\n"),
    ]);
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    let ended = |event: &serde_json::Value| (event["type"] == "UnitExited").then(|| event["subject"].as_str().unwrap().to_owned());
    assert_eq!(daemon.events().iter().filter_map(ended).collect::<Vec<_>>(), ["c", "b", "a"]);
}

#[test]
fn a_dependent_stops_before_what_it_requires() {
    let mut daemon = Daemon::up(&[(
        "units/all.yaml",
        "unit: db\nexec: sleep 1000\n---\nunit: web\nexec: sh -c 'trap \"sleep 0.3; exit\" TERM; while :; do sleep 0.01; done'\nrequires: db\n",
    )]);
    daemon.signal(15);
    assert_eq!(daemon.ended(), Some(0));
    let ended = |event: &serde_json::Value| (event["type"] == "UnitExited").then(|| event["subject"].as_str().unwrap().to_owned());
    assert_eq!(daemon.events().iter().filter_map(ended).collect::<Vec<_>>(), ["web", "db"]);
}

#[test]
fn a_unit_that_gives_up_takes_its_supervisor_along() {
    let mut daemon = Daemon::prepared(&[
        ("supervisors/inner.yaml", "supervisor: inner\nintensity: 2\nperiod: 60s\nchildren: [good, bad]\n"),
        ("supervisors/root.yaml", "supervisor: root\nintensity: 1\nperiod: 60s\nchildren: [inner, other]\n"),
        (
            "units/all.yaml",
            "unit: good\nexec: sleep 1000\n---\nunit: other\nexec: sleep 1000\n---\nunit: bad\nexec: sh -c 'sleep 0.05; exit 7'\n\
             restart: {backoff: none}\n",
        ),
    ]);
    daemon.start();
    // 2 restarts in the first life of `inner`, 2 in its second; then root keeps what still runs.
    let degraded = daemon.event("DaemonDegraded", |_| true);
    assert_eq!(degraded["data"]["child"], "inner");
    let ended = daemon.events().iter().filter(|event| event["type"] == "UnitExited" && event["data"]["unit"] == "bad").count();
    assert_eq!(ended, 6, "two lives of one start and two restarts each");
    assert!(daemon.pids().contains_key("other"));
    until("inner is down", || (!daemon.pids().contains_key("good")).then_some(()));
    assert!(daemon.ok(&["tree"]).contains("degraded"), "{}", daemon.ok(&["tree"]));
    // An operator who has mended it starts it again.
    daemon.write("units/all.yaml", &daemon.read("units/all.yaml").replace("sleep 0.05; exit 7", "exec sleep 1000"));
    daemon.ok(&["reload"]);
    daemon.ok(&["start", "inner"]);
    until("all are up", || (daemon.pids().len() == 3).then_some(()));
}

#[test]
fn a_root_that_gives_up_may_end_the_daemon() {
    let mut daemon = Daemon::prepared(&[
        ("daemon.yaml", "on_root_failure: exit\n"),
        ("units/bad.yaml", "unit: bad\nexec: sh -c 'exit 7'\nrestart: {backoff: none}\n---\nunit: good\nexec: sleep 1000\n"),
    ]);
    daemon.start();
    assert_eq!(daemon.ended(), Some(1), "{}", daemon.printed());
}

#[test]
fn a_dependent_comes_up_when_what_it_requires_does() {
    let mut daemon = Daemon::prepared(&[
        (
            "units/all.yaml",
            "unit: db\nexec: sh -c 'test -e go && exec sleep 1000; exit 1'\nreadiness: {fd: 3, timeout: 10s}\n\
             restart: {backoff: {kind: linear, first: 50ms, base: 50ms, step: 0s}}\n---\n\
             unit: web\nexec: sleep 1000\nrequires: db\n---\nunit: side\nexec: sleep 1000\nwants: [db]\n",
        ),
        ("supervisors/all.yaml", "supervisor: all\nintensity: 100000\nchildren: [db, web, side]\n"),
    ]);
    daemon.start();
    daemon.events_of("UnitExited", "db", 3);
    // Nobody waits for ever for what it only wants.
    daemon.events_of("UnitActive", "side", 1);
    assert!(!daemon.pids().contains_key("web"));
    let text = daemon.read("units/all.yaml").replace("exec sleep 1000; exit 1", "echo >&3 && exec sleep 1000; exit 1");
    daemon.write("units/all.yaml", &text);
    daemon.write("go", "");
    daemon.ok(&["reload"]);
    until("web is up", || daemon.pids().contains_key("web").then_some(()));
}

#[test]
fn a_job_that_is_done_ends_what_serves_it() {
    let daemon = Daemon::up(&[
        ("supervisors/root.yaml", "supervisor: root\nchildren: [job, other]\n"),
        ("supervisors/job.yaml", "supervisor: job\nrestart: transient\nauto_shutdown: any_significant\nchildren: [proxy, work]\n"),
        (
            "units/all.yaml",
            "unit: proxy\nexec: sleep 1000\n---\nunit: work\nexec: sh -c 'while [ ! -e done ]; do sleep 0.01; done'\nrestart: transient\n\
             significant: true\n---\nunit: other\nexec: sleep 1000\n",
        ),
    ]);
    assert!(daemon.pids().contains_key("proxy"));
    daemon.write("done", "");
    until("the proxy is down", || (!daemon.pids().contains_key("proxy")).then_some(()));
    assert!(daemon.pids().contains_key("other"));
    let restarted = daemon.events().iter().any(|event| event["type"] == "UnitExited" && event["data"]["unit"] == "other");
    assert!(!restarted);
    assert_eq!(daemon.status("work")["restarts"], 0);
}
