//! A new plan for a unit: at once where that needs no new process, else with its next start.

use std::sync::Arc;

use ractor::ActorRef;

use super::{Msg, Unit, health};
use crate::base::id::SupervisorId;
use crate::plan::UnitPlan;
use crate::policy::lifecycle::State as Life;

impl Unit {
    pub(super) fn replan(&mut self, myself: &ActorRef<Msg>, plan: Arc<UnitPlan>, supervisor: SupervisorId) {
        let is_late = crate::plan::needs_restart(&self.plan, &plan) && self.driver.machine.state() != Life::Stopped;
        if !is_late {
            self.limit_anew(&plan, &supervisor);
        }
        self.change(|status| status.supervisor = supervisor);
        if is_late {
            self.next_plan = Some(plan);
        } else {
            // One before it that still waits is out of date.
            self.next_plan = None;
            self.take_plan(myself, plan);
        }
    }

    pub(super) fn take_plan(&mut self, myself: &ActorRef<Msg>, plan: Arc<UnitPlan>) {
        self.driver.machine.replan(plan.clone());
        self.order = None;
        self.change(|status| {
            status.description.clone_from(&plan.description);
            status.separate_stderr = plan.stderr_log().is_some();
        });
        let probes_changed = self.plan.probes != plan.probes;
        self.plan = plan;
        self.listen_to_whom();
        if probes_changed {
            self.change(|status| status.probes = health::statuses(&self.plan));
            if self.prober.is_some() || matches!(self.driver.machine.state(), Life::Activating | Life::Active) {
                self.begin_probes(myself, self.driver.machine.state() == Life::Active);
            }
        }
    }
}
