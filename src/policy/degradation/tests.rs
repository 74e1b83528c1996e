use proptest::prelude::*;

use super::*;
use crate::base::choice::ProbeRole;
use crate::plan::plan_of;

fn plan(degradation: &str) -> Arc<DegradationPlan> {
    let daemon = format!("degradation: {degradation}\n");
    let plan = plan_of(&[("units/u.yaml", "unit: u\nexec: x\n"), ("daemon.yaml", &daemon)]);
    plan.daemon.degradation.clone().unwrap()
}

const DECLARED: &str = "{memory_pressure: 50%, for: 10s, recover_for: 20s, steps: [{slow_sampling: 5}, fewer_probes, pause_optional]}";

struct World {
    ladder: Ladder,
    now: Mono,
}

impl World {
    fn new(degradation: &str) -> Self {
        Self { ladder: Ladder::new(Some(plan(degradation)), None, Mono(0)), now: Mono(0) }
    }

    fn sample(&mut self, sample: Sample) -> Vec<Effect> {
        let mut out = Vec::new();
        self.ladder.step(self.now, Input::Sampled(sample), &mut out);
        out
    }

    /// So many seconds of such a pressure of memory, in per cent; negative: not known. The steps it leads to, with their seconds.
    fn waits(&mut self, percent: i32, seconds: u32) -> Vec<(u64, i64)> {
        let mut steps = Vec::new();
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            let memory = (percent >= 0).then(|| f64::from(percent) / 100.0);
            for effect in self.sample(Sample { memory, ..Sample::default() }) {
                let step = match effect {
                    Effect::StepDown { step, .. } => i64::try_from(step).unwrap(),
                    Effect::StepBack { step, .. } => -i64::try_from(step).unwrap(),
                };
                steps.push((self.now.0 / 1_000_000_000, step));
            }
        }
        steps
    }
}

#[test]
fn steps_are_taken_one_by_one_and_undone_one_by_one() {
    let mut world = World::new(DECLARED);
    assert_eq!(world.waits(60, 100), [(11, 1), (21, 2), (31, 3)], "and that is all there are");
    assert_eq!(world.ladder.taken().last(), Some(&DegradationStep::PauseOptional));
    assert_eq!(world.waits(39, 100), [(121, -2), (141, -1), (161, 0)]);
    assert_eq!(world.waits(0, 1000), []);
}

#[test]
fn what_sways_around_a_limit_changes_nothing() {
    let mut world = World::new(DECLARED);
    assert_eq!((0..500).flat_map(|_| [world.waits(60, 9), world.waits(45, 1)].concat()).count(), 0, "never long enough");
    world.waits(60, 11);
    assert_eq!((0..500).flat_map(|_| [world.waits(51, 5), world.waits(41, 5)].concat()).count(), 0);
    assert_eq!((0..500).flat_map(|_| [world.waits(41, 1), world.waits(1, 19)].concat()).count(), 0, "not well for long enough");
    assert_eq!(world.waits(45, 10_000), [], "between the two nothing happens, ever");
    assert_eq!(world.ladder.at(), 1);
}

#[test]
fn what_is_not_known_takes_no_step_and_freezes_nobody_for_ever() {
    let mut world = World::new(DECLARED);
    assert_eq!(world.waits(-1, 10_000), []);
    world.waits(60, 9);
    assert_eq!(world.waits(-1, 1), []);
    assert_eq!(world.waits(60, 10), [], "the wait begins anew");
    assert_eq!(world.waits(60, 1).len(), 1);
    // Five times as long as usual.
    let at = world.now.0 / 1_000_000_000;
    assert_eq!(world.waits(-1, 200), [(at + 101, 0)]);
    // The same if nobody measures at all.
    let mut world = World::new(DECLARED);
    assert_eq!(world.waits(60, 21).len(), 2);
    let mut seen = Vec::new();
    while let Some(at) = world.ladder.deadline() {
        world.now = world.now.max(at);
        world.ladder.wake(world.now, &mut seen);
    }
    let back = |step, what| Effect::StepBack { step, what, why: BackCause::Unknown };
    assert_eq!(seen, [back(1, DegradationStep::FewerProbes), back(0, DegradationStep::SlowSampling)]);
    assert_eq!(world.now, Mono(0) + Duration::from_secs(21 + 10 + 200));
}

#[test]
fn each_limit_counts_and_the_first_is_named() {
    let mut world = World::new("{cpu_pressure: 60%, memory_available: 50%, brain_lag: 1s, clear: 50%, for: 1s, recover_for: 1s}");
    let good = Sample { cpu: Some(0.3), memory_available: Some(0.76), brain_lag: Some(Duration::from_millis(500)), ..Sample::default() };
    let mut why = |bad: Sample| {
        let mut found = Vec::new();
        for sample in [bad, bad, good, good] {
            world.now = world.now + Duration::from_secs(1);
            found.extend(world.sample(sample));
        }
        match &found[..] {
            [Effect::StepDown { why, .. }, Effect::StepBack { .. }] => why.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(why(Sample { cpu: Some(0.61), ..good }), "cpu_pressure is 61.0 %, more than 60.0 %");
    assert_eq!(why(Sample { memory_available: Some(0.031), ..good }), "memory_available is 3.1 %, less than 50.0 %");
    assert_eq!(why(Sample { brain_lag: Some(Duration::from_millis(1200)), ..good }), "brain_lag is 1200ms, more than 1s");
    assert_eq!(why(Sample { cpu: Some(0.7), memory_available: Some(0.01), ..good }), "cpu_pressure is 70.0 %, more than 60.0 %");
    // A limit nobody has given is none, and one whose value is missing is passed over.
    world.now = world.now + Duration::from_secs(10);
    let others = Sample { memory: Some(1.0), io: Some(1.0), cpu: None, ..good };
    assert_eq!((world.sample(others), world.ladder.judgement), (vec![], Judgement::Calm));
    assert_eq!(judge(&plan("{}"), &Sample { io: Some(0.61), ..Sample::default() }).0, Judgement::Beyond);
    // More than all the memory cannot be asked for.
    assert_eq!(judge(&plan("{memory_available: 90%}"), &Sample { memory_available: Some(0.96), ..Sample::default() }).0, Judgement::Calm);
}

#[test]
fn another_plan_undoes_what_it_does_not_have_and_none_all() {
    let mut world = World::new(DECLARED);
    world.waits(60, 40);
    let mut out = Vec::new();
    world.ladder.step(world.now, Input::Replan(Some(plan("{memory_pressure: 50%, steps: [fewer_probes]}"))), &mut out);
    let back = |step, what| Effect::StepBack { step, what, why: BackCause::Replanned };
    assert_eq!(out, [back(2, DegradationStep::PauseOptional), back(1, DegradationStep::FewerProbes)]);
    assert_eq!(world.ladder.taken(), [DegradationStep::FewerProbes]);
    out.clear();
    world.ladder.step(world.now, Input::Replan(None), &mut out);
    assert_eq!(out, [back(0, DegradationStep::FewerProbes)]);
    assert_eq!((world.waits(100, 1000), world.ladder.deadline()), (vec![], None));
}

#[test]
fn another_brain_goes_on_where_units_rest() {
    let found = Some(DegradationStep::PauseOptional);
    let mut world = World { ladder: Ladder::new(Some(plan(DECLARED)), found, Mono(0)), now: Mono(0) };
    assert_eq!(world.ladder.at(), 3);
    assert_eq!(world.waits(0, 100), [(21, -2), (41, -1), (61, 0)]);
    assert_eq!(Ladder::new(Some(plan("{steps: [fewer_probes]}")), found, Mono(0)).at(), 0);
    assert_eq!(Ladder::new(None, found, Mono(0)).at(), 0);
}

#[test]
fn probes_are_spared_by_their_roles() {
    let mut world = World::new(DECLARED);
    let roles = [ProbeRole::Startup, ProbeRole::Liveness, ProbeRole::Readiness, ProbeRole::Observe];
    let spared = |world: &World| roles.map(|role| world.ladder.sparing().of(role));
    assert_eq!(spared(&world), [Some(1); 4]);
    world.waits(60, 11);
    assert_eq!(spared(&world), [Some(5); 4]);
    world.waits(60, 10);
    assert_eq!(spared(&world), [Some(5), Some(5), Some(5), None]);
    let mut world = World::new("{memory_pressure: 50%, for: 1s, steps: [fewer_probes]}");
    world.waits(60, 2);
    assert_eq!(spared(&world), [Some(1), Some(1), Some(4), None]);
}

#[test]
fn units_rest_as_the_steps_say_and_operators_are_obeyed() {
    use DegradationStep::{PauseOptional, SlowSampling, StopOptional};
    let up = Standing { can_rest: true, active: true, ..Standing::default() };
    let paused = Standing { paused: true, rests: true, ..up };
    let stopped = Standing { can_rest: true, down: true, rests: true, ..Standing::default() };
    let (pause, stop, both) = ([SlowSampling, PauseOptional], [StopOptional], [PauseOptional, StopOptional]);
    let check = |unit: Standing, on_none, on_pause, on_stop, on_both| {
        let found = [rest(&[SlowSampling], unit), rest(&pause, unit), rest(&stop, unit), rest(&both, unit)];
        assert_eq!(found, [on_none, on_pause, on_stop, on_both], "{unit:?}");
    };
    check(up, None, Some(Rest::Pause), Some(Rest::Stop), Some(Rest::Stop));
    check(Standing { active: false, ..up }, None, None, Some(Rest::Stop), Some(Rest::Stop));
    check(paused, Some(Rest::Resume), None, Some(Rest::Stop), Some(Rest::Stop));
    check(stopped, Some(Rest::Start), None, None, None);
    // It was declared otherwise meanwhile, or an operator wants it up.
    check(Standing { can_rest: false, ..paused }, Some(Rest::Resume), Some(Rest::Resume), Some(Rest::Resume), Some(Rest::Resume));
    check(Standing { can_rest: false, ..stopped }, Some(Rest::Start), Some(Rest::Start), Some(Rest::Start), Some(Rest::Start));
    let alone = [
        Standing { can_rest: false, ..up },
        Standing { rests: false, ..paused },
        Standing { rests: false, ..stopped },
        Standing { held: true, ..stopped },
        Standing { held: true, ..up },
        // On its way.
        Standing { rests: true, ..up },
    ];
    alone.into_iter().for_each(|unit| check(unit, None, None, None, None));
}

proptest! {
    #[test]
    fn no_step_without_its_wait(looks in proptest::collection::vec((1_u64..4, -20_i32..100), 1..400)) {
        let mut world = World::new(DECLARED);
        // Everything that was seen, by second, and when the last step was.
        let (mut seen, mut last): (Vec<(Mono, i32)>, Mono) = (Vec::new(), Mono(0));
        for (gap, percent) in looks {
            world.now = world.now + Duration::from_secs(gap);
            let memory = (percent >= 0).then(|| f64::from(percent) / 100.0);
            let before = world.ladder.at();
            let effects = world.sample(Sample { memory, ..Sample::default() });
            seen.push((world.now, percent));
            prop_assert!(effects.len() <= 1 && world.ladder.at().abs_diff(before) == effects.len());
            let all = |time: u64, fits: &dyn Fn(i32) -> bool| {
                let since = world.now.0.saturating_sub(time * 1_000_000_000);
                seen.iter().filter(|(at, _)| at.0 >= since).all(|(_, percent)| fits(*percent))
            };
            if let Some(effect) = effects.first() {
                let waited = world.now - last;
                match effect {
                    Effect::StepDown { .. } => prop_assert!(waited >= Duration::from_secs(10) && all(10, &|percent| percent > 50)),
                    Effect::StepBack { .. } => {
                        prop_assert!(waited >= Duration::from_secs(20) && all(20, &|percent| percent <= 40));
                        prop_assert!(all(20, &|percent| percent >= 0) || all(100, &|percent| percent < 0));
                    }
                }
                last = world.now;
            }
        }
    }
}
