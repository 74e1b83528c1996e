//! `set` and `unset`: values beside the files.

use super::Session;
use super::args::{SetArgs, UnsetArgs};
use super::declarations::show;
use super::exit::{Ending, Exit, json};
use crate::api::dto::{Changes, SetBody};
use crate::base::time::approx_duration;
use crate::event::Override;
use crate::os::clock;

pub(super) fn set(session: &mut Session, args: SetArgs) -> Ending {
    let Some(target) = args.target else { return list(session, args.json) };
    let body = SetBody {
        target,
        values: args.values,
        milliseconds: args.duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        reason: args.reason,
        ..SetBody::default()
    };
    send(session, &body, args.json)
}

pub(super) fn unset(session: &mut Session, args: UnsetArgs) -> Ending {
    let body = SetBody { target: args.target, unset_all: args.keys.is_empty(), unset: args.keys, ..SetBody::default() };
    send(session, &body, args.json)
}

fn send(session: &mut Session, body: &SetBody, as_json: bool) -> Ending {
    let client = session.client()?;
    let changes: Changes = client.block_on(client.post("/v1/overrides", body))?;
    show(session, &changes, as_json)
}

fn list(session: &mut Session, as_json: bool) -> Ending {
    let list: Vec<Override> = session.client()?.get("/v1/overrides")?;
    if as_json {
        return json(&mut session.out, &list);
    }
    if list.is_empty() {
        session.out.line("nothing is set beside the files")?;
        return Ok(Exit::Done);
    }
    let now = clock::wall();
    for set in &list {
        let until = match set.until {
            Some(until) => format!("for {} more", approx_duration(until.since(now))),
            None => "until it is taken back".into(),
        };
        let reason = set.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        session.out.line(&format!("{} {}={}, {until}{reason}", set.target, set.key, set.value))?;
    }
    Ok(Exit::Done)
}
