//! `critical-chain`: what a start was waiting for.

use super::exit::{Ending, Exit, Failure, json};
use super::{Session, render};
use crate::api::client::escape;
use crate::base::time::format_duration;
use crate::plan::ChainLink;

pub(super) fn critical_chain(session: &mut Session, unit: Option<&str>, as_json: bool) -> Ending {
    let query = unit.map(|unit| format!("?unit={}", escape(unit))).unwrap_or_default();
    let chain: Vec<ChainLink> = session.client()?.get(&format!("/v1/critical-chain{query}"))?;
    if as_json {
        return json(&mut session.out, &chain);
    }
    if chain.is_empty() {
        let what = unit.map_or_else(|| "no unit is active".to_owned(), |unit| format!("`{unit}` is not active"));
        return Err(Failure::new(Exit::Failed, format!("{what}, or it is not known any more when it started")));
    }
    session.out.line(&text(&chain))?;
    Ok(Exit::Done)
}

/// Each with when it was in operation, counted from the first start of the chain, and how long that took it.
fn text(chain: &[ChainLink]) -> String {
    let first = chain.iter().map(|link| link.started).min().unwrap_or_default();
    let line = |(depth, link): (usize, &ChainLink)| {
        let [at, took] = [first, link.started].map(|from| format_duration(link.active.since(from)));
        (depth, format!("{} @{at} +{took}", link.unit))
    };
    render::branches(&chain.iter().enumerate().map(line).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Wall;

    #[test]
    fn a_chain_tells_when_and_how_long() {
        let link = |unit: &str, started: i64, active: i64| ChainLink { unit: unit.into(), started: Wall(started), active: Wall(active) };
        let chain = [link("web", 1_650, 2_000), link("db", 150, 1_600), link("net", 100, 140)];
        assert_eq!(text(&chain), "web @1s900ms +350ms\n└── db @1s500ms +1s450ms\n    └── net @40ms +40ms");
    }
}
