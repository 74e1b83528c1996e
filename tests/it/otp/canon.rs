//! The canonical form of a trace: what OTP leaves unordered is sorted.

use serde_json::Value;

use super::scenario::Scenario;

/// Puts a trace into canonical form.
///
/// - Children of one `simple_one_for_one` supervisor that end in a row end in parallel: such a run is sorted.
/// - An operation marked `"order":"any"` has what happens in it sorted.
/// - OTP sums up the shutdown errors of a dynamic supervisor that stops, with a count; ours names each: both are left out.
pub(super) fn canonical(scenario: &Scenario, trace: Vec<Value>) -> Vec<Value> {
    let any_order = |number: u64| {
        let operation = usize::try_from(number).ok().and_then(|number| scenario.operations.get(number.checked_sub(1)?));
        operation.is_some_and(|operation| operation["order"] == "any")
    };
    let (mut out, mut block, mut operation) = (Vec::new(), Vec::new(), None);
    for line in trace {
        if line["ev"] == "op" {
            flush(&mut out, std::mem::take(&mut block), operation, operation.is_some_and(any_order));
            operation = line["i"].as_u64();
            out.push(line);
        } else if line["ev"] != "report" || !(line["context"] == "shutdown_error" && is_pool(scenario, &line)) {
            block.push(line);
        }
    }
    flush(&mut out, block, operation, operation.is_some_and(any_order));
    out
}

/// Whether a report comes from a `simple_one_for_one` supervisor: all of them are where the scenario begins.
fn is_pool(scenario: &Scenario, report: &Value) -> bool {
    let path = report["sup"].as_str().unwrap_or_default();
    let mut node = scenario.root.clone();
    for id in path.split('/').skip(1) {
        let Some(child) = node.children.iter().find(|child| child.id == id).cloned() else { return false };
        node = child;
    }
    node.dynamic
}

fn flush(out: &mut Vec<Value>, block: Vec<Value>, operation: Option<u64>, any_order: bool) {
    let is_move = |line: &Value| ["start", "exit", "report"].iter().any(|event| line["ev"] == *event);
    let (mut moves, rest): (Vec<_>, Vec<_>) = block.into_iter().partition(is_move);
    if any_order {
        moves.sort_by_key(|line| (line["ev"] == "report", key(line), line["ev"] == "exit", line.to_string()));
    }
    let mut at = 0;
    while at < moves.len() {
        let run = moves[at..].iter().take_while(|line| pool_of(line).is_some() && pool_of(line) == pool_of(&moves[at])).count();
        moves[at..at + run].sort_by_key(key);
        at += run.max(1);
    }
    // At the end the listing stands before the stop.
    if operation == Some(0) {
        out.extend(rest);
        out.extend(moves);
    } else {
        out.extend(moves);
        out.extend(rest);
    }
}

fn key(line: &Value) -> (String, u64) {
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    (text("path") + &text("sup") + &text("child"), line["n"].as_u64().unwrap_or(0))
}

/// The supervisor of an instance that ends.
fn pool_of(line: &Value) -> Option<&str> {
    if line["ev"] == "exit" { line["path"].as_str()?.split_once('#').map(|(pool, _)| pool) } else { None }
}
