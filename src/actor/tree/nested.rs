//! Supervisors of the plan: as children of others, and what they tell.

use std::sync::{Arc, PoisonError};

use ractor::ActorRef;

use super::{Standing, Tree};
use crate::actor::library::spawn_nested;
use crate::actor::supervisor::{Arguments, Begun, Host, Msg, Observer, Port};
use crate::actor::unit::COUNTED_MAX;
use crate::base::exit::ExitReason;
use crate::base::id::SupervisorId;
use crate::base::time::Mono;
use crate::event::{Event, SupervisorStatus};
use crate::plan::OnRootFailure;
use crate::policy::supervisor::{Input, Report, StartCause};

/// Starts a supervisor of the plan as a child of another. It takes the plan that is in force at each start.
pub(super) struct PlanHost {
    pub(super) tree: Arc<Tree>,
    pub(super) id: SupervisorId,
    pub(super) actor: Option<ActorRef<Msg>>,
}

impl PlanHost {
    fn tell(&self, input: Input) {
        if let Some(actor) = &self.actor {
            // One that is gone has said so.
            drop(actor.cast(Msg::Input(input)));
        }
    }
}

impl Host for PlanHost {
    fn start(&mut self, cause: StartCause, port: Port) -> Begun {
        let plan = self.tree.plan();
        if !plan.supervisors.contains_key(&self.id) {
            port.start_failed(ExitReason::error("it is not in the plan any more"));
            return Begun::Later;
        }
        let counted = self.tree.recall(&self.id);
        let arguments = Arguments { counted, delay: cause.delay(), ..self.tree.arguments(&plan, &self.id, Some(port.clone())) };
        self.tree.context.view.change_supervisor(&self.id, |status| "starting".clone_into(&mut status.state));
        self.actor = spawn_nested(arguments, port);
        if let Some(actor) = &self.actor {
            self.tree.register(&self.id, actor.clone());
        }
        Begun::Later
    }

    fn stop(&mut self, reason: &ExitReason) {
        self.tree.context.view.change_supervisor(&self.id, |status| "stopping".clone_into(&mut status.state));
        self.tell(Input::Shutdown(reason.clone()));
    }

    fn kill(&mut self) {
        self.tell(Input::Kill);
    }

    fn pass_on(&mut self, input: Input) {
        self.tell(input);
    }
}

/// Tells the world what a supervisor of the plan does.
pub(super) struct PlanObserver {
    pub(super) tree: Arc<Tree>,
    pub(super) id: SupervisorId,
    pub(super) is_root: bool,
}

impl PlanObserver {
    fn change(&self, change: impl FnOnce(&mut SupervisorStatus)) {
        self.tree.context.view.change_supervisor(&self.id, change);
    }
}

impl Observer for PlanObserver {
    fn report(&mut self, report: Report) {
        let bus = &self.tree.context.bus;
        match report {
            Report::ChildTerminated { child, reason, restart } => {
                if restart {
                    self.change(|status| status.restarts += 1);
                }
                bus.tell(Event::ChildTerminated { supervisor: self.id.clone(), child: child.to_string(), reason, restart });
            }
            // The unit tells this itself, and its own machine judges how it ended.
            Report::ChildStarted { .. } | Report::ShutdownError { .. } => {}
            Report::ChildStuck { child } => tracing::error!("`{child}` was killed and does not end"),
            // The unit has told why; its supervisor counts.
            Report::StartError { .. } => self.change(|status| status.restarts += 1),
            Report::ReachedMaxRestartIntensity { child, reason } => {
                let retry_after = self.tree.plan().supervisors.get(&self.id).and_then(|plan| plan.retry_after);
                let (supervisor, failed) = (self.id.clone(), child.to_string());
                bus.tell(Event::IntensityReached { supervisor, child: failed, reason: reason.clone(), retry_after });
                if retry_after.is_some() {
                    return self.change(|status| status.restarts += 1);
                }
                self.change(|status| status.escalations += 1);
                if self.is_root && self.tree.plan().daemon.on_root_failure == OnRootFailure::Keep {
                    self.change(|status| {
                        "degraded".clone_into(&mut status.state);
                        status.reason = Some(format!("gave up `{child}`: {reason}"));
                    });
                    bus.tell(Event::DaemonDegraded { child: child.to_string(), reason });
                }
            }
        }
    }

    fn up(&mut self) {
        self.change(|status| {
            if status.state != "degraded" {
                "active".clone_into(&mut status.state);
            }
        });
        self.tree.context.bus.tell(Event::SupervisorUp { supervisor: self.id.clone() });
        if self.is_root {
            self.tree.standing.send_replace(Standing::Up);
        }
    }

    fn counted(&mut self, restarts: &mut dyn Iterator<Item = Mono>) {
        let counted = restarts.take(COUNTED_MAX).collect();
        self.tree.note(&self.id, |note| note.counted = counted);
    }

    fn terminated(&mut self, reason: &ExitReason) {
        self.change(|status| {
            "stopped".clone_into(&mut status.state);
            status.reason = (*reason != ExitReason::Shutdown).then(|| reason.to_string());
        });
        self.tree.supervisors.write().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.tree.context.bus.tell(Event::SupervisorEnded { supervisor: self.id.clone(), reason: reason.clone() });
        if self.is_root {
            self.tree.standing.send_replace(Standing::Ended(reason.clone()));
        }
    }
}
