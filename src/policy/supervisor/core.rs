//! The supervisor machine: exits and completions come in, starts and stops go out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::child::{Child, ChildKey, ChildSpec, ChildView, Goal, Standing};
use super::request::{Reply, RequestError, RequestId};
use super::schedule::Schedule;
use super::{AtLimit, Discipline, Effect, FirstStart, Flags, Input, Report, Run, StartCause};
use crate::base::exit::ExitReason;
use crate::base::time::Mono;
use crate::plan::{RestartType, ShutdownTimeout, StartOrder, Strategy};
use crate::policy::Machine;
use crate::policy::intensity::Intensity;

/// What a supervisor as a whole is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not started yet.
    Idle,
    /// Its children start for the first time.
    Starting,
    /// All have been up.
    Running,
    /// All are being stopped, for this reason.
    Terminating(ExitReason),
    /// None is left.
    Over,
}

/// One supervisor. See the [module](super) for its rules.
#[derive(Clone, Debug)]
pub struct Supervisor {
    pub(super) flags: Flags,
    pub(super) children: BTreeMap<ChildKey, Child>,
    pub(super) ids: BTreeMap<Arc<str>, ChildKey>,
    pub(super) schedule: Schedule,
    pub(super) phase: Phase,
    pub(super) next_key: u32,
    pub(super) next_order: u32,
    history: Intensity,
    /// What waits while a sequential supervisor is busy.
    queue: VecDeque<Input>,
}

impl Supervisor {
    /// A supervisor of `children`, in start order. Nothing happens before [`Input::Start`].
    ///
    /// Of two children with the same id only the first is taken: callers check ids before.
    #[must_use]
    pub fn new(flags: Flags, children: impl IntoIterator<Item = ChildSpec>) -> Self {
        let mut new = Self {
            flags,
            children: BTreeMap::new(),
            ids: BTreeMap::new(),
            schedule: Schedule::default(),
            phase: Phase::Idle,
            next_key: 0,
            next_order: 0,
            history: Intensity::default(),
            queue: VecDeque::new(),
        };
        for spec in children {
            if !new.ids.contains_key(&spec.id) {
                new.add(spec);
            }
        }
        new
    }

    /// Every child in start order.
    #[must_use]
    pub fn children(&self) -> Vec<ChildView> {
        self.in_order().into_iter().map(|key| self.children[&key].view()).collect()
    }

    /// The key of the child called `id`.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<ChildKey> {
        self.ids.get(id).copied()
    }

    /// What all children have in common.
    #[must_use]
    pub const fn flags(&self) -> &Flags {
        &self.flags
    }

    pub(super) fn in_order(&self) -> Vec<ChildKey> {
        let mut keys: Vec<_> = self.children.values().map(|child| (child.order, child.key)).collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, key)| key).collect()
    }

    /// Appends a child.
    pub(super) fn add(&mut self, spec: ChildSpec) -> ChildKey {
        let key = ChildKey(self.next_key);
        let order = self.next_order;
        self.next_key += 1;
        self.next_order += 1;
        self.ids.insert(spec.id.clone(), key);
        let child = Child::new(key, order, spec);
        self.schedule.insert(&child);
        self.children.insert(key, child);
        key
    }

    /// Changes a child and puts it where it then belongs. The only way to change one.
    pub(super) fn change<T>(&mut self, key: ChildKey, change: impl FnOnce(&mut Child) -> T) -> Option<T> {
        let child = self.children.get_mut(&key)?;
        self.schedule.remove(child);
        let result = change(child);
        self.schedule.insert(child);
        Some(result)
    }

    /// The child of `run`, if that incarnation is its latest and still has a process.
    fn live(&self, run: Run) -> Option<&Child> {
        self.children.get(&run.child).filter(|child| child.incarnation == run.incarnation && child.has_process())
    }

    fn sequential(&self) -> bool {
        self.flags.discipline == Discipline::Sequential
    }

    pub(super) fn terminating(&self) -> bool {
        matches!(self.phase, Phase::Terminating(_) | Phase::Over)
    }

    /// Whether a sequential supervisor that is busy lets `input` wait.
    fn waits(&mut self, input: &Input) -> bool {
        if !self.sequential() || !self.schedule.busy() {
            return false;
        }
        match input {
            Input::Exited(run, _) => {
                let waits = self.live(*run).is_some_and(|child| child.standing == Standing::Up);
                if waits {
                    self.change(run.child, |child| child.exit_queued = true);
                }
                waits
            }
            Input::Request(..) | Input::Shutdown(_) | Input::Retry(_) => true,
            Input::Start | Input::Started(_) | Input::Ignored(_) | Input::StartFailed(..) | Input::Kill => false,
        }
    }

    fn handle(&mut self, now: Mono, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Start => {
                if self.phase == Phase::Idle {
                    self.phase = Phase::Starting;
                }
            }
            Input::Started(run) => self.started(run, out),
            Input::Ignored(run) => self.ignored(run, out),
            Input::StartFailed(run, reason) => self.start_failed(now, run, reason, out),
            Input::Exited(run, reason) => self.exited(now, run, reason, out),
            Input::Retry(run) => {
                let due = |child: &&Child| child.standing == Standing::Restarting && child.incarnation == run.incarnation;
                if self.children.get(&run.child).as_ref().is_some_and(due) {
                    self.restart(run.child, StartCause::Retry);
                }
            }
            Input::Request(id, request) => self.request(id, request, out),
            Input::Shutdown(reason) => self.terminate(reason),
            Input::Kill => {
                self.terminate(ExitReason::Killed);
                for (_, key) in self.schedule.live.clone() {
                    self.kill(key, out);
                }
            }
        }
    }

    fn started(&mut self, run: Run, out: &mut Vec<Effect>) {
        if self.live(run).is_none_or(|child| child.standing != Standing::Starting) {
            return;
        }
        let waiting = self.change(run.child, |child| {
            child.standing = Standing::Up;
            child.free = false;
            std::mem::take(&mut child.on_up)
        });
        reply_all(waiting, &Reply::Started, out);
    }

    fn ignored(&mut self, run: Run, out: &mut Vec<Effect>) {
        if self.live(run).is_none() {
            return;
        }
        let waiting = self.change(run.child, |child| {
            child.goal = if child.spec.restart == RestartType::Temporary { Goal::Remove } else { Goal::Rest };
            std::mem::take(&mut child.on_up)
        });
        reply_all(waiting, &Reply::Ignored, out);
        self.down(run.child, out);
    }

    fn start_failed(&mut self, now: Mono, run: Run, reason: ExitReason, out: &mut Vec<Effect>) {
        let Some(child) = self.live(run) else { return };
        let stopped = child.standing == Standing::Stopping;
        let (id, cause, temporary) = (child.spec.id.clone(), child.cause, child.spec.restart == RestartType::Temporary);
        let waiting = self.change(run.child, |child| std::mem::take(&mut child.on_up));
        reply_all(waiting, &Reply::Error(RequestError::StartFailed(reason.clone())), out);
        self.down(run.child, out);
        if stopped || self.terminating() {
            return;
        }
        if cause != StartCause::Request {
            out.push(Effect::Report(Report::StartError { child: id.clone(), reason: reason.clone() }));
        }
        if self.phase == Phase::Starting && self.flags.first_start == FirstStart::RollBack {
            self.terminate(ExitReason::error(format_args!("failed to start child {id}: {reason}")));
        } else if cause == StartCause::Request && self.flags.first_start == FirstStart::RollBack {
            self.change(run.child, |child| child.goal = Goal::Rest);
        } else if temporary {
            self.change(run.child, |child| child.gave_up = Some(reason));
        } else if self.counts(now, run.child, reason, out) {
            self.retry(run);
        }
    }

    /// A failed restart is tried again: at once by a concurrent supervisor, behind what is queued by a sequential one.
    fn retry(&mut self, run: Run) {
        if self.sequential() {
            self.change(run.child, |child| child.standing = Standing::Restarting);
            self.queue.push_back(Input::Retry(run));
        } else {
            self.restart(run.child, StartCause::Retry);
        }
    }

    fn exited(&mut self, now: Mono, run: Run, reason: ExitReason, out: &mut Vec<Effect>) {
        let Some(child) = self.live(run) else { return };
        if child.standing == Standing::Starting && !child.to_stop() {
            return self.start_failed(now, run, reason, out);
        }
        let by_itself = child.standing == Standing::Up && !child.to_stop() && !self.terminating();
        let (id, kind) = (child.spec.id.clone(), child.spec.restart);
        self.down(run.child, out);
        if !by_itself {
            return;
        }
        let again = match kind {
            RestartType::Permanent => true,
            RestartType::Transient => !reason.is_clean(),
            RestartType::Temporary => false,
        };
        if again || !reason.is_clean() {
            out.push(Effect::Report(Report::ChildTerminated { child: id, reason: reason.clone(), restart: again }));
        }
        if again {
            if self.counts(now, run.child, reason, out) {
                self.restart(run.child, StartCause::Exit);
            }
        } else {
            let goal = if kind == RestartType::Temporary && self.sequential() { Goal::Remove } else { Goal::Rest };
            self.change(run.child, |child| child.goal = goal);
            self.forget_if_removed(run.child, out);
        }
    }

    /// Counts a restart; false if it was one too many, which is then dealt with.
    fn counts(&mut self, now: Mono, key: ChildKey, reason: ExitReason, out: &mut Vec<Effect>) -> bool {
        if self.history.allows(now, self.flags.intensity, self.flags.period) {
            return true;
        }
        let child = self.children[&key].spec.id.clone();
        out.push(Effect::Report(Report::ReachedMaxRestartIntensity { child, reason: reason.clone() }));
        match self.flags.at_limit {
            AtLimit::Terminate => self.terminate(ExitReason::Shutdown),
            AtLimit::Keep => {
                self.change(key, |child| child.gave_up = Some(reason));
                self.history.clear();
            }
        }
        false
    }

    /// Begins a restart of a child that is down, and of those whom its end concerns.
    fn restart(&mut self, key: ChildKey, cause: StartCause) {
        let concerned = match self.flags.strategy {
            Strategy::OneForOne => Vec::new(),
            Strategy::OneForAll => self.in_order(),
            Strategy::RestForOne => {
                let order = self.children[&key].order;
                self.in_order().into_iter().filter(|other| self.children[other].order > order).collect()
            }
        };
        let alone = self.flags.strategy == Strategy::OneForOne;
        self.change(key, |child| {
            child.standing = Standing::Down;
            child.goal = Goal::Run;
            child.cause = cause;
            child.free = alone;
        });
        for other in concerned.into_iter().filter(|other| *other != key) {
            self.change(other, |child| {
                if child.spec.restart == RestartType::Temporary {
                    child.goal = Goal::Remove;
                } else {
                    child.goal = Goal::Run;
                    child.cycle = child.has_process();
                    child.cause = StartCause::Sibling;
                    child.free = false;
                    if child.standing == Standing::Restarting {
                        child.standing = Standing::Down;
                    }
                }
            });
        }
    }

    pub(super) fn terminate(&mut self, reason: ExitReason) {
        if self.terminating() {
            return;
        }
        self.phase = Phase::Terminating(reason);
        for key in self.in_order() {
            self.change(key, |child| {
                child.goal = Goal::Rest;
                if child.standing == Standing::Restarting {
                    child.standing = Standing::Down;
                }
            });
        }
    }

    /// Takes note that a child has no process any more.
    fn down(&mut self, key: ChildKey, out: &mut Vec<Effect>) {
        let waiting = self.change(key, |child| {
            child.standing = Standing::Down;
            child.cycle = false;
            child.kill_at = None;
            child.exit_queued = false;
            std::mem::take(&mut child.on_down)
        });
        reply_all(waiting, &Reply::Stopped, out);
        self.forget_if_removed(key, out);
    }

    pub(super) fn forget_if_removed(&mut self, key: ChildKey, out: &mut Vec<Effect>) {
        let gone = |child: &Child| child.goal == Goal::Remove && !child.has_process();
        if self.children.get(&key).is_some_and(gone)
            && let Some(child) = self.children.remove(&key)
        {
            self.schedule.remove(&child);
            self.ids.remove(&child.spec.id);
            reply_all(Some(child.on_up), &Reply::Error(RequestError::NotFound), out);
            out.push(Effect::Forget(key));
        }
    }

    /// Starts and stops what can be started and stopped now.
    fn advance(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Idle | Phase::Over) {
            return;
        }
        while let Some(key) = self.next_to_stop() {
            self.stop(now, key, out);
        }
        while let Some(key) = self.next_to_start() {
            let effect = self.change(key, |child| {
                child.standing = Standing::Starting;
                child.incarnation += 1;
                Effect::Start(child.run(), child.cause)
            });
            out.extend(effect);
        }
        match &self.phase {
            Phase::Starting if self.schedule.unsettled.is_empty() && !self.schedule.busy() => {
                self.phase = Phase::Running;
                out.push(Effect::Up);
            }
            Phase::Terminating(reason) if self.schedule.live.is_empty() => {
                out.push(Effect::Terminated(reason.clone()));
                self.phase = Phase::Over;
            }
            _ => {}
        }
    }

    fn next_to_stop(&self) -> Option<ChildKey> {
        match self.flags.discipline {
            Discipline::Sequential if self.schedule.busy() => None,
            Discipline::Concurrent(StartOrder::Parallel) => self.schedule.to_stop.first().map(|place| place.1),
            Discipline::Sequential | Discipline::Concurrent(StartOrder::Ordered) => self.schedule.next_stop_in_order(),
        }
    }

    fn next_to_start(&self) -> Option<ChildKey> {
        // Under one_for_all and rest_for_one nobody starts before all who have to go are gone.
        let clearing = !self.schedule.to_stop.is_empty() || !self.schedule.stopping.is_empty();
        if self.terminating() || (clearing && self.flags.strategy != Strategy::OneForOne) {
            return None;
        }
        match self.flags.discipline {
            Discipline::Sequential if self.schedule.busy() => None,
            Discipline::Concurrent(StartOrder::Parallel) => self.schedule.next_start(),
            Discipline::Sequential | Discipline::Concurrent(StartOrder::Ordered) => self.schedule.next_start_in_order(),
        }
    }

    fn stop(&mut self, now: Mono, key: ChildKey, out: &mut Vec<Effect>) {
        let child = &self.children[&key];
        if child.exit_queued {
            // Found dead while stopping: it is not stopped and not counted, and its queued exit is consumed.
            let run = child.run();
            self.queue.retain(|input| !matches!(input, Input::Exited(dead, _) if *dead == run));
            return self.down(key, out);
        }
        match child.spec.shutdown {
            ShutdownTimeout::BrutalKill => return self.kill(key, out),
            ShutdownTimeout::Infinity => {}
            ShutdownTimeout::After(timeout) => {
                self.change(key, |child| child.kill_at = Some(now + timeout));
            }
        }
        let effect = self.change(key, |child| {
            child.standing = Standing::Stopping;
            Effect::Stop(child.run())
        });
        out.extend(effect);
    }

    fn kill(&mut self, key: ChildKey, out: &mut Vec<Effect>) {
        let effect = self.change(key, |child| {
            child.standing = Standing::Stopping;
            child.kill_at = None;
            Effect::Kill(child.run())
        });
        out.extend(effect);
    }
}

impl Machine for Supervisor {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Effect>) {
        if self.waits(&input) {
            self.queue.push_back(input);
        } else {
            self.handle(now, input, out);
        }
        self.advance(now, out);
        while !(self.sequential() && self.schedule.busy()) && self.phase != Phase::Over {
            let Some(input) = self.queue.pop_front() else { break };
            self.handle(now, input, out);
            self.advance(now, out);
        }
    }

    fn deadline(&self) -> Option<Mono> {
        self.schedule.stopping.iter().filter_map(|(_, key)| self.children[key].kill_at).min()
    }

    fn wake(&mut self, now: Mono, out: &mut Vec<Effect>) {
        let due = |key: &ChildKey| self.children[key].kill_at.is_some_and(|at| at <= now);
        let late: Vec<_> = self.schedule.stopping.iter().map(|place| place.1).filter(due).collect();
        for key in late {
            self.kill(key, out);
        }
    }
}

pub(super) fn reply_all(waiting: Option<Vec<RequestId>>, reply: &Reply, out: &mut Vec<Effect>) {
    out.extend(waiting.into_iter().flatten().map(|id| Effect::Reply(id, reply.clone())));
}
