//! What a start was waiting for.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::refusal::Refusal;
use super::routes::App;
use super::targets::Known;
use crate::actor::recorder::History;
use crate::base::id::UnitId;
use crate::base::time::Wall;
use crate::event::{Envelope, Event};
use crate::plan::{ChainLink, StartTimes, critical_chain as chain};

/// What is asked of `GET /v1/critical-chain`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChainQuery {
    /// Of which unit; of the one that came up last if it is not said.
    unit: Option<String>,
}

pub(super) async fn critical_chain(
    State(app): State<App>,
    query: Result<Query<ChainQuery>, QueryRejection>,
) -> Result<Json<Vec<ChainLink>>, Refusal> {
    let Query(query) = query?;
    let plan = app.node.tree.plan();
    let named = query.unit.map(|unit| Known::of_plan(&plan).resolve(&[unit])).transpose()?;
    let history = app.node.history.clone();
    let came_up = tokio::task::spawn_blocking(move || came_up(&history)).await.map_err(Refusal::internal)?.map_err(Refusal::internal)?;
    let mut times = BTreeMap::new();
    app.node.context.view.each_unit(|unit| {
        if let (Some(started), Some(pid), true) = (unit.started, unit.pid, unit.ready)
            && let Some(&(active, _)) = came_up.get(&unit.unit).filter(|(_, of)| *of == pid)
        {
            times.insert(unit.unit.clone(), StartTimes { started, active });
        }
    });
    // Of several instances, or a supervisor: whichever came up last.
    let wanted: Vec<_> = named.map_or_else(|| times.keys().cloned().collect(), |named| plan.units_below(&named));
    let last = wanted.iter().filter_map(|unit| Some((times.get(unit)?.active, unit))).max();
    Ok(Json(last.map(|(_, unit)| chain(&plan, &times, unit)).unwrap_or_default()))
}

/// When each unit came up the last time, and its process then, as far back as events are kept.
fn came_up(history: &Arc<History>) -> io::Result<BTreeMap<UnitId, (Wall, u32)>> {
    let first = history.first_recent();
    let recent = history.recent(first, usize::MAX).unwrap_or_default();
    let all = history.read_older(0)?.take_while(|event| event.sequence < first).chain(recent);
    Ok(all
        .filter_map(
            |Envelope { event, time, .. }| if let Event::UnitActive { unit, pid, .. } = event { Some((unit, (time, pid))) } else { None },
        )
        .collect())
}
