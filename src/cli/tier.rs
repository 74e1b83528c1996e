//! `tier` and `plan --tier`: what a tier sets, and what another one would change.

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

fn compare(session: &mut Session, tier: Tier, other: Tier, as_json: bool) -> Ending {
    let (one, two) = (profile_of(tier), profile_of(other));
    let value = |rows: &[Setting], row: &Setting| {
        rows.iter().find(|other| (&other.whom, &other.key) == (&row.whom, &row.key)).map(|row| row.value.clone())
    };
    let mut rows: Vec<(String, String, Option<String>, Option<String>, Option<String>)> = Vec::new();
    for row in one.iter().chain(&two) {
        let (before, after) = (value(&one, row), value(&two, row));
        if before != after && !rows.iter().any(|(whom, key, ..)| (whom, key) == (&row.whom, &row.key)) {
            rows.push((row.whom.clone(), row.key.clone(), before, after, row.default.clone()));
        }
    }
    if as_json {
        let rows: Vec<_> = rows.iter().map(|(whom, key, before, after, default)| json!({"whom": whom, "key": key, tier.as_str(): before, other.as_str(): after, "default": default})).collect();
        return json(&mut session.out, &json!({"from": tier, "to": other, "differences": rows}));
    }
    if rows.is_empty() {
        session.out.line("there is no difference")?;
        return Ok(Exit::Done);
    }
    let shown = |value: Option<String>, default: &Option<String>| {
        value.unwrap_or_else(|| default.as_ref().map_or_else(|| "-".into(), |default| format!("({default})")))
    };
    let rows: Vec<_> =
        rows.into_iter().map(|(whom, key, before, after, default)| [whom, key, shown(before, &default), shown(after, &default)]).collect();
    print(session, [String::new(), String::new(), tier.to_string(), other.to_string()], &rows)
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
