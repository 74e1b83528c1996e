//! A unit as a child of its supervisor.

use ractor::ActorRef;

use super::Msg;
use crate::actor::supervisor::{Begun, Host, Port};
use crate::base::exit::ExitReason;
use crate::policy::supervisor::StartCause;

/// A unit as its supervisor sees it.
pub(crate) struct UnitHost(pub(crate) ActorRef<Msg>);

impl UnitHost {
    fn tell(&self, message: Msg) -> bool {
        self.0.cast(message).is_ok()
    }
}

impl Host for UnitHost {
    fn start(&mut self, cause: StartCause, port: Port) -> Begun {
        if !self.tell(Msg::Start(port.clone(), cause)) {
            port.start_failed(ExitReason::error("its actor is gone"));
        }
        Begun::Later
    }

    fn stop(&mut self, _reason: &ExitReason) {
        self.tell(Msg::Stop);
    }

    fn kill(&mut self) {
        self.tell(Msg::Kill);
    }
}
