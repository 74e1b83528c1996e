//! `status`, `environment` and `tree`.

use std::collections::BTreeSet;

use super::exit::{Ending, Exit, json};
use super::{Session, limits, render};
use crate::api::client::{ClientError, escape};
use crate::api::dto::{Environment, Status, TreeRow, UnitDetails};
use crate::api::targets::Known;

pub(super) fn status(session: &mut Session, units: &[String], as_json: bool) -> Ending {
    let client = session.client()?;
    let mut status: Status = client.get("/v1/status")?;
    if !units.is_empty() {
        let named = Known::of_status(&status).resolve(units).map_err(not_found)?;
        if let ([name], [only]) = (units, named.as_slice())
            && name == only
            && status.units.iter().any(|unit| unit.unit.as_str() == only)
        {
            let details: UnitDetails = client.get(&format!("/v1/units/{only}"))?;
            return if as_json {
                json(&mut session.out, &details)
            } else {
                print(session, &render::unit_details(session.out.look, &details))
            };
        }
        let wanted = units_below(&status, &named);
        status.units.retain(|unit| wanted.contains(unit.unit.as_str()));
        status.supervisors.retain(|supervisor| named.iter().any(|name| name == supervisor.supervisor.as_str()));
    }
    if as_json {
        return json(&mut session.out, &status);
    }
    let look = session.out.look;
    if units.is_empty() {
        session.out.line(&render::headline(look, &status.daemon, &status.units))?;
        let troubles = [
            render::health_trouble(look, status.health.get("root")),
            render::store_trouble(&status.daemon.store),
            render::host_trouble(&status.daemon.host),
            render::degradation_trouble(&status.daemon.degradation),
            limits::trouble(&status.daemon.limits),
        ];
        for trouble in troubles.iter().filter(|trouble| !trouble.is_empty()) {
            session.out.line(trouble)?;
        }
    }
    if !units.is_empty() {
        let used = limits::supervisors(&status);
        if !used.is_empty() {
            session.out.line(&used)?;
        }
    }
    print(session, &render::status_table(look, &status))
}

/// The units among `names`, and those below the supervisors among them.
pub(super) fn units_below(status: &Status, names: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<_> = names.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        match status.supervisors.iter().find(|supervisor| supervisor.supervisor.as_str() == name) {
            Some(supervisor) if seen.insert(name) => open.extend(supervisor.children.iter().map(String::as_str)),
            Some(_) => {}
            None => drop(found.insert(name.to_owned())),
        }
    }
    found
}

pub(super) fn not_found(error: crate::api::dto::ApiError) -> ClientError {
    ClientError::Refused { status: hyper::StatusCode::NOT_FOUND, error: Box::new(error) }
}

pub(super) fn tree(session: &mut Session, as_json: bool) -> Ending {
    let rows: Vec<TreeRow> = session.client()?.get("/v1/tree")?;
    if as_json { json(&mut session.out, &rows) } else { print(session, &render::tree(session.out.look, &rows)) }
}

pub(super) fn environment(session: &mut Session, unit: &str, as_json: bool) -> Ending {
    let environment: Environment = session.client()?.get(&format!("/v1/units/{}/environment", escape(unit)))?;
    if as_json {
        return json(&mut session.out, &environment);
    }
    let lines: Vec<_> = environment.variables.iter().map(|variable| format!("{}={}", variable.name, variable.value)).collect();
    print(session, &lines.join("\n"))
}

fn print(session: &mut Session, text: &str) -> Ending {
    session.out.line(text)?;
    Ok(Exit::Done)
}
