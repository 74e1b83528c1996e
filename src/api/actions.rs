//! Commands to units and supervisors.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};
use futures_util::future::join_all;

use super::Node;
use super::dto::{ActionRequest, ActionResponse, HeartbeatRequest, REASON_MAX, SignalRequest, TargetResult};
use super::peer::Peer;
use super::refusal::Refusal;
use super::routes::App;
use super::targets::Known;
use crate::actor::tree::{Ask, TreeError};
use crate::actor::wishes::Asker;
use crate::base::exit::Signal;
use crate::base::quantity::format_size;
use crate::os::logfile::RotateReport;
use crate::plan::LogMode;
use crate::policy::supervisor::RequestError;

type Body<T> = Result<Json<T>, JsonRejection>;
type Answer = Result<(StatusCode, Json<ActionResponse>), Refusal>;

pub(super) async fn start(State(app): State<App>, Extension(peer): Extension<Peer>, body: Body<ActionRequest>) -> Answer {
    ask(&app.node, &peer, Ask::Start, body?.0).await
}

pub(super) async fn stop(State(app): State<App>, Extension(peer): Extension<Peer>, body: Body<ActionRequest>) -> Answer {
    ask(&app.node, &peer, Ask::Stop { hold: true }, body?.0).await
}

pub(super) async fn restart(State(app): State<App>, Extension(peer): Extension<Peer>, body: Body<ActionRequest>) -> Answer {
    ask(&app.node, &peer, Ask::Restart, body?.0).await
}

/// Asks for all targets at once: one may wait for another, so none may be kept from being asked. Their number is bounded by the plan.
async fn ask(node: &Node, peer: &Peer, ask: Ask, request: ActionRequest) -> Answer {
    if request.reason.as_ref().is_some_and(|reason| reason.len() > REASON_MAX) {
        return Err(Refusal::bad_request(format!("the reason has more than {REASON_MAX} bytes")));
    }
    let targets = resolve(node, &request.targets)?;
    let asker = Asker { uid: peer.uid, why: request.reason };
    let results = targets.iter().map(|target| {
        let asker = &asker;
        async move {
            tell(node, peer, ask.verb(), target);
            let answer = node.tree.ask(target, ask, asker).await;
            let result = match answer.done {
                Ok(()) => done(target, None),
                Err(TreeError::Refused(_, _, RequestError::Running)) if ask == Ask::Start => {
                    done(target, Some("it is already running".into()))
                }
                Err(error) => failed(target, error.to_string()),
            };
            TargetResult { not_remembered: answer.remembered.err(), ..result }
        }
    });
    let results = join_all(results).await;
    // Done, but not all there is to it.
    let status = if results.iter().any(|result| result.not_remembered.is_some()) { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(ActionResponse { results })))
}

pub(super) async fn signal(State(app): State<App>, Extension(peer): Extension<Peer>, body: Body<SignalRequest>) -> Answer {
    let Json(request) = body?;
    let signal = Signal::parse(&request.signal)
        .ok_or_else(|| Refusal::bad_request(format!("there is no signal called `{}`", request.signal)).help(signal_help()))?;
    let targets = resolve(&app.node, &request.targets)?;
    let (node, peer) = (&app.node, &peer);
    let results = targets.iter().map(|target| async move {
        tell(node, peer, &format!("signal {signal}"), target);
        if node.context.view.unit(target).is_some_and(|unit| unit.pid.is_none()) {
            return failed(target, "it has no process".into());
        }
        node.tree
            .signal(target, signal, request.whole)
            .await
            .map_or_else(|error| failed(target, error.to_string()), |()| done(target, None))
    });
    Ok((StatusCode::OK, Json(ActionResponse { results: join_all(results).await })))
}

/// A sign of life, as `WATCHDOG=1` is one. It is no command: nobody is told.
pub(super) async fn heartbeat(State(app): State<App>, Extension(peer): Extension<Peer>, body: Body<HeartbeatRequest>) -> Answer {
    let Json(request) = body?;
    let plan = app.node.tree.plan();
    let targets = resolve(&app.node, &request.targets)?;
    let is_own = |target: &String| peer.unit.as_ref().is_some_and(|unit| unit.as_str() == target);
    if !peer.beats_for_all && !targets.iter().all(is_own) {
        let refusal = Refusal::new(StatusCode::FORBIDDEN, "not_permitted", "a unit gives signs of life for itself only");
        return Err(refusal.help("to let it do so for others, write `may_command: [heartbeat]` in it"));
    }
    let results = targets.iter().map(|target| match plan.units.get(target.as_str()) {
        Some(unit) if unit.watchdog.is_none() => failed(target, "it is declared without a `watchdog`".into()),
        _ => app.node.tree.beat(target, request.sequence).map_or_else(|error| failed(target, error.to_string()), |()| done(target, None)),
    });
    Ok((StatusCode::OK, Json(ActionResponse { results: results.collect() })))
}

pub(super) async fn pause(State(app): State<App>, Extension(peer): Extension<Peer>, body: Body<ActionRequest>) -> Answer {
    stand_still(&app.node, &peer, true, &body?.0.targets).await
}

pub(super) async fn resume(State(app): State<App>, Extension(peer): Extension<Peer>, body: Body<ActionRequest>) -> Answer {
    stand_still(&app.node, &peer, false, &body?.0.targets).await
}

async fn stand_still(node: &Node, peer: &Peer, pause: bool, targets: &[String]) -> Answer {
    let targets = resolve(node, targets)?;
    let results = targets.iter().map(|target| async move {
        tell(node, peer, if pause { "pause" } else { "resume" }, target);
        match node.tree.pause(target, pause).await {
            Ok(remark) => done(target, remark),
            Err(error) => failed(target, error.to_string()),
        }
    });
    Ok((StatusCode::OK, Json(ActionResponse { results: join_all(results).await })))
}

/// Rotates logs; a supervisor's name stands for everything below it.
pub(super) async fn rotate(State(app): State<App>, Extension(peer): Extension<Peer>, body: Body<ActionRequest>) -> Answer {
    let Json(request) = body?;
    let plan = app.node.tree.plan();
    let units = plan.units_below(&resolve(&app.node, &request.targets)?);
    let results = units.into_iter().map(|unit| {
        let (app, plan, peer) = (app.clone(), plan.clone(), peer.clone());
        async move {
            tell(&app.node, &peer, "rotate", unit.as_str());
            let mode = plan.units.get(&unit).map(|plan| plan.logs.mode);
            let rotated = match mode {
                _ if plan.units.get(&unit).is_some_and(|unit| unit.watch.is_some()) => {
                    Err("it was not started by us: its output is not ours".into())
                }
                Some(LogMode::Direct | LogMode::Pipe) => app.node.context.rotate(unit.clone()).await,
                Some(LogMode::Journald) => Err("its output goes to the journal".into()),
                Some(LogMode::None) | None => Err("its output is not kept".into()),
            };
            match rotated {
                Ok(report) => done(unit.as_str(), Some(rotation_text(&report))),
                Err(why) => TargetResult { target: unit.as_str().into(), ok: false, not_remembered: None, message: Some(why) },
            }
        }
    });
    Ok((StatusCode::OK, Json(ActionResponse { results: join_all(results).await })))
}

fn rotation_text(report: &RotateReport) -> String {
    let mut text = match report.rotated {
        0 => "nothing to rotate".to_owned(),
        bytes => format!("rotated {}", format_size(bytes)),
    };
    for (count, what) in [(u64::from(report.removed), "old files removed"), (report.dropped(), "bytes dropped beyond the quota")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

fn signal_help() -> String {
    let names: Vec<_> = Signal::names().collect();
    format!("known are {}, SIGRTMIN+n and numbers", names.join(", "))
}

fn resolve(node: &Node, targets: &[String]) -> Result<Vec<String>, Refusal> {
    if targets.is_empty() {
        return Err(Refusal::bad_request("no target is named"));
    }
    Ok(Known::of_plan(&node.tree.plan()).resolve(targets)?)
}

fn tell(node: &Node, peer: &Peer, command: &str, target: &str) {
    node.context.bus.tell(peer.asked(command, target));
}

fn done(target: &str, message: Option<String>) -> TargetResult {
    TargetResult { target: target.into(), ok: true, message, not_remembered: None }
}

fn failed(target: &str, message: String) -> TargetResult {
    TargetResult { target: target.into(), ok: false, message: Some(message), not_remembered: None }
}
