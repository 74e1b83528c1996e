//! What must hold of every supervisor, whatever happens to it: books kept from what goes in and what comes out.
//!
//! The books know OTP's rules, not the machine: they would find the same faults in another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::case::comes_back;
use crate::base::exit::ExitReason;
use crate::base::time::Mono;
use crate::plan::{RestartType, StartOrder, Strategy};
use crate::policy::supervisor::{
    AtLimit, AutoShutdown, ChildKey, ChildSpec, Discipline, Effect, Flags, Input, Reply, Report, Request, RequestId, Run, StartCause, Which,
};

/// Where an incarnation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Up,
    Stopping,
}

#[derive(Clone, Debug)]
struct Entry {
    spec: ChildSpec,
    /// Its latest incarnation, 0 if there was none.
    latest: u64,
    /// Where that one stands, unless it has ended.
    stage: Option<Stage>,
    /// Why it may be down: stopped on request, ignored, given up, held, ended for good.
    excused: bool,
    /// Its start failed, and it is to be tried again.
    retrying: bool,
}

/// The books of one incarnation of a supervisor.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    flags: Flags,
    children: BTreeMap<ChildKey, Entry>,
    /// Restarts that count, while they may still matter.
    counted: Vec<Mono>,
    /// When retries were heard of that were to wait: they may have counted since, or lapsed.
    unsure: Vec<Mono>,
    /// Requests without an answer.
    asked: BTreeMap<RequestId, Request>,
    /// It is known to stop its children.
    ending: bool,
    /// It may be stopping them: what would make it do so came while it was busy.
    perhaps_ending: bool,
    killed: bool,
    /// Nobody waits for its start any more.
    abandoned: bool,
    up: bool,
    over: bool,
}

type Checked = Result<(), String>;

impl Books {
    pub(crate) fn new(flags: Flags, children: &[ChildSpec]) -> Self {
        let entry = |(key, spec): (u32, &ChildSpec)| (ChildKey(key), Entry::new(spec.clone()));
        let children = (0..).zip(children).map(entry).collect();
        Self {
            flags,
            children,
            counted: Vec::new(),
            unsure: Vec::new(),
            asked: BTreeMap::new(),
            ending: false,
            perhaps_ending: false,
            killed: false,
            abandoned: false,
            up: false,
            over: false,
        }
    }

    /// The id of a child.
    pub(crate) fn name(&self, key: ChildKey) -> Arc<str> {
        self.children.get(&key).map_or_else(|| "?".into(), |entry| entry.spec.id.clone())
    }

    /// How many restarts count at `now`.
    pub(crate) fn in_window(&self, now: Mono) -> usize {
        self.counted.iter().filter(|then| now - **then <= self.flags.period).count()
    }

    fn sequential(&self) -> bool {
        self.flags.discipline == Discipline::Sequential
    }

    /// Whether children start and stop in order.
    fn ordered(&self) -> bool {
        !self.flags.dynamic && self.flags.discipline != Discipline::Concurrent(StartOrder::Parallel)
    }

    fn busy(&self) -> bool {
        self.children.values().any(|entry| matches!(entry.stage, Some(Stage::Starting | Stage::Stopping)))
    }

    /// Whether what it hears is served at once.
    fn serves(&self) -> bool {
        !self.sequential() || !self.busy()
    }

    /// Before the machine hears `input`.
    pub(crate) fn hears(&mut self, now: Mono, input: &Input) -> Checked {
        match input {
            Input::Start => {}
            Input::Started(run) => {
                let entry = self.live(*run)?;
                // It may have come up while it is already being stopped.
                if entry.stage == Some(Stage::Starting) {
                    entry.stage = Some(Stage::Up);
                }
            }
            Input::Ignored(run) => {
                let entry = self.live(*run)?;
                (entry.stage, entry.excused) = (None, true);
            }
            Input::StartFailed(run, _) => self.start_failed(now, *run)?,
            Input::Exited(run, reason) => self.exited(now, *run, reason)?,
            Input::Request(id, request) => {
                self.asked.insert(*id, request.clone());
            }
            Input::Shutdown(_) => {
                self.ending |= self.serves();
                self.perhaps_ending = true;
            }
            Input::Kill | Input::KillTree => (self.ending, self.killed) = (true, true),
            Input::Abandon => (self.ending, self.abandoned) = (true, true),
            Input::Retry(run) => {
                let due = |entry: &Entry| entry.latest == run.incarnation && entry.retrying;
                if self.ending || !self.children.get(&run.child).is_some_and(due) {
                    return Ok(());
                }
                // What is served later may have lapsed by then.
                if self.serves() { self.counted.push(now) } else { self.unsure.push(now) }
            }
        }
        Ok(())
    }

    /// The entry of an incarnation that has not ended.
    fn live(&mut self, run: Run) -> Result<&mut Entry, String> {
        let name = self.name(run.child);
        let found = self.children.get_mut(&run.child).filter(|entry| entry.latest == run.incarnation && entry.stage.is_some());
        found.ok_or_else(|| format!("{name}: incarnation {} is told of, but it does not live", run.incarnation))
    }

    fn start_failed(&mut self, now: Mono, run: Run) -> Checked {
        let (ending, sequential) = (self.ending, self.sequential());
        let entry = self.live(run)?;
        let asked_to_stop = entry.stage == Some(Stage::Stopping);
        entry.stage = None;
        entry.excused = entry.spec.restart == RestartType::Temporary;
        // A sequential supervisor counts the retry, not the failure.
        if !asked_to_stop && !ending && !sequential && entry.spec.restart != RestartType::Temporary && !self.fresh(run.child) {
            self.counted.push(now);
        }
        Ok(())
    }

    /// Whether a child was added and has not been up yet.
    fn fresh(&self, key: ChildKey) -> bool {
        let id = self.name(key);
        self.asked.values().any(|request| matches!(request, Request::Add(spec) if spec.id == id))
    }

    fn exited(&mut self, now: Mono, run: Run, reason: &ExitReason) -> Checked {
        // A quiet supervisor acts at once, so that what it must do is known here.
        let quiet = !self.busy() && self.asked.is_empty() && !self.ending;
        if self.live(run)?.stage == Some(Stage::Starting) {
            let counted = self.counted.len();
            self.start_failed(now, run)?;
            if self.children.values().any(|entry| entry.stage == Some(Stage::Stopping)) {
                // It may be its turn to stop soon: then it was found dead, which does not count (OTP's rule 25).
                self.unsure.extend(self.counted.drain(counted..));
            }
            return Ok(());
        }
        let entry = self.live(run)?;
        let by_itself = entry.stage == Some(Stage::Up);
        entry.stage = None;
        let again = comes_back(entry.spec.restart, reason.is_clean());
        // A temporary child that was stopped for a sibling's sake does not come back either.
        entry.excused |= (by_itself && !again) || entry.spec.restart == RestartType::Temporary;
        let significant = entry.spec.significant;
        self.perhaps_ending |= by_itself && !again && significant;
        if quiet && by_itself && !again && significant {
            let remains = |entry: &Entry| entry.spec.significant && (entry.stage.is_some() || !entry.excused);
            self.ending = match self.flags.auto_shutdown {
                AutoShutdown::Never => false,
                AutoShutdown::AnySignificant => true,
                AutoShutdown::AllSignificant => !self.children.values().any(remains),
            };
        }
        Ok(())
    }

    /// For each thing the machine wants done.
    pub(crate) fn does(&mut self, now: Mono, effect: &Effect) -> Checked {
        if self.over && !matches!(effect, Effect::Reply(..)) {
            return Err(format!("it has ended, and still does something: {effect:?}"));
        }
        match effect {
            Effect::Start(run, cause) => self.starts(*run, *cause),
            Effect::Stop(run, _) => self.stops(*run),
            Effect::Kill(run) | Effect::KillTree(run) | Effect::Abandon(run) => {
                let abandoned = self.abandoned;
                let entry = self.live(*run)?;
                match entry.stage {
                    Some(Stage::Stopping) => Ok(()),
                    // What is starting when nobody waits for it any more goes at once, whatever was started after it.
                    Some(Stage::Starting) if abandoned => {
                        entry.stage = Some(Stage::Stopping);
                        Ok(())
                    }
                    _ => self.stops(*run),
                }
            }
            Effect::Added(id, key) => {
                let Some(Request::Add(spec)) = self.asked.get(id) else { return Err("a child is added that nobody asked for".into()) };
                self.children.insert(*key, Entry::new(ChildSpec { held: false, ..spec.clone() }));
                Ok(())
            }
            Effect::Forget(key) => match self.children.remove(key) {
                Some(entry) if entry.stage.is_none() => Ok(()),
                Some(entry) => Err(format!("{} is forgotten while it lives", entry.spec.id)),
                None => Err("a child is forgotten that is not known".into()),
            },
            Effect::Up if self.up => Err("it says that it is up a second time".into()),
            Effect::Up => {
                self.up = true;
                Ok(())
            }
            Effect::Reply(id, reply) => self.replies(*id, reply),
            Effect::Report(report) => self.reports(now, report),
            Effect::Terminated(_) => self.ends(),
            Effect::Retry(run) => {
                let entry = self.children.get_mut(&run.child).filter(|entry| entry.latest == run.incarnation && entry.stage.is_none());
                entry.ok_or("a child is to be tried again whose start has not failed")?.retrying = true;
                // Its retry starts these, too.
                let strategy = self.flags.strategy;
                let along = |key: &ChildKey| strategy == Strategy::OneForAll || strategy == Strategy::RestForOne && *key > run.child;
                let along = self.children.iter_mut().filter(|(key, _)| **key != run.child && along(key));
                along.for_each(|(_, entry)| entry.retrying = false);
                Ok(())
            }
        }
    }

    fn starts(&mut self, run: Run, cause: StartCause) -> Checked {
        let name = self.name(run.child);
        if self.ending {
            return Err(format!("{name} is started although its supervisor is ending"));
        }
        let entry = self.children.get(&run.child).ok_or("a child is started that is not known")?;
        let wants = |request: &Request| matches!(request, Request::Start(Which::Id(id)) | Request::Restart(Which::Id(id)) if *id == name);
        let wanted = cause == StartCause::Request || self.asked.values().any(wants);
        if let Some(stage) = entry.stage {
            return Err(format!("{name} is started although incarnation {} of it lives ({stage:?})", entry.latest));
        }
        if run.incarnation <= entry.latest {
            return Err(format!("{name}: incarnation {} is started after {}", run.incarnation, entry.latest));
        }
        if entry.spec.held && !wanted {
            return Err(format!("{name} is started although it is held"));
        }
        if self.sequential() && self.busy() {
            return Err(format!("{name} is started while another child starts or stops"));
        }
        if self.ordered() && cause == StartCause::First {
            let early = |entry: &Entry| entry.stage == Some(Stage::Starting) || (entry.latest == 0 && !entry.spec.held && !entry.excused);
            if let Some((_, before)) = self.children.range(..run.child).find(|(_, entry)| early(entry)) {
                return Err(format!("{name} is started before {} is up", before.spec.id));
            }
        }
        if let Some(entry) = self.children.get_mut(&run.child) {
            (entry.latest, entry.stage, entry.excused) = (run.incarnation, Some(Stage::Starting), false);
            entry.retrying = false;
            entry.spec.held &= !wanted;
        }
        Ok(())
    }

    fn stops(&mut self, run: Run) -> Checked {
        let name = self.name(run.child);
        let others = self.busy_besides(run.child);
        let (in_order, one_by_one) = (self.ending && self.ordered(), self.sequential() && !self.flags.dynamic);
        let later =
            self.children.range(run.child..).skip(1).find(|(_, entry)| entry.stage.is_some()).map(|(_, entry)| entry.spec.id.clone());
        let killed = self.killed;
        let entry = self.live(run).map_err(|error| format!("{error}, and is to be stopped"))?;
        if entry.stage == Some(Stage::Stopping) {
            return Err(format!("{name} is stopped twice"));
        }
        entry.stage = Some(Stage::Stopping);
        if killed {
            return Ok(());
        }
        match later {
            Some(later) if in_order => return Err(format!("{name} is stopped before {later}, which was started after it, is down")),
            _ => {}
        }
        if one_by_one && others { Err(format!("{name} is stopped while another child starts or stops")) } else { Ok(()) }
    }

    fn busy_besides(&self, key: ChildKey) -> bool {
        self.children.iter().any(|(other, entry)| *other != key && matches!(entry.stage, Some(Stage::Starting | Stage::Stopping)))
    }

    fn replies(&mut self, id: RequestId, reply: &Reply) -> Checked {
        let Some(request) = self.asked.remove(&id) else { return Err(format!("request {} is answered, but it is not open", id.0)) };
        if self.sequential() && self.flags.strategy != Strategy::OneForOne {
            // If a retry lapsed by this request, whom it was to start after its child stays without a process (OTP's rules 19 and 24).
            self.children.values_mut().filter(|entry| entry.stage.is_none() && !entry.retrying).for_each(|entry| entry.excused = true);
        }
        let (Request::Stop { child, .. } | Request::Start(child) | Request::Restart(child)) = &request else { return Ok(()) };
        let again = |other: &Request| matches!(other, Request::Start(which) | Request::Restart(which) if which == child);
        let again = self.asked.values().any(again);
        let entry = match child {
            Which::Id(id) => self.children.values_mut().find(|entry| entry.spec.id == *id),
            Which::Run(run) => self.children.get_mut(&run.child),
        };
        let Some(entry) = entry else { return Ok(()) };
        if let (Request::Stop { hold, .. }, Reply::Stopped) = (&request, reply) {
            // Somebody may have asked for it again meanwhile.
            entry.spec.held |= *hold && !again;
            (entry.excused, entry.retrying) = (true, false);
        } else if matches!(reply, Reply::Error(_)) && matches!(request, Request::Start(_) | Request::Restart(_)) {
            entry.excused |= entry.stage.is_none();
        } else if matches!(reply, Reply::Started(_)) {
            entry.spec.held = false;
        }
        Ok(())
    }

    fn reports(&mut self, now: Mono, report: &Report) -> Checked {
        match report {
            Report::ChildTerminated { restart: true, .. } => self.counted.push(now),
            Report::ReachedMaxRestartIntensity { child, .. } => {
                let restarts = self.in_window(now) + self.unsure.len();
                if restarts <= self.flags.intensity as usize {
                    return Err(format!("it gives up after {restarts} restarts, although {} are allowed", self.flags.intensity));
                }
                match self.flags.at_limit {
                    AtLimit::Terminate => self.ending = true,
                    AtLimit::RetryAfter(_) => self.counted.clear(),
                    AtLimit::Keep => {
                        self.counted.clear();
                        self.children.values_mut().filter(|entry| entry.spec.id == *child).for_each(|entry| entry.excused = true);
                    }
                }
            }
            Report::ChildTerminated { .. }
            | Report::ChildStarted { .. }
            | Report::StartError { .. }
            | Report::ShutdownError { .. }
            | Report::ChildStuck { .. } => {}
        }
        Ok(())
    }

    fn ends(&mut self) -> Checked {
        self.over = true;
        match self.children.values().find(|entry| entry.stage.is_some()) {
            Some(entry) => Err(format!("it ends while {} lives", entry.spec.id)),
            None => Ok(()),
        }
    }

    /// After each step.
    pub(crate) fn after(&self, now: Mono) -> Checked {
        if self.over {
            return Ok(());
        }
        let window = self.in_window(now);
        if !self.ending && !self.perhaps_ending && window > self.flags.intensity as usize {
            let allowed = self.flags.intensity;
            return Err(format!("{window} restarts within the period, {allowed} are allowed, and it goes on"));
        }
        if self.ending {
            let idle = |entry: &Entry| matches!(entry.stage, Some(Stage::Starting | Stage::Up));
            let stopping = self.children.values().any(|entry| entry.stage == Some(Stage::Stopping));
            let at_once = self.flags.dynamic || self.flags.discipline == Discipline::Concurrent(StartOrder::Parallel);
            if let Some(entry) = self.children.values().find(|entry| idle(entry) && at_once) {
                return Err(format!("it is ending, and {} is not asked to end", entry.spec.id));
            }
            if !stopping {
                return Err("it is ending, and nothing is being stopped".into());
            }
        }
        Ok(())
    }

    /// When nothing goes wrong any more and everything has had its time.
    pub(crate) fn at_rest(&self) -> Checked {
        if self.over {
            return Ok(());
        }
        if !self.up {
            return Err("it never came up and has not ended".into());
        }
        if let Some((id, request)) = self.asked.first_key_value() {
            return Err(format!("request {} has no answer: {request:?}", id.0));
        }
        let missing = |entry: &&Entry| entry.stage != Some(Stage::Up) && !entry.excused && !entry.spec.held;
        match self.children.values().find(missing) {
            Some(entry) => Err(format!("{} should be up and is not ({:?})", entry.spec.id, entry.stage)),
            None => Ok(()),
        }
    }

    /// Whether it has ended.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }
}

impl Entry {
    const fn new(spec: ChildSpec) -> Self {
        Self { spec, latest: 0, stage: None, excused: false, retrying: false }
    }
}
