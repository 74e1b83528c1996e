//! What those hear who take remedies for the unit.

use super::Unit;
use crate::actor::remediator::{Condition, Symptom};
use crate::base::choice::RestartType;
use crate::base::exit::ExitReason;
use crate::plan::ProbePlan;
use crate::policy::health::Standing;

impl Unit {
    /// It is up.
    pub(super) fn is_well(&self) {
        if self.plan.remediation.is_some() {
            self.tell_symptom(None, Condition::Well);
        }
    }

    /// It has ended, or could not start. What was asked for, and what is done for good, is no failure.
    pub(super) fn has_failed(&self, reason: &ExitReason) {
        let is_failure = *reason != ExitReason::Shutdown && (!reason.is_clean() || self.plan.restart.kind == RestartType::Permanent);
        if is_failure && self.plan.remediation.is_some() {
            self.tell_symptom(None, Condition::Failed(reason.to_string()));
        }
    }

    /// An operator wants it down, or the plan has it no more.
    pub(super) fn is_unwanted(&self) {
        if self.plan.remediation.is_some() || self.plan.probes.iter().any(|probe| probe.remediation.is_some()) {
            self.tell_symptom(None, Condition::Unwanted);
        }
    }

    /// A probe stands so now, for this reason.
    pub(super) fn probe_is(&self, probe: &ProbePlan, standing: Standing, why: &str) {
        let condition = match standing {
            Standing::Passing => Condition::Well,
            Standing::Failing => Condition::Failed(format!("probe {}: {why}", probe.name)),
            Standing::Pending => return,
        };
        if probe.remediation.is_some() {
            self.tell_symptom(Some(probe.name.clone()), condition);
        }
    }

    fn tell_symptom(&self, probe: Option<String>, condition: Condition) {
        let symptom = Symptom { unit: self.plan.id.clone(), probe, condition };
        if self.context.symptoms.try_send(symptom).is_err() {
            tracing::warn!("{}: too much ails at once; a remedy may be late", self.plan.id);
        }
    }
}
