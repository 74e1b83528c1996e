//! What can be asked, and the answers that are ready at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::dto::{Changes, DaemonStatus, Status, TreeRow, UnitDetails, UpgradeRequest, tree_rows};
use super::peer::Peer;
use super::refusal::Refusal;
use super::{Node, actions, chain, environment, events, graph, health, hidden, logs, set};
use crate::actor::health::assessed;
use crate::actor::limits::Limits;
use crate::actor::tree::Standing;
use crate::event::{GroupUse, HealthStatus};
use crate::os::{clock, inherited, logfile, usage};
use crate::plan::{Diff, LogMode, Plan};

/// What every handler gets.
#[derive(Clone)]
pub(super) struct App {
    pub(super) node: Arc<Node>,
    /// Streams end when this is cancelled.
    pub(super) closing: CancellationToken,
}

/// What the control socket answers.
pub(super) fn control(app: App) -> Router {
    let v1 = Router::new()
        .route("/status", get(status))
        .route("/units/{unit}", get(unit))
        .route("/units/{unit}/environment", get(environment::environment))
        .route("/tree", get(tree))
        .route("/plan", get(plan))
        .route("/plan/changes", get(changes))
        .route("/reload", post(reload))
        .route("/overrides", get(set::list).post(set::set))
        .route("/upgrade", post(upgrade))
        .route("/start", post(actions::start))
        .route("/stop", post(actions::stop))
        .route("/restart", post(actions::restart))
        .route("/pause", post(actions::pause))
        .route("/resume", post(actions::resume))
        .route("/signal", post(actions::signal))
        .route("/heartbeat", post(actions::heartbeat))
        .route("/rotate", post(actions::rotate))
        .route("/logs", get(logs::all))
        .route("/logs/{targets}", get(logs::some))
        .route("/critical-chain", get(chain::critical_chain))
        .route("/graph", get(graph::graph))
        .route("/graph/falls/{targets}", get(graph::falls))
        .route("/events", get(events::events));
    Router::new().nest("/v1", v1).merge(health::routes()).fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(app)
}

/// What the port answers.
pub(super) fn public(app: App) -> Router {
    health::routes().fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(app)
}

async fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

async fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
}

async fn status(State(app): State<App>) -> Json<Status> {
    let view = &app.node.context.view;
    let health = levels(&app.node);
    let cgroups = app.node.context.limits.supervisor_cgroups();
    let mut used = tokio::task::spawn_blocking(move || Limits::used(cgroups)).await.unwrap_or_default();
    used.retain(|_, used| *used != GroupUse::default());
    Json(Status { daemon: daemon_status(&app.node), supervisors: view.supervisors(), units: view.units(), health, used })
}

/// How well every supervisor is.
fn levels(node: &Node) -> BTreeMap<String, HealthStatus> {
    assessed(&node.context.view, &node.tree.plan()).into_iter().map(|(name, opinion)| (name, opinion.health)).collect()
}

pub(super) fn daemon_status(node: &Node) -> DaemonStatus {
    let (state, reason) = daemon_state(node);
    DaemonStatus {
        version: node.version.clone(),
        pid: std::process::id(),
        launcher_pid: node.launcher_pid,
        keeper_pid: node.context.keeper(),
        started: node.started,
        now: clock::wall(),
        state: state.into(),
        reason,
        config: node.context.directories.config.clone(),
        tier: node.tree.plan().daemon.tier,
        forced_tier: inherited::tier(),
        cgroup: node.cgroup.clone(),
        upgrade: node.upgrade.clone(),
        store: node.context.wishes.store(),
        host: node.context.host.status(),
        degradation: node.context.degradation.status(),
        limits: node.context.limits.unavailable(),
    }
}

fn daemon_state(node: &Node) -> (&'static str, Option<String>) {
    let standing = node.tree.standing().borrow().clone();
    if let Standing::Ended(reason) = standing {
        return ("ended", Some(reason.to_string()));
    }
    if node.context.stopping.load(std::sync::atomic::Ordering::Relaxed) {
        return ("stopping", None);
    }
    let root = node.tree.plan().root.clone();
    match node.context.view.supervisors().into_iter().find(|one| one.supervisor == root) {
        Some(root) if root.state == "degraded" => ("degraded", root.reason),
        _ if standing == Standing::Up => ("running", None),
        _ => ("starting", None),
    }
}

async fn unit(State(app): State<App>, Extension(peer): Extension<Peer>, Path(name): Path<String>) -> Result<Json<UnitDetails>, Refusal> {
    let plan = app.node.tree.plan();
    let (Some(unit), Some(status)) = (plan.units.get(name.as_str()), app.node.context.view.unit(&name)) else {
        let known = super::targets::Known::of_plan(&plan).resolve(std::slice::from_ref(&name));
        let refusal = Refusal::new(StatusCode::NOT_FOUND, "not_a_unit", format!("`{name}` is not one unit"));
        return Err(known.map_or_else(Refusal::from, |_| refusal.help("`status` shows several, `tree` shows supervisors")));
    };
    let words = |names: &[crate::base::id::UnitId]| names.iter().map(|name| name.as_str().to_owned()).collect();
    let logs = &app.node.context.directories.logs;
    let cgroup = app.node.context.limits.cgroup(&name);
    let used = tokio::task::spawn_blocking(move || usage::used(&cgroup?).ok()).await.unwrap_or_default();
    Ok(Json(UnitDetails {
        used,
        now: clock::wall(),
        supervisors: above(&plan, &name),
        exec: if peer.sees_all { unit.exec.clone() } else { hidden::words(&unit.exec) },
        working_directory: unit.working_directory.clone(),
        restart: if unit.watch.is_some() { String::new() } else { unit.restart.kind.as_str().into() },
        requires: words(&unit.requires),
        binds: words(&unit.binds),
        dependents: words(&app.node.context.gates.dependents(&unit.id)),
        log: matches!(unit.logs.mode, LogMode::Direct | LogMode::Pipe).then(|| logfile::live_path(logs, &name)),
        stderr_log: unit.stderr_log().map(|log| logfile::live_path(logs, log.as_str())),
        status,
    }))
}

fn above(plan: &Plan, name: &str) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    let parent = |name: &str| plan.supervisors.values().find(|one| one.children.iter().any(|child| child.as_str() == name));
    while let Some(next) = parent(chain.last().map_or(name, String::as_str)) {
        chain.push(next.id.as_str().into());
    }
    chain
}

async fn tree(State(app): State<App>) -> Json<Vec<TreeRow>> {
    let view = &app.node.context.view;
    Json(tree_rows(app.node.tree.plan().root.as_str(), &view.supervisors(), &view.units(), &levels(&app.node)))
}

/// What may be a secret is not for those who may only read.
async fn plan(State(app): State<App>, Extension(peer): Extension<Peer>) -> Result<Json<Value>, Refusal> {
    let mut plan = serde_json::to_value(&*app.node.tree.plan()).map_err(Refusal::internal)?;
    if !peer.sees_all {
        hidden::in_plan(&mut plan);
    }
    Ok(Json(plan))
}

/// The same holds for the lines a fault is shown in.
async fn changes(State(app): State<App>, Extension(peer): Extension<Peer>) -> Result<Json<Changes>, Refusal> {
    match app.node.daemon.plan_changes().await {
        Ok(diff) => changes_of(&diff),
        Err(_) if !peer.sees_all => {
            let why = "the declarations are at fault; how, is told to those who may command";
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_declarations", why))
        }
        Err(refused) => Err(refused.into()),
    }
}

async fn reload(State(app): State<App>, Extension(peer): Extension<Peer>) -> Result<Json<Changes>, Refusal> {
    app.node.context.bus.tell(peer.asked("reload", ""));
    changes_of(&app.node.daemon.reload().await?)
}

/// Answers only if the daemon cannot go over to the program; else the connection ends with this brain.
async fn upgrade(State(app): State<App>, Extension(peer): Extension<Peer>, body: Result<Json<UpgradeRequest>, JsonRejection>) -> Refusal {
    let program = match body {
        Ok(Json(request)) => request.program,
        Err(rejection) => return rejection.into(),
    };
    let target = program.display().to_string();
    app.node.context.bus.tell(peer.asked("upgrade", &target));
    let why = app.node.daemon.upgrade(program).await;
    Refusal::new(StatusCode::CONFLICT, "no_upgrade", why).help("nothing has changed")
}

pub(super) fn changes_of(diff: &Diff) -> Result<Json<Changes>, Refusal> {
    let changes = serde_json::to_value(diff).map_err(Refusal::internal)?;
    Ok(Json(Changes { text: diff.to_string(), empty: diff.is_empty(), changes }))
}
