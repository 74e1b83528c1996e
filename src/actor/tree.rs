//! The users' tree: supervisors and units as the plan has them, and what a reload changes of them.

mod ask;
mod nested;
mod remedy;
mod rest;
mod secrets;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ractor::{Actor, ActorRef, SpawnErr};
use tokio::sync::{oneshot, watch};

use self::ask::NOT_OURS;
pub use self::ask::{Answer, Ask, TreeError};
use self::nested::{PlanHost, PlanObserver};
use super::context::{Context, LauncherTurns};
use super::program::Programs;
use super::supervisor::{Arguments, Msg, NewChild, Port, SupervisorActor};
use super::unit::{self, UnitActor, UnitHost};
pub use super::unit::{ForeignNote, Held, exit_event};
use super::wishes::{Asker, remembered};
use crate::base::exit::{ExitReason, Signal};
use crate::base::id::{SupervisorId, UnitId};
use crate::base::time::Mono;
use crate::event::{Desired, SupervisorStatus};
use crate::launcher::link::FdSet;
use crate::launcher::wire::{Target, ToBrain, ToLauncher};
use crate::plan::{Child, Diff, Plan, SupervisorPlan};
use crate::policy::supervisor::{Input, Reply, child_of, flags_of};
use crate::store::wishes::Remembered;

/// How the tree as a whole stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It starts.
    Starting,
    /// Everything has been up.
    Up,
    /// It is down, for this reason.
    Ended(ExitReason),
}

/// The users' tree.
#[derive(Debug)]
pub struct Tree {
    context: Arc<Context>,
    plan: RwLock<Arc<Plan>>,
    units: RwLock<BTreeMap<UnitId, ActorRef<unit::Msg>>>,
    supervisors: RwLock<BTreeMap<SupervisorId, ActorRef<Msg>>>,
    /// What the launcher remembers of each supervisor.
    notes: RwLock<BTreeMap<SupervisorId, unit::Note>>,
    /// Restarts an earlier brain has counted, until the supervisor they count against is started.
    counted: RwLock<BTreeMap<SupervisorId, Vec<Mono>>>,
    standing: watch::Sender<Standing>,
    /// The root has been started, or could not be.
    has_begun: watch::Sender<bool>,
}

/// What the launcher holds from earlier brains, by name.
pub type HeldUnits = BTreeMap<UnitId, Held>;

impl Tree {
    /// The tree of `plan`; nothing is started yet. `held`: what an earlier brain left running.
    ///
    /// # Errors
    /// A unit's actor cannot be started.
    pub async fn new(context: Arc<Context>, plan: Arc<Plan>, mut held: HeldUnits) -> Result<Arc<Self>, SpawnErr> {
        let tree = Arc::new(Self {
            context,
            plan: RwLock::new(plan.clone()),
            units: RwLock::default(),
            supervisors: RwLock::default(),
            notes: RwLock::default(),
            counted: RwLock::default(),
            standing: watch::Sender::new(Standing::Starting),
            has_begun: watch::Sender::new(false),
        });
        tree.context.gates.plan(&plan);
        tree.context.limits.plan(&tree.context, &plan).await;
        held.iter().for_each(|(target, held)| tree.context.wishes.compare(target.as_str(), &held.note));
        tree.context.wishes.plan(&plan);
        for (id, supervisor) in &plan.supervisors {
            tree.show_supervisor(&plan, supervisor);
            if let Some(held) = held.remove(id.as_str()) {
                tree.counted.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), held.note.counted.clone());
                tree.notes.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), held.note);
            }
        }
        for unit in plan.units.keys() {
            tree.add_unit(&plan, unit, held.remove(unit)).await?;
        }
        // What is left belongs to no unit of the plan.
        for (unit, held) in held {
            let signal = if Programs::is_one(&unit) { Signal::KILL } else { Signal::TERM };
            tree.context.launcher.send(ToLauncher::Signal { unit: unit.clone(), run: held.run, signal, target: Target::Tree });
            tree.context.launcher.send(ToLauncher::Ack { unit: unit.clone(), run: held.run });
            tree.context.launcher.send(ToLauncher::Forget { unit });
        }
        Ok(tree)
    }

    /// Starts everything.
    ///
    /// # Errors
    /// The root's actor cannot be started.
    pub async fn start(self: &Arc<Self>) -> Result<(), SpawnErr> {
        let plan = self.plan();
        self.context.view.change_supervisor(&plan.root, |status| "starting".clone_into(&mut status.state));
        let arguments = Arguments { counted: self.recall(&plan.root), ..self.arguments(&plan, &plan.root, None) };
        let root = Actor::spawn(None, SupervisorActor, arguments).await.map(|(root, _)| self.register(&plan.root, root));
        self.has_begun.send_replace(true);
        root
    }

    /// How the tree stands, now and later.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops everything in order.
    pub fn stop(&self) {
        self.context.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        self.tell_root(Input::Shutdown(ExitReason::Shutdown));
    }

    /// Stops everything at once, with little patience.
    pub fn hasten(&self) {
        for unit in self.units.read().unwrap_or_else(PoisonError::into_inner).values() {
            // One that is gone is down.
            drop(unit.cast(unit::Msg::Hasten));
        }
    }

    /// Passes on what the launcher says about a unit.
    pub fn launcher_says(&self, message: ToBrain, fds: FdSet) {
        let unit = match &message {
            ToBrain::Spawned { unit, .. }
            | ToBrain::SpawnFailed { unit, .. }
            | ToBrain::Exited { unit, .. }
            | ToBrain::Paused { unit, .. }
            | ToBrain::MainChanged { unit, .. }
            | ToBrain::MainRefused { unit, .. }
            | ToBrain::Gone { unit, .. } => unit,
            ToBrain::Limited { target, cgroup, applied } => {
                return self.context.limits.hear(&self.context, target, cgroup.clone(), applied);
            }
            ToBrain::Keeper { pid } => return self.context.keeper_is(*pid),
            &ToBrain::Turns { count, longest, recent } => {
                return self.context.launcher_takes(LauncherTurns { count, longest, recent });
            }
            ToBrain::Hello { .. }
            | ToBrain::Listener { .. }
            | ToBrain::Held { .. }
            | ToBrain::HeldEnd
            | ToBrain::UpgradeRefused { .. }
            | ToBrain::Signalled { .. } => return,
        };
        if Programs::is_one(unit) {
            self.context.programs.hear(&unit.clone(), message, fds);
        } else if let Some(actor) = self.units.read().unwrap_or_else(PoisonError::into_inner).get(unit) {
            drop(actor.cast(unit::Msg::Launcher(message, fds)));
        } else if let ToBrain::Exited { unit, run, .. } = message {
            self.context.launcher.send(ToLauncher::Ack { unit, run });
        }
    }

    /// Starts, stops or restarts a unit or supervisor for an operator. Returns when it is done, and remembered or known not to be:
    /// neither waits for the other.
    pub async fn ask(&self, target: &str, ask: Ask, asker: &Asker) -> Answer {
        let plan = self.plan();
        let parent = match parent_of(&plan, target) {
            Ok(parent) => parent,
            Err(error) => return Answer { done: Err(error), remembered: Ok(()) },
        };
        self.context.degradation.yield_to(&plan, target, ask.desired() == Desired::Started);
        if ask == Ask::Restart && is_watched(&plan, target) {
            let why = format!("{NOT_OURS}; whoever starts it can restart it");
            return Answer { done: Err(TreeError::Unfit("restart", target.into(), why)), remembered: Ok(()) };
        }
        let wish = self.wish(&plan, target, ask.desired(), asker);
        let done = self.tell_supervisor(target, &parent, ask);
        let (done, remembered) = tokio::join!(done, remembered(wish));
        Answer { done, remembered }
    }

    async fn tell_supervisor(&self, target: &str, parent: &SupervisorId, ask: Ask) -> Result<(), TreeError> {
        let down = || TreeError::SupervisorDown(target.into(), parent.clone());
        let supervisor = self.supervisors.read().unwrap_or_else(PoisonError::into_inner).get(parent).cloned();
        let (sender, reply) = oneshot::channel();
        supervisor.ok_or_else(down)?.cast(Msg::Request(ask.request(target), sender)).map_err(|_| down())?;
        match reply.await.map_err(|_| down())?.reply {
            Reply::Error(error) => Err(TreeError::Refused(ask.verb(), target.into(), error)),
            _ => Ok(()),
        }
    }

    /// Sends a signal to a unit for an operator. Of what is only watched it is known that it was sent.
    ///
    /// # Errors
    /// There is no such unit, or it cannot be sent.
    pub async fn signal(&self, target: &str, signal: Signal, whole: bool) -> Result<(), TreeError> {
        let unfit = |why: String| TreeError::Unfit("signal", target.into(), why);
        if !is_watched(&self.plan(), target) {
            return self.tell_unit(target, unit::Msg::Signal(signal, if whole { Target::Tree } else { Target::Main }));
        }
        if whole {
            return Err(unfit(format!("{NOT_OURS}; only its main process can be signalled")));
        }
        let (sender, sent) = oneshot::channel();
        self.tell_unit(target, unit::Msg::Watched(unit::WatchedNews::Signal(signal, sender)))?;
        sent.await.unwrap_or_else(|_gone| Err("it is going".into())).map_err(unfit)
    }

    /// A unit gives a sign of life.
    ///
    /// # Errors
    /// It is not a unit.
    pub fn beat(&self, target: &str, sequence: Option<u64>) -> Result<(), TreeError> {
        self.tell_unit(target, unit::Msg::Beat(sequence))
    }

    fn tell_unit(&self, target: &str, message: unit::Msg) -> Result<(), TreeError> {
        let units = self.units.read().unwrap_or_else(PoisonError::into_inner);
        match units.get(target) {
            Some(actor) => {
                drop(actor.cast(message));
                Ok(())
            }
            None if self.plan().supervisors.contains_key(target) => Err(TreeError::NotAUnit(target.into())),
            None => Err(TreeError::Unknown(target.into())),
        }
    }

    /// Lets a unit stand still for an operator, or go on. Returns when it does, perhaps with a remark.
    ///
    /// # Errors
    /// There is no such unit, or it cannot be done now.
    pub async fn pause(&self, target: &str, pause: bool) -> Result<Option<String>, TreeError> {
        let actor = self.units.read().unwrap_or_else(PoisonError::into_inner).get(target).cloned();
        let actor = actor.ok_or_else(|| match self.plan().supervisors.contains_key(target) {
            true => TreeError::NotAUnit(target.into()),
            false => TreeError::Unknown(target.into()),
        })?;
        self.context.degradation.paused(&self.plan(), target, pause);
        let (sender, reply) = oneshot::channel();
        drop(actor.cast(if pause { unit::Msg::Pause(sender) } else { unit::Msg::Resume(sender) }));
        let answer = reply.await.unwrap_or_else(|_gone| Err("it is going".into()));
        answer.map_err(|why| TreeError::Unfit(if pause { "pause" } else { "resume" }, target.into(), why))
    }

    /// Stops every process of a unit until there is room in its log, or lets it go on.
    pub(crate) fn pause_for_log(&self, unit: &UnitId, is_full: bool) {
        if let Some(actor) = self.units.read().unwrap_or_else(PoisonError::into_inner).get(unit) {
            drop(actor.cast(unit::Msg::PauseForLog(is_full)));
        }
    }

    /// A unit writes into its full log although it is stopped: it is killed.
    pub(crate) fn log_resists(&self, unit: &UnitId) {
        if let Some(actor) = self.units.read().unwrap_or_else(PoisonError::into_inner).get(unit) {
            drop(actor.cast(unit::Msg::LogResists));
        }
    }

    /// Takes over a new plan: touches only what `diff` names.
    ///
    /// # Errors
    /// A new unit's actor cannot be started.
    pub async fn reload(self: &Arc<Self>, plan: Arc<Plan>, diff: &Diff) -> Result<(), SpawnErr> {
        // A root that is about to start would not hear of it. The sender lives as long as the tree.
        let mut has_begun = self.has_begun.subscribe();
        drop(has_begun.wait_for(|has_begun| *has_begun).await);
        let old = std::mem::replace(&mut *self.plan.write().unwrap_or_else(PoisonError::into_inner), plan.clone());
        self.context.gates.plan(&plan);
        self.context.limits.plan(&self.context, &plan).await;
        self.context.wishes.plan(&plan);
        for unit in plan.units.keys().filter(|unit| !old.units.contains_key(*unit)) {
            let leaving = self.units.read().unwrap_or_else(PoisonError::into_inner).get(unit).cloned();
            if let Some(leaving) = leaving {
                // It came back before its last process was gone. Without a time-out `wait` cannot fail.
                drop(leaving.wait(None).await);
            }
            self.add_unit(&plan, unit, None).await?;
        }
        let parents = parents(&plan);
        for (id, actor) in self.units.read().unwrap_or_else(PoisonError::into_inner).iter() {
            match plan.units.get(id) {
                Some(new) => drop(actor.cast(unit::Msg::Replan(new.clone(), parents[id.as_str()].clone()))),
                None => self.retire(id, actor),
            }
        }
        for (id, supervisor) in &plan.supervisors {
            self.show_supervisor(&plan, supervisor);
            let actor = self.supervisors.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
            if let (Some(actor), true) = (actor, old.supervisors.contains_key(id)) {
                let restart = diff.restarts().filter(|unit| supervisor.children.contains(&Child::Unit((*unit).clone())));
                let restart = restart.map(|unit| unit.as_str().into()).collect();
                let (reply, _) = oneshot::channel();
                let arguments = self.arguments(&plan, id, None);
                drop(actor.cast(Msg::Reload { flags: arguments.flags, children: arguments.children, restart, reply }));
            }
        }
        self.drop_what_is_gone(&old, &plan);
        Ok(())
    }

    /// Has a unit's actor go once the unit is down. Until then it still has to hear the launcher.
    fn retire(self: &Arc<Self>, id: &UnitId, actor: &ActorRef<unit::Msg>) {
        drop(actor.cast(unit::Msg::Retire));
        let (tree, id, actor) = (self.clone(), id.clone(), actor.clone());
        tokio::spawn(async move {
            drop(actor.wait(None).await);
            let mut units = tree.units.write().unwrap_or_else(PoisonError::into_inner);
            if units.get(&id).is_some_and(|present| present.get_id() == actor.get_id()) {
                units.remove(&id);
            }
        });
    }

    fn drop_what_is_gone(&self, old: &Plan, plan: &Plan) {
        for id in old.supervisors.keys().filter(|id| !plan.supervisors.contains_key(*id)) {
            self.supervisors.write().unwrap_or_else(PoisonError::into_inner).remove(id);
            self.notes.write().unwrap_or_else(PoisonError::into_inner).remove(id);
            self.context.launcher.send(ToLauncher::Forget { unit: id.as_str().into() });
            self.context.view.remove_supervisor(id);
        }
    }

    async fn add_unit(&self, plan: &Plan, id: &UnitId, held: Option<Held>) -> Result<(), SpawnErr> {
        let supervisor = parent_of(plan, id.as_str()).unwrap_or_else(|_| plan.root.clone());
        let wanted = !self.context.wishes.keeps_stopped(id.as_str()) && !self.held_above(plan, &supervisor);
        self.context.gates.set(id, if wanted { super::gate::Standing::Pending } else { super::gate::Standing::Down });
        let arguments = unit::Arguments { context: self.context.clone(), plan: plan.units[id].clone(), supervisor, held, wanted };
        let (actor, _) = Actor::spawn(None, UnitActor, arguments).await?;
        self.units.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), actor);
        Ok(())
    }

    /// Whether an operator keeps `supervisor` or one above it stopped.
    fn held_above(&self, plan: &Plan, supervisor: &SupervisorId) -> bool {
        let mut above = Some(supervisor.clone());
        while let Some(id) = above {
            if self.context.wishes.keeps_stopped(id.as_str()) {
                return true;
            }
            above = parent_of(plan, id.as_str()).ok();
        }
        false
    }

    /// Remembers, here, with the launcher and in the store, what an operator wants. The last one tells when it does.
    fn wish(&self, plan: &Plan, target: &str, desired: Desired, asker: &Asker) -> Option<Remembered> {
        let (wish, remembered) = self.context.wishes.record(target, desired, asker)?;
        if plan.supervisors.contains_key(target) {
            let id = target.into();
            self.note(&id, |note| note.take_wish(Some(wish.clone())));
            self.context.view.change_supervisor(&id, |status| status.wish = Some(wish));
        } else if let Some(actor) = self.units.read().unwrap_or_else(PoisonError::into_inner).get(target) {
            drop(actor.cast(unit::Msg::Wish(wish)));
        }
        Some(remembered)
    }

    /// Changes what the launcher remembers of a supervisor.
    fn note(&self, id: &SupervisorId, change: impl FnOnce(&mut unit::Note)) {
        let mut notes = self.notes.write().unwrap_or_else(PoisonError::into_inner);
        let note = notes.entry(id.clone()).or_default();
        change(note);
        // Under the lock, so that the launcher hears of changes in their order; sending never waits.
        self.context.launcher.send(ToLauncher::Note { unit: id.as_str().into(), note: note.encode() });
    }

    /// The restarts that count against a supervisor that is about to start: an earlier brain's, if this is the incarnation that ran under it.
    fn recall(&self, id: &SupervisorId) -> Vec<Mono> {
        let counted = self.counted.write().unwrap_or_else(PoisonError::into_inner).remove(id).unwrap_or_default();
        let known = self.notes.read().unwrap_or_else(PoisonError::into_inner).get(id).map_or(0, |note| note.counted.len());
        if known != counted.len() {
            self.note(id, |note| note.counted.clear());
        }
        counted
    }

    fn show_supervisor(&self, plan: &Plan, supervisor: &SupervisorPlan) {
        let old = self.context.view.supervisors().into_iter().find(|old| old.supervisor == supervisor.id);
        let old = old.unwrap_or_else(|| SupervisorStatus {
            supervisor: supervisor.id.clone(),
            parent: None,
            strategy: String::new(),
            state: "stopped".into(),
            children: Vec::new(),
            restarts: 0,
            escalations: 0,
            wish: None,
            reason: None,
            limits: Vec::new(),
        });
        self.context.view.add_supervisor(SupervisorStatus {
            wish: self.context.wishes.of(supervisor.id.as_str()),
            parent: parent_of(plan, supervisor.id.as_str()).ok(),
            strategy: supervisor.strategy.as_str().into(),
            children: supervisor.children.iter().map(|child| child.as_str().to_owned()).collect(),
            ..old
        });
    }

    fn register(&self, id: &SupervisorId, actor: ActorRef<Msg>) {
        self.supervisors.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), actor);
    }

    fn tell_root(&self, input: Input) {
        let root = self.plan().root.clone();
        if let Some(actor) = self.supervisors.read().unwrap_or_else(PoisonError::into_inner).get(&root) {
            // A root that is gone has said so.
            drop(actor.cast(Msg::Input(input)));
        }
    }

    /// What the supervisor `id` is made of. A name the plan does not have gives an empty supervisor.
    fn arguments(self: &Arc<Self>, plan: &Plan, id: &SupervisorId, parent: Option<Port>) -> Arguments {
        let supervisor = &plan.supervisors[id];
        let is_root = *id == plan.root;
        let flags = flags_of(plan, id);
        let children = supervisor.children.iter().filter_map(|child| self.child(plan, child)).collect();
        let observer = Box::new(PlanObserver { tree: self.clone(), id: id.clone(), is_root });
        Arguments { flags, children, parent, observer, counted: Vec::new(), delay: Duration::ZERO }
    }

    fn child(self: &Arc<Self>, plan: &Plan, child: &Child) -> Option<NewChild> {
        Some(match child {
            Child::Unit(id) => {
                let actor = self.units.read().unwrap_or_else(PoisonError::into_inner).get(id)?.clone();
                let held = self.context.wishes.keeps_stopped(id.as_str()) || self.context.degradation.keeps_stopped(id);
                (child_of(plan, child, held), Box::new(UnitHost(actor)))
            }
            Child::Supervisor(id) => {
                let held = self.context.wishes.keeps_stopped(id.as_str());
                (child_of(plan, child, held), Box::new(PlanHost { tree: self.clone(), id: id.clone(), actor: None }))
            }
        })
    }
}

/// Whether `target` is a unit that somebody else starts.
fn is_watched(plan: &Plan, target: &str) -> bool {
    plan.units.get(target).is_some_and(|unit| unit.watch.is_some())
}

/// The supervisor above `target`.
fn parent_of(plan: &Plan, target: &str) -> Result<SupervisorId, TreeError> {
    if plan.root.as_str() == target {
        return Err(TreeError::Root(target.into()));
    }
    let above = |supervisor: &&Arc<SupervisorPlan>| supervisor.children.iter().any(|child| child.as_str() == target);
    plan.supervisors.values().find(above).map(|parent| parent.id.clone()).ok_or_else(|| TreeError::Unknown(target.into()))
}

/// The supervisor above each child of the plan.
fn parents(plan: &Plan) -> BTreeMap<&str, &SupervisorId> {
    let children = plan.supervisors.values().flat_map(|parent| parent.children.iter().map(move |child| (child.as_str(), &parent.id)));
    children.collect()
}
