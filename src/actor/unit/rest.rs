//! A unit that may be done without, and is.

use ractor::ActorRef;

use super::{Msg, Unit, status};
use crate::event::{RestartCause, ResumeCause};
use crate::policy::degradation::Rest;
use crate::policy::lifecycle::{Input, State as Life};
use crate::policy::supervisor::StartCause;

impl Unit {
    pub(super) fn rest(&mut self, myself: &ActorRef<Msg>, rest: Rest) {
        match rest {
            Rest::Pause if self.driver.machine.state() == Life::Active && !self.driver.machine.is_paused() => {
                self.note.rests = true;
                self.step(myself, Input::Pause);
            }
            // An operator's pause stays one.
            Rest::Pause => {}
            Rest::Resume if self.note.rests => {
                self.step(myself, Input::Resume(ResumeCause::Degradation));
            }
            Rest::Resume => {}
            // Its supervisor has it stopped, or started, next.
            Rest::Stop => self.rests(true),
            Rest::Start => {
                self.has_rested = true;
                self.rests(false);
            }
        }
    }

    /// Why it is started again, if it is. What comes back by itself was not asked for.
    pub(super) fn restart_cause(&mut self, cause: StartCause) -> Option<RestartCause> {
        let has_rested = std::mem::take(&mut self.has_rested);
        status::restart_cause(cause).map(|cause| if has_rested && cause == RestartCause::Operator { RestartCause::Rested } else { cause })
    }

    /// Takes note of whether it rests.
    pub(super) fn rests(&mut self, rests: bool) {
        if std::mem::replace(&mut self.note.rests, rests) != rests {
            self.remember();
            self.publish();
        }
    }
}
