//! How well the tree is: looked at when something has happened, told when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::recorder::History;
use super::tree::Tree;
use super::{BoxError, TaskContext};
use crate::base::choice::HealthLevel;
use crate::event::{Event, View};
use crate::plan::Plan;
use crate::policy::aggregate::{Opinion, assess, unit_health};

/// So much is waited for after something has happened, so that much at once is looked at once.
const SETTLE: Duration = Duration::from_millis(200);

/// What a probe finds without failing is no event: it is looked at this often.
const LOOK: Duration = Duration::from_secs(5);

/// How well every supervisor is now, by name.
#[must_use]
pub fn assessed(view: &View, plan: &Plan) -> BTreeMap<String, Opinion> {
    let mut units = BTreeMap::new();
    view.each_unit(|unit| drop(units.insert(unit.unit.as_str().to_owned(), unit_health(unit))));
    assess(plan, &units, &view.supervisors())
}

/// Tells whenever a supervisor is better or worse than before.
///
/// # Errors
/// None.
pub async fn run(task: TaskContext, context: Arc<Context>, tree: Arc<Tree>, history: Arc<History>) -> Result<(), BoxError> {
    let mut live = history.follow();
    let mut known: BTreeMap<String, HealthLevel> = BTreeMap::new();
    loop {
        let plan = tree.plan();
        let found = assessed(&context.view, &plan);
        for (name, Opinion { health, .. }) in &found {
            let was = known.get(name).copied();
            if let Some(was) = was.filter(|was| *was != health.level) {
                context.bus.tell(Event::HealthChanged { supervisor: name.as_str().into(), was, health: health.clone() });
            }
        }
        known = found.into_iter().map(|(name, opinion)| (name, opinion.health.level)).collect();
        tokio::select! {
            // Lagging behind is as good as an event.
            _ = live.recv() => {}
            () = tokio::time::sleep(context.degradation.slow(LOOK)) => {}
            () = task.shutdown_requested() => return Ok(()),
        }
        tokio::select! {
            () = tokio::time::sleep(SETTLE) => live = live.resubscribe(),
            () = task.shutdown_requested() => return Ok(()),
        }
    }
}
