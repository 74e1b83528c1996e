//! A unit that an operator pauses, or that rests.

use ractor::ActorRef;
use tokio::sync::oneshot;

use super::{Msg, Unit};
use crate::base::exit::Signal;
use crate::event::{Event, PauseMeans, ResumeCause};
use crate::launcher::wire::{PauseCause, Paused, Target, ToLauncher};
use crate::policy::lifecycle::Input;

/// Where an operator waits: for a remark, or for why it was not done.
pub(crate) type Reply = oneshot::Sender<Result<Option<String>, String>>;

impl Unit {
    pub(super) fn pause(&mut self, myself: &ActorRef<Msg>, reply: Reply) {
        if !self.driver.machine.can_pause() {
            let state = self.driver.machine.state().as_str();
            return answer(reply, Err(format!("it has no process to pause: it is {state}")));
        }
        if self.stands_still {
            self.rests(false);
            return answer(reply, Ok(Some("it is already paused".into())));
        }
        self.pausing.push(reply);
        self.step(myself, Input::Pause);
    }

    pub(super) fn resume(&mut self, myself: &ActorRef<Msg>, reply: Reply) {
        let remark = (!self.driver.machine.is_paused()).then(|| "it is not paused".into());
        self.step(myself, Input::Resume(ResumeCause::Operator));
        answer(reply, Ok(remark));
    }

    /// The launcher tells whether it stands still.
    pub(super) fn paused(&mut self, myself: &ActorRef<Msg>, outcome: Paused) {
        if !self.driver.machine.is_paused() {
            return;
        }
        let (means, remark) = match outcome {
            Paused::Frozen => (PauseMeans::Cgroup, None),
            Paused::Stopped => (PauseMeans::Signal, Some("paused by SIGSTOP: it has no cgroup, and its processes may notice".to_owned())),
            Paused::Failed { why } => {
                (self.stands_still, self.note.rests) = (false, false);
                self.step(myself, Input::PauseFailed);
                self.remember();
                return self.answer_pauses(&Err(why));
            }
        };
        if !std::mem::replace(&mut self.stands_still, true) {
            self.tell(Event::UnitPaused { unit: self.id().clone(), means, rests: self.note.rests });
        }
        self.publish();
        self.answer_pauses(&Ok(remark));
    }

    /// Stops every process of it until there is room in its log, or lets them go on.
    pub(super) fn pause_for_log(&mut self, is_full: bool) {
        if !is_full && !self.note.has_full_log {
            return;
        }
        if std::mem::replace(&mut self.note.has_full_log, is_full) != is_full {
            self.remember();
            self.pause_probes(is_full || self.driver.machine.is_paused());
        }
        if !is_full && self.driver.machine.is_paused() {
            // A launcher that has taken over does not know of it.
            self.stand_still(true, PauseCause::Request);
        }
        self.stop_for_log(is_full);
    }

    /// Kills the unit: it writes although it is stopped. A process of its user lets it go on, or it has given its log to somebody else.
    pub(super) fn log_resists(&self) {
        let (Some(process), true) = (self.process, self.note.has_full_log) else { return };
        let why = "it writes into its full log although it is stopped: it is killed".to_owned();
        self.tell(Event::UnitUnwell { unit: self.id().clone(), pid: process.pid, why, incident: None });
        let (unit, signal) = (self.id().clone(), Signal::KILL);
        self.context.launcher.send(ToLauncher::Signal { unit, run: self.run, signal, target: Target::Tree });
    }

    pub(super) fn stop_for_log(&self, stop: bool) {
        self.stand_still(stop, PauseCause::FullLog);
    }

    pub(super) fn freeze(&mut self, pause: bool) {
        self.stand_still(pause, PauseCause::Request);
        self.pause_probes(pause || self.note.has_full_log);
        self.remember();
    }

    fn stand_still(&self, pause: bool, cause: PauseCause) {
        self.context.launcher.send(ToLauncher::Pause { unit: self.id().clone(), run: self.run, pause, cause });
    }

    pub(super) fn thaw(&mut self, cause: ResumeCause) {
        // What is stopped while it rests still does.
        self.note.rests &= cause == ResumeCause::Stop;
        self.freeze(false);
        if std::mem::take(&mut self.stands_still) {
            self.tell(Event::UnitResumed { unit: self.id().clone(), cause });
        }
        let why = match cause {
            ResumeCause::Degradation => "the pressure is over",
            ResumeCause::Operator => "somebody let it go on",
            ResumeCause::Stop => "it is to end",
            ResumeCause::Exit => "it has ended",
        };
        self.answer_pauses(&Err(why.into()));
    }

    fn answer_pauses(&mut self, result: &Result<Option<String>, String>) {
        self.pausing.drain(..).for_each(|reply| answer(reply, result.clone()));
    }
}

fn answer(reply: Reply, result: Result<Option<String>, String>) {
    // Who asked may have gone.
    drop(reply.send(result));
}
