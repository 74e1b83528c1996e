//! Makes a failing case small: drops and simplifies while it still fails.

use std::time::Duration;

use super::case::{Case, Group, Kind, Leaf, Node};
use super::fault::What;
use crate::plan::{RestartType, ShutdownTimeout, Strategy};
use crate::policy::supervisor::AutoShutdown;

/// How many smaller cases are tried at most.
const TRIES: u32 = 5000;

/// The smallest case found that still fails.
pub(crate) fn shrink(mut case: Case, fails: impl Fn(&Case) -> bool) -> Case {
    let mut tries = 0;
    'smaller: loop {
        for candidate in candidates(&case) {
            tries += 1;
            if tries > TRIES {
                return case;
            }
            if fails(&candidate) {
                case = candidate;
                continue 'smaller;
            }
        }
        return case;
    }
}

/// Smaller cases, those that take most away first.
fn candidates(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let faults = case.faults.len();
    let mut part = faults;
    while part > 0 {
        for from in (0..faults).step_by(part) {
            let mut smaller = case.clone();
            smaller.faults.drain(from..(from + part).min(faults));
            all.push(smaller);
        }
        part /= 2;
    }
    let roots = smaller_trees(&case.root);
    all.extend(roots.into_iter().map(|root| {
        let mut ids = Vec::new();
        root.each(&mut |node| ids.push(node.id().clone()));
        let faults = case.faults.iter().filter(|fault| ids.contains(&fault.node)).cloned().collect();
        Case { root, faults }
    }));
    for at in 0..faults {
        for (millis, what) in simpler(case.faults[at].at, case.faults[at].what) {
            let mut smaller = case.clone();
            (smaller.faults[at].at, smaller.faults[at].what) = (millis, what);
            smaller.faults.sort_by_key(|fault| fault.at);
            all.push(smaller);
        }
    }
    all.retain(|smaller| smaller != case);
    all
}

fn simpler(at: u64, what: What) -> Vec<(u64, What)> {
    let mut all = Vec::new();
    // A round hundred above all faults of the start is easiest to read.
    for rounder in [100, at / 1000 * 1000, at / 100 * 100] {
        if rounder < at {
            all.push((rounder, what));
        }
    }
    if let What::FailStarts(times) = what
        && times > 1
    {
        all.push((at, What::FailStarts(1)));
        all.push((at, What::FailStarts(times - 1)));
    }
    all
}

/// Trees with something less, the root stays.
fn smaller_trees(node: &Node) -> Vec<Node> {
    let Kind::Supervisor(group) = &node.kind else { return Vec::new() };
    let with = |group: Group| Node { spec: node.spec.clone(), kind: Kind::Supervisor(group) };
    let mut all = Vec::new();
    for at in 0..group.children.len() {
        let mut less = group.clone();
        less.children.remove(at);
        if !(less.flags.dynamic && less.children.is_empty()) {
            all.push(with(less));
        }
    }
    for (at, child) in group.children.iter().enumerate() {
        let mut put = |child: Node| {
            let mut other = group.clone();
            other.children[at] = child;
            all.push(with(other));
        };
        match &child.kind {
            Kind::Supervisor(_) => put(Node { spec: child.spec.clone(), kind: Kind::Leaf(Leaf { start: 0, stop: 0, lag: 0 }) }),
            Kind::Leaf(leaf) => {
                let plain = Leaf { start: 0, stop: 0, lag: 0 };
                let zero = |leaf: Leaf| Node { spec: child.spec.clone(), kind: Kind::Leaf(leaf) };
                if *leaf != plain {
                    put(zero(plain));
                    put(zero(Leaf { start: 0, ..*leaf }));
                    put(zero(Leaf { stop: 0, ..*leaf }));
                    put(zero(Leaf { lag: 0, ..*leaf }));
                }
            }
        }
        simpler_specs(child).into_iter().for_each(&mut put);
        smaller_trees(child).into_iter().for_each(&mut put);
    }
    all.extend(simpler_flags(group).into_iter().map(with));
    all
}

fn simpler_specs(node: &Node) -> Vec<Node> {
    let mut all = Vec::new();
    let mut put = |change: &dyn Fn(&mut Node)| {
        let mut other = node.clone();
        change(&mut other);
        if other != *node {
            all.push(other);
        }
    };
    put(&|node| node.spec.significant = false);
    put(&|node| node.spec.held = false);
    put(&|node| node.spec.shutdown = ShutdownTimeout::Infinity);
    put(&|node| {
        node.spec.restart = RestartType::Permanent;
        node.spec.significant = false;
    });
    all
}

fn simpler_flags(group: &Group) -> Vec<Group> {
    let mut all = Vec::new();
    let mut put = |change: &dyn Fn(&mut Group)| {
        let mut other = group.clone();
        change(&mut other);
        // What checks as a specification does so when it is simpler, too.
        let significant = other.children.iter().any(|child| child.spec.significant);
        if other != *group && (other.flags.auto_shutdown != AutoShutdown::Never || !significant) {
            all.push(other);
        }
    };
    put(&|group| group.flags.strategy = Strategy::OneForOne);
    put(&|group| group.flags.auto_shutdown = AutoShutdown::Never);
    put(&|group| group.flags.max_children = None);
    put(&|group| group.flags.intensity = 0);
    put(&|group| group.flags.intensity = group.flags.intensity.min(1));
    put(&|group| group.flags.period = Duration::from_secs(1));
    all
}
