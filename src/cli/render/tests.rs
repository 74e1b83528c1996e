use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::api::dto::tree_rows;
use crate::base::exit::{ExitCause, Signal, Usage};
use crate::base::time::Mono;
use crate::event::{Counters, Desired, LastExit, StoreFailure, StoreRestored, SupervisorStatus};

const NOW: Wall = Wall(1_700_000_000_000);

fn unit(name: &str, state: &str, reason: Option<&str>) -> UnitStatus {
    let runs = state == "active";
    UnitStatus {
        unit: name.into(),
        description: runs.then(|| "Keeps things".into()),
        supervisor: "workers".into(),
        state: state.into(),
        since: Wall(NOW.0 - 182_000),
        since_mono: Mono(0),
        ready: runs,
        pid: runs.then_some(4711),
        started: runs.then_some(Wall(NOW.0 - 182_500)),
        restarts: 2,
        held: state == "stopped",
        paused: false,
        rests: false,
        isolation: None,
        wish: (state == "stopped").then(|| Wish {
            number: 7,
            desired: Desired::Stopped,
            uid: 1000,
            at: Wall(NOW.0 - 182_000),
            why: Some("new disk".into()),
        }),
        reason: reason.map(str::to_owned),
        status: runs.then(|| "serving 3 clients".into()),
        last_exit: None,
        separate_stderr: false,
        breaker: None,
        remedy: None,
        limits: Vec::new(),
        probes: Vec::new(),
        watch: None,
        counters: Counters::default(),
    }
}

pub(in crate::cli) fn status() -> Status {
    let supervisor = |name: &str, parent: Option<&str>, children: &[&str]| SupervisorStatus {
        supervisor: name.into(),
        parent: parent.map(Into::into),
        strategy: "one_for_one".into(),
        state: "active".into(),
        children: children.iter().map(|&child| child.to_owned()).collect(),
        restarts: 1,
        escalations: 0,
        wish: None,
        reason: None,
        limits: Vec::new(),
    };
    let unhealthy = HealthStatus { level: HealthLevel::Unhealthy, by: Some("redis".into()), why: Some("exit code 1".into()) };
    Status {
        used: BTreeMap::new(),
        health: BTreeMap::from([("root".to_owned(), unhealthy), ("inner".to_owned(), HealthStatus::default())]),
        daemon: DaemonStatus {
            version: "0.1.0".into(),
            pid: 12,
            launcher_pid: 11,
            keeper_pid: Some(13),
            started: Wall(NOW.0 - 3_725_000),
            now: NOW,
            state: "degraded".into(),
            reason: Some("gave up `mailer`".into()),
            config: "/etc/ms-supervisor".into(),
            tier: None,
            forced_tier: None,
            cgroup: None,
            upgrade: None,
            store: StoreStatus::default(),
            host: HostStatus::default(),
            limits: Vec::new(),
            degradation: DegradationStatus::default(),
        },
        supervisors: vec![
            supervisor("root", None, &["workers", "mailer"]),
            supervisor("workers", Some("root"), &["redis", "resizer@1", "inner"]),
            supervisor("inner", Some("workers"), &["a-unit-with-a-name-that-is-far-too-long"]),
        ],
        units: vec![
            unit("a-unit-with-a-name-that-is-far-too-long", "waiting", Some("waiting for redis")),
            unit("mailer", "failed", Some("cannot execute ./mailer: No such file or directory (os error 2)")),
            unit("redis", "active", None),
            unit("resizer@1", "stopped", None),
        ],
    }
}

const PLAIN: Look = Look { color: false, width: None };

#[test]
fn the_status_is_a_table() {
    let status = status();
    insta::assert_snapshot!(format!("{}\n{}", headline(PLAIN, &status.daemon, &status.units), status_table(PLAIN, &status)));
}

#[test]
fn the_table_fits_a_terminal() {
    let text = status_table(Look { color: false, width: Some(80) }, &status());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn colours_are_by_state() {
    let text = status_table(Look { color: true, width: None }, &status());
    assert!(text.contains("\x1b[31mfailed    \x1b[0m") && text.contains("\x1b[32mactive    \x1b[0m"), "{text}");
}

#[test]
fn the_tree_has_branches() {
    let status = status();
    insta::assert_snapshot!(tree(PLAIN, &tree_rows("root", &status.supervisors, &status.units, &status.health)));
}

#[test]
fn one_unit_is_told_in_full() {
    let mut status = unit("redis", "active", None);
    let usage = Usage { user: Duration::from_millis(300), max_rss: 12 << 20, ..Usage::default() };
    let cause = ExitCause::Signal { signal: Signal::KILL, core: false };
    status.last_exit = Some(LastExit { cause, text: "SIGKILL".into(), at: Wall(NOW.0 - 190_000), usage });
    let details = UnitDetails {
        used: None,
        status,
        now: NOW,
        supervisors: vec!["workers".into(), "root".into()],
        exec: vec!["redis-server".into(), "--save".into(), String::new()],
        working_directory: "/srv".into(),
        restart: "permanent".into(),
        requires: vec!["disk".into()],
        binds: Vec::new(),
        dependents: vec!["web@1".into(), "web@2".into()],
        log: Some("/var/log/ms-supervisor/redis.log".into()),
        stderr_log: None,
    };
    let text = unit_details(PLAIN, &details);
    // The local time depends on the machine.
    insta::assert_snapshot!(text.replace(&local_time(details.status.since), "TIME"));
}

#[test]
fn branches_end_where_siblings_end() {
    let lines: Vec<_> =
        [(0, "a"), (1, "b"), (2, "c"), (3, "d"), (2, "e"), (1, "f"), (2, "g")].map(|(depth, text)| (depth, text.to_owned())).into();
    let expect = "a\n├── b\n│   ├── c\n│   │   └── d\n│   └── e\n└── f\n    └── g";
    assert_eq!(branches(&lines), expect);
}

#[test]
fn trouble_with_the_store_is_told() {
    assert_eq!(store_trouble(&StoreStatus::default()), "");
    let restored = StoreRestored { why: "it is damaged: x".into(), generation: Some(2), of: Some(Wall(0)) };
    let failing = StoreFailure { why: "the disk is full".into(), since: NOW };
    let text = store_trouble(&StoreStatus { restored: Some(restored), failing: Some(failing), pending: 2, ..StoreStatus::default() });
    let (first, second) = text.split_once('\n').unwrap();
    assert_eq!(first, "store: recovered from generation 2, of 1970-01-01T00:00:00.000Z: it is damaged: x");
    assert!(
        second.starts_with("store: cannot be used since 2023-11-1") && second.ends_with(": the disk is full; 2 changes wait"),
        "{second}"
    );
}
