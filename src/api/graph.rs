//! Who depends on whom now: `GET /v1/graph`, and what falls with what: `GET /v1/graph/falls/{targets}`.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::dto::Falls;
use super::refusal::Refusal;
use super::routes::App;
use super::targets::Known;
use crate::actor::graph::{Found, find};
use crate::plan::{Graph, fall};

pub(super) async fn graph(State(app): State<App>) -> Json<Graph> {
    let found = find(&app.node.context, None).await;
    Json(Graph::of(&app.node.tree.plan()).with(&found.facts))
}

/// What falls with units, supervisors, or units of systemd; their names are separated by commas.
pub(super) async fn falls(State(app): State<App>, Path(targets): Path<String>) -> Result<Json<Falls>, Refusal> {
    let plan = app.node.tree.plan();
    let known = Known::of_plan(&plan);
    let targets: Vec<String> = targets.split(',').map(str::to_owned).collect();
    // What is declared comes first; whatever else has a kind at its end may be systemd's.
    let (others, declared): (Vec<_>, Vec<_>) =
        targets.into_iter().partition(|name| name.contains('.') && known.resolve(std::slice::from_ref(name)).is_err());
    let mut stopped: BTreeSet<String> =
        plan.units_below(&known.resolve(&declared)?).into_iter().map(|unit| unit.as_str().to_owned()).collect();
    let others: BTreeSet<String> = others.into_iter().collect();
    let Found { facts, named } = find(&app.node.context, Some(&others)).await;
    if let Some(name) = others.iter().find(|name| !named.contains_key(*name)) {
        let why = facts.notes.iter().find_map(|note| note.strip_prefix("systemd: not asked: "));
        let why = why.map_or_else(|| "systemd has none either".to_owned(), |why| format!("systemd cannot be asked: {why}"));
        let refusal =
            Refusal::new(StatusCode::NOT_FOUND, "unknown_target", format!("there is no unit or supervisor called `{name}`, and {why}"));
        return Err(refusal.help("`status` lists the units, `tree` the supervisors, `systemctl list-units` those of systemd"));
    }
    let graph = Graph::of(&plan).with(&facts);
    stopped.extend(named.values().map(|name| graph.systemd(name).map_or_else(|| name.clone(), |node| node.id.clone())));
    Ok(Json(Falls { falls: fall(&graph, &stopped), notes: graph.notes }))
}
