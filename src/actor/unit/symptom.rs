//! What those hear who take remedies for a unit.

use super::Unit;
use crate::actor::context::Context;
use crate::actor::remediator::{Condition, Symptom};
use crate::base::choice::RestartType;
use crate::base::exit::ExitReason;
use crate::plan::{ProbePlan, UnitPlan};
use crate::policy::health::Standing;

/// The unit is so.
pub(super) fn unit_is(context: &Context, plan: &UnitPlan, condition: Condition) {
    if plan.remediation.is_some() {
        tell(context, plan, None, condition);
    }
}

/// An operator wants it down, or the plan has it no more.
pub(super) fn unwanted(context: &Context, plan: &UnitPlan) {
    if plan.remediation.is_some() || plan.probes.iter().any(|probe| probe.remediation.is_some()) {
        tell(context, plan, None, Condition::Unwanted);
    }
}

/// A probe stands so now, for this reason.
pub(super) fn probe_is(context: &Context, plan: &UnitPlan, probe: &ProbePlan, standing: Standing, why: &str) {
    let condition = match standing {
        Standing::Passing => Condition::Well,
        Standing::Failing => Condition::Failed(format!("probe {}: {why}", probe.name)),
        Standing::Pending => return,
    };
    if probe.remediation.is_some() {
        tell(context, plan, Some(probe.name.clone()), condition);
    }
}

fn tell(context: &Context, plan: &UnitPlan, probe: Option<String>, condition: Condition) {
    if context.symptoms.try_send(Symptom { unit: plan.id.clone(), probe, condition }).is_err() {
        tracing::warn!("{}: too much ails at once; a remedy may be late", plan.id);
    }
}

impl Unit {
    /// It has ended, or could not start. What was asked for, and what is done for good, is no failure.
    pub(super) fn has_failed(&self, reason: &ExitReason) {
        if *reason != ExitReason::Shutdown && (!reason.is_clean() || self.plan.restart.kind == RestartType::Permanent) {
            unit_is(&self.context, &self.plan, Condition::Failed(reason.to_string()));
        }
    }
}
