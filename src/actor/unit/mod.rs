//! One actor per unit: it carries the unit's life and keeps its entry in the view.

mod actor;
mod binding;
mod effects;
mod environment;
mod exited;
mod health;
mod held;
mod host;
mod isolate;
mod limits;
mod listener;
mod note;
mod pause;
mod prepare;
mod replan;
mod rest;
mod said;
mod secrets;
mod status;
mod succession;
mod symptom;
mod watched;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::AbortHandle;

use super::context::Context;
use super::driver::Driver;
use super::prober::{News, Prober};
use super::supervisor::Port;
use crate::base::choice::FailureClass;
use crate::base::exit::Signal;
use crate::base::id::{SupervisorId, UnitId};
use crate::base::rng::Rng;
use crate::base::time::Mono;
use crate::event::{Event, RestartCause, UnitStatus, Wish};
use crate::launcher::link::FdSet;
use crate::launcher::wire::{Exit, HeldState, Process, Spawn, Target, ToBrain, ToLauncher};
use crate::os::clock;
use crate::os::notify::{NotifySocket, Told};
use crate::plan::UnitPlan;
use crate::policy::degradation::Rest;
use crate::policy::lifecycle::{Input, Lifecycle, State as Life};
use crate::policy::supervisor::StartCause;

pub(crate) use actor::UnitActor;
use binding::Binding;
pub(crate) use environment::environment;
pub use held::{Held, exit_event};
pub(crate) use host::UnitHost;
pub use note::ForeignNote;
pub(crate) use note::{COUNTED_MAX, Note};
use prepare::Prepared;
pub(crate) use prepare::set;
pub(crate) use secrets::Renewal;
use succession::Succession;
pub(crate) use watched::News as WatchedNews;

/// What a unit actor hears.
pub(crate) enum Msg {
    /// Its supervisor wants it up.
    Start(Port, StartCause),
    /// Its supervisor wants it down.
    Stop,
    /// It may stop now: nobody who depends on it is left.
    StopNow,
    /// The whole daemon is to go down sooner than declared.
    Hasten,
    /// It is to be killed.
    Kill,
    /// The launcher says something about it.
    Launcher(ToBrain, FdSet),
    /// It is its turn.
    Turn(u64, OwnedSemaphorePermit),
    /// It takes so long to prepare its start that others may have its turn.
    TurnOver(u64),
    /// Its order to the launcher is made, or cannot be.
    Prepared(u64, Result<Prepared, String>),
    /// It was found ready.
    Ready(u64),
    /// One of its probes has news.
    Probed(u64, News),
    /// It is not well, for this reason; what it was doing is written down there.
    Unwell(u64, FailureClass, String, Option<PathBuf>),
    /// One it binds to has gone down.
    Unbound(u64, UnitId),
    /// It says something on its notification socket; whoever has heard it waits until it is dealt with.
    Notices(u64, Told, oneshot::Sender<()>),
    /// What its pid file says.
    PidFile(u64, Result<u32, String>),
    /// Nobody has taken the place of its main process in time.
    NoMain(u64),
    /// An operator reloads: its secrets are looked at, and handed over anew if so.
    RenewSecrets(bool, oneshot::Sender<Renewal>),
    /// What came of that.
    SecretsLooked(Box<secrets::Renewed>, bool),
    /// It gives a sign of life, perhaps with a number.
    Beat(Option<u64>),
    /// An operator sends it a signal.
    Signal(Signal, Target),
    /// Its log is full, or has room again.
    PauseForLog(bool),
    /// The unit writes into its full log although it is stopped.
    LogResists,
    /// What an operator wants of it.
    Wish(Wish),
    /// An operator pauses it.
    Pause(pause::Reply),
    /// An operator lets it go on.
    Resume(pause::Reply),
    /// It is to rest, or not any more.
    Rest(Rest),
    /// A new plan: for now, or for its next start.
    Replan(Arc<UnitPlan>, SupervisorId),
    /// It is not in the plan any more: go, once it is down.
    Retire,
    /// Something is known of the processes it watches.
    Watched(watched::News),
    /// The machine's deadline may have passed.
    Wake,
}

/// What a unit actor is made of.
pub(crate) struct Arguments {
    pub(crate) context: Arc<Context>,
    pub(crate) plan: Arc<UnitPlan>,
    pub(crate) supervisor: SupervisorId,
    pub(crate) held: Option<Held>,
    /// Whether it is going to be started.
    pub(crate) wanted: bool,
}

/// An exit that happened before this brain started.
#[derive(Clone, Copy)]
struct Missed {
    exit: Exit,
    leftovers: bool,
    /// It is written down already.
    reported: bool,
}

/// A unit's entry in the view.
type Entry = Arc<Mutex<UnitStatus>>;

/// A unit that we run.
pub(crate) struct Unit {
    context: Arc<Context>,
    plan: Arc<UnitPlan>,
    /// A plan that takes effect with the next start.
    next_plan: Option<Arc<UnitPlan>>,
    driver: Driver<Lifecycle>,
    entry: Entry,
    port: Option<Port>,
    /// A start by another supervisor while the first one still stops the unit.
    pending: Option<(Port, StartCause)>,
    note: Note,
    /// Operators who wait for it to stand still.
    pausing: Vec<pause::Reply>,
    /// It does.
    stands_still: bool,
    /// The number of the latest run.
    run: u64,
    process: Option<Process>,
    /// The process that was started, if this brain has seen it.
    first_pid: Option<u32>,
    /// What goes on about that.
    succession: Succession,
    /// An exit that happened before this brain started.
    missed: Option<Missed>,
    adopted: bool,
    /// The order to the launcher, while it may be used again.
    order: Option<Box<Spawn>>,
    ordered_at: Mono,
    /// What it needs for its start is being looked up.
    is_preparing: bool,
    /// When the run before this one ended by itself.
    failed_at: Option<Mono>,
    turn: Option<OwnedSemaphorePermit>,
    waiter: Option<AbortHandle>,
    readiness: Option<AbortHandle>,
    listening: Option<listener::Listening>,
    notify: Option<Arc<NotifySocket>>,
    /// Counts waits and preparations, so that a late answer to an earlier one is told apart.
    token: u64,
    retired: bool,
    ready_pipe: Option<OwnedFd>,
    /// Its probes, while a process runs.
    prober: Option<Prober>,
    binding: Option<Binding>,
    /// Its next start is a restart that nobody has asked for.
    restarting: bool,
    /// Its next start ends its rest.
    has_rested: bool,
    health: health::Readiness,
    /// Where in its log this run's output begins; `None` for a run of an earlier brain.
    log_start: Option<u64>,
    isolated: isolate::Isolated,
}

impl Unit {
    /// A unit to run, as the last brain left it.
    fn begun(myself: &ActorRef<Msg>, arguments: Arguments) -> Self {
        let mut unit = Self::new(arguments.context, arguments.plan, arguments.supervisor);
        if let Some(held) = arguments.held {
            let unwelcome = held.unwelcome;
            unit.take_over(myself, held);
            unit.limit_found();
            if !arguments.wanted || unwelcome {
                unit.finish_stop(myself);
            }
        }
        unit.note.take_wish(unit.context.wishes.of(unit.id().as_str()));
        unit.publish();
        unit.driver.arm(myself, || Msg::Wake);
        unit
    }

    /// Hears, and does what follows.
    fn take(&mut self, myself: &ActorRef<Msg>, message: Msg) {
        self.hear(myself, message);
        self.abandon_preparation(myself);
        self.settle_succession(myself);
        self.driver.arm(myself, || Msg::Wake);
    }

    fn is_down(&self) -> bool {
        self.driver.machine.state() == Life::Stopped
    }

    fn new(context: Arc<Context>, plan: Arc<UnitPlan>, supervisor: SupervisorId) -> Self {
        let machine = Lifecycle::new(plan.clone(), Rng::derive(context.seed, &[plan.id.as_str(), "backoff"]));
        let status = UnitStatus::new(plan.id.clone(), supervisor, clock::wall(), clock::mono());
        let entry = context.view.add_unit(UnitStatus {
            description: plan.description.clone(),
            separate_stderr: plan.stderr_log().is_some(),
            probes: health::statuses(&plan),
            ..status
        });
        Self {
            context,
            plan,
            next_plan: None,
            driver: Driver::new(machine),
            entry,
            port: None,
            pending: None,
            note: Note::default(),
            run: 0,
            process: None,
            succession: Succession::default(),
            missed: None,
            adopted: false,
            order: None,
            ordered_at: Mono::default(),
            is_preparing: false,
            failed_at: None,
            turn: None,
            waiter: None,
            readiness: None,
            listening: None,
            first_pid: None,
            notify: None,
            token: 0,
            retired: false,
            ready_pipe: None,
            prober: None,
            binding: None,
            restarting: false,
            has_rested: false,
            health: health::Readiness::default(),
            pausing: Vec::new(),
            stands_still: false,
            log_start: None,
            isolated: isolate::Isolated::default(),
        }
    }

    fn id(&self) -> &UnitId {
        &self.plan.id
    }

    /// Carries on where the last brain stood.
    fn take_over(&mut self, myself: &ActorRef<Msg>, held: Held) {
        let rng = Rng::derive(self.context.seed ^ held.run, &[self.plan.id.as_str(), "backoff"]);
        self.run = held.run;
        self.found_in(held.cgroup);
        self.note = held.note;
        if let Some(exit) = held.fell {
            self.change(|status| status::exited(status, &exit));
        }
        self.succession = Succession::begun(held.has_successor);
        let ready = self.note.ready && self.note.run == held.run;
        let machine = match held.state {
            HeldState::Idle => Lifecycle::new(self.plan.clone(), rng),
            HeldState::Leftovers => Lifecycle::with_leftovers(self.plan.clone(), rng),
            HeldState::Running(process) => {
                self.adopted = true;
                self.process = Some(process);
                Lifecycle::adopted(self.plan.clone(), rng, process.started, ready)
            }
            HeldState::Exited { exit, leftovers } => {
                self.adopted = true;
                self.missed = Some(Missed { exit, leftovers, reported: held.reported });
                self.process = Some(exit.process);
                let ready = ready || !self.awaits_daemon(&exit, leftovers);
                Lifecycle::adopted(self.plan.clone(), rng, exit.process.started, ready)
            }
        };
        let machine = machine.resumed(&self.note.memory, self.note.counted.clone());
        let machine = machine.with_breaker(clock::mono(), self.note.breaker.as_ref());
        self.driver = Driver::new(machine.with_start_times(self.note.start_times));
        self.stands_still = self.driver.machine.is_paused();
        self.note.rests &= self.stands_still;
        self.take_descriptors(myself, held.fds);
        let life = self.driver.machine.state();
        if matches!(life, Life::Activating | Life::Active) && self.missed.is_none() {
            self.begin_probes(myself, life == Life::Active);
        }
        if life != Life::Stopped {
            self.entered(life);
        }
        self.recall_secrets(myself);
        if let Some(process) = self.process {
            self.change(|status| (status.since, status.since_mono) = (process.started_wall, process.started));
        }
    }

    /// A stop that an earlier brain had begun carries on.
    fn finish_stop(&mut self, myself: &ActorRef<Msg>) {
        match self.missed.take() {
            Some(missed) => self.exited(myself, missed),
            None if self.process.is_some() => self.step(myself, Input::Stop),
            None => {}
        }
    }

    fn hear(&mut self, myself: &ActorRef<Msg>, message: Msg) {
        match message {
            Msg::Start(port, cause) => self.start(myself, port, cause),
            Msg::Stop => self.stop(myself),
            Msg::StopNow => self.step(myself, Input::Stop),
            Msg::Hasten => self.step(myself, Input::Hasten),
            Msg::Kill => self.step(myself, Input::Kill),
            Msg::Launcher(message, fds) => self.launcher_says(myself, message, fds),
            Msg::Turn(token, turn) if token == self.token => {
                self.turn = Some(turn);
                self.step(myself, Input::GateOpened);
            }
            Msg::Prepared(token, order) if token == self.token => self.prepared(myself, order),
            Msg::TurnOver(token) if token == self.token => self.turn = None,
            Msg::Turn(..) | Msg::TurnOver(_) | Msg::Prepared(..) => {}
            Msg::Ready(run) if run == self.run => self.told_ready(myself),
            Msg::Probed(run, news) if run == self.run => self.probed(myself, news),
            Msg::Unwell(run, class, why, incident) if run == self.run => self.unwell(myself, class, why, incident),
            Msg::Unbound(run, from) if run == self.run => self.unbound(myself, from),
            Msg::Ready(_) | Msg::Probed(..) | Msg::Unwell(..) | Msg::Unbound(..) => {}
            Msg::Notices(run, told, done) if run == self.run => self.notices(myself, told, done),
            Msg::PidFile(run, found) if run == self.run => self.pid_file_says(found),
            Msg::NoMain(run) if run == self.run => self.no_main(myself),
            Msg::Notices(..) | Msg::PidFile(..) | Msg::NoMain(_) => {}
            Msg::RenewSecrets(apply, reply) => self.renew_secrets(myself, apply, reply),
            Msg::SecretsLooked(renewed, apply) => self.secrets_looked(*renewed, apply),
            Msg::Beat(sequence) => self.beat(sequence),
            Msg::Signal(signal, target) => self.signal(signal, target),
            Msg::PauseForLog(is_full) => self.pause_for_log(is_full),
            Msg::LogResists => self.log_resists(),
            Msg::Wish(wish) => {
                if wish.is_stop() {
                    symptom::unwanted(&self.context, &self.plan);
                }
                self.note.take_wish(Some(wish));
                self.note.rests = false;
                self.remember();
                self.publish();
            }
            Msg::Pause(reply) => self.pause(myself, reply),
            Msg::Resume(reply) => self.resume(myself, reply),
            Msg::Rest(rest) => self.rest(myself, rest),
            Msg::Replan(plan, supervisor) => self.replan(myself, plan, supervisor),
            Msg::Retire => self.retired = true,
            // It was only watched before.
            Msg::Watched(_) => {}
            Msg::Wake => {
                let effects = self.driver.wake();
                self.carry_out(myself, effects);
            }
        }
    }

    fn start(&mut self, myself: &ActorRef<Msg>, port: Port, cause: StartCause) {
        if self.port.is_some() {
            self.pending = Some((port, cause));
            return;
        }
        self.port = Some(port);
        self.note.rests &= self.driver.machine.is_paused();
        self.ordered_at = clock::mono();
        if self.driver.machine.state() == Life::Stopped {
            if let Some(plan) = self.next_plan.take() {
                self.take_plan(myself, plan);
            }
            let cause = self.restart_cause(cause);
            self.restarting = cause.is_some_and(|cause| cause != RestartCause::Operator);
            if let Some(cause) = cause {
                self.note.restarts += 1;
                self.change(|status| *status.counters.restarts.entry(cause).or_default() += 1);
            }
            self.tell(Event::UnitStarting { unit: self.id().clone(), cause });
        }
        self.step(myself, Input::start(cause));
        if let Some(missed) = self.missed.take() {
            self.main_ended(myself, missed);
        }
    }

    /// Stops, but when the whole daemon goes down not before those who depend on it.
    fn stop(&mut self, myself: &ActorRef<Msg>) {
        let dependents = self.context.gates.dependents(self.id());
        if dependents.is_empty() || !self.context.stopping.load(std::sync::atomic::Ordering::Relaxed) {
            return self.step(myself, Input::Stop);
        }
        let down = self.context.gates.all_down(&dependents);
        let myself = myself.clone();
        self.wait(async move {
            down.await;
            drop(myself.cast(Msg::StopNow));
        });
    }

    fn launcher_says(&mut self, myself: &ActorRef<Msg>, message: ToBrain, fds: FdSet) {
        match message {
            ToBrain::Spawned { run, process, output_lost, cgroup, missing, .. } if run == self.run => {
                (self.process, self.first_pid) = (Some(process), Some(process.pid));
                self.found_in(cgroup);
                self.succession = Succession::default();
                self.take_descriptors(myself, fds);
                if let Some(errno) = output_lost {
                    let why = std::io::Error::from_raw_os_error(errno).to_string();
                    self.tell(Event::LogLost { unit: self.id().clone(), why });
                }
                if self.note.has_full_log {
                    self.pause_for_log(true);
                }
                self.begin_probes(myself, false);
                self.step(myself, Input::Spawned);
                self.isolated(myself, process.pid, &missing);
            }
            ToBrain::SpawnFailed { run, step, errno, .. } if run == self.run => {
                let why = status::spawn_failure(&self.plan, self.sent_order(), step, errno);
                self.order = None;
                self.step(myself, Input::SpawnFailed(why.into()));
            }
            ToBrain::Exited { run, exit, leftovers, .. } if run == self.run => {
                self.main_ended(myself, Missed { exit, leftovers, reported: false });
            }
            ToBrain::MainChanged { run, process, .. } if run == self.run => self.main_changed(myself, process),
            ToBrain::MainRefused { run, pid, why, .. } if run == self.run => self.main_refused(myself, pid, &why),
            ToBrain::Paused { run, outcome, .. } if run == self.run => self.paused(myself, outcome),
            ToBrain::Gone { run, .. } if run == self.run => self.gone(myself),
            _ => {}
        }
    }

    fn leave(&self) {
        symptom::unwanted(&self.context, &self.plan);
        self.context.view.remove_unit(self.id());
        self.context.gates.remove(self.id());
        self.context.limits.forget(self.id());
        self.context.launcher.send(ToLauncher::Forget { unit: self.id().clone() });
    }

    fn tell(&self, event: Event) {
        self.context.bus.tell(event);
    }

    fn remember(&mut self) {
        self.note.run = self.run;
        self.note.memory = self.driver.machine.memory();
        self.note.breaker = self.driver.machine.breaker_memory();
        self.note.start_times = self.driver.machine.start_times();
        self.note.counted = self.driver.machine.failures().to_vec();
        self.context.launcher.send(ToLauncher::Note { unit: self.id().clone(), note: self.note.encode() });
    }
}
