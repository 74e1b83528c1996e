//! The supervisor machine: exits and completions come in, starts and stops go out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::child::{Child, ChildKey, ChildSpec, ChildView, Goal, Standing};
use super::request::{Reply, RequestError, RequestId};
use super::schedule::{Remembered, Schedule};
use super::{Discipline, Effect, Flags, Input, Report, Run};
use crate::base::choice::{StartOrder, Strategy};
use crate::base::exit::ExitReason;
use crate::base::shutdown::ShutdownTimeout;
use crate::base::time::Mono;
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

/// How long after it was killed a child that still is there is called stuck.
const STUCK: Duration = Duration::from_secs(10);

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
    pub(super) history: Intensity,
    /// What waits while a sequential supervisor is busy.
    queue: VecDeque<Input>,
    /// Somebody killed it.
    killed: bool,
}

impl Supervisor {
    /// A supervisor of `children`, in start order. Nothing happens before [`Input::Start`].
    ///
    /// Callers [`check`](super::check) before. Of two children with the same id only the first is taken.
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
            killed: false,
        };
        let mut taken = Vec::new();
        for spec in children {
            if !new.ids.contains_key(&spec.id) {
                let child = new.admit(spec);
                taken.push((child.key, child));
            }
        }
        // A map made at once is packed nearly twice as tight as one that grows at its end.
        new.children = taken.into_iter().collect();
        new
    }

    /// The same, going on where an earlier incarnation stood: these restarts count against its intensity, the latest first.
    #[must_use]
    pub fn resumed(mut self, counted: Vec<Mono>) -> Self {
        self.history = Intensity::resumed(counted.into_iter().rev());
        self
    }

    /// The restarts that may still count against its intensity, the latest first.
    pub fn counted(&self) -> impl Iterator<Item = Mono> {
        self.history.restarts().rev()
    }

    /// Every child in start order.
    #[must_use]
    pub fn children(&self) -> Vec<ChildView> {
        self.in_order().into_iter().map(|key| self.children[&key].view()).collect()
    }

    /// Every child's key and id, in the order in which they were added.
    pub fn keys(&self) -> impl Iterator<Item = (ChildKey, &Arc<str>)> {
        self.children.values().map(|child| (child.key, &child.spec.id))
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
        let child = self.admit(spec);
        let key = child.key;
        self.children.insert(key, child);
        key
    }

    /// Gives a new child its key and its place.
    fn admit(&mut self, spec: ChildSpec) -> Child {
        let key = ChildKey(self.next_key);
        let order = self.next_order;
        self.next_key += 1;
        self.next_order += 1;
        if !self.flags.dynamic {
            self.ids.insert(spec.id.clone(), key);
        }
        let child = Child::new(key, order, spec);
        self.schedule.insert(&child);
        child
    }

    /// Changes a child and puts it where it then belongs. The only way to change one.
    pub(super) fn change<T>(&mut self, key: ChildKey, change: impl FnOnce(&mut Child) -> T) -> Option<T> {
        let child = self.children.get_mut(&key)?;
        let before = (&Remembered::of(child), Schedule::membership(child));
        let result = change(child);
        self.schedule.update(before, child);
        Some(result)
    }

    /// The child of `run`, if that incarnation is its latest and still has a process.
    pub(super) fn live(&self, run: Run) -> Option<&Child> {
        self.children.get(&run.child).filter(|child| child.incarnation == run.incarnation && child.has_process())
    }

    pub(super) fn sequential(&self) -> bool {
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
            Input::Exited(run, reason) => {
                let waits = self.live(*run).is_some_and(|child| child.standing == Standing::Up);
                if waits {
                    self.change(run.child, |child| child.ended = Some(reason.clone()));
                }
                waits
            }
            Input::Request(..) | Input::Shutdown(_) | Input::Retry(_) => true,
            Input::Start | Input::Started(_) | Input::Ignored(_) | Input::StartFailed(..) => false,
            Input::Kill | Input::KillTree | Input::Abandon => false,
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
            Input::Retry(run) => self.try_again(now, run, out),
            Input::Request(id, request) => self.request(id, request, out),
            Input::Shutdown(reason) => self.terminate(reason),
            Input::Kill => self.die(None, out),
            Input::KillTree => self.die(Some(now), out),
            Input::Abandon => self.abandon(now, out),
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

    /// Somebody kills it: its workers die with it, the supervisors below notice and stop what is theirs in order; or, with the time
    /// at which that of the whole tree was over, die in the same way.
    ///
    /// Unlike OTP's it stays until all of them are gone, so that its successor never meets what was left.
    fn die(&mut self, whole_tree: Option<Mono>, out: &mut Vec<Effect>) {
        self.terminate(ExitReason::Killed);
        if self.phase != Phase::Over {
            self.phase = Phase::Terminating(ExitReason::Killed);
        }
        self.killed = true;
        for (_, key) in self.schedule.live.clone() {
            if self.change(key, |child| child.ended.take()).flatten().is_some() {
                // It is dead, and its exit waits in the queue: nobody would answer for it.
                self.down(key, out);
            } else if !self.children[&key].spec.supervisor {
                self.kill(key, whole_tree, out);
            } else if whole_tree.is_some() {
                // Whatever it was told before has not been enough.
                self.pass_on(key, Effect::KillTree, out);
            } else if self.children[&key].standing != Standing::Stopping {
                self.ask_to_end(key, None, ExitReason::Killed, out);
            }
        }
    }

    /// Nobody waits for its start any more. What is starting may hang, and holds nothing yet that it had to put in order.
    fn abandon(&mut self, now: Mono, out: &mut Vec<Effect>) {
        self.terminate(ExitReason::Shutdown);
        for (_, key) in self.schedule.starting.clone() {
            if self.children[&key].spec.supervisor {
                self.pass_on(key, Effect::Abandon, out);
            } else {
                self.kill(key, Some(now), out);
            }
        }
    }

    /// Tells a supervisor below what this one was told.
    fn pass_on(&mut self, key: ChildKey, what: fn(Run) -> Effect, out: &mut Vec<Effect>) {
        let effect = self.change(key, |child| {
            child.standing = Standing::Stopping;
            child.kill_at = None;
            what(child.run())
        });
        out.extend(effect);
    }

    /// Takes note that a child has no process any more.
    pub(super) fn down(&mut self, key: ChildKey, out: &mut Vec<Effect>) {
        let waiting = self.change(key, |child| {
            child.standing = Standing::Down;
            child.cycle = false;
            child.kill_at = None;
            child.killed = false;
            child.ended = None;
            // Whoever waits for it to be up waits on, if that is still what it is to be.
            let in_vain = if child.goal == Goal::Rest { std::mem::take(&mut child.on_up) } else { Vec::new() };
            (std::mem::take(&mut child.on_down), in_vain)
        });
        let (on_down, in_vain) = waiting.unwrap_or_default();
        reply_all(Some(on_down), &Reply::Stopped, out);
        reply_all(Some(in_vain), &Reply::Error(RequestError::Stopped), out);
        self.forget_if_removed(key, out);
    }

    pub(super) fn forget_if_removed(&mut self, key: ChildKey, out: &mut Vec<Effect>) {
        let gone = |child: &Child| child.goal == Goal::Remove && !child.has_process();
        if self.children.get(&key).is_some_and(gone)
            && let Some(child) = self.children.remove(&key)
        {
            self.schedule.remove(&child);
            if !self.flags.dynamic {
                self.ids.remove(&child.spec.id);
            }
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
            // One that was up and failed since keeps nobody waiting: its back-off may be long.
            Phase::Starting if self.schedule.awaited.is_empty() && !(self.sequential() && self.schedule.busy()) => {
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
            // Instances have no order: all of them are asked at once.
            _ if self.flags.dynamic => self.schedule.to_stop.first().map(|place| place.1),
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
        if let Some(reason) = self.change(key, |child| child.ended.take()).flatten() {
            // Found dead while stopping: it is not counted. Its queued exit then belongs to an incarnation that is over.
            self.report_end(key, reason, out);
            return self.down(key, out);
        }
        match self.children[&key].spec.shutdown {
            ShutdownTimeout::BrutalKill => self.kill(key, Some(now), out),
            ShutdownTimeout::Infinity => self.ask_to_end(key, None, ExitReason::Shutdown, out),
            ShutdownTimeout::After(timeout) => self.ask_to_end(key, Some(now + timeout), ExitReason::Shutdown, out),
        }
    }

    fn ask_to_end(&mut self, key: ChildKey, kill_at: Option<Mono>, reason: ExitReason, out: &mut Vec<Effect>) {
        let effect = self.change(key, |child| {
            child.standing = Standing::Stopping;
            child.kill_at = kill_at;
            Effect::Stop(child.run(), reason)
        });
        out.extend(effect);
    }

    /// Kills a child; `now` if it is to be told when that does not help.
    fn kill(&mut self, key: ChildKey, now: Option<Mono>, out: &mut Vec<Effect>) {
        let effect = self.change(key, |child| {
            child.standing = Standing::Stopping;
            child.killed = true;
            child.kill_at = now.map(|now| now + STUCK);
            Effect::Kill(child.run())
        });
        out.extend(effect);
    }

    /// A child that was stopped ended otherwise than it should.
    pub(super) fn report_end(&self, key: ChildKey, reason: ExitReason, out: &mut Vec<Effect>) {
        let child = &self.children[&key];
        if !self.killed && !child.may_end(&reason) {
            out.push(Effect::Report(Report::ShutdownError { child: child.spec.id.clone(), reason }));
        }
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
        self.schedule.deadlines.first().map(|(at, _)| *at)
    }

    fn wake(&mut self, now: Mono, out: &mut Vec<Effect>) {
        while let Some(&(at, key)) = self.schedule.deadlines.first() {
            if at > now {
                return;
            }
            let child = &self.children[&key];
            if child.killed {
                out.push(Effect::Report(Report::ChildStuck { child: child.spec.id.clone() }));
                self.change(key, |child| child.kill_at = None);
            } else {
                self.kill(key, Some(now), out);
            }
        }
    }
}

pub(super) fn reply_all(waiting: Option<Vec<RequestId>>, reply: &Reply, out: &mut Vec<Effect>) {
    out.extend(waiting.into_iter().flatten().map(|id| Effect::Reply(id, reply.clone())));
}
