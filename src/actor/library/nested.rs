//! Supervisors as children of supervisors.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorRef, ActorRuntime};
use tokio::sync::watch;

use super::BoxError;
use super::dynamic::TWICE;
use super::handle::{ChildHandle, Home, SupervisorRef};
use super::incarnation::{Ignore, Place};
use super::report::{LibraryObserver, Reporter};
use crate::actor::guard::{Foreign, dispose, guarded, reason_of};
use crate::actor::supervisor::{Arguments, Begun, Host, Msg, NewChild, Port, SupervisorActor};
use crate::base::exit::ExitReason;
use crate::policy::supervisor::{Flags, Input, StartCause};

/// Flags and children of a supervisor.
pub(super) type Make = dyn Fn(&Arc<Home>) -> Result<(Flags, Vec<NewChild>), BoxError> + Send + Sync;

/// A supervisor that can be started again and again.
#[derive(Clone)]
pub(super) struct Nested {
    /// Called for each incarnation.
    pub(super) make: Foreign<Arc<Make>>,
    /// Where the incarnation that runs is made known.
    pub(super) current: Option<watch::Sender<Option<SupervisorRef>>>,
}

impl Nested {
    pub(super) fn new(make: impl Fn(&Arc<Home>) -> Result<(Flags, Vec<NewChild>), BoxError> + Send + Sync + 'static) -> Self {
        Self { make: Foreign::new(Arc::new(make)), current: None }
    }

    /// Whether it is made known that it runs, here or in another place.
    fn runs(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.borrow().as_ref().is_some_and(SupervisorRef::is_alive))
    }
}

/// Starts it below another.
pub(super) struct SupervisorHost {
    nested: Nested,
    path: Arc<str>,
    reporter: Reporter,
    running: Option<SupervisorRef>,
}

impl SupervisorHost {
    pub(super) fn new(nested: Nested, place: &Place) -> Self {
        let path = format!("{}/{}", place.home.path, place.id).into();
        Self { nested, path, reporter: place.home.reporter.clone(), running: None }
    }
}

impl Host for SupervisorHost {
    fn start(&mut self, _cause: StartCause, port: Port) -> Begun {
        if self.nested.runs() {
            port.start_failed(ExitReason::error(TWICE));
            return Begun::Later;
        }
        let (observer, home) = LibraryObserver::new(self.path.clone(), self.reporter.clone(), None);
        let made = guarded(|| (self.nested.make)(&home));
        let (flags, children) = match made {
            Ok(Ok(made)) => made,
            Ok(Err(error)) if error.is::<Ignore>() => {
                port.ignored();
                return Begun::Later;
            }
            Ok(Err(error)) => {
                port.start_failed(reason_of(error));
                return Begun::Later;
            }
            Err(panic) => {
                port.start_failed(panic);
                return Begun::Later;
            }
        };
        let arguments = Arguments {
            flags,
            children,
            parent: Some(port.clone()),
            observer: Box::new(observer),
            counted: Vec::new(),
            delay: Duration::ZERO,
        };
        self.running = spawn_nested(arguments, port).map(|actor| SupervisorRef { actor, home });
        if let Some(current) = &self.nested.current {
            current.send_replace(self.running.clone());
        }
        Begun::Later
    }

    fn stop(&mut self, reason: &ExitReason) {
        if let Some(running) = &self.running {
            running.tell(Input::Shutdown(reason.clone()));
        }
    }

    fn kill(&mut self) {
        if let Some(running) = &self.running {
            running.tell(Input::Kill);
        }
    }

    fn pass_on(&mut self, input: Input) {
        if let Some(running) = &self.running {
            running.tell(input);
        }
    }

    fn handle(&self) -> Option<ChildHandle> {
        self.running.clone().map(ChildHandle::Supervisor)
    }
}

impl Drop for SupervisorHost {
    /// Notices that its supervisor went without order, by a panic of its own, and stops what is below in order.
    fn drop(&mut self) {
        self.stop(&ExitReason::Killed);
    }
}

/// Starts a supervisor below the one behind `port`, and tells that one if it dies of a panic.
pub(crate) fn spawn_nested(arguments: Arguments, port: Port) -> Option<ActorRef<Msg>> {
    match ActorRuntime::spawn_instant(None, SupervisorActor, arguments) {
        Ok((actor, start)) => {
            tokio::spawn(async move {
                match start.await {
                    Ok(Ok(handle)) => {
                        dispose(handle.await);
                        // After an orderly end the supervisor has told its reason already; this then belongs to nobody.
                        port.exited(ExitReason::error("the supervisor itself failed"));
                    }
                    Ok(Err(error)) => port.start_failed(ExitReason::error(error)),
                    Err(error) => port.start_failed(ExitReason::error(error)),
                }
            });
            Some(actor)
        }
        Err(error) => {
            port.start_failed(ExitReason::error(error));
            None
        }
    }
}
