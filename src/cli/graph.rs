//! `graph`: who depends on whom, and what falls if something is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command as Process, Stdio};

use super::args::{GraphArgs, GraphFormat};
use super::declarations::{faulty, load};
use super::exit::{Ending, Exit, Failure, json};
use super::{Session, render};
use crate::api::targets::Known;
use crate::base::id::UnitId;
use crate::plan::{Child, Plan, SupervisorPlan, UnitPlan, fall};

pub(super) fn graph(session: &mut Session, args: &GraphArgs) -> Ending {
    let (plan, diagnostics) = load(session)?;
    let Some(plan) = plan else { return Err(faulty(&diagnostics)) };
    if args.stop.is_empty() {
        let text = match args.format {
            GraphFormat::Text => render::branches(&outline(&plan)) + "\n",
            GraphFormat::Dot => dot(&plan),
            GraphFormat::Mermaid => mermaid(&plan),
            GraphFormat::Svg => svg(&dot(&plan))?,
        };
        session.out.text(&text)?;
        return Ok(Exit::Done);
    }
    let named = Known::of_plan(&plan).resolve(&args.stop).map_err(super::status::not_found)?;
    let stopped: BTreeSet<UnitId> = plan.units_below(&named).into_iter().collect();
    let falls = fall(&plan, &stopped);
    if args.json {
        return json(&mut session.out, &falls);
    }
    for fall in &falls {
        session.out.line(&fall.to_string())?;
    }
    if falls.is_empty() {
        session.out.line("nothing else is concerned")?;
    }
    Ok(Exit::Done)
}

/// What a unit depends on: the verb, and the units.
fn edges(unit: &UnitPlan) -> [(&'static str, &[UnitId]); 4] {
    [("binds", &unit.binds), ("requires", &unit.requires), ("wants", &unit.wants), ("after", &unit.after)]
}

/// The tree as lines, each so deep, with what each unit depends on.
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
                let names = |units: &[UnitId]| units.iter().map(UnitId::as_str).collect::<Vec<_>>().join(", ");
                let needs = edges(&plan.units[id]).into_iter().filter(|(_, units)| !units.is_empty());
                let needs: Vec<_> = needs.map(|(verb, units)| format!("{verb} {}", names(units))).collect();
                lines.push((depth, format!("{id} {}", needs.join("; ")).trim_end().to_owned()));
            }
        }
    }
    lines
}

/// Graphviz' language.
fn dot(plan: &Plan) -> String {
    let mut out = String::from("digraph units {\n  rankdir=LR;\n  node [shape=box];\n");
    boxes(plan, &plan.supervisors[&plan.root], 1, &mut out, &|id, supervisor, depth| {
        let indent = "  ".repeat(depth);
        format!("{indent}subgraph \"cluster_{id}\" {{\n{indent}  label=\"{id} ({})\";\n", supervisor.strategy)
    });
    for unit in plan.units.values() {
        for (verb, needed) in edges(unit) {
            let style = match verb {
                "binds" => "bold",
                "requires" => "solid",
                "wants" => "dashed",
                _ => "dotted",
            };
            for needed in needed {
                let _never_fails = writeln!(out, "  \"{}\" -> \"{needed}\" [label={verb}, style={style}];", unit.id);
            }
        }
    }
    out + "}\n"
}

/// A picture, drawn by Graphviz.
#[expect(clippy::disallowed_methods, reason = "commands may run programs and wait for them")]
fn svg(graph: &str) -> Result<String, Failure> {
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

/// Boxes within boxes; `begin` opens one.
fn boxes(plan: &Plan, supervisor: &SupervisorPlan, depth: usize, out: &mut String, begin: &dyn Fn(&str, &SupervisorPlan, usize) -> String) {
    out.push_str(&begin(supervisor.id.as_str(), supervisor, depth));
    let indent = "  ".repeat(depth);
    for child in &supervisor.children {
        match child {
            Child::Supervisor(id) => boxes(plan, &plan.supervisors[id], depth + 1, out, begin),
            Child::Unit(id) => {
                let _never_fails = writeln!(out, "{indent}  \"{id}\";");
            }
        }
    }
    let _never_fails = writeln!(out, "{indent}}}");
}

/// Mermaid's language, whose nodes need names of letters and digits.
fn mermaid(plan: &Plan) -> String {
    let numbers: BTreeMap<&UnitId, usize> = plan.units.keys().zip(1..).collect();
    let mut out = String::from("flowchart LR\n");
    let mut open = vec![(1, Some(Child::Supervisor(plan.root.clone())))];
    let mut count = 0;
    while let Some((depth, child)) = open.pop() {
        let indent = "  ".repeat(depth);
        let _never_fails = match &child {
            None => writeln!(out, "{indent}end"),
            Some(Child::Unit(id)) => writeln!(out, "{indent}u{}[\"{id}\"]", numbers[id]),
            Some(Child::Supervisor(id)) => {
                let supervisor = &plan.supervisors[id];
                count += 1;
                open.push((depth, None));
                open.extend(supervisor.children.iter().rev().map(|child| (depth + 1, Some(child.clone()))));
                writeln!(out, "{indent}subgraph s{count}[\"{id} ({})\"]", supervisor.strategy)
            }
        };
    }
    for unit in plan.units.values() {
        for (verb, needed) in edges(unit) {
            let arrow = match verb {
                "binds" => "==>",
                "requires" => "-->",
                _ => "-.->",
            };
            for needed in needed {
                let _never_fails = writeln!(out, "  u{} {arrow}|{verb}| u{}", numbers[&unit.id], numbers[needed]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    fn plan() -> Plan {
        let units = "unit: db\nexec: x\n---\nunit: web\nexec: x\ninstances: 2\nbinds: db\nwants: cache\n---\n\
                     unit: cache\nexec: x\nrequires: db\n---\nunit: cron\nexec: x\nafter: web@1\n";
        let tree =
            "supervisor: root\nstrategy: rest_for_one\nchildren: [db, front, cron]\n---\nsupervisor: front\nchildren: [web, cache]\n";
        plan_of(&[("units/a.yaml", units), ("supervisors/a.yaml", tree)])
    }

    #[test]
    fn a_graph_is_text_dot_and_mermaid() {
        let plan = plan();
        insta::assert_snapshot!(format!("{}\n\n{}\n{}", render::branches(&outline(&plan)), dot(&plan), mermaid(&plan)));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "runs Graphviz")]
    fn graphviz_draws_it() {
        if Process::new("dot").arg("-V").stderr(Stdio::null()).status().is_err() {
            return println!("SKIPPED: Graphviz is not installed");
        }
        let picture = svg(&dot(&plan())).unwrap();
        assert!(picture.contains("web@2") && picture.matches("class=\"edge\"").count() == 6, "{picture}");
        assert!(svg("digraph {").is_err());
    }
}
