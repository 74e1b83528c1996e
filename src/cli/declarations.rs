//! `check`, `plan` and `reload`: from files to what runs.

use std::io::IsTerminal as _;
use std::path::Path;

use serde_json::json;

use super::exit::{Ending, Exit, Failure, json};
use super::output::wants_color;
use super::{Session, render};
use crate::api::client::ClientError;
use crate::api::dto::Changes;
use crate::plan::{Child, Plan, resolve};
use crate::spec::{self, Diagnostics};

pub(super) fn check(session: &mut Session, directory: Option<&Path>, as_json: bool) -> Ending {
    if directory.is_some() {
        session.config = directory.map(Path::to_owned);
    }
    let (plan, diagnostics) = load(session)?;
    let exit = if plan.is_some() { Exit::Done } else { Exit::Bad };
    if as_json {
        let counts = plan.as_ref().map_or((0, 0), |plan| (plan.units.len(), plan.supervisors.len()));
        let found = json!({
            "ok": plan.is_some(), "errors": diagnostics.len(), "units": counts.0, "supervisors": counts.1,
            "diagnostics": diagnostics.to_json(),
        });
        json(&mut session.out, &found)?;
        return Ok(exit);
    }
    match plan {
        Some(plan) => session.out.line(&format!(
            "{} and {} are fine",
            count(plan.units.len(), "unit"),
            count(plan.supervisors.len(), "supervisor")
        ))?,
        None => return Err(faulty(&diagnostics)),
    }
    Ok(exit)
}

pub(super) fn plan(session: &mut Session, as_json: bool) -> Ending {
    match session.client()?.get::<Changes>("/v1/plan/changes") {
        Ok(changes) => show(session, &changes, as_json),
        Err(ClientError::NoDaemon(_)) => plan_offline(session, as_json),
        Err(error) => Err(error.into()),
    }
}

fn plan_offline(session: &mut Session, as_json: bool) -> Ending {
    let (plan, diagnostics) = load(session)?;
    let Some(plan) = plan else { return Err(faulty(&diagnostics)) };
    if as_json {
        return json(&mut session.out, &plan);
    }
    session.out.line("no daemon is running here; `run` would start:")?;
    session.out.line(&render::branches(&outline(&plan)))?;
    Ok(Exit::Done)
}

/// The plan as lines, each so deep.
fn outline(plan: &Plan) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open = vec![(0, Child::Supervisor(plan.root.clone()))];
    while let Some((depth, child)) = open.pop() {
        match &child {
            Child::Supervisor(id) => {
                let supervisor = &plan.supervisors[id];
                lines.push((depth, format!("{id} {}", supervisor.strategy)));
                open.extend(supervisor.children.iter().rev().map(|child| (depth + 1, child.clone())));
            }
            Child::Unit(id) => {
                let unit = &plan.units[id];
                let does = unit.watch.as_ref().map_or_else(|| unit.exec.join(" "), |watch| format!("watches {watch}"));
                lines.push((depth, format!("{id} {does}")));
            }
        }
    }
    lines
}

pub(super) fn reload(session: &mut Session, as_json: bool) -> Ending {
    let client = session.client()?;
    let changes: Changes = client.block_on(client.post("/v1/reload", &()))?;
    show(session, &changes, as_json)
}

fn show(session: &mut Session, changes: &Changes, as_json: bool) -> Ending {
    if as_json {
        return json(&mut session.out, &changes.changes);
    }
    if changes.empty {
        session.out.line("nothing changes")?;
    } else {
        session.out.text(&changes.text)?;
    }
    Ok(Exit::Done)
}

pub(super) fn load(session: &Session) -> Result<(Option<Plan>, Diagnostics), Failure> {
    let directory = session.config()?;
    Ok(resolve(&spec::load(&directory), &directory))
}

pub(super) fn faulty(diagnostics: &Diagnostics) -> Failure {
    Failure::report_of(Exit::Bad, diagnostics.render(wants_color(std::io::stderr().is_terminal())))
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
