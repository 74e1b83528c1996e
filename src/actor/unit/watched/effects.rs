//! Carries out what the watch asks for, and shows how it stands.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;

use super::super::note::WatchedNote;
use super::super::symptom;
use super::{Msg, News, Process, Watched};
use crate::actor::gate::Standing;
use crate::actor::remediator::Condition;
use crate::base::exit::{ExitCause, Usage};
use crate::base::identity::Identity;
use crate::base::time::Wall;
use crate::event::{Event, LastExit, ProcessFound, ProcessGone, ProcessSample, UnitFound, UnitLost, WatchStatus};
use crate::launcher::wire::ToLauncher;
use crate::os::clock;
use crate::os::pin::{self, Pin, PinError};
use crate::os::search::{self, Look};
use crate::policy::health::Health;
use crate::policy::watch::{Effect, Input, State};

impl Watched {
    /// Steps, and carries out what follows.
    pub(super) fn step(&mut self, myself: &ActorRef<Msg>, input: Input) {
        for effect in self.driver.step(input) {
            self.effect(myself, effect);
        }
        let machine = &self.driver.machine;
        self.processes.retain(|process, _| machine.holds(*process));
        self.context.searches.know(&self.plan.id, machine.pinned().collect());
        self.attend(myself);
        self.remember();
        self.publish();
    }

    fn effect(&mut self, myself: &ActorRef<Msg>, effect: Effect) {
        let unit = self.plan.id.clone();
        match effect {
            Effect::Look => self.context.searches.hurry(),
            Effect::Pin(wanted) => self.pin(myself, wanted),
            Effect::Found(process, others) => {
                let (command, started, _) = self.known(process);
                let after = clock::wall().since(started);
                self.tell(Event::ProcessFound(ProcessFound { unit, pid: process.pid, command, after, others }));
            }
            Effect::Gone { process, cause, left, others } => {
                let (command, started, last) = self.known(process);
                let how = cause.map_or_else(|| "it has become something else".into(), |cause| format!("it has ended: {cause}"));
                self.loss = format!("gone: pid {}: {how}", process.pid);
                let (pid, after, left) = (process.pid, clock::wall().since(started), left as u64);
                self.tell(Event::ProcessGone(ProcessGone { unit, pid, command, cause, after, left, others, last }));
            }
            Effect::Present { gone, known } => self.present(gone, known),
            Effect::Lost => {
                let (left, needed) = (self.driver.machine.matches() as u64, self.needed());
                let why = format!("{left} of its processes are left, {needed} have to be there");
                symptom::unit_is(&self.context, &self.plan, Condition::Failed(why));
                self.tell(Event::UnitLost(UnitLost { unit, left, needed }));
            }
            Effect::Entered(state) => self.entered(state),
        }
    }

    /// What is known of a process: its command line, when it was started, and what it used.
    fn known(&self, process: Identity) -> (String, Wall, Option<ProcessSample>) {
        match self.processes.get(&process) {
            Some(known) => (known.command.clone(), known.started, Some(known.sample)),
            // An earlier brain knew it.
            None => (self.note.watched.as_ref().map(|note| note.command.clone()).unwrap_or_default(), search::started(process), None),
        }
    }

    fn pin(&self, myself: &ActorRef<Msg>, wanted: Vec<Identity>) {
        let (actor, token) = (myself.clone(), self.token);
        tokio::spawn(async move {
            let open = move || wanted.into_iter().map(|process| (process, pin::open(process))).collect();
            // A panic there is a fault of ours: the next look asks again.
            let answers = tokio::task::spawn_blocking(open).await.unwrap_or_default();
            drop(actor.cast(Msg::Watched(News::Pinned(token, answers))));
        });
    }

    pub(super) fn looked(&mut self, myself: &ActorRef<Msg>, look: Look) {
        self.trouble = look.trouble;
        self.unpinned = None;
        let found: BTreeSet<_> = look.found.keys().copied().collect();
        for (process, sight) in look.found {
            match self.processes.get_mut(&process) {
                Some(known) => (known.command, known.sample) = (sight.command, sight.sample),
                None => {
                    let (command, started, sample) = (sight.command, sight.started, sight.sample);
                    self.processes.insert(process, Process { command, started, sample, pin: None, waiter: None });
                }
            }
        }
        self.step(myself, Input::Looked(found));
    }

    pub(super) fn pinned(&mut self, myself: &ActorRef<Msg>, answers: Vec<(Identity, Result<OwnedFd, PinError>)>) {
        let mut told = Vec::with_capacity(answers.len());
        for (process, pidfd) in answers {
            let pin = pidfd.and_then(|pidfd| Pin::new(process, pidfd));
            told.push((process, pin.is_ok()));
            match (pin, self.processes.get_mut(&process)) {
                (Ok(pin), Some(known)) => {
                    let (pin, actor) = (Arc::new(pin), myself.clone());
                    known.pin = Some(pin.clone());
                    let waiter = tokio::spawn(async move {
                        let cause = pin.ended().await;
                        drop(actor.cast(Msg::Watched(News::Ended(process, cause))));
                    });
                    known.waiter = Some(waiter.abort_handle());
                }
                (Err(fault @ PinError::Failed(..)), _) => self.unpinned = Some(fault.to_string()),
                // It has come and gone.
                (Err(PinError::Gone(_)), _) | (Ok(_), None) => {}
            }
        }
        self.step(myself, Input::Pinned(told));
    }

    pub(super) fn ended(&mut self, myself: &ActorRef<Msg>, process: Identity, cause: ExitCause) {
        if let Some(known) = self.processes.get(&process) {
            // As of the last look: whoever reaps it knows more.
            let usage = Usage { user: known.sample.user, system: known.sample.system, ..Usage::default() };
            self.change(|status| {
                *status.counters.exits.entry(cause.into()).or_default() += 1;
                status.last_exit = Some(LastExit { cause, text: cause.to_string(), at: clock::wall(), usage });
            });
        }
        self.step(myself, Input::Ended(process, cause));
    }

    /// Enough are there.
    fn present(&mut self, gone: Option<Duration>, known: bool) {
        let (unit, pid) = (self.plan.id.clone(), self.driver.machine.main().map_or(0, |main| main.pid));
        if let Some(gone) = gone {
            self.note.restarts += 1;
            self.change(|status| status.counters.restart.observe(gone));
        }
        symptom::unit_is(&self.context, &self.plan, Condition::Well);
        let matches = self.driver.machine.matches() as u64;
        self.tell(if known { Event::UnitAdopted { unit, pid } } else { Event::UnitFound(UnitFound { unit, pid, matches, gone }) });
        // What nothing has to be said about is ready; so is what was found so.
        self.is_ready = known || !Health::gates_readiness(&self.plan.probes);
        self.open();
    }

    fn entered(&mut self, state: State) {
        (self.is_ready, self.is_lost) = (false, false);
        self.change(|status| (status.since, status.since_mono) = (clock::wall(), clock::mono()));
        let standing = match state {
            State::Stopped => Standing::Down,
            State::Searching | State::Present => Standing::Pending,
            State::Gone => Standing::Failed,
        };
        self.context.gates.set(&self.plan.id, standing);
    }

    /// Lets those pass who depend on it, or not.
    pub(super) fn open(&self) {
        let standing = if self.is_ready && !self.is_lost { Standing::Ready } else { Standing::Pending };
        self.context.gates.set(&self.plan.id, standing);
    }

    fn needed(&self) -> u32 {
        self.plan.watch.as_ref().map_or(1, |watch| watch.min)
    }

    /// Has the launcher remember where it stands, if that is something new.
    pub(super) fn remember(&mut self) {
        let command = self.driver.machine.main().and_then(|main| self.processes.get(&main)).map(|main| main.command.clone());
        let before = self.note.watched.take().map(|watched| watched.command).unwrap_or_default();
        let memory = self.driver.machine.memory();
        self.note.watched = memory.map(|memory| WatchedNote { memory, command: command.unwrap_or(before) });
        let note = self.note.encode();
        if note != self.noted {
            self.context.launcher.send(ToLauncher::Note { unit: self.plan.id.clone(), note: note.clone() });
            self.noted = note;
        }
    }

    /// Brings the entry up to date.
    pub(super) fn publish(&self) {
        let machine = &self.driver.machine;
        let main = machine.main().and_then(|main| Some((main, self.processes.get(&main)?)));
        let state = machine.state();
        let (word, reason) = self.words();
        let gone = machine.memory().and_then(|memory| memory.gone).filter(|_| state == State::Gone);
        let sample = self.processes.values().filter(|process| process.pin.is_some()).map(|process| process.sample);
        let watch = WatchStatus {
            wanted: self.plan.watch.as_ref().map(ToString::to_string).unwrap_or_default(),
            needed: self.needed(),
            matches: machine.matches() as u64,
            command: main.map(|(_, main)| main.command.clone()),
            gone_since: gone.map(|since| before_now(clock::mono() - since)),
            sample: sample.reduce(|mut all, one| {
                all.add(&one);
                all
            }),
        };
        self.change(|status| {
            word.clone_into(&mut status.state);
            status.ready = state == State::Present && self.is_ready && !self.is_lost;
            status.reason = reason;
            status.pid = main.map(|(main, _)| main.pid);
            status.started = main.map(|(_, main)| main.started);
            status.restarts = self.note.restarts;
            status.held = self.note.held;
            status.wish.clone_from(&self.note.wish);
            status.watch = Some(watch);
        });
    }

    /// Where it stands, and why.
    fn words(&self) -> (&'static str, Option<String>) {
        let machine = &self.driver.machine;
        let trouble = self.trouble.as_ref().or(self.unpinned.as_ref());
        match machine.state() {
            State::Stopped => ("stopped", None),
            State::Searching => {
                let found = || format!("looking for {}: {} of {} found", self.wanted(), machine.matches(), self.needed());
                ("waiting", Some(trouble.cloned().unwrap_or_else(found)))
            }
            State::Present if !self.is_ready => ("activating", Some("its probes have not passed yet".into())),
            State::Present if self.is_lost => ("active", Some(format!("not ready for work: {}", self.why_lost()))),
            State::Present => ("active", trouble.cloned()),
            State::Gone => {
                let loss = if self.loss.is_empty() { "gone" } else { &self.loss };
                ("failed", Some(trouble.map_or_else(|| loss.to_owned(), |trouble| format!("{loss}; {trouble}"))))
            }
        }
    }

    fn wanted(&self) -> String {
        self.plan.watch.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// The wall clock so long ago.
fn before_now(ago: Duration) -> Wall {
    Wall(clock::wall().0.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)))
}
