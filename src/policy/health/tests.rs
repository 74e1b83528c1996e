use proptest::prelude::*;

use super::*;
use crate::base::rng::Rng;
use crate::plan::ProbeKind;

const fn at(millis: u64) -> Mono {
    Mono(millis * 1_000_000)
}

fn probe(role: ProbeRole) -> Arc<ProbePlan> {
    let second = Duration::from_secs(1);
    Arc::new(ProbePlan {
        slow_after: None,
        name: "x".into(),
        role,
        kind: ProbeKind::Process,
        period: second,
        min_period: None,
        timeout: second,
        remediation: None,
        breaker: None,
        initial_delay: Duration::ZERO,
        failure_threshold: 3,
        success_threshold: 1,
    })
}

/// Runs a unit's probes in virtual time; `well` says what each finds when.
struct World {
    health: Health,
    now: Mono,
    told: Vec<(u64, Effect)>,
}

impl World {
    fn new(plans: &[Arc<ProbePlan>]) -> Self {
        Self { health: Health::new(plans, Rng::derive(1, &["health"])), now: at(0), told: Vec::new() }
    }

    fn input(&mut self, input: Input) -> Vec<usize> {
        let mut out = Vec::new();
        self.health.step(self.now, input, &mut out);
        self.take(out)
    }

    fn take(&mut self, out: Vec<Effect>) -> Vec<usize> {
        let millis = self.now.0 / 1_000_000;
        let mut probes = Vec::new();
        for effect in out {
            match effect {
                Effect::Probe(probe) => probes.push(probe),
                other => self.told.push((millis, other)),
            }
        }
        probes
    }

    /// Goes on until `end`; each probe answers at once.
    fn run(&mut self, end: Mono, mut finds: impl FnMut(usize, u64) -> Verdict) {
        while let Some(due) = self.health.deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            let mut out = Vec::new();
            self.health.wake(self.now, &mut out);
            let probes = self.take(out);
            self.answer(probes, &mut finds);
        }
        self.now = end;
    }

    fn begin(&mut self, found: bool, mut finds: impl FnMut(usize, u64) -> Verdict) {
        let probes = self.input(Input::Begin { found });
        self.answer(probes, &mut finds);
    }

    fn answer(&mut self, mut probes: Vec<usize>, finds: &mut impl FnMut(usize, u64) -> Verdict) {
        while let Some(probe) = probes.pop() {
            let verdict = finds(probe, self.now.0 / 1_000_000);
            probes.extend(self.input(Input::Outcome { probe, verdict, is_tense: false }));
        }
    }
}

fn when(well: bool) -> Verdict {
    if well { Verdict::Ok } else { Verdict::Failed }
}

#[test]
fn a_slow_start_is_waited_for_and_only_then_life_is_judged() {
    let startup = Arc::new(ProbePlan { failure_threshold: 30, ..ProbePlan::clone(&probe(ProbeRole::Startup)) });
    let mut world = World::new(&[startup, probe(ProbeRole::Liveness), probe(ProbeRole::Readiness)]);
    // Up after 20 seconds; liveness would have failed long before.
    let finds = |_: usize, millis: u64| when(millis >= 20_000);
    world.begin(false, finds);
    world.run(at(60_000), finds);
    let dead = world.told.iter().any(|(_, effect)| matches!(effect, Effect::Dead(_)));
    assert!(!dead, "{:?}", world.told);
    assert!(world.told.contains(&(20_000, Effect::Changed(0, Standing::Passing))), "{:?}", world.told);
    assert!(world.told.contains(&(20_000, Effect::Ready(true))), "{:?}", world.told);
}

#[test]
fn a_start_that_takes_too_long_has_failed() {
    let mut world = World::new(&[probe(ProbeRole::Startup)]);
    let finds = |_: usize, _: u64| Verdict::Failed;
    world.begin(false, finds);
    world.run(at(60_000), finds);
    assert_eq!(world.told, [(2000, Effect::Changed(0, Standing::Failing)), (2000, Effect::Dead(0))]);
}

#[test]
fn one_that_dies_is_found_and_one_that_stumbles_is_not() {
    let mut world = World::new(&[probe(ProbeRole::Liveness)]);
    // Two failures in a row, again and again; then death.
    let finds = |_: usize, millis: u64| when(millis < 30_000 && (millis / 1000).is_multiple_of(3));
    world.begin(false, finds);
    world.run(at(29_000), finds);
    assert!(!world.told.iter().any(|(_, effect)| matches!(effect, Effect::Dead(_))), "{:?}", world.told);
    world.run(at(60_000), finds);
    let dead = world.told.iter().find(|(_, effect)| *effect == Effect::Dead(0)).unwrap().0;
    assert!((30_000..33_000).contains(&dead), "{dead}");
    assert_eq!(world.health.deadline(), None, "of the dead nothing more is asked");
}

#[test]
fn readiness_comes_and_goes_without_a_restart() {
    let mut world = World::new(&[probe(ProbeRole::Readiness)]);
    let finds = |_: usize, millis: u64| when(!(10_000..20_000).contains(&millis));
    world.begin(false, finds);
    world.run(at(40_000), finds);
    let ready: Vec<_> = world.told.iter().filter(|(_, effect)| matches!(effect, Effect::Ready(_))).copied().collect();
    assert_eq!(ready, [(0, Effect::Ready(true)), (12_000, Effect::Ready(false)), (20_000, Effect::Ready(true))]);
}

#[test]
fn what_cannot_be_told_changes_nothing_and_an_observer_only_shows() {
    let mut world = World::new(&[probe(ProbeRole::Liveness), probe(ProbeRole::Observe)]);
    let finds = |probe: usize, _: u64| if probe == 0 { Verdict::Unknown } else { Verdict::Failed };
    world.begin(false, finds);
    world.run(at(20_000), finds);
    assert!(world.told.iter().all(|(_, effect)| matches!(effect, Effect::Ready(true) | Effect::Changed(1, _))), "{:?}", world.told);
}

#[test]
fn what_failed_while_nobody_could_look_does_not_count() {
    let mut world = World::new(&[probe(ProbeRole::Liveness)]);
    world.begin(false, |_, _| Verdict::Ok);
    world.run(at(5000), |_, _| Verdict::Ok);
    // Each run begins, and everything stands still for a minute before it ends.
    for round in 1..20 {
        world.now = at(5000 + round * 60_000);
        let mut out = Vec::new();
        world.health.wake(world.now, &mut out);
        let probes = world.take(out);
        world.now = world.now + Duration::from_secs(59);
        world.input(Input::StoodStill(world.now));
        for probe in probes {
            world.input(Input::Outcome { probe, verdict: Verdict::Failed, is_tense: false });
        }
    }
    assert!(!world.told.iter().any(|(_, effect)| matches!(effect, Effect::Dead(_))), "{:?}", world.told);
}

#[test]
fn a_paused_unit_is_left_alone() {
    let mut world = World::new(&[probe(ProbeRole::Liveness)]);
    world.begin(false, |_, _| Verdict::Ok);
    world.run(at(2000), |_, _| Verdict::Ok);
    world.input(Input::Pause);
    assert_eq!(world.health.deadline(), None);
    world.now = at(600_000);
    world.input(Input::Resume);
    let due = world.health.deadline().unwrap();
    assert!(due > at(600_000) && due <= at(601_000));
}

#[test]
fn one_found_running_stays_ready_and_is_asked_in_its_own_time() {
    let plans = [probe(ProbeRole::Startup), probe(ProbeRole::Readiness), probe(ProbeRole::Liveness)];
    let mut world = World::new(&plans);
    world.begin(true, |_, _| Verdict::Ok);
    world.run(at(10_000), |_, _| Verdict::Ok);
    let changes: Vec<_> = world.told.iter().map(|(_, effect)| *effect).collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(!changes.iter().any(|effect| matches!(effect, Effect::Ready(_) | Effect::Changed(0, _))), "{changes:?}");
}

#[test]
fn probes_of_many_units_are_spread_over_the_period() {
    let mut tenths = [0; 10];
    for unit in 0..1000 {
        let mut health = Health::new(&[probe(ProbeRole::Liveness)], Rng::derive(7, &[&format!("unit@{unit}"), "health"]));
        health.step(at(0), Input::Begin { found: true }, &mut Vec::new());
        tenths[usize::try_from(health.deadline().unwrap().0 / 100_000_001).unwrap()] += 1;
    }
    assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
}

proptest! {
    #[test]
    fn a_probe_never_runs_twice_at_once_and_never_more_often_than_its_period(
        steps in prop::collection::vec((0..5000_u64, 0..5_u8), 1..200),
    ) {
        let plans = [probe(ProbeRole::Startup), probe(ProbeRole::Liveness), probe(ProbeRole::Readiness)];
        let mut health = Health::new(&plans, Rng::derive(3, &["x"]));
        let (mut now, mut running, mut begun) = (at(0), [false; 3], [0_u64; 3]);
        let mut out = Vec::new();
        health.step(now, Input::Begin { found: false }, &mut out);
        let origin = now;
        for (time, what) in steps {
            now = now + Duration::from_millis(time);
            match what {
                0 => health.step(now, Input::Pause, &mut out),
                1 => health.step(now, Input::Resume, &mut out),
                2 => health.wake(now, &mut out),
                what => {
                    for (probe, runs) in running.iter_mut().enumerate() {
                        if std::mem::take(runs) {
                            health.step(now, Input::Outcome { probe, verdict: when(what == 3), is_tense: false }, &mut out);
                        }
                    }
                }
            }
            for effect in out.drain(..) {
                if let Effect::Probe(probe) = effect {
                    prop_assert!(!running[probe], "it runs already");
                    running[probe] = true;
                    begun[probe] += 1;
                }
            }
            let periods = (now - origin).as_secs() + 2;
            // A pause begins the period anew.
            prop_assert!(begun.iter().all(|count| *count <= 2 * periods + 2), "{begun:?} in {periods}");
        }
    }
}

#[test]
fn an_open_breaker_spares_what_is_asked() {
    let breaker = crate::base::breaker::BreakerPlan {
        consecutive: Some(5),
        open_for: Duration::from_secs(60),
        half_open_for: Duration::MAX,
        ..Default::default()
    };
    let plan = Arc::new(ProbePlan { breaker: Some(breaker), ..(*probe(ProbeRole::Readiness)).clone() });
    let mut world = World::new(&[plan]);
    let mut looks = 0;
    let is_down = |millis: u64| (10_000..200_000).contains(&millis);
    let mut finds = |_: usize, millis: u64| {
        looks += u32::from(is_down(millis));
        if is_down(millis) { Verdict::Failed } else { Verdict::Ok }
    };
    world.begin(false, &mut finds);
    world.run(at(400_000), &mut finds);
    assert!((6..=9).contains(&looks), "{looks} looks at what does not answer for 190 s");
    let told: Vec<_> = world.told.iter().map(|(_, effect)| effect).collect();
    assert!(matches!(told.last(), Some(Effect::Ready(true))), "{told:?}");
    assert!(!told.iter().any(|effect| matches!(effect, Effect::Late(_))), "nothing is late: {told:?}");
}

#[test]
fn spared_probes_are_made_more_seldom_and_then_as_before() {
    let mut world = World::new(&[probe(ProbeRole::Liveness), probe(ProbeRole::Observe), probe(ProbeRole::Readiness)]);
    let mut made = [0_u32; 3];
    let mut run = |world: &mut World, until: u64| {
        made = [0; 3];
        world.run(at(until), |probe, _| {
            made[probe] += 1;
            Verdict::Ok
        });
        made
    };
    world.begin(false, |_, _| Verdict::Ok);
    run(&mut world, 10_000);
    assert_eq!(run(&mut world, 30_000), [20; 3]);
    world.input(Input::Spare(Sparing { slowdown: 1, readiness: 4, no_observation: true }));
    // The next one is when it was to be.
    assert_eq!(run(&mut world, 50_000), [20, 0, 5]);
    world.input(Input::Spare(Sparing { slowdown: 4, readiness: 4, no_observation: false }));
    run(&mut world, 54_000);
    assert_eq!(run(&mut world, 94_000), [10; 3]);
    world.input(Input::Spare(Sparing::default()));
    // Within one period each, and none of them late.
    assert_eq!(run(&mut world, 95_000), [1; 3]);
    assert_eq!(run(&mut world, 115_000), [20; 3]);
    assert!(!world.told.iter().any(|(_, effect)| matches!(effect, Effect::Late(_))), "{:?}", world.told);
}

/// Made every 2 to 30 seconds.
fn paced() -> Arc<ProbePlan> {
    let (min, max) = (Duration::from_secs(2), Duration::from_secs(30));
    Arc::new(ProbePlan { period: max, min_period: Some(min), failure_threshold: 1000, ..ProbePlan::clone(&probe(ProbeRole::Liveness)) })
}

/// When a probe is made until `end`; it answers at once, and is well and calm as `finds` says.
fn looks(health: &mut Health, end: u64, mut finds: impl FnMut(u64) -> (Verdict, bool)) -> Vec<u64> {
    let mut looks = Vec::new();
    while let Some(now) = health.deadline().filter(|&due| due <= at(end)) {
        let mut out = Vec::new();
        health.wake(now, &mut out);
        assert!(!out.contains(&Effect::Late(0)));
        if out.contains(&Effect::Probe(0)) {
            looks.push(now.0 / 1_000_000);
            let (verdict, is_tense) = finds(now.0 / 1_000_000);
            health.step(now, Input::Outcome { probe: 0, verdict, is_tense }, &mut out);
        }
    }
    looks
}

fn begun(name: &str) -> Health {
    let mut health = Health::new(&[paced()], Rng::derive(7, &[name]));
    health.step(at(0), Input::Begin { found: false }, &mut Vec::new());
    health
}

fn gaps(looks: &[u64]) -> Vec<u64> {
    looks.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn the_period_doubles_while_all_is_well_and_is_short_while_it_is_not() {
    let mut health = begun("a");
    let calm = gaps(&looks(&mut health, 200_000, |_| (Verdict::Ok, false)));
    assert_eq!(calm[..3], [4000, 8000, 16_000]);
    // The one on the way to its own time is no longer than the others.
    assert!((2000..=30_000).contains(&calm[3]) && calm[4..].iter().all(|gap| *gap == 30_000), "{calm:?}");
    for (verdict, is_tense) in [(Verdict::Degraded, false), (Verdict::Unknown, false), (Verdict::Failed, false), (Verdict::Ok, true)] {
        let mut health = begun("a");
        looks(&mut health, 200_000, |_| (Verdict::Ok, false));
        let hurried = gaps(&looks(&mut health, 300_000, |_| (verdict, is_tense)));
        assert!(hurried.len() >= 34 && hurried.iter().all(|gap| *gap == 2000), "{verdict:?}: {hurried:?}");
        assert_eq!(gaps(&looks(&mut health, 400_000, |_| (Verdict::Ok, false)))[..3], [4000, 8000, 16_000]);
    }
}

#[test]
fn who_has_hurried_with_others_goes_its_own_way_again() {
    let trouble = 300_000..310_000;
    let mut at_rest: Vec<u64> = (0..300)
        .map(|number| {
            let all = looks(&mut begun(&number.to_string()), 600_000, |now| (when(!trouble.contains(&now)), false));
            *all.iter().find(|now| **now >= 500_000).unwrap()
        })
        .collect();
    at_rest.sort_unstable();
    let crowded = at_rest.windows(30).any(|some| some[29] - some[0] < 1000);
    assert!(!crowded && at_rest[299] - at_rest[0] > 25_000, "{at_rest:?}");
}

#[test]
fn what_stands_still_is_not_looked_at_more_often() {
    let mut health = begun("a");
    looks(&mut health, 200_000, |_| (Verdict::Ok, false));
    health.step(at(200_000), Input::StoodStill(at(400_000)), &mut Vec::new());
    let blind = gaps(&looks(&mut health, 390_000, |_| (Verdict::Failed, false)));
    assert!(blind.iter().all(|gap| *gap == 30_000), "{blind:?}");
}

proptest! {
    #[test]
    fn no_period_is_shorter_or_longer_than_declared(name in "[a-z]{3}", found in proptest::collection::vec(0_u8..4, 1..60)) {
        let mut found = found.into_iter().cycle();
        let all = looks(&mut begun(&name), 2_000_000, |_| match found.next() {
            Some(0) => (Verdict::Failed, false),
            Some(1) => (Verdict::Ok, true),
            _ => (Verdict::Ok, false),
        });
        prop_assert!(gaps(&all).into_iter().all(|gap| (1999..=30_001).contains(&gap)), "{all:?}");
    }
}
