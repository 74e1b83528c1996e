//! What waits for what: dependencies as unit ids, and circles among them.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::choice::{StartOrder, Strategy};
use crate::base::id::UnitId;
use crate::spec::supervisor::SupervisorSpec;
use crate::spec::unit::UnitSpec;
use crate::spec::{Diagnostic, Diagnostics, Span, code};

use super::knot::{Edge, Graph, Why};
use super::tree::{Item, ROOT, Tree};

/// How many dependencies between unit instances one daemon takes.
pub const DEPENDENCIES_MAX: usize = 1_000_000;

/// The units one unit depends on, expanded to instances and sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Dependencies {
    pub(super) requires: Vec<UnitId>,
    pub(super) binds: Vec<UnitId>,
    pub(super) wants: Vec<UnitId>,
    pub(super) after: Vec<UnitId>,
}

/// A reference that was understood.
struct Link<'a> {
    /// The unit that depends.
    unit: &'a str,
    /// `requires`, `binds`, `wants` or `after`.
    verb: &'static str,
    /// On what.
    target: &'a str,
    span: Span,
}

/// The dependencies of each declared unit, by its name. Reports what is not known, not possible, or waits in a circle.
pub(super) fn order<'a>(tree: &mut Tree<'a>, out: &mut Diagnostics) -> BTreeMap<&'a str, Dependencies> {
    let units: Vec<_> =
        tree.items.iter().filter_map(|(name, item)| if let Item::Unit(spec) = item { Some((*name, *spec)) } else { None }).collect();
    let mut links = Vec::new();
    let mut all = BTreeMap::new();
    let mut left = DEPENDENCIES_MAX;
    for (name, spec) in units {
        let mut dependencies = Dependencies::default();
        for (verb, references, ids) in [
            ("requires", &spec.requires, &mut dependencies.requires),
            ("binds", &spec.binds, &mut dependencies.binds),
            ("wants", &spec.wants, &mut dependencies.wants),
            ("after", &spec.after, &mut dependencies.after),
        ] {
            let mut set = BTreeSet::new();
            for reference in references.iter().flat_map(|references| &references.value.0) {
                let Some((target, instance, item)) = tree.look_up(reference, out) else { continue };
                let link = Link { unit: name, verb, target, span: reference.span };
                if is_possible(tree, &link, instance, item, out) {
                    collect(tree, target, instance, &mut left, &mut set);
                    links.push(link);
                }
            }
            left = left.saturating_sub(set.len().saturating_mul(instances(spec).count().saturating_sub(1)));
            ids.extend(set);
        }
        if left == 0 {
            let span = spec.unit.as_ref().map_or_else(Span::default, |unit| unit.span);
            let message = format!("there are more than {DEPENDENCIES_MAX} dependencies between units and instances");
            out.push(Diagnostic::new(code::TOO_MANY_DEPENDENCIES, span, message));
            return all;
        }
        all.insert(name, dependencies);
    }
    if !tree.circular {
        find_deadlocks(tree, &links, out);
    }
    all
}

/// The ids of a unit's instances.
pub(super) fn instances(spec: &UnitSpec) -> impl Iterator<Item = (UnitId, Option<u32>)> + '_ {
    let name = spec.unit.as_ref().map_or("", |unit| unit.0.as_str());
    let count = spec.instances.as_ref().map(|count| count.to_u32());
    let plain = count.is_none().then(|| (UnitId::from(name), None));
    plain.into_iter().chain((1..=count.unwrap_or(0)).map(move |number| (UnitId::instance_of(name, number), Some(number))))
}

/// Whether a supervisor's children start one after the other, as written or assumed.
pub(super) fn start_order(spec: &SupervisorSpec) -> StartOrder {
    let strategy = spec.strategy.as_ref().map_or_else(Strategy::default, |strategy| strategy.0);
    let assumed = if strategy == Strategy::OneForOne { StartOrder::Parallel } else { StartOrder::Ordered };
    spec.start.as_ref().map_or(assumed, |start| start.0)
}

fn is_possible(tree: &Tree<'_>, link: &Link<'_>, instance: Option<u32>, item: Item<'_>, out: &mut Diagnostics) -> bool {
    let Link { unit, verb, target, span } = *link;
    if unit == target {
        let message = format!("the unit `{unit}` names itself under `{verb}`");
        out.push(Diagnostic::new(code::SELF_DEPENDENCY, span, message));
        return false;
    }
    match item {
        Item::Supervisor(_) if !tree.circular && tree.is_within(unit, target) => {
            let message = format!("the unit `{unit}` names the supervisor `{target}` under `{verb}`, but belongs to it");
            out.push(Diagnostic::new(code::SELF_DEPENDENCY, span, message).help("name the units it depends on"));
            false
        }
        Item::Supervisor(_) if instance.is_some() => {
            out.push(Diagnostic::new(code::NO_SUCH_INSTANCE, span, format!("`{target}` is a supervisor and has no instances")));
            false
        }
        Item::Unit(spec) => {
            let count = spec.instances.as_ref().map(|count| count.to_u32());
            let fault = match (instance, count) {
                (Some(_), None) => format!("the unit `{target}` has no instances"),
                (Some(number), Some(count)) if number > count => {
                    format!("the unit `{target}` has {count} instances; there is no `{target}@{number}`")
                }
                _ => return true,
            };
            out.push(Diagnostic::new(code::NO_SUCH_INSTANCE, span, fault));
            false
        }
        Item::Supervisor(_) => true,
    }
}

/// Adds the ids of `target`: of a unit its instances, of a supervisor everything below it. Stops when `left` is used up.
fn collect<'a>(tree: &Tree<'a>, target: &'a str, instance: Option<u32>, left: &mut usize, ids: &mut BTreeSet<UnitId>) {
    if tree.circular {
        return;
    }
    let mut open = vec![target];
    while let Some(name) = open.pop() {
        open.extend(tree.children.get(name).into_iter().flatten());
        let Some(Item::Unit(spec)) = tree.items.get(name) else { continue };
        for (id, number) in instances(spec) {
            if instance.is_none() || number == instance {
                if *left == 0 {
                    return;
                }
                *left -= usize::from(ids.insert(id));
            }
        }
    }
}

/// Reports units that wait for each other, and units that wait for one that an ordered supervisor starts only later.
///
/// Each name has a node for "may start" and one for "is up". A supervisor is up when all below it are; in an ordered one a child
/// may start when the one before it is up; a unit may start when what it depends on is up. A circle in this graph never starts.
fn find_deadlocks(tree: &Tree<'_>, links: &[Link<'_>], out: &mut Diagnostics) {
    let names: Vec<&str> = tree.items.keys().copied().chain((!tree.items.contains_key(ROOT)).then_some(ROOT)).collect();
    let number: BTreeMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let (start, up) = (|name: &str| 2 * number[name], |name: &str| 2 * number[name] + 1);
    let mut graph = Graph::new(2 * names.len());
    for name in &names {
        graph.add(start(name), up(name), Why::Itself);
    }
    for (supervisor, children) in &tree.children {
        let ordered = matches!(tree.items.get(supervisor), Some(Item::Supervisor(spec)) if start_order(spec) == StartOrder::Ordered);
        for child in children {
            graph.add(start(supervisor), start(child), Why::Belongs { child, supervisor });
            graph.add(up(child), up(supervisor), Why::Belongs { child, supervisor });
        }
        for pair in children.windows(2).filter(|_| ordered) {
            graph.add(up(pair[0]), start(pair[1]), Why::Ordered { supervisor, first: pair[0], second: pair[1] });
        }
    }
    for link in links {
        graph.add(
            up(link.target),
            start(link.unit),
            Why::Depends { unit: link.unit, verb: link.verb, target: link.target, span: link.span },
        );
    }
    for circle in graph.circles() {
        report_deadlock(&circle, out);
    }
}

fn report_deadlock(circle: &[Edge<'_>], out: &mut Diagnostics) {
    // Against the edges, so that each line says what the one before waits for; from the first reference in the files.
    let mut reasons: Vec<_> = circle.iter().rev().map(|edge| edge.why).filter(|why| !matches!(why, Why::Itself)).collect();
    let span_of = |why: &Why<'_>| if let Why::Depends { span, .. } = why { Some(*span) } else { None };
    let Some((first, span)) = reasons.iter().enumerate().filter_map(|(at, why)| Some((at, span_of(why)?))).min_by_key(|(_, span)| *span)
    else {
        return;
    };
    reasons.rotate_left(first);
    let story: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    let message = format!("these never start, because they wait for each other: {}", story.join(", "));
    let mut fault =
        Diagnostic::new(code::DEADLOCK, span, message).help("remove one of these dependencies, or change the order of the children");
    for (why, span) in reasons.iter().skip(1).filter_map(|why| Some((why, span_of(why)?))) {
        fault = fault.related(span, why.to_string());
    }
    out.push(fault);
}
