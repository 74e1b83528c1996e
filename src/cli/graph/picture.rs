//! A graph in the languages of those who draw it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command as Process, Stdio};

use crate::cli::exit::{Exit, Failure};
use crate::plan::{Edge, EdgeKind, Graph, Node, NodeKind};

/// Graphviz' language.
pub(super) fn dot(graph: &Graph) -> String {
    let mut out = String::from("digraph units {\n  rankdir=LR;\n  compound=true;\n  node [shape=box];\n");
    for step in steps(graph) {
        let _never_fails = match step {
            Step::Open(depth, node) => {
                let indent = "  ".repeat(depth);
                let label = format!("{} ({})", node.id, node.strategy.as_deref().unwrap_or_default());
                writeln!(out, "{indent}subgraph {} {{\n{indent}  label={};", quoted(&format!("cluster_{}", node.id)), quoted(&label))
            }
            Step::Close(depth) => writeln!(out, "{}}}", "  ".repeat(depth)),
            Step::Node(depth, node) => writeln!(out, "{}{}{};", "  ".repeat(depth), quoted(&node.id), look(node)),
        };
    }
    for edge in &graph.edges {
        let style = match edge.kind {
            EdgeKind::Binds | EdgeKind::PartOf | EdgeKind::RunsIn => "bold",
            EdgeKind::Requires | EdgeKind::Requisite | EdgeKind::Connected => "solid",
            EdgeKind::Wants => "dashed",
            EdgeKind::After => "dotted",
        };
        let label = label(edge);
        // One word needs no quotes.
        let label = if label.contains(|letter: char| !letter.is_ascii_alphanumeric()) { quoted(&label) } else { label };
        let ((from, cut), to) = (begin(graph, &edge.from), quoted(&edge.to));
        let _never_fails = writeln!(out, "  {from} -> {to} [label={label}, style={style}{cut}];");
    }
    out + "}\n"
}

/// Where an arrow begins. One that begins at a box is drawn from something in it, and cut at the box.
fn begin(graph: &Graph, id: &str) -> (String, String) {
    let at = graph.nodes.iter().position(|node| node.id == id && node.kind == NodeKind::Supervisor);
    let inner = at.and_then(|at| graph.nodes[at..].iter().find(|node| node.kind != NodeKind::Supervisor && node.is_declared()));
    match inner {
        Some(inner) => (quoted(&inner.id), format!(", ltail={}", quoted(&format!("cluster_{id}")))),
        None => (quoted(id), String::new()),
    }
}

/// How what is not ours is drawn.
fn look(node: &Node) -> String {
    let shape = match node.kind {
        NodeKind::Supervisor | NodeKind::Unit => return String::new(),
        NodeKind::Watched => "box, style=dashed",
        NodeKind::Systemd => "component",
        NodeKind::Socket => "ellipse",
    };
    format!(" [shape={shape}]")
}

fn label(edge: &Edge) -> String {
    let address = edge.address.as_ref().filter(|address| **address != edge.to);
    address.map_or_else(|| edge.kind.verb().to_owned(), |address| format!("{} {address}", edge.kind.verb()))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Mermaid's language, whose nodes need names of letters and digits.
pub(super) fn mermaid(graph: &Graph) -> String {
    let names: BTreeMap<&str, String> =
        graph.nodes.iter().zip(1..).map(|(node, number): (_, usize)| (node.id.as_str(), format!("n{number}"))).collect();
    // Quotes end a text, `#` begins the number of a letter.
    let text = |text: &str| text.replace('#', "#35;").replace('"', "#quot;");
    let mut out = String::from("flowchart LR\n");
    for step in steps(graph) {
        let _never_fails = match step {
            Step::Open(depth, node) => {
                let strategy = node.strategy.as_deref().unwrap_or_default();
                writeln!(out, "{}subgraph {}[\"{} ({strategy})\"]", "  ".repeat(depth), names[node.id.as_str()], text(&node.id))
            }
            Step::Close(depth) => writeln!(out, "{}end", "  ".repeat(depth)),
            Step::Node(depth, node) => {
                let (open, close) = if node.kind == NodeKind::Systemd { ("[[", "]]") } else { ("[", "]") };
                writeln!(out, "{}{}{open}\"{}\"{close}", "  ".repeat(depth), names[node.id.as_str()], text(&node.id))
            }
        };
    }
    for edge in &graph.edges {
        let arrow = match edge.kind {
            EdgeKind::Binds | EdgeKind::PartOf | EdgeKind::RunsIn => "==>",
            EdgeKind::Requires | EdgeKind::Requisite | EdgeKind::Connected => "-->",
            EdgeKind::Wants | EdgeKind::After => "-.->",
        };
        let label = label(edge);
        let label = if edge.address.is_some() { format!("\"{}\"", text(&label)) } else { label };
        let _never_fails = writeln!(out, "  {} {arrow}|{label}| {}", names[edge.from.as_str()], names[edge.to.as_str()]);
    }
    out
}

/// What is drawn one after the other, boxes within boxes, and how deep.
enum Step<'a> {
    /// The box of a supervisor begins.
    Open(usize, &'a Node),
    /// It ends.
    Close(usize),
    /// Something else.
    Node(usize, &'a Node),
}

fn steps(graph: &Graph) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for node in &graph.nodes {
        while open.last().is_some_and(|inner| node.parent.as_deref() != Some(*inner)) {
            open.pop();
            steps.push(Step::Close(open.len() + 1));
        }
        if node.kind == NodeKind::Supervisor {
            open.push(&node.id);
            steps.push(Step::Open(open.len(), node));
        } else {
            steps.push(Step::Node(open.len() + 1, node));
        }
    }
    steps.extend((0..open.len()).rev().map(|depth| Step::Close(depth + 1)));
    steps
}

/// A picture, drawn by Graphviz.
#[expect(clippy::disallowed_methods, reason = "commands may run programs and wait for them")]
pub(super) fn svg(graph: &str) -> Result<String, Failure> {
    let pipe = Stdio::piped;
    let mut drawing = Process::new("dot").arg("-Tsvg").stdin(pipe()).stdout(pipe()).spawn().map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot run `dot`, which draws the picture: {error}"))
            .help("install Graphviz, or take `--format mermaid`, which Markdown viewers draw")
    })?;
    // All of it is read before any of it is drawn: writing first cannot block for ever.
    let written = drawing.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(graph.as_bytes()));
    let drawn = drawing.wait_with_output()?;
    written?;
    match String::from_utf8(drawn.stdout) {
        Ok(picture) if drawn.status.success() => Ok(picture),
        _ => Err(Failure::new(Exit::Failed, format!("`dot` could not draw the graph: {}", drawn.status))),
    }
}
