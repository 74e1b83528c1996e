//! `check`, `plan` and `reload`: from files to what runs.

use std::io::IsTerminal as _;
use std::path::Path;

use serde_json::json;

use super::exit::{Ending, Exit, Failure, json};
use super::output::wants_color;
use super::{Session, render};
use crate::api::client::ClientError;
use crate::api::dto::{Changes, Status};
use crate::os::paths::SOCKET_PATH_MAX;
use crate::os::{inherited, trust};
use crate::plan::{Child, Diff, Plan, resolve, with_sockets};
use crate::spec::{self, Declared, Diagnostics, SourceFile};

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

pub(super) fn show(session: &mut Session, changes: &Changes, as_json: bool) -> Ending {
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
    let declared = spec::load_trusted(&directory, inherited::tier().as_deref(), &trust::refusal);
    let found = resolve(&declared, &directory);
    // Where there is no place for a daemon, nothing can be too long for it.
    let Ok(directories) = session.directories() else { return Ok(found) };
    Ok(with_sockets(&declared, found, &|unit| directories.notify_socket(unit), SOCKET_PATH_MAX))
}

/// Which tier the environment chooses: that of the daemon, if one runs here, else of this command.
fn forced_tier(session: &Session) -> Option<String> {
    let status: Option<Status> = session.client().ok().and_then(|client| client.get("/v1/status").ok());
    status.map_or_else(inherited::tier, |status| status.daemon.forced_tier)
}

/// The declarations with `tier`, or with the one in force.
fn declared(session: &Session, tier: Option<&str>) -> Result<Declared, Failure> {
    let tier = tier.map(str::to_owned).or_else(|| forced_tier(session));
    Ok(spec::load_trusted(&session.config()?, tier.as_deref(), &trust::refusal))
}

/// The plan of the declarations with `tier`, or with the one in force; or what is wrong.
pub(super) fn plan_with(session: &Session, tier: Option<&str>) -> Result<Result<Plan, Diagnostics>, Failure> {
    let (plan, diagnostics) = resolve(&declared(session, tier)?, &session.config()?);
    Ok(plan.ok_or(diagnostics))
}

/// The plan of the declarations as they are, whoever may have written them: nothing is run of it.
pub(super) fn plan_of_whoever(session: &Session) -> Result<Result<Plan, Diagnostics>, Failure> {
    let directory = session.config()?;
    let (plan, diagnostics) = resolve(&spec::load(&directory, forced_tier(session).as_deref()), &directory);
    Ok(plan.ok_or(diagnostics))
}

/// The files of the declarations with `tier`, or with the one in force, if nothing is wrong with them.
pub(super) fn files(session: &Session, tier: Option<&str>) -> Result<Result<Vec<SourceFile>, Diagnostics>, Failure> {
    let declared = declared(session, tier)?;
    let (plan, diagnostics) = resolve(&declared, &session.config()?);
    Ok(plan.map(|_| declared.files().collect()).ok_or(diagnostics))
}

/// What changes from one plan to another.
pub(super) fn show_diff(session: &mut Session, diff: &Diff, as_json: bool) -> Ending {
    let changes = serde_json::to_value(diff).map_err(|error| Failure::new(Exit::Failed, format!("cannot write JSON: {error}")))?;
    show(session, &Changes { text: diff.to_string(), empty: diff.is_empty(), changes }, as_json)
}

pub(super) fn faulty(diagnostics: &Diagnostics) -> Failure {
    Failure::report_of(Exit::Bad, diagnostics.render(wants_color(std::io::stderr().is_terminal())))
}

pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
