//! Carries out what a unit's life asks for.

use std::collections::VecDeque;
use std::future::Future;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;

use super::prepare::Prepared;
use super::{Msg, Unit, prepare, status, symptom};
use crate::actor::gate::Standing;
use crate::actor::remediator::Condition;
use crate::actor::resignation::Resignation;
use crate::base::exit::ExitReason;
use crate::base::id::UnitId;
use crate::base::time::Wall;
use crate::event::Event;
use crate::launcher::link::FdSet;
use crate::launcher::wire::{Spawn, Target, ToLauncher};
use crate::os::logfile::LogReader;
use crate::os::notify::NotifySocket;
use crate::os::{clock, probe};
use crate::plan::{FailureCause, ReadinessKind};
use crate::policy::lifecycle::{Effect, Input, State as Life};
use std::path::PathBuf;

/// How long one attempt of a readiness probe may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Who has not found what it needs for its start after this long gives its turn to others.
const TURN_MAX: Duration = Duration::from_secs(1);

impl Unit {
    pub(super) fn step(&mut self, myself: &ActorRef<Msg>, input: Input) {
        let effects = self.driver.step(input);
        self.carry_out(myself, effects);
    }

    /// Carries out effects; what they bring about at once is fed back in after them.
    pub(super) fn carry_out(&mut self, myself: &ActorRef<Msg>, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            if let Some(input) = self.effect(myself, effect) {
                queue.extend(self.driver.step(input));
            }
        }
        self.publish();
    }

    fn effect(&mut self, myself: &ActorRef<Msg>, effect: Effect) -> Option<Input> {
        match effect {
            Effect::AskGate => return self.ask_gate(myself),
            Effect::LeaveGate => {
                self.turn = None;
                self.stop_waiting();
            }
            Effect::Spawn => self.spawn(myself),
            Effect::WatchReadiness => self.watch_readiness(myself),
            Effect::ForgetReadiness => {
                self.ready_pipe = None;
                if let Some(watcher) = self.readiness.take() {
                    watcher.abort();
                }
            }
            Effect::SignalMain(signal) => self.send_signal(signal, Target::Main),
            Effect::SignalTree(signal) => self.send_signal(signal, Target::Tree),
            Effect::Freeze => self.freeze(true),
            Effect::Thaw(cause) => self.thaw(cause),
            // Before anything follows from it: the next brain must not deal with it again.
            Effect::Acknowledge => self.remember(),
            Effect::Started => self.started(),
            Effect::StartFailed(reason) => {
                self.tell(Event::UnitStartFailed { unit: self.plan.id.clone(), reason: reason.clone() });
                self.has_failed(&reason);
                self.change(|status| status::failed(status, &reason));
                self.context.gates.set(&self.plan.id, Standing::Failed);
                if let Some(port) = self.port.take() {
                    port.start_failed(reason);
                }
                self.next_supervisor(myself);
            }
            Effect::GiveUp(cause, reason) => self.give_up(myself, cause, reason),
            Effect::Ended(reason) => self.ended(myself, reason),
            Effect::Entered(life) => {
                self.entered(life);
                if matches!(life, Life::Backoff | Life::Stopping | Life::Killing) {
                    self.remember();
                }
            }
            Effect::HeldBack(delay) => {
                self.change(|status| status::held_back(status, delay));
                self.tell(Event::UnitHeldBack { unit: self.plan.id.clone(), delay });
            }
            Effect::BreakerChanged(changed) => self.breaker_changed(None, changed),
            Effect::Eject => return (!self.context.gates.eject(&self.plan)).then_some(Input::Spared),
            Effect::Readmit => self.context.gates.readmit(&self.plan.id),
            Effect::TimedOut => self.tell(Event::UnitTimedOut { unit: self.plan.id.clone() }),
        }
        None
    }

    /// A supervisor that wanted it while another one still stopped it has its turn.
    fn next_supervisor(&mut self, myself: &ActorRef<Msg>) {
        if let Some((port, cause)) = self.pending.take() {
            // Through the mailbox, so that this step is over first.
            drop(myself.cast(Msg::Start(port, cause)));
        }
    }

    /// Takes note of where it stands now, for those who look and those who wait.
    pub(super) fn entered(&self, life: Life) {
        let standing = match life {
            Life::Active => Standing::Ready,
            Life::Stopped => Standing::Down,
            Life::Backoff => Standing::Failed,
            _ => Standing::Pending,
        };
        self.context.gates.set(&self.plan.id, standing);
        if matches!(life, Life::Stopped | Life::Backoff) {
            self.forget_secrets();
        }
        if life == Life::Stopping {
            self.tell(Event::UnitStopping { unit: self.plan.id.clone() });
        }
        let waiting_for = if life == Life::Waiting { self.context.gates.waiting_for(&self.plan) } else { Vec::new() };
        self.change(|status| status::entered(status, life, &waiting_for));
    }

    fn ask_gate(&mut self, myself: &ActorRef<Msg>) -> Option<Input> {
        let delay = if std::mem::take(&mut self.restarting) { self.context.gates.take_restart(clock::mono()) } else { Duration::ZERO };
        if !delay.is_zero() {
            self.tell(Event::UnitHeldBack { unit: self.plan.id.clone(), delay });
        } else if let Some(turn) = self.context.gates.pass_now(&self.plan) {
            self.turn = Some(turn);
            return Some(Input::GateOpened);
        }
        let pass = self.context.gates.pass(&self.plan);
        let (actor, token) = (myself.clone(), self.token + 1);
        self.wait(async move {
            tokio::time::sleep(delay).await;
            if let Some(turn) = pass.await {
                drop(actor.cast(Msg::Turn(token, turn)));
            }
        });
        None
    }

    /// Runs `work` until it is done or something else is waited for.
    pub(super) fn wait(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.stop_waiting();
        self.waiter = Some(tokio::spawn(work).abort_handle());
    }

    fn stop_waiting(&mut self) {
        self.token += 1;
        if let Some(waiter) = self.waiter.take() {
            waiter.abort();
        }
    }

    /// Orders the process. What was looked up for the last order is used again, unless files may have changed it.
    fn spawn(&mut self, myself: &ActorRef<Msg>) {
        self.run += 1;
        if let Some(order) = self.order.take() {
            return self.send_order(order);
        }
        let look_up = prepare::look_up(self.plan.clone(), self.places(), self.run);
        let (actor, token) = (myself.clone(), self.token + 1);
        self.wait(async move {
            let mut looking = std::pin::pin!(look_up);
            let order = match tokio::time::timeout(TURN_MAX, &mut looking).await {
                Ok(order) => order,
                Err(_) => {
                    drop(actor.cast(Msg::TurnOver(token)));
                    looking.await
                }
            };
            drop(actor.cast(Msg::Prepared(token, order)));
        });
        self.is_preparing = true;
    }

    /// It is to go down while it is not even known what to start: nothing is waited for. What has been found meanwhile goes.
    pub(super) fn abandon_preparation(&mut self, myself: &ActorRef<Msg>) {
        if self.is_preparing && self.driver.machine.is_to_stop() {
            self.is_preparing = false;
            self.stop_waiting();
            self.step(myself, Input::Unfit("it was stopped".into()));
        }
    }

    pub(super) fn prepared(&mut self, myself: &ActorRef<Msg>, order: Result<Prepared, String>) {
        self.is_preparing = false;
        match order {
            Ok(prepared) => {
                if let Some(handed_over) = prepared.handed_over {
                    handed_over.keep();
                }
                self.log_start = prepared.log_start;
                self.isolated.sums = Some(prepared.sums);
                self.send_order(prepared.order);
                if !prepared.unfit.is_empty() {
                    // It is looked up again, and told again, with the next start.
                    self.order = None;
                    self.context.limits.refuse(&self.context, self.plan.id.as_str(), &prepared.unfit);
                }
            }
            Err(why) => self.step(myself, Input::Unfit(why.into())),
        }
    }

    fn send_order(&mut self, mut order: Box<Spawn>) {
        // What of the daemon's own is to be hidden may have been made anew.
        let has_mounts = self.plan.isolation.as_ref().is_some_and(|isolation| isolation.has_mounts());
        if self.plan.environment_files.is_empty() && self.log_start.is_none() && !self.plan.has_secrets() && !has_mounts {
            self.order = Some(order.clone());
        }
        order.run = self.run;
        self.context.limits.ordered(&self.plan.id, self.run, &order.group, &order.limits);
        self.remember_order(&order);
        self.context.launcher.send(ToLauncher::Spawn(order));
        self.remember();
    }

    /// Takes what came with a new or an adopted process.
    pub(super) fn take_descriptors(&mut self, myself: &ActorRef<Msg>, fds: FdSet) {
        self.ready_pipe = fds.ready;
        if let Some(output) = fds.output {
            self.context.pump(&self.plan, self.run, output);
        }
        let Some(Ok(socket)) = fds.notify.filter(|_| self.plan.uses_notify()).map(NotifySocket::new) else { return };
        let socket = Arc::new(socket);
        self.notify = Some(socket.clone());
        self.begin_listening(myself, socket);
    }

    fn watch_readiness(&mut self, myself: &ActorRef<Msg>) {
        let (actor, run) = (myself.clone(), self.run);
        let ready = move || drop(actor.cast(Msg::Ready(run)));
        let watcher = match self.plan.readiness.kind.clone() {
            // The listener tells, or the launcher.
            ReadinessKind::None | ReadinessKind::Notify | ReadinessKind::PidFile => return,
            ReadinessKind::Tcp(address) => tokio::spawn(async move {
                probe::wait_for_tcp(&address, PATIENCE).await;
                ready();
            }),
            ReadinessKind::Http(url) => tokio::spawn(async move {
                probe::wait_for_http(&url, PATIENCE).await;
                ready();
            }),
            ReadinessKind::Log(pattern) => {
                // The plan holds only patterns that compile.
                let Ok(pattern) = regex::Regex::new(&pattern) else { return };
                let (directory, unit) = (self.context.directories.logs.clone(), self.plan.id.clone());
                let (from, started) = (self.log_start, self.process.map_or_else(clock::wall, |process| process.started_wall));
                tokio::spawn(async move {
                    let from = match from {
                        Some(from) => from,
                        None => log_offset(directory.clone(), unit.clone(), started).await,
                    };
                    if probe::wait_for_log(&directory, unit.as_str(), from, pattern).await.is_ok() {
                        ready();
                    }
                })
            }
            ReadinessKind::Fd(_) => {
                let Some(pipe) = self.ready_pipe.as_ref().and_then(|pipe| pipe.as_fd().try_clone_to_owned().ok()) else { return };
                tokio::spawn(async move {
                    if probe::wait_for_newline(pipe).await.is_ok() {
                        ready();
                    }
                })
            }
        };
        self.readiness = Some(watcher.abort_handle());
    }

    /// Nothing of it is left.
    fn ended(&mut self, myself: &ActorRef<Msg>, reason: ExitReason) {
        // An end of its own has been told as an exit.
        if reason == ExitReason::Shutdown {
            self.tell(Event::UnitStopped { unit: self.plan.id.clone() });
        }
        self.has_failed(&reason);
        if !reason.is_clean() {
            self.change(|status| status::failed(status, &reason));
            self.context.gates.set(&self.plan.id, Standing::Failed);
        }
        if let Some(port) = self.port.take() {
            port.exited(reason);
        }
        self.next_supervisor(myself);
    }

    /// It is to stay down: that is arranged as for an operator, and its supervisor then stops it.
    fn give_up(&mut self, myself: &ActorRef<Msg>, cause: FailureCause, reason: ExitReason) {
        let unit = self.plan.id.clone();
        self.tell(Event::UnitGivenUp { unit: unit.clone(), cause: cause.to_string(), reason: reason.clone() });
        self.change(|status| status::failed(status, &reason));
        self.context.gates.set(&unit, Standing::Failed);
        let resignation = Resignation { unit, why: format!("restart.on: {cause}: {reason}") };
        if self.context.resigned.try_send(resignation).is_err() {
            // Too many at once: better up than neither.
            self.ended(myself, reason);
        }
    }

    fn send_signal(&self, signal: crate::base::exit::Signal, target: Target) {
        self.context.launcher.send(ToLauncher::Signal { unit: self.plan.id.clone(), run: self.run, signal, target });
        if self.note.has_full_log {
            // Processes that stand still hear nothing. Should they write on, they are stopped again.
            self.stop_for_log(false);
        }
    }

    fn started(&mut self) {
        self.note.ready = true;
        symptom::unit_is(&self.context, &self.plan, Condition::Well);
        self.listen();
        self.remember();
        let unit = self.plan.id.clone();
        let pid = self.process.map_or(0, |process| process.pid);
        let now = clock::mono();
        if std::mem::take(&mut self.adopted) {
            self.tell(Event::UnitAdopted { unit, pid });
        } else {
            let after = now - self.ordered_at;
            let failed_at = self.failed_at.take();
            self.change(|status| {
                status.counters.start.observe(after);
                if let Some(failed_at) = failed_at {
                    status.counters.restart.observe(now - failed_at);
                }
            });
            self.tell(Event::UnitActive { unit, pid, after });
        }
        if let Some(port) = &self.port {
            port.started();
        }
    }
}

/// Where in a unit's log the output since `started` begins; its beginning if that is not known.
async fn log_offset(directory: PathBuf, unit: UnitId, started: Wall) -> u64 {
    let look = move || LogReader::open(&directory, unit.as_str()).since(started).unwrap_or_default();
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}
