use super::*;
use crate::base::exit::{ExitCause, Signal};
use crate::base::pressure::{Pressure, Pressures};
use crate::base::time::Wall;
use crate::event::{Counters, GapReason, LimitStatus, NoticeDrop, RestartCause};

fn host() -> HostStatus {
    HostStatus {
        pressure: Pressures { memory: Some(Pressure { some: 0.25, full: Some(0.125), stood_still: None }), ..Pressures::default() },
        memory_available: Some(0.5),
        lag: Duration::from_millis(20),
        blind: Duration::from_secs(3),
        ..HostStatus::default()
    }
}

fn counters() -> Counters {
    let mut counters = Counters::default();
    counters.restarts.insert(RestartCause::Exit, 2);
    counters.exits.insert(ExitCause::Code(1).into(), 1);
    counters.exits.insert(ExitCause::Signal { signal: Signal::KILL, core: false }.into(), 1);
    counters.start.observe(Duration::from_millis(3));
    counters.start.observe(Duration::from_secs(70));
    counters.log_dropped.insert(GapReason::Quota, 4096);
    counters.notices_dropped.insert(NoticeDrop::Foreign, 5);
    counters.log_bytes = 10_000;
    counters.oom_kills = 1;
    counters.adjustments.insert("memory_high".into(), 3);
    counters
}

fn unit() -> UnitStatus {
    let limit = |limit: &str, wanted: &str, refused: Option<&str>| LimitStatus {
        limit: limit.into(),
        wanted: wanted.into(),
        refused: refused.map(str::to_owned),
        declared: None,
    };
    let declared =
        vec![limit("memory_max", "67108864", None), limit("cpu_max", "150000 100000", None), limit("cpuset", "7", Some("out of range"))];
    UnitStatus {
        limits: declared,
        unit: "web@1".into(),
        isolation: Some(crate::event::IsolationStatus { keys: vec![], missing: vec!["landlock: no".into()] }),
        description: None,
        supervisor: "workers".into(),
        state: "active".into(),
        since: Wall(0),
        since_mono: Mono(0),
        ready: true,
        pid: Some(7),
        started: Some(Wall(0)),
        restarts: 2,
        held: false,
        paused: false,
        remedy: None,
        rests: false,
        breaker: Some(crate::base::breaker::BreakerState::Open),
        wish: None,
        reason: None,
        status: None,
        last_exit: None,
        separate_stderr: false,
        probes: Vec::new(),
        watch: None,
        counters: counters(),
    }
}

fn snapshot() -> Snapshot {
    let unit = unit();
    let declared = unit.limits.clone();
    let supervisor = SupervisorStatus {
        supervisor: "workers".into(),
        parent: None,
        strategy: "one_for_one".into(),
        state: "active".into(),
        children: vec!["web@1".into()],
        restarts: 2,
        escalations: 1,
        wish: None,
        reason: None,
        limits: declared,
    };
    let sample = Sample {
        user_seconds: 1.5,
        system_seconds: 0.25,
        resident_bytes: 4096,
        threads: 2,
        descriptors: 5,
        processes: 1,
        started: Wall(1_700_000_000_500),
    };
    let units =
        BTreeMap::from([(UnitId::from("web@1"), sample), (LAUNCHER.into(), sample), (KEEPER.into(), sample), (BRAIN.into(), sample)]);
    Snapshot {
        health: BTreeMap::from([("workers".to_owned(), HealthLevel::Degraded)]),
        version: "0.1.0 \"x\"".into(),
        tier: Some(crate::base::tier::Tier::Tier2),
        units: vec![unit],
        supervisors: vec![supervisor],
        samples: Arc::new(Samples { units, own: sample }),
        groups: Arc::new(BTreeMap::from([("web@1".to_owned(), used())])),
        supervisor_groups: Arc::new(BTreeMap::from([("workers".to_owned(), used())])),
        events: 42,
        events_dropped: 0,
        store: StoreStatus { wishes: 3, pending: 1, commits: 7, failures: 2, backups: 1, ..StoreStatus::default() },
        degradation_step: 2,
        limit_alarms: 4,
        hanging: BTreeMap::from([(Purpose::Start, 1), (Purpose::Probe, 0), (Purpose::Other, 2)]),
        launcher_turns: LauncherTurns {
            count: 9,
            longest: std::time::Duration::from_millis(12),
            recent: std::time::Duration::from_millis(3),
        },
        host: host(),
    }
}

fn used() -> GroupUse {
    let (memory, memory_peak, swap, tasks) = (Some(4096), Some(8192), Some(0), Some(3));
    let (cpu, throttled, read, written) = (Some(1.5), Some(0.25), Some(10), Some(20));
    GroupUse { memory, memory_peak, swap, cpu, throttled, tasks, read, written, oom_kills: Some(1) }
}

#[test]
fn the_page_tells_everything() {
    insta::assert_snapshot!(render(snapshot()).unwrap());
}

#[test]
fn every_name_and_help_text_is_in_order() {
    let all = || families::ALL.iter().chain(limits::ALL);
    let mut names: Vec<_> = all().map(|family| family.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all().count());
    for family in all() {
        assert!(family.name.starts_with("ms_") && !family.name.ends_with("_total"), "{}", family.name);
        assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\', '"']), "{}", family.name);
    }
}

#[test]
fn an_empty_daemon_has_a_page_too() {
    let page = render(Snapshot::default()).unwrap();
    assert!(page.ends_with("# EOF\n") && page.contains("ms_events_total 0\n"), "{page}");
}
