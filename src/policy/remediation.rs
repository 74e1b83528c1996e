//! Which step is taken when a unit or a probe fails again and again.
//!
//! The first step is taken after so many failures in a time. Each has a time to help; what then is not well, or has failed again, has the next
//! step taken. A step whose budget is used up is passed over. Once all is well for long enough the steps begin anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use crate::base::time::Mono;
use crate::plan::RemediationPlan;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It has failed.
    Trouble,
    /// It is well.
    Well,
    /// Nobody wants it up any more.
    Unwanted,
    /// The step that was taken is done, or could not be.
    Done,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Take this step, and say when it is done.
    Take(usize),
    /// This step is passed over: its budget is used up for so long.
    PassOver(usize, Duration),
    /// No step is left.
    Exhausted,
    /// It was well for long enough, or nobody wants it any more: the steps begin anew.
    Over,
}

/// What happened before this process began, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// This step was taken.
    Taken(usize),
    /// No step was left.
    Exhausted,
    /// The steps began anew.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is under way.
    Idle,
    /// A step is being taken.
    Acting(usize),
    /// It has until then to help.
    Cooling(Mono),
}

/// The ladder of one unit or probe.
#[derive(Clone, Debug)]
pub struct Ladder {
    plan: Arc<RemediationPlan>,
    phase: Phase,
    /// The step that is taken next.
    next: usize,
    /// It has been said that none is left.
    exhausted: bool,
    /// While a step is being taken: nobody wants it up any more.
    is_unwanted: bool,
    failures: VecDeque<Mono>,
    is_ill: bool,
    /// It has failed since the last step was done.
    again: bool,
    well_since: Option<Mono>,
    /// When each step was taken, as far as its budget depends on it.
    taken: Vec<VecDeque<Mono>>,
}

impl Ladder {
    /// One that nothing has happened to.
    #[must_use]
    pub fn new(plan: Arc<RemediationPlan>) -> Self {
        let taken = plan.steps.iter().map(|_| VecDeque::new()).collect();
        Self {
            plan,
            phase: Phase::Idle,
            next: 0,
            exhausted: false,
            is_unwanted: false,
            failures: VecDeque::new(),
            is_ill: false,
            again: false,
            well_since: None,
            taken,
        }
    }

    /// What it has to know of before this process began, in the order in which that happened.
    pub fn recall(&mut self, at: Mono, past: Past) {
        match past {
            Past::Taken(step) => {
                let Some((plan, taken)) = self.plan.steps.get(step).zip(self.taken.get_mut(step)) else { return };
                if let Some((_, period)) = plan.budget {
                    taken.push_back(at);
                    taken.retain(|&earlier| at - earlier < period);
                }
                (self.next, self.phase, self.is_ill) = (step + 1, Phase::Cooling(at + plan.cool_down), true);
            }
            Past::Exhausted => (self.next, self.phase, self.exhausted) = (self.plan.steps.len(), Phase::Idle, true),
            Past::Over => (self.next, self.phase, self.is_ill, self.exhausted) = (0, Phase::Idle, false, false),
        }
    }

    fn trouble(&mut self, now: Mono, out: &mut Vec<Effect>) {
        (self.is_ill, self.well_since) = (true, None);
        if self.phase != Phase::Idle {
            self.again = true;
            return;
        }
        if self.next == 0 {
            self.failures.push_back(now);
            let period = self.plan.period;
            self.failures.retain(|&at| now - at <= period);
            if self.failures.len() < self.plan.failures.max(1) as usize {
                return;
            }
        }
        self.climb(now, out);
    }

    /// Takes the next step there is.
    fn climb(&mut self, now: Mono, out: &mut Vec<Effect>) {
        self.failures.clear();
        self.again = false;
        while let Some(step) = self.plan.steps.get(self.next) {
            let (at, taken) = (self.next, &mut self.taken[self.next]);
            self.next += 1;
            if let Some((times, period)) = step.budget {
                taken.retain(|&at| now - at < period);
                if let Some(oldest) = taken.front().filter(|_| taken.len() >= times as usize) {
                    out.push(Effect::PassOver(at, period.saturating_sub(now - *oldest)));
                    continue;
                }
                taken.push_back(now);
            }
            self.phase = Phase::Acting(at);
            return out.push(Effect::Take(at));
        }
        self.phase = Phase::Idle;
        if !std::mem::replace(&mut self.exhausted, true) {
            out.push(Effect::Exhausted);
        }
    }

    fn begin_anew(&mut self, out: &mut Vec<Effect>) {
        if self.next > 0 {
            out.push(Effect::Over);
        }
        (self.next, self.exhausted, self.phase, self.is_ill, self.again) = (0, false, Phase::Idle, false, false);
        (self.well_since, self.failures) = (None, VecDeque::new());
    }

    fn over_at(&self) -> Option<Mono> {
        let since = self.well_since.filter(|_| self.next > 0 && self.phase == Phase::Idle)?;
        Some(since + self.plan.reset_after)
    }
}

impl Machine for Ladder {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Trouble => self.trouble(now, out),
            Input::Well => {
                (self.is_ill, self.is_unwanted, self.well_since) = (false, false, Some(self.well_since.unwrap_or(now)));
            }
            Input::Unwanted if !matches!(self.phase, Phase::Acting(_)) => self.begin_anew(out),
            Input::Unwanted => self.is_unwanted = true,
            Input::Done => {
                if std::mem::take(&mut self.is_unwanted) {
                    self.begin_anew(out);
                } else if let Phase::Acting(at) = self.phase {
                    // What failed while it was taken belongs to it.
                    self.again = false;
                    self.phase = Phase::Cooling(now + self.plan.steps[at].cool_down);
                }
            }
        }
        self.wake(now, out);
    }

    fn deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Cooling(until) => Some(until),
            Phase::Idle | Phase::Acting(_) => self.over_at(),
        }
    }

    fn wake(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if let Phase::Cooling(until) = self.phase
            && until <= now
        {
            self.phase = Phase::Idle;
            if self.is_ill || self.again {
                self.climb(now, out);
            }
        }
        if self.over_at().is_some_and(|at| at <= now) {
            self.begin_anew(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    struct World {
        ladder: Ladder,
        now: Mono,
        told: Vec<Effect>,
    }

    impl World {
        fn new(ladder: &str) -> Self {
            let plan = plan_of(&[("units/u.yaml", &format!("unit: u\nexec: x\nremediation: {ladder}\n"))]);
            let plan = plan.units["u"].remediation.clone().unwrap();
            Self { ladder: Ladder::new(Arc::new(plan)), now: Mono(0), told: Vec::new() }
        }

        fn input(&mut self, input: Input) -> Vec<Effect> {
            self.ladder.step(self.now, input, &mut self.told);
            std::mem::take(&mut self.told)
        }

        fn after(&mut self, seconds: u64) -> Vec<Effect> {
            self.now = self.now + Duration::from_secs(seconds);
            self.ladder.wake(self.now, &mut self.told);
            std::mem::take(&mut self.told)
        }
    }

    const STEPS: &str = "{steps: [restart, {restart: dependents}, give_up], failures: 2, period: 100s, cool_down: 10s, reset_after: 50s}";

    #[test]
    fn each_step_has_its_time_and_the_next_follows_if_it_did_not_help() {
        let mut world = World::new(STEPS);
        assert_eq!(world.input(Input::Trouble), []);
        world.after(200);
        assert_eq!(world.input(Input::Trouble), [], "the other is forgotten");
        world.after(50);
        assert_eq!(world.input(Input::Trouble), [Effect::Take(0)]);
        assert_eq!(world.input(Input::Trouble), [], "the step itself makes it fail");
        assert_eq!(world.input(Input::Done), []);
        assert_eq!(world.input(Input::Well), []);
        assert_eq!(world.after(9), []);
        assert_eq!(world.input(Input::Trouble), []);
        assert_eq!(world.after(1), [Effect::Take(1)], "it has failed again meanwhile");
        world.input(Input::Done);
        // It never gets well.
        assert_eq!(world.after(10), [Effect::Take(2)]);
        world.input(Input::Done);
        assert_eq!(world.after(10), [Effect::Exhausted]);
        assert_eq!(world.input(Input::Trouble), [], "that is said once");
        assert_eq!(world.input(Input::Well), []);
        assert_eq!(world.after(49), []);
        assert_eq!(world.after(1), [Effect::Over]);
        assert_eq!(world.input(Input::Trouble), []);
        assert_eq!(world.input(Input::Trouble), [Effect::Take(0)]);
    }

    #[test]
    fn what_helped_is_followed_by_the_next_step_at_once_if_it_fails_soon_after() {
        let mut world = World::new(STEPS);
        world.input(Input::Trouble);
        assert_eq!(world.input(Input::Trouble), [Effect::Take(0)]);
        world.input(Input::Done);
        world.input(Input::Well);
        assert_eq!(world.after(30), []);
        assert_eq!(world.input(Input::Trouble), [Effect::Take(1)]);
    }

    #[test]
    fn a_step_without_budget_is_passed_over_and_nobody_helps_what_nobody_wants() {
        let mut world =
            World::new("{steps: [{restart: unit, budget: {times: 1, period: 1h}}, {restart: branch}], failures: 1, reset_after: 1s}");
        assert_eq!(world.input(Input::Trouble), [Effect::Take(0)]);
        world.input(Input::Done);
        assert_eq!(world.input(Input::Unwanted), [Effect::Over]);
        assert_eq!(world.after(100), []);
        assert_eq!(world.input(Input::Trouble), [Effect::PassOver(0, Duration::from_secs(3500)), Effect::Take(1)]);
    }

    #[test]
    fn a_step_that_finds_nobody_to_help_is_the_last() {
        let mut world = World::new("{steps: [restart, give_up], failures: 1, cool_down: 0s}");
        assert_eq!(world.input(Input::Trouble), [Effect::Take(0)]);
        assert_eq!((world.input(Input::Unwanted), world.input(Input::Done)), (vec![], vec![Effect::Over]));
        // The step itself may be what takes it down; how it ended then is told late.
        assert_eq!(world.input(Input::Trouble), [Effect::Take(0)]);
        assert_eq!((world.input(Input::Unwanted), world.input(Input::Trouble)), (vec![], vec![]));
        assert_eq!((world.input(Input::Done), world.after(100)), (vec![Effect::Over], vec![]));
        // Somebody wants it again before the step is done.
        assert_eq!(world.input(Input::Trouble), [Effect::Take(0)]);
        assert_eq!((world.input(Input::Unwanted), world.input(Input::Well), world.input(Input::Done)), (vec![], vec![], vec![]));
    }

    #[test]
    fn another_brain_knows_what_was_done() {
        let mut world = World::new(STEPS);
        world.now = Mono(100_000_000_000);
        world.ladder.recall(Mono(95_000_000_000), Past::Taken(0));
        assert_eq!(world.after(4), []);
        assert_eq!(world.after(1), [Effect::Take(1)]);
        let mut world = World::new(STEPS);
        world.ladder.recall(Mono(0), Past::Taken(0));
        world.ladder.recall(Mono(0), Past::Over);
        assert_eq!(world.after(100), []);
        assert_eq!((world.input(Input::Trouble), world.input(Input::Trouble)), (vec![], vec![Effect::Take(0)]));
        let mut world = World::new(STEPS);
        world.ladder.recall(Mono(0), Past::Taken(2));
        world.ladder.recall(Mono(0), Past::Exhausted);
        assert_eq!((world.after(100), world.input(Input::Trouble)), (vec![], vec![]), "that none is left was said");
        world.input(Input::Well);
        assert_eq!(world.after(50), [Effect::Over]);
    }
}
