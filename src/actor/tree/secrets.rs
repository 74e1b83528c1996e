//! Secrets that have changed are part of what a reload changes, and what a unit is told is shown without them.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Tree;
use crate::actor::unit::{self, Renewal};
use crate::base::id::UnitId;
use crate::base::secret::Variable;
use crate::os::clock;
use crate::plan::{Diff, UnitChange};

/// How long it may take to read the secrets of all units. Those that take longer count as they were.
const WITHIN: Duration = Duration::from_secs(10);

impl Tree {
    /// Looks whether secrets of units have changed that otherwise would be left alone, and puts that into `diff`. If `apply`, units that only
    /// want a signal have the new ones then.
    pub async fn renew_secrets(&self, diff: &mut Diff, apply: bool) {
        let plan = self.plan();
        let concerned = |(id, change): &(&UnitId, &UnitChange)| {
            let goes_on = matches!(change, UnitChange::Leave | UnitChange::Live { .. });
            goes_on && plan.units.get(*id).is_some_and(|unit| unit.has_secrets())
        };
        let mut asked = Vec::new();
        for (id, _) in diff.units.iter().filter(concerned) {
            let (sender, answer) = oneshot::channel();
            if self.tell_unit(id.as_str(), unit::Msg::RenewSecrets(apply, sender)).is_ok() {
                asked.push((id.clone(), answer));
            }
        }
        let begun = clock::mono();
        for (id, answer) in asked {
            // One that is down has none to compare.
            let Ok(Ok(renewal)) = timeout(WITHIN.saturating_sub(clock::mono() - begun), answer).await else { continue };
            let Some(change) = diff.units.get_mut(&id) else { continue };
            let mut fields = match change {
                UnitChange::Live { fields } => std::mem::take(fields),
                _ => Vec::new(),
            };
            fields.push("secrets");
            match renewal {
                Renewal::Same => {
                    fields.pop();
                    if let UnitChange::Live { fields: kept } = change {
                        *kept = fields;
                    }
                }
                Renewal::Live => *change = UnitChange::Live { fields },
                Renewal::Restart => *change = UnitChange::Restart { fields },
            }
        }
    }

    /// The environment of a unit as its next start has it, without what is not for everybody's eyes. None: there is no such unit that
    /// we run.
    ///
    /// # Errors
    /// It cannot be told: a file is missing, or a user.
    pub async fn environment(&self, unit: &str) -> Option<Result<Vec<Variable>, String>> {
        let plan = self.plan().units.get(unit).filter(|unit| unit.watch.is_none())?.clone();
        Some(unit::environment(&self.context, plan).await)
    }
}
