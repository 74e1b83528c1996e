//! What the daemon asks of units by itself, when they may be done without. Nobody's wish is recorded.

use super::{Ask, Tree, TreeError, parent_of};
use crate::actor::unit;
use crate::base::choice::FailureClass;
use crate::base::id::UnitId;
use crate::policy::degradation::Rest;

impl Tree {
    /// Tells a unit that it rests, or does not any more.
    pub(crate) fn rest(&self, target: &UnitId, rest: Rest) {
        // One that is gone needs no rest.
        drop(self.tell_unit(target.as_str(), unit::Msg::Rest(rest)));
    }

    /// A run of a unit was found not to be well.
    pub(crate) fn unwell(&self, unit: &UnitId, run: u64, class: FailureClass, why: String) {
        // One that is gone is not to be ended.
        drop(self.tell_unit(unit.as_str(), unit::Msg::Unwell(run, class, why, None)));
    }

    /// Has a unit stopped or started as an operator would, but not durably.
    pub(crate) async fn ask_quietly(&self, target: &str, ask: Ask) -> Result<(), TreeError> {
        let parent = parent_of(&self.plan(), target)?;
        self.tell_supervisor(target, &parent, ask).await
    }
}
