//! What the daemon asks of units by itself, when they may be done without. Nobody's wish is recorded.

use super::{Ask, Tree, TreeError, parent_of};
use crate::actor::unit;
use crate::base::id::UnitId;
use crate::policy::degradation::Rest;

impl Tree {
    /// Tells a unit that it rests, or does not any more.
    pub(crate) fn rest(&self, target: &UnitId, rest: Rest) {
        // One that is gone needs no rest.
        drop(self.tell_unit(target.as_str(), unit::Msg::Rest(rest)));
    }

    /// Has a unit stopped or started as an operator would, but not durably.
    pub(crate) async fn ask_quietly(&self, target: &str, ask: Ask) -> Result<(), TreeError> {
        let parent = parent_of(&self.plan(), target)?;
        self.tell_supervisor(target, &parent, ask).await
    }
}
