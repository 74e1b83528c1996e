//! The declared tree in virtual time: the machines the daemon runs, over processes that fail as a script says.

mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::check::Books;
use super::script::{End, Script, Troubles, When};
use super::timeline::{Timeline, stamp, tenths};
use crate::base::exit::{ExitCause, ExitReason, Signal};
use crate::base::id::{SupervisorId, UnitId};
use crate::base::rng::Rng;
use crate::base::time::{Mono, format_duration};
use crate::plan::{Child, Plan, UnitPlan};
use crate::policy::Machine as _;
use crate::policy::lifecycle::{Effect as UnitEffect, Input as UnitInput, Lifecycle, State};
use crate::policy::pool::Pools;
use crate::policy::supervisor::{
    AtLimit, ChildKey, Effect, Input, Report, Request, RequestId, Run, StartCause, Supervisor, Which, child_of, flags_of,
};

/// How long a process takes to start, to get ready and to end when asked.
const TAKES: Duration = Duration::from_millis(10);
/// A unit that was down for less, at the beginning, and never restarted is not worth a line.
const CALM: Duration = Duration::from_secs(1);
/// After so many steps a simulation ends, whatever it was told.
const STEPS: u32 = 500_000;

/// What happens to `plan` within `duration` when `script` goes wrong, as text.
pub(crate) fn forecast(plan: &Plan, script: &Script, duration: Duration) -> String {
    let mut world = World::new(plan, script);
    let root = plan.root.clone();
    world.begin(&root, None, Duration::ZERO);
    let broken = world.go_on(Mono(0) + duration).err();
    world.told(duration, broken)
}

/// Where a unit stands for those who wait for it (as `actor::gate` has it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Pending,
    Ready,
    Failed,
    Down,
}

struct Unit {
    plan: Arc<UnitPlan>,
    machine: Lifecycle,
    port: Option<(u32, Run)>,
    standing: Standing,
    troubles: Troubles,
    /// Counts its processes.
    run: u64,
    alive: bool,
    /// It is one of those that may start now.
    turn: bool,
    waiting: bool,
    restarts: u32,
    /// Since when it is not active.
    down_since: Option<Mono>,
    down: Duration,
}

struct Incarnation {
    id: SupervisorId,
    machine: Supervisor,
    books: Books,
    parent: Option<(u32, Run)>,
    children: BTreeMap<ChildKey, Child>,
}

enum Happening {
    Hears(u32, Input),
    Spawned(UnitId, u64),
    Ready(UnitId, u64),
    Ends(UnitId, u64, ExitCause),
    GateOpens(UnitId),
    /// An end of the script: of this run, or of whichever runs then.
    Trouble(UnitId, Option<u64>, usize),
}

struct World<'a> {
    plan: &'a Plan,
    now: Mono,
    queue: BTreeMap<(Mono, u64), Happening>,
    queued: u64,
    supervisors: BTreeMap<u32, Incarnation>,
    next: u32,
    units: BTreeMap<UnitId, Unit>,
    turns: usize,
    pools: Pools,
    timeline: Timeline,
    /// Who gave up when for the first time, in words, and when it did so again.
    gave_up: BTreeMap<SupervisorId, (String, Vec<Mono>)>,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, script: &Script) -> Self {
        let unit = |(id, plan): (&UnitId, &Arc<UnitPlan>)| {
            let machine = Lifecycle::new(plan.clone(), Rng::derive(0, &[id.as_str(), "backoff"]));
            let unit = Unit {
                plan: plan.clone(),
                machine,
                port: None,
                standing: Standing::Pending,
                troubles: script.of(id),
                run: 0,
                alive: false,
                turn: false,
                waiting: false,
                restarts: 0,
                down_since: Some(Mono(0)),
                down: Duration::ZERO,
            };
            (id.clone(), unit)
        };
        let mut world = Self {
            plan,
            now: Mono(0),
            queue: BTreeMap::new(),
            queued: 0,
            supervisors: BTreeMap::new(),
            next: 0,
            units: plan.units.iter().map(unit).collect(),
            turns: plan.daemon.start_limit,
            pools: {
                let mut pools = Pools::default();
                pools.plan(plan);
                pools
            },
            timeline: Timeline::default(),
            gave_up: BTreeMap::new(),
        };
        for id in plan.units.keys() {
            for (at, end) in script.of(id).ends.iter().enumerate() {
                match end.when {
                    When::At(time) | When::Every(time) => world.after(time, Happening::Trouble(id.clone(), None, at)),
                    When::After(_) => {}
                }
            }
        }
        world
    }

    fn after(&mut self, time: Duration, happening: Happening) {
        self.queued += 1;
        self.queue.insert((self.now + time, self.queued), happening);
    }

    fn begin(&mut self, id: &SupervisorId, parent: Option<(u32, Run)>, delay: Duration) {
        let supervisor = &self.plan.supervisors[id];
        let flags = flags_of(self.plan, id);
        let specs: Vec<_> = supervisor.children.iter().map(|child| child_of(self.plan, child, false)).collect();
        let books = Books::new(flags.clone(), &specs);
        let children = (0..).map(ChildKey).zip(supervisor.children.iter().cloned()).collect();
        let machine = Supervisor::new(flags, specs);
        let number = self.next;
        self.next += 1;
        self.supervisors.insert(number, Incarnation { id: id.clone(), machine, books, parent, children });
        self.after(delay, Happening::Hears(number, Input::Start));
    }

    fn go_on(&mut self, until: Mono) -> Result<(), String> {
        for _ in 0..STEPS {
            let unit = self.units.iter().filter_map(|(id, unit)| Some((unit.machine.deadline()?, id.clone()))).min();
            let supervisor = self.supervisors.iter().filter_map(|(id, one)| Some((one.machine.deadline()?, *id))).min();
            let times = [self.queue.first_key_value().map(|(key, _)| key.0), unit.as_ref().map(|one| one.0), supervisor.map(|one| one.0)];
            let Some(at) = times.into_iter().flatten().min().filter(|at| *at <= until) else {
                self.now = until;
                return Ok(());
            };
            self.now = self.now.max(at);
            match (unit, supervisor) {
                (Some((due, id)), _) if due == at => {
                    let mut out = Vec::new();
                    if let Some(unit) = self.units.get_mut(&id) {
                        unit.machine.wake(self.now, &mut out);
                    }
                    self.unit_effects(&id, out);
                }
                (_, Some((due, id))) if due == at => {
                    let mut out = Vec::new();
                    if let Some(one) = self.supervisors.get_mut(&id) {
                        one.machine.wake(self.now, &mut out);
                    }
                    self.effects(id, out)?;
                }
                _ => {
                    if let Some((_, happening)) = self.queue.pop_first() {
                        self.happens(happening)?;
                    }
                }
            }
            self.open_gates();
        }
        Err(format!("too much happens: the simulation ends at {}", stamp(self.now)))
    }

    fn happens(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Hears(id, input) => {
                let Some(one) = self.supervisors.get_mut(&id) else { return Ok(()) };
                let mut out = Vec::new();
                one.books.hears(self.now, &input).map_err(|error| format!("{}: {error}", one.id))?;
                one.machine.step(self.now, input, &mut out);
                return self.effects(id, out);
            }
            Happening::Spawned(id, run) => self.spawned(&id, run),
            Happening::Ready(id, run) => {
                if self.units.get(&id).is_some_and(|unit| unit.run == run) {
                    self.unit(&id, UnitInput::Ready);
                }
            }
            Happening::Ends(id, run, cause) => self.process_ends(&id, run, cause),
            Happening::GateOpens(id) => self.unit(&id, UnitInput::GateOpened),
            Happening::Trouble(id, run, at) => self.trouble(&id, run, at),
        }
        Ok(())
    }

    fn spawned(&mut self, id: &UnitId, run: u64) {
        let Some(unit) = self.units.get_mut(id).filter(|unit| unit.run == run) else { return };
        if unit.troubles.failing > 0 {
            unit.troubles.failing -= 1;
            return self.unit(id, UnitInput::SpawnFailed("its program cannot be executed".into()));
        }
        unit.alive = true;
        self.unit(id, UnitInput::Spawned);
    }

    fn process_ends(&mut self, id: &UnitId, run: u64, cause: ExitCause) {
        let Some(unit) = self.units.get_mut(id).filter(|unit| unit.run == run && unit.alive) else { return };
        unit.alive = false;
        self.unit(id, UnitInput::Exited { cause, leftovers: false, cpu: std::time::Duration::ZERO });
    }

    fn trouble(&mut self, id: &UnitId, run: Option<u64>, at: usize) {
        let Some(unit) = self.units.get_mut(id) else { return };
        let Some(End { cause, when, left }) = unit.troubles.ends.get(at).copied() else { return };
        let (number, alive) = (unit.run, unit.alive && run.is_none_or(|run| run == unit.run));
        if left > 0 && alive {
            unit.troubles.ends[at].left -= 1;
            self.timeline.add(self.now, id.as_str(), cause.to_string());
            self.process_ends(id, number, cause);
        }
        if let When::Every(time) = when
            && left > 0
        {
            self.after(time, Happening::Trouble(id.clone(), None, at));
        }
    }

    fn unit(&mut self, id: &UnitId, input: UnitInput) {
        let mut out = Vec::new();
        if let Some(unit) = self.units.get_mut(id) {
            unit.machine.step(self.now, input, &mut out);
        }
        self.unit_effects(id, out);
    }

    fn unit_effects(&mut self, id: &UnitId, out: Vec<UnitEffect>) {
        for effect in out {
            self.unit_effect(id, effect);
        }
    }

    fn unit_effect(&mut self, id: &UnitId, effect: UnitEffect) {
        let Some(unit) = self.units.get_mut(id) else { return };
        let (run, port) = (unit.run, unit.port);
        let mut say = |text: String| self.timeline.add(self.now, id.as_str(), text);
        match effect {
            UnitEffect::AskGate => unit.waiting = true,
            UnitEffect::LeaveGate => {
                unit.waiting = false;
                if std::mem::take(&mut unit.turn) {
                    self.turns += 1;
                }
            }
            UnitEffect::Spawn => {
                unit.run += 1;
                self.after(TAKES, Happening::Spawned(id.clone(), run + 1));
            }
            UnitEffect::WatchReadiness => {
                if unit.troubles.unready > 0 {
                    unit.troubles.unready -= 1;
                } else {
                    self.after(TAKES, Happening::Ready(id.clone(), run));
                }
            }
            UnitEffect::SignalMain(signal) => {
                if !unit.troubles.hangs {
                    self.after(TAKES, Happening::Ends(id.clone(), run, ExitCause::Signal { signal, core: false }));
                }
            }
            UnitEffect::SignalTree(Signal::KILL) => {
                let cause = ExitCause::Signal { signal: Signal::KILL, core: false };
                self.after(Duration::from_millis(1), Happening::Ends(id.clone(), run, cause));
            }
            UnitEffect::SignalTree(_) | UnitEffect::ForgetReadiness | UnitEffect::Acknowledge => {}
            // No fault pauses a unit.
            UnitEffect::Freeze | UnitEffect::Thaw(_) => {}
            UnitEffect::Started => self.answer(port, Input::Started),
            UnitEffect::StartFailed(reason) => {
                say(format!("start failed: {reason}"));
                unit.standing = Standing::Failed;
                unit.port = None;
                self.answer(port, |run| Input::StartFailed(run, reason));
            }
            UnitEffect::Ended(reason) => {
                if reason == ExitReason::Shutdown {
                    say("stopped".into());
                } else if !reason.is_clean() {
                    unit.standing = Standing::Failed;
                }
                unit.port = None;
                self.answer(port, |run| Input::Exited(run, reason));
            }
            UnitEffect::GiveUp(cause, reason) => {
                say(format!("stays down, as `restart.on` says for `{cause}`: {reason}"));
                if let Some((supervisor, _)) = port {
                    let request = Request::Stop { child: Which::Id(id.as_str().into()), hold: true };
                    self.after(Duration::ZERO, Happening::Hears(supervisor, Input::Request(RequestId(0), request)));
                }
            }
            UnitEffect::HeldBack(delay) => {
                say(format!("held back for {}", format_duration(Duration::from_millis(delay.as_millis().try_into().unwrap_or(u64::MAX)))));
            }
            UnitEffect::BreakerChanged(changed) => say(format!("its breaker is {}", changed.to.as_str().replace('_', " "))),
            UnitEffect::Eject => {
                let share = unit.plan.restart.breaker.as_ref().map_or(1.0, |breaker| breaker.max_ejected);
                if !self.pools.eject(id, share) {
                    self.unit(id, UnitInput::Spared);
                }
            }
            UnitEffect::Readmit => self.pools.readmit(id),
            UnitEffect::TimedOut => say("did not end in time, is killed".into()),
            UnitEffect::Entered(state) => self.entered(id, state),
        }
    }

    fn entered(&mut self, id: &UnitId, state: State) {
        let Some(unit) = self.units.get_mut(id) else { return };
        unit.standing = match state {
            State::Active => Standing::Ready,
            State::Stopped => Standing::Down,
            State::Backoff => Standing::Failed,
            _ => Standing::Pending,
        };
        if state == State::Stopping {
            self.timeline.add(self.now, id.as_str(), "stopping");
        }
        if state == State::Active {
            self.timeline.add(self.now, id.as_str(), "active");
            if let Some(since) = unit.down_since.take() {
                unit.down += self.now - since;
            }
            let (run, ends) = (unit.run, unit.troubles.ends.clone());
            for (at, end) in ends.iter().enumerate() {
                if let When::After(time) = end.when {
                    self.after(time, Happening::Trouble(id.clone(), Some(run), at));
                }
            }
        } else if unit.run > 0 && unit.down_since.is_none() && !matches!(state, State::Activating) {
            unit.down_since = Some(self.now);
        }
        if matches!(state, State::Stopped | State::Backoff) {
            let bound: Vec<_> = self.units.iter().filter(|(_, unit)| unit.plan.binds.contains(id)).map(|(id, _)| id.clone()).collect();
            bound.iter().for_each(|bound| self.unit(bound, UnitInput::Unbound));
        }
    }

    fn answer(&mut self, port: Option<(u32, Run)>, input: impl FnOnce(Run) -> Input) {
        if let Some((supervisor, run)) = port {
            self.after(Duration::ZERO, Happening::Hears(supervisor, input(run)));
        }
    }

    /// Lets those start for whom nothing bars the way, as far as turns are free.
    fn open_gates(&mut self) {
        let standing = |id: &UnitId| self.units.get(id).map_or(Standing::Down, |unit| unit.standing);
        let passes = |unit: &Unit| {
            unit.plan.requires.iter().chain(&unit.plan.binds).all(|id| standing(id) == Standing::Ready)
                && unit.plan.wants.iter().chain(&unit.plan.after).all(|id| standing(id) != Standing::Pending)
        };
        let open: Vec<_> = self.units.iter().filter(|(_, unit)| unit.waiting && passes(unit)).map(|(id, _)| id.clone()).collect();
        for id in open.into_iter().take(self.turns) {
            if let Some(unit) = self.units.get_mut(&id) {
                (unit.waiting, unit.turn) = (false, true);
                self.turns -= 1;
                self.after(Duration::ZERO, Happening::GateOpens(id));
            }
        }
    }

    fn effects(&mut self, id: u32, out: Vec<Effect>) -> Result<(), String> {
        for effect in out {
            let Some(one) = self.supervisors.get_mut(&id) else { return Ok(()) };
            one.books.does(self.now, &effect).map_err(|error| format!("{}: {error}", one.id))?;
            self.effect(id, effect);
        }
        let Some(one) = self.supervisors.get(&id) else { return Ok(()) };
        one.books.after(self.now).map_err(|error| format!("{}: {error}", one.id))?;
        if one.books.is_over() {
            self.supervisors.remove(&id);
        }
        Ok(())
    }

    fn effect(&mut self, id: u32, effect: Effect) {
        let Some(one) = self.supervisors.get(&id) else { return };
        let (name, parent) = (one.id.clone(), one.parent);
        match effect {
            Effect::Start(run, cause) => match one.children.get(&run.child).cloned() {
                Some(Child::Unit(unit)) => self.start_unit(&unit, (id, run), cause),
                Some(Child::Supervisor(nested)) => self.begin(&nested, Some((id, run)), cause.delay()),
                None => {}
            },
            Effect::Stop(run, reason) => self.stop(id, run, Input::Shutdown(reason)),
            Effect::Kill(run) => self.stop(id, run, Input::Kill),
            Effect::KillTree(run) => self.stop(id, run, Input::KillTree),
            Effect::Abandon(run) => self.stop(id, run, Input::Abandon),
            Effect::Up => {
                self.timeline.add(self.now, name.as_str(), "everything is up");
                self.answer(parent, Input::Started);
            }
            Effect::Terminated(reason) => {
                self.timeline.add(self.now, name.as_str(), format!("ended: {reason}"));
                self.answer(parent, |run| Input::Exited(run, reason));
            }
            Effect::Report(report) => self.report(id, &report),
            Effect::Retry(run) => self.after(Duration::ZERO, Happening::Hears(id, Input::Retry(run))),
            Effect::Added(..) | Effect::Forget(_) | Effect::Reply(..) => {}
        }
    }

    fn start_unit(&mut self, id: &UnitId, port: (u32, Run), cause: StartCause) {
        if let Some(unit) = self.units.get_mut(id) {
            unit.port = Some(port);
            unit.restarts += u32::from(cause != StartCause::First);
        }
        self.unit(id, UnitInput::start(cause));
    }

    /// Ends a child in the way a supervisor below would hear of it.
    fn stop(&mut self, id: u32, run: Run, how: Input) {
        let Some(Child::Unit(unit)) = self.supervisors.get(&id).and_then(|one| one.children.get(&run.child)).cloned() else {
            let nested = self.supervisors.iter().find(|(_, one)| one.parent == Some((id, run))).map(|(nested, _)| *nested);
            if let Some(nested) = nested {
                self.after(Duration::ZERO, Happening::Hears(nested, how));
            }
            return;
        };
        self.unit(&unit, if matches!(how, Input::Shutdown(_)) { UnitInput::Stop } else { UnitInput::Kill });
    }
}
