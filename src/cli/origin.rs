//! `plan --origin`: which file set each value.

use super::Session;
use super::declarations::{faulty, files};
use super::exit::{Ending, Exit, Failure, json};
use super::output::Look;
use crate::spec::{Source, Trace, Traced, did_you_mean, trace};

/// The widest column of values on a terminal.
const VALUE_MAX: usize = 48;

pub(super) fn origin(session: &mut Session, name: &str, as_json: bool) -> Ending {
    let files = files(session, None)?.map_err(|diagnostics| faulty(&diagnostics))?;
    let all = trace(files);
    let template = name.split_once('@').map_or(name, |(template, _)| template);
    let known: Vec<_> = all.iter().map(|trace| trace.name.clone()).collect();
    let wanted: Vec<_> = all.into_iter().filter(|trace| name.is_empty() || trace.name == template).collect();
    if wanted.is_empty() {
        let failure = Failure::new(Exit::Unknown, format!("there is no unit or supervisor called `{name}`"));
        return Err(match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(help) => failure.help(help),
            None => failure,
        });
    }
    if as_json {
        return json(&mut session.out, &wanted);
    }
    let look = session.out.look;
    for (place, trace) in wanted.iter().enumerate() {
        if place > 0 {
            session.out.line("")?;
        }
        session.out.text(&table(look, trace))?;
    }
    Ok(Exit::Done)
}

/// One line for each value: key, value, who set it.
fn table(look: Look, trace: &Trace) -> String {
    let kind = match trace.kind {
        Traced::Daemon => "",
        Traced::Supervisor => "supervisor ",
        Traced::Unit => "unit ",
    };
    let cut = |value: &str| {
        let value = value.replace('\n', "\\n");
        if look.width.is_none() || value.chars().count() <= VALUE_MAX {
            return value;
        }
        value.chars().take(VALUE_MAX - 1).chain(['…']).collect()
    };
    let rows: Vec<_> = trace.values.iter().map(|row| (&row.key, cut(&row.value), &row.source)).collect();
    let key_width = rows.iter().map(|(key, ..)| key.chars().count()).max().unwrap_or(0);
    let value_width = rows.iter().map(|(_, value, _)| value.chars().count()).filter(|width| *width <= VALUE_MAX).max().unwrap_or(0);
    let mut out = format!("{}\n", look.bold(&format!("{kind}{}", trace.name)));
    for (key, value, source) in rows {
        let source_text = source.to_string();
        let source_text = if *source == Source::Default { look.dim(&source_text) } else { source_text };
        out.push_str(&format!("  {key:key_width$}  {value:value_width$}  {source_text}\n"));
    }
    out
}
