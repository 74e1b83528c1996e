//! A unit that is only watched: its processes are somebody else's. They are looked for, pinned, and nothing is done to them.
//!
//! For its supervisor it is started as soon as it is looked for, and its processes may come and go: those who depend on it wait at the gate.

mod effects;
mod probes;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::note::Note;
use super::{Arguments, Entry, Msg, health, status, symptom};
use crate::actor::context::Context;
use crate::actor::driver::Driver;
use crate::actor::prober::Prober;
use crate::actor::search::Registered;
use crate::actor::supervisor::Port;
use crate::base::exit::{ExitCause, ExitReason, Signal};
use crate::base::id::{SupervisorId, UnitId};
use crate::base::identity::Identity;
use crate::base::time::Wall;
use crate::event::{Event, ProcessSample, UnitStatus};
use crate::launcher::wire::{HeldState, Target, ToBrain, ToLauncher};
use crate::os::clock;
use crate::os::pin::{Pin, PinError};
use crate::os::search::{Criteria, Look, LookedUp, Seeker};
use crate::plan::{UnitPlan, WatchPlan};
use crate::policy::watch::{Input, State, Watch};

/// Why something is not done to it.
const NOT_OURS: &str = "it was not started by us";

/// Where an operator waits for a signal to be sent.
pub(crate) type Sent = oneshot::Sender<Result<(), String>>;

/// What is known of its processes.
#[derive(Debug)]
pub(crate) enum News {
    /// What a look has found; the number tells for which question.
    Looked(u64, Look),
    /// Which of those that were found are pinned.
    Pinned(u64, Vec<(Identity, Result<OwnedFd, PinError>)>),
    /// One of them has ended.
    Ended(Identity, ExitCause),
    /// An operator sends the main one a signal.
    Signal(Signal, Sent),
}

/// A process of it.
#[derive(Debug)]
struct Process {
    command: String,
    started: Wall,
    /// What it used at the last look.
    sample: ProcessSample,
    pin: Option<Arc<Pin>>,
    /// Waits for its end.
    waiter: Option<AbortHandle>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(waiter) = &self.waiter {
            waiter.abort();
        }
    }
}

/// A unit that is only watched.
pub(crate) struct Watched {
    pub(super) context: Arc<Context>,
    plan: Arc<UnitPlan>,
    /// By this it is run, not watched. It takes effect with the next start.
    pub(super) next_plan: Option<Arc<UnitPlan>>,
    driver: Driver<Watch>,
    pub(super) entry: Entry,
    port: Option<Port>,
    pub(super) note: Note,
    /// The note as the launcher has it.
    noted: Vec<u8>,
    /// Counts what was asked for, so that an answer to an earlier question is told apart.
    token: u64,
    processes: BTreeMap<Identity, Process>,
    /// Why some cannot be found, or not be pinned.
    trouble: Option<String>,
    unpinned: Option<String>,
    /// What has made it gone.
    loss: String,
    /// Waits until those who depend on it are down.
    waiter: Option<AbortHandle>,
    /// Its probes, and the process they look at.
    prober: Option<(Identity, Prober)>,
    /// Counts those processes.
    probed: u64,
    /// Enough processes are there, and its probes have agreed.
    is_ready: bool,
    /// It was ready, and its probes say that it is not any more.
    is_lost: bool,
    pub(super) retired: bool,
}

impl Watched {
    /// A unit to watch, as the last brain left it.
    pub(super) fn begun(arguments: Arguments) -> Self {
        let Arguments { context, plan, supervisor, held, wanted } = arguments;
        let status = UnitStatus::new(plan.id.clone(), supervisor, clock::wall(), clock::mono());
        let probes = health::statuses(&plan);
        let entry = context.view.add_unit(UnitStatus { description: plan.description.clone(), probes, ..status });
        if let Some(held) = held.as_ref().filter(|held| !matches!(held.state, HeldState::Idle)) {
            // Under an earlier plan it was ours.
            let (unit, run) = (plan.id.clone(), held.run);
            context.launcher.send(ToLauncher::Signal { unit: unit.clone(), run, signal: Signal::TERM, target: Target::Tree });
            context.launcher.send(ToLauncher::Ack { unit, run });
        }
        let mut note = held.map(|held| held.note).unwrap_or_default();
        note.take_wish(context.wishes.of(plan.id.as_str()));
        let memory = note.watched.as_ref().map(|watched| watched.memory).filter(|_| wanted);
        let min = plan.watch.as_ref().map_or(1, |watch| watch.min);
        let new = Self {
            context,
            plan,
            next_plan: None,
            driver: Driver::new(Watch::new(min, memory)),
            entry,
            port: None,
            note,
            noted: Vec::new(),
            token: 0,
            processes: BTreeMap::new(),
            trouble: None,
            unpinned: None,
            loss: String::new(),
            waiter: None,
            prober: None,
            probed: 0,
            is_ready: false,
            is_lost: false,
            retired: false,
        };
        new.publish();
        new
    }

    fn id(&self) -> &UnitId {
        &self.plan.id
    }

    pub(super) fn is_down(&self) -> bool {
        self.driver.machine.state() == State::Stopped
    }

    /// Hears, and does what follows.
    pub(super) fn take(&mut self, myself: &ActorRef<Msg>, message: Msg) {
        match message {
            Msg::Start(port, _) => self.start(myself, port),
            Msg::Stop => self.stop(myself),
            Msg::StopNow | Msg::Kill => self.down(myself),
            Msg::Watched(news) => self.hear(myself, news),
            Msg::Probed(probed, news) if probed == self.probed => self.probe_says(news),
            Msg::Wish(wish) => {
                if wish.is_stop() {
                    symptom::unwanted(&self.context, &self.plan);
                }
                self.note.take_wish(Some(wish));
                self.remember();
                self.publish();
            }
            // Who asked may have gone.
            Msg::Pause(reply) | Msg::Resume(reply) => drop(reply.send(Err(NOT_OURS.into()))),
            Msg::Replan(plan, supervisor) => self.replan(myself, plan, supervisor),
            Msg::Retire => self.retired = true,
            // It was ours under an earlier plan.
            Msg::Launcher(ToBrain::Exited { unit, run, .. }, _) => self.context.launcher.send(ToLauncher::Ack { unit, run }),
            // That it may take less time to go down changes nothing; the rest is for those that we run.
            Msg::Hasten
            | Msg::Launcher(..)
            | Msg::Turn(..)
            | Msg::TurnOver(_)
            | Msg::Prepared(..)
            | Msg::Ready(_)
            | Msg::Probed(..)
            | Msg::Unwell(..)
            | Msg::Unbound(..)
            | Msg::Notices(..)
            | Msg::PidFile(..)
            | Msg::NoMain(_)
            | Msg::Beat(_)
            | Msg::RenewSecrets(..)
            | Msg::SecretsLooked(..)
            | Msg::Signal(..)
            | Msg::PauseForLog(_)
            | Msg::LogResists
            | Msg::Rest(_)
            | Msg::Wake => {}
        }
    }

    fn hear(&mut self, myself: &ActorRef<Msg>, news: News) {
        match news {
            News::Looked(token, look) if token == self.token => self.looked(myself, look),
            News::Pinned(token, answers) if token == self.token => self.pinned(myself, answers),
            News::Looked(..) | News::Pinned(..) => {}
            News::Ended(process, cause) => self.ended(myself, process, cause),
            // Who asked may have gone.
            News::Signal(signal, sent) => drop(sent.send(self.signal(signal))),
        }
    }

    fn start(&mut self, myself: &ActorRef<Msg>, port: Port) {
        if let Some(waiter) = self.waiter.take() {
            waiter.abort();
        }
        // Another supervisor may have it from now on.
        if let Some(before) = self.port.replace(port.clone()) {
            before.exited(ExitReason::Shutdown);
        }
        if self.is_down() {
            self.token += 1;
            self.register(myself);
        }
        self.step(myself, Input::Start);
        // Nobody waits at a supervisor for what somebody else may start some day.
        port.started();
    }

    /// Stops, but when the whole daemon goes down not before those who depend on it.
    fn stop(&mut self, myself: &ActorRef<Msg>) {
        let dependents = self.context.gates.dependents(self.id());
        if dependents.is_empty() || !self.context.stopping.load(Ordering::Relaxed) {
            return self.down(myself);
        }
        let (down, actor) = (self.context.gates.all_down(&dependents), myself.clone());
        let waiter = tokio::spawn(async move {
            down.await;
            drop(actor.cast(Msg::StopNow));
        });
        self.waiter = Some(waiter.abort_handle());
    }

    /// It is not watched any more. Its processes are left alone.
    fn down(&mut self, myself: &ActorRef<Msg>) {
        self.context.searches.end(self.id());
        self.token += 1;
        (self.trouble, self.unpinned) = (None, None);
        self.step(myself, Input::Stop);
        if let Some(port) = self.port.take() {
            port.exited(ExitReason::Shutdown);
        }
    }

    /// Has its processes looked for.
    fn register(&self, myself: &ActorRef<Msg>) {
        let Some(watch) = &self.plan.watch else { return };
        let seeker = Seeker {
            criteria: Arc::new(Criteria::new(watch)),
            known: self.driver.machine.pinned().collect(),
            looked_up: LookedUp::default(),
        };
        let registered = Registered { seeker, period: watch.period, token: self.token, actor: myself.clone() };
        self.context.searches.begin(self.id(), registered);
    }

    fn replan(&mut self, myself: &ActorRef<Msg>, plan: Arc<UnitPlan>, supervisor: SupervisorId) {
        self.change(|status| status.supervisor = supervisor);
        let Some(watch) = plan.watch.clone() else {
            self.next_plan = Some(plan);
            return;
        };
        self.next_plan = None;
        let before = std::mem::replace(&mut self.plan, plan);
        self.change(|status| status.description.clone_from(&self.plan.description));
        if before.probes != self.plan.probes {
            self.change(|status| status.probes = health::statuses(&self.plan));
            self.prober = None;
        }
        let before = before.watch.clone().unwrap_or_default();
        if before != watch {
            self.search_anew(myself, &before, &watch);
        }
        self.attend(myself);
        self.publish();
    }

    fn search_anew(&mut self, myself: &ActorRef<Msg>, before: &WatchPlan, watch: &WatchPlan) {
        let anew = !watch.finds_the_same_as(before);
        if anew {
            self.token += 1;
            self.trouble = None;
        }
        if !self.is_down() {
            self.register(myself);
            self.context.searches.hurry();
        }
        self.step(myself, Input::Replan { min: watch.min, anew });
    }

    /// Sends the main process a signal, by its descriptor: no other process can get it.
    fn signal(&self, signal: Signal) -> Result<(), String> {
        let main = self.driver.machine.main().and_then(|main| Some((main, self.processes.get(&main)?.pin.clone()?)));
        let Some((main, pin)) = main else { return Err("none of its processes is there".into()) };
        pin.signal(signal).map_err(|fault| format!("cannot send {signal} to process {}: {fault}", main.pid))?;
        self.tell(Event::UnitSignalled { unit: self.id().clone(), signal });
        Ok(())
    }

    pub(super) fn leave(&self) {
        symptom::unwanted(&self.context, &self.plan);
        self.context.searches.end(self.id());
        self.context.view.remove_unit(self.id());
        self.context.gates.remove(self.id());
        self.context.launcher.send(ToLauncher::Forget { unit: self.id().clone() });
    }

    fn tell(&self, event: Event) {
        self.context.bus.tell(event);
    }

    /// Changes the entry. The lock is held for the change only.
    fn change(&self, change: impl FnOnce(&mut UnitStatus)) {
        status::change(&self.entry, change);
    }
}
