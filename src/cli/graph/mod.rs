//! `graph`: who depends on whom, and what falls if something is stopped.

mod picture;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use self::picture::{dot, mermaid, svg};
use super::args::{GraphArgs, GraphFormat};
use super::declarations::{faulty, load};
use super::exit::{Ending, Exit, json};
use super::{Session, render};
use crate::api::client::escape;
use crate::api::dto::Falls;
use crate::api::targets::Known;
use crate::plan::{EdgeKind, Graph, Node, NodeKind, fall};

/// What `--live` shows.
pub(super) const HELP: &str = "\
Without --live: what the files declare. With --live: what the daemon runs, and what is seen here:
  runs in UNIT          the unit of systemd that the daemon, or what is only watched, is in
  requires, wants, after, binds, requisite, part of
                        of units of systemd: what they need and who needs them, one step from ours.
                        Left out is what everything has: slices, -.mount, sysinit.target,
                        basic.target, shutdown.target, systemd-journald.socket
  connected UNIT ADDRESS, listens on ADDRESS
                        TCP and Unix sockets. Left out are other machines, and /run/systemd
With --stop: systemd stops what requires, binds to or is part of it; here only what binds stops.
";

pub(super) fn graph(session: &mut Session, args: &GraphArgs) -> Ending {
    match (args.live, args.stop.is_empty()) {
        (true, true) => {
            let graph = session.client()?.get("/v1/graph")?;
            show(session, args, &graph)
        }
        (true, false) => {
            let falls: Falls = session.client()?.get(&format!("/v1/graph/falls/{}", escape(&args.stop.join(","))))?;
            if args.json {
                return json(&mut session.out, &falls);
            }
            tell(session, &falls)
        }
        (false, is_whole) => {
            let (plan, diagnostics) = load(session)?;
            let Some(plan) = plan else { return Err(faulty(&diagnostics)) };
            let graph = Graph::of(&plan);
            if is_whole {
                return show(session, args, &graph);
            }
            let named = Known::of_plan(&plan).resolve(&args.stop).map_err(super::status::not_found)?;
            let stopped = plan.units_below(&named).into_iter().map(|unit| unit.as_str().to_owned()).collect();
            let falls = fall(&graph, &stopped);
            if args.json {
                return json(&mut session.out, &falls);
            }
            tell(session, &Falls { falls, notes: Vec::new() })
        }
    }
}

fn show(session: &mut Session, args: &GraphArgs, graph: &Graph) -> Ending {
    if args.json {
        return json(&mut session.out, graph);
    }
    let text = match args.format {
        GraphFormat::Text => text(graph),
        GraphFormat::Dot => dot(graph),
        GraphFormat::Mermaid => mermaid(graph),
        GraphFormat::Svg => svg(&dot(graph))?,
    };
    session.out.text(&text)?;
    Ok(Exit::Done)
}

fn tell(session: &mut Session, Falls { falls, notes }: &Falls) -> Ending {
    for fall in falls {
        session.out.line(&fall.to_string())?;
    }
    if falls.is_empty() {
        session.out.line("nothing else is concerned")?;
    }
    for note in notes {
        session.out.line(note)?;
    }
    Ok(Exit::Done)
}

/// The tree with what each depends on; below it, each under its heading, what else there is, and what could not be seen.
fn text(graph: &Graph) -> String {
    let mut out = render::branches(&outline(graph)) + "\n";
    for (heading, kind) in [("systemd", NodeKind::Systemd), ("sockets of others", NodeKind::Socket)] {
        let nodes = graph.nodes.iter().filter(|node| node.kind == kind).map(|node| (1, line(graph, node)));
        let lines: Vec<_> = std::iter::once((0, heading.to_owned())).chain(nodes).collect();
        if lines.len() > 1 {
            out.push_str(&render::branches(&lines));
            out.push('\n');
        }
    }
    for note in &graph.notes {
        let _never_fails = writeln!(out, "{note}");
    }
    out
}

/// What is declared as lines, each so deep.
fn outline(graph: &Graph) -> Vec<(usize, String)> {
    let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    // Whatever is above a node comes before it.
    for node in graph.nodes.iter().filter(|node| node.is_declared()) {
        let depth = node.parent.as_deref().and_then(|parent| depths.get(parent)).map_or(0, |above| above + 1);
        depths.insert(&node.id, depth);
        lines.push((depth, line(graph, node)));
    }
    lines
}

/// A node with what it depends on, and where it listens: `web requires db; connected db 127.0.0.1:5432`.
fn line(graph: &Graph, node: &Node) -> String {
    let mut needs: BTreeMap<EdgeKind, Vec<String>> = BTreeMap::new();
    for edge in graph.edges_from(&node.id) {
        let address = edge.address.as_ref().filter(|address| **address != edge.to);
        needs.entry(edge.kind).or_default().push(address.map_or_else(|| edge.to.clone(), |address| format!("{} {address}", edge.to)));
    }
    let mut parts: Vec<String> = needs.into_iter().map(|(kind, needed)| format!("{} {}", kind.verb(), needed.join(", "))).collect();
    if !node.listens.is_empty() {
        parts.push(format!("listens on {}", node.listens.iter().map(String::as_str).collect::<Vec<_>>().join(", ")));
    }
    // What a node is, is a word of its own only where that is known.
    match node.strategy.as_ref().or(node.state.as_ref()) {
        Some(word) if parts.is_empty() => format!("{} {word}", node.id),
        Some(word) => format!("{} {word}; {}", node.id, parts.join("; ")),
        None => format!("{} {}", node.id, parts.join("; ")).trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests;
