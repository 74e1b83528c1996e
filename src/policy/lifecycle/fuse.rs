//! The breaker of a unit's restarts: a run that does not last is a failure, and while it is open no run begins by itself.

use super::{Effect, Lifecycle, State, Verdict};
use crate::base::breaker::BreakerState;
use crate::base::exit::ExitReason;
use crate::base::rng::Rng;
use crate::base::time::Mono;
use crate::plan::UnitPlan;
use crate::policy::breaker::{Breaker, BreakerMemory, CallOutcome, Changed, Permit};

/// The breaker, and the run it waits for.
#[derive(Clone, Debug)]
pub(super) struct Fuse {
    breaker: Breaker,
    permit: Option<Permit>,
    /// When the run that is on has lasted long enough.
    proven_at: Option<Mono>,
    /// It keeps the unit from being started.
    ejects: bool,
    /// Too many of its kind are kept from being started: this one is not.
    spared: bool,
}

impl Fuse {
    pub(super) fn new(plan: &UnitPlan, rng: &mut Rng) -> Option<Self> {
        let plan = &plan.restart.breaker.as_ref()?.plan;
        // A stream of its own: whoever has no breaker sees no difference.
        let rng = Rng::derive(rng.next_u64(), &["breaker"]);
        Some(Self { breaker: Breaker::new(plan.clone(), rng), permit: None, proven_at: None, ejects: false, spared: false })
    }

    pub(super) const fn proven_at(&self) -> Option<Mono> {
        self.proven_at
    }

    fn report(&mut self, now: Mono, outcome: CallOutcome) -> Option<Changed> {
        self.proven_at = None;
        let permit = self.permit.take()?;
        self.breaker.report(now, permit, outcome)
    }
}

impl Lifecycle {
    /// Somebody wants it up, whatever was before.
    pub(super) fn close_breaker(&mut self, now: Mono, out: &mut Vec<Effect>) {
        let changed = self.fuse.as_mut().and_then(|fuse| fuse.breaker.reset(now));
        out.extend(changed.map(Effect::BreakerChanged));
    }

    /// Whether the breaker lets a run begin. If not, the unit waits for it.
    pub(super) fn passes_breaker(&mut self, now: Mono, out: &mut Vec<Effect>) -> bool {
        let Some(fuse) = &mut self.fuse else { return true };
        if std::mem::take(&mut fuse.ejects) {
            out.push(Effect::Readmit);
        }
        if std::mem::take(&mut fuse.spared) {
            return true;
        }
        let (answer, changed) = fuse.breaker.ask(now);
        let until = match answer {
            Ok(permit) => {
                fuse.permit = Some(permit);
                None
            }
            Err(refused) => refused.until,
        };
        fuse.ejects = until.is_some();
        out.extend(changed.map(Effect::BreakerChanged));
        let Some(until) = until else { return true };
        out.extend([Effect::Eject, Effect::HeldBack(until - now)]);
        self.enter(State::Backoff, Some(until), out);
        false
    }

    /// It is not to be kept from being started after all.
    pub(super) fn spare(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if let Some(fuse) = self.fuse.as_mut().filter(|fuse| fuse.ejects) {
            (fuse.ejects, fuse.spared) = (false, true);
            self.ask_gate(now, out);
        }
    }

    /// It is not kept from being started any more, for another reason than that it is started.
    pub(super) fn readmit(&mut self, out: &mut Vec<Effect>) {
        if self.fuse.as_mut().is_some_and(|fuse| std::mem::take(&mut fuse.ejects)) {
            out.push(Effect::Readmit);
        }
    }

    /// A run is ready: it has to last now.
    pub(super) fn try_out(&mut self, now: Mono) {
        let lasts = self.plan.restart.backoff.reset_after;
        if let Some(fuse) = self.fuse.as_mut().filter(|fuse| fuse.permit.is_some()) {
            fuse.proven_at = Some(now + lasts);
        }
    }

    /// It has lasted.
    pub(super) fn prove(&mut self, now: Mono, out: &mut Vec<Effect>) {
        let due = |fuse: &&mut Fuse| fuse.proven_at.is_some_and(|at| at <= now);
        let changed = self.fuse.as_mut().filter(due).and_then(|fuse| fuse.report(now, CallOutcome::Success));
        out.extend(changed.map(Effect::BreakerChanged));
    }

    /// A run is over, or has never begun.
    pub(super) fn judge(&mut self, now: Mono, verdict: &Verdict, out: &mut Vec<Effect>) {
        let outcome = match verdict {
            Verdict::Silent | Verdict::Ended(ExitReason::Shutdown) => CallOutcome::Cancelled,
            Verdict::Ended(reason) if reason.is_clean() => CallOutcome::Success,
            Verdict::Ended(_) | Verdict::StartFailed(_) => CallOutcome::Failure,
        };
        let changed = self.fuse.as_mut().and_then(|fuse| fuse.report(now, outcome));
        out.extend(changed.map(Effect::BreakerChanged));
    }

    /// What of the breaker is worth knowing to the next brain.
    #[must_use]
    pub fn breaker_memory(&self) -> Option<BreakerMemory> {
        self.fuse.as_ref().map(|fuse| fuse.breaker.memory()).filter(|memory| *memory != BreakerMemory::default())
    }

    /// Its breaker goes on from there.
    #[must_use]
    pub fn with_breaker(mut self, now: Mono, memory: Option<&BreakerMemory>) -> Self {
        if let Some(fuse) = &mut self.fuse {
            fuse.breaker = fuse.breaker.clone().resumed(memory.unwrap_or(&BreakerMemory::default()));
            if matches!(self.state, State::Activating | State::Active) {
                fuse.permit = fuse.breaker.ask(now).0.ok();
            }
        }
        if self.state == State::Active {
            self.try_out(now);
        }
        self
    }

    /// How its breaker stands, if it has one.
    #[must_use]
    pub fn breaker(&self) -> Option<BreakerState> {
        self.fuse.as_ref().map(|fuse| fuse.breaker.state())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::base::exit::ExitCause;
    use crate::plan::plan_of;
    use crate::policy::Machine as _;
    use crate::policy::lifecycle::Input;

    /// A unit that crashes at once, or lasts, in virtual time.
    struct World {
        machine: Lifecycle,
        now: Mono,
        told: Vec<Effect>,
    }

    impl World {
        fn new() -> Self {
            let unit = "unit: u\nexec: x\nrestart: {backoff: none, breaker: {consecutive: 3, open_for: 100s, max_open: 1000s}}\n";
            let plan = plan_of(&[("units/u.yaml", unit)]).units["u"].clone();
            let mut world = Self { machine: Lifecycle::new(plan, Rng::derive(1, &[])), now: Mono(0), told: Vec::new() };
            world.step(Input::Start { hold_back: false });
            world
        }

        fn step(&mut self, input: Input) {
            self.machine.step(self.now, input, &mut self.told);
        }

        fn after(&mut self, time: Duration) {
            self.now = self.now + time;
            self.machine.wake(self.now, &mut self.told);
        }

        fn runs(&mut self) {
            assert_eq!(self.machine.state(), State::Waiting, "{:?}", self.told);
            self.step(Input::GateOpened);
            self.step(Input::Spawned);
        }

        /// It is started, ends, and its supervisor wants it up again.
        fn crashes(&mut self) {
            self.runs();
            self.step(Input::Exited { cause: ExitCause::Code(1), leftovers: false, cpu: Duration::ZERO });
            self.step(Input::Start { hold_back: true });
        }

        /// How long it waits for its breaker.
        fn waits(&self) -> Duration {
            assert_eq!(self.machine.state(), State::Backoff);
            self.machine.deadline().unwrap() - self.now
        }

        fn states(&mut self) -> Vec<BreakerState> {
            let states =
                self.told.iter().filter_map(|effect| if let Effect::BreakerChanged(changed) = effect { Some(changed.to) } else { None });
            let states = states.collect();
            self.told.clear();
            states
        }
    }

    #[test]
    fn what_crashes_again_and_again_is_left_alone_for_longer_and_longer() {
        let mut world = World::new();
        world.crashes();
        world.crashes();
        world.crashes();
        let first = world.waits();
        assert!((75..=100).contains(&first.as_secs()), "{first:?}");
        assert!(world.told.contains(&Effect::Eject));
        world.after(first);
        assert_eq!(world.states(), [BreakerState::Open, BreakerState::HalfOpen]);
        // One failure more is enough now.
        world.crashes();
        let second = world.waits();
        assert!((150..=200).contains(&second.as_secs()), "{second:?}");
        world.after(second);
        world.runs();
        world.after(Duration::from_secs(59));
        assert_eq!(world.machine.breaker(), Some(BreakerState::HalfOpen));
        world.after(Duration::from_secs(1));
        assert_eq!(world.machine.breaker(), Some(BreakerState::Closed), "it has lasted");
    }

    #[test]
    fn whoever_asks_for_it_and_a_pool_that_is_too_small_need_not_wait() {
        let mut world = World::new();
        for _ in 0..3 {
            world.crashes();
        }
        world.step(Input::Spared);
        assert!(world.told.contains(&Effect::Eject) && !world.told.contains(&Effect::Readmit));
        world.crashes();
        world.waits();
        world.told.clear();
        world.step(Input::Stop);
        assert_eq!(world.told.iter().filter(|effect| **effect == Effect::Readmit).count(), 1);
        world.step(Input::Start { hold_back: false });
        world.runs();
        assert_eq!(world.machine.breaker(), Some(BreakerState::Closed));
    }

    #[test]
    fn another_brain_goes_on_with_it() {
        let mut world = World::new();
        for _ in 0..3 {
            world.crashes();
        }
        let (memory, breaker) = (world.machine.memory(), world.machine.breaker_memory());
        let heir = Lifecycle::new(Arc::clone(&world.machine.plan), Rng::derive(2, &[])).resumed(&memory, Vec::new());
        let mut heir = World { machine: heir.with_breaker(world.now, breaker.as_ref()), ..world };
        heir.step(Input::Start { hold_back: true });
        let left = heir.waits();
        heir.after(left);
        heir.crashes();
        assert!(heir.waits() > left, "it goes on growing");
    }
}
