//! A unit that an operator pauses, or that rests.

use ractor::ActorRef;
use tokio::sync::oneshot;

use super::{Msg, Unit};
use crate::base::exit::Signal;
use crate::event::{Event, PauseMeans, ResumeCause};
use crate::launcher::wire::{Paused, Target, ToLauncher};
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
        self.has_full_log = is_full;
        self.pause_probes(is_full);
        self.send_signal_only(Signal(if is_full { libc::SIGSTOP } else { libc::SIGCONT }));
        if !is_full && self.driver.machine.is_paused() {
            // Without a cgroup an operator's pause is a SIGSTOP as well.
            self.freeze(true);
        }
    }

    fn send_signal_only(&self, signal: Signal) {
        self.context.launcher.send(ToLauncher::Signal { unit: self.id().clone(), run: self.run, signal, target: Target::Tree });
    }

    pub(super) fn freeze(&mut self, pause: bool) {
        self.context.launcher.send(ToLauncher::Pause { unit: self.id().clone(), run: self.run, pause });
        self.pause_probes(pause);
        self.remember();
    }

    pub(super) fn thaw(&mut self, cause: ResumeCause) {
        // What is stopped while it rests still does.
        self.note.rests &= cause == ResumeCause::Stop;
        self.freeze(false);
        if self.has_full_log && matches!(cause, ResumeCause::Operator | ResumeCause::Degradation) {
            self.send_signal_only(Signal(libc::SIGSTOP));
        }
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
