//! How a supervisor judges its children together.

use std::collections::BTreeMap;

use serde::Serialize;

use super::order::instances;
use super::resolve::or;
use super::tree::{Item, Tree};
use crate::spec::aggregation::{AggregationSpec, Amount};
use crate::spec::supervisor::SupervisorSpec;
use crate::spec::{Diagnostic, Diagnostics, Field, code};

const DEFAULT_DEGRADED_BELOW: f64 = 1.0;
const DEFAULT_UNHEALTHY_BELOW: f64 = 0.5;

/// How a supervisor judges its children together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// It is as well as the worst of them.
    #[default]
    Worst,
    /// So many have to work.
    Quorum(u32),
    /// Such a share of them has to work, above 0 to 1.
    QuorumShare(f64),
    /// By the share that works, each with its weight.
    Weighted {
        /// What children weigh, by the name they are declared with; 1 if not given.
        weights: BTreeMap<String, u32>,
        /// Below this share it is degraded, above 0 to 1.
        degraded_below: f64,
        /// Below this share it is unhealthy, above 0 to 1.
        unhealthy_below: f64,
    },
}

pub(super) fn aggregation(spec: &Field<AggregationSpec>) -> Aggregation {
    let Some(spec) = spec.as_ref().map(|spec| &spec.value) else { return Aggregation::Worst };
    match spec.quorum.as_ref().map(|quorum| quorum.value) {
        Some(Amount::Count(count)) => Aggregation::Quorum(count),
        Some(Amount::Share(share)) => Aggregation::QuorumShare(share),
        None if spec.shares().is_none() => Aggregation::Worst,
        None => Aggregation::Weighted {
            weights: spec.weights.iter().flat_map(|weights| &weights.value.0).map(|(name, weight)| (name.value.clone(), *weight)).collect(),
            degraded_below: or(&spec.degraded_below, DEFAULT_DEGRADED_BELOW, |share| share.0),
            unhealthy_below: or(&spec.unhealthy_below, DEFAULT_UNHEALTHY_BELOW, |share| share.0),
        },
    }
}

/// Reports quorums nobody can meet, and weights of what is no child.
pub(super) fn check_aggregation(tree: &Tree<'_>, out: &mut Diagnostics) {
    for (name, item) in &tree.items {
        let Item::Supervisor(spec) = item else { continue };
        let Some(health) = &spec.health else { continue };
        check(tree, name, spec, &health.value, out);
    }
}

fn check(tree: &Tree<'_>, supervisor: &str, spec: &SupervisorSpec, health: &AggregationSpec, out: &mut Diagnostics) {
    let children = tree.children.get(supervisor).map_or(&[][..], Vec::as_slice);
    let count = children.iter().map(|child| match tree.items.get(child) {
        Some(Item::Unit(unit)) => instances(unit).count(),
        _ => 1,
    });
    if let Some(quorum) = &health.quorum
        && let Amount::Count(needed) = quorum.value
        && let count = count.sum::<usize>()
        && needed as usize > count
        // A child that is not known has a diagnostic of its own.
        && spec.children.as_ref().is_some_and(|named| named.value.0.len() == children.len())
    {
        let message = format!("`{supervisor}` has {count} children: {needed} of them can never work");
        out.push(Diagnostic::new(code::CONFLICT, quorum.span, message));
    }
    for (name, _) in health.weights.iter().flat_map(|weights| &weights.value.0) {
        if !children.contains(&name.value.as_str()) {
            let message = format!("`{}` is not a child of `{supervisor}`", name.value);
            let help = crate::spec::did_you_mean(&name.value, children.iter().copied());
            out.push(Diagnostic::new(code::UNKNOWN_NAME, name.span, message).maybe_help(help));
        }
    }
}
