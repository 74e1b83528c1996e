//! `tier` and `plan --tier`: what a tier sets, and what another one would change.

use serde::Serialize;
use serde_json::json;

use super::Session;
use super::declarations::{faulty, plan_with, show_diff};
use super::exit::{Ending, Exit, json};
use crate::base::choice::Choice as _;
use crate::base::tier::Tier;
use crate::plan::diff;
use crate::spec::{Setting, profile_of};

pub(super) fn tier(session: &mut Session, tier: Option<Tier>, other: Option<Tier>, as_json: bool) -> Ending {
    match (tier, other) {
        (None, _) => in_force(session, as_json),
        (Some(tier), None) => profile(session, tier, as_json),
        (Some(tier), Some(other)) => compare(session, tier, other, as_json),
    }
}

/// What another tier would change of what is declared here.
pub(super) fn what_if(session: &mut Session, tier: Tier, as_json: bool) -> Ending {
    let now = plan_with(session, None)?.map_err(|diagnostics| faulty(&diagnostics))?;
    let then = plan_with(session, Some(tier.as_str()))?.map_err(|diagnostics| faulty(&diagnostics))?;
    show_diff(session, &diff(&now, &then), as_json)
}

/// Which one is in force here.
fn in_force(session: &mut Session, as_json: bool) -> Ending {
    let plan = plan_with(session, None)?.map_err(|diagnostics| faulty(&diagnostics))?;
    let tier = plan.daemon.tier;
    if as_json {
        return json(&mut session.out, &json!({"tier": tier, "purpose": tier.map(Tier::purpose)}));
    }
    session.out.line(&match tier {
        Some(tier) => format!("{tier} ({}) is in force", tier.purpose()),
        None => "no tier is chosen: the defaults of this program hold".into(),
    })?;
    for (tier, word, meaning) in Tier::ALL {
        let meaning = meaning.split_once(": ").map_or(*meaning, |(_, meaning)| meaning);
        session.out.line(&format!("  {word} ({}): {meaning}", tier.purpose()))?;
    }
    session
        .out
        .line("choose one with `tier:` in daemon.yaml or by MS_TIER in the environment; `plan --tier TIER` shows what it would change")?;
    Ok(Exit::Done)
}

fn profile(session: &mut Session, tier: Tier, as_json: bool) -> Ending {
    let rows = profile_of(tier);
    if as_json {
        return json(&mut session.out, &json!({"tier": tier, "purpose": tier.purpose(), "settings": rows}));
    }
    let rows: Vec<_> = rows.iter().map(|row| [row.whom.clone(), row.key.clone(), row.value.clone(), assumed(row)]).collect();
    print(session, [format!("{tier} ({})", tier.purpose()), String::new(), "sets".into(), "instead of".into()], &rows)
}

/// A key that two tiers set differently; none is what is assumed without either.
#[derive(Serialize)]
struct Difference {
    whom: String,
    key: String,
    from: Option<String>,
    to: Option<String>,
    default: Option<String>,
}

fn compare(session: &mut Session, tier: Tier, other: Tier, as_json: bool) -> Ending {
    let differences = differences(&profile_of(tier), &profile_of(other));
    if as_json {
        return json(&mut session.out, &json!({"from": tier, "to": other, "differences": differences}));
    }
    if differences.is_empty() {
        session.out.line("there is no difference")?;
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = differences
        .into_iter()
        .map(|row| {
            let assumed = row.default.map_or_else(|| "-".to_owned(), |default| format!("({default})"));
            [row.whom, row.key, row.from.unwrap_or_else(|| assumed.clone()), row.to.unwrap_or(assumed)]
        })
        .collect();
    print(session, [String::new(), String::new(), tier.to_string(), other.to_string()], &rows)
}

/// By whom and key, the daemon's last.
fn differences(one: &[Setting], two: &[Setting]) -> Vec<Difference> {
    let value = |rows: &[Setting], row: &Setting| {
        rows.iter().find(|other| (&other.whom, &other.key) == (&row.whom, &row.key)).map(|row| row.value.clone())
    };
    let mut found: Vec<Difference> = Vec::new();
    for row in one.iter().chain(two) {
        let (from, to, default) = (value(one, row), value(two, row), &row.default);
        let is_known = found.iter().any(|other| (&other.whom, &other.key) == (&row.whom, &row.key));
        if !is_known && from.as_ref().or(default.as_ref()) != to.as_ref().or(default.as_ref()) {
            found.push(Difference { whom: row.whom.clone(), key: row.key.clone(), from, to, default: default.clone() });
        }
    }
    found.sort_by(|a, b| (a.whom == "daemon", &a.whom, &a.key).cmp(&(b.whom == "daemon", &b.whom, &b.key)));
    found
}

fn assumed(row: &Setting) -> String {
    row.default.as_ref().map_or_else(|| "-".into(), |default| format!("({default})"))
}

/// A table; what is not set by a tier stands in brackets.
fn print(session: &mut Session, head: [String; 4], rows: &[[String; 4]]) -> Ending {
    let width = |column: usize| rows.iter().chain([&head]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for (place, [whom, key, one, two]) in [&head].into_iter().chain(rows).enumerate() {
        let line = format!("{whom:a$}  {key:b$}  {one:c$}  {two}", a = widths[0], b = widths[1], c = widths[2]);
        let line = line.trim_end();
        session.out.line(&if place == 0 { session.out.look.bold(line) } else { line.to_owned() })?;
    }
    Ok(Exit::Done)
}
