//! How well the tree is: from units up to the root, and which leaf decided.
//!
//! A unit is *healthy* if it is ready, or nobody wants it up; *degraded* if it is ready and a probe that does not decide about that has found something;
//! *unhealthy* else. A supervisor judges its children as its `health` says. What nobody wants up is not counted.

use std::collections::BTreeMap;

use crate::base::choice::HealthLevel;
use crate::event::{HealthStatus, SupervisorStatus, UnitStatus};
use crate::plan::{Aggregation, Child, Plan, SupervisorPlan};

/// How well a part of the tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Whether anybody wants it up.
    pub wanted: bool,
    /// How well it is, and what decided.
    pub health: HealthStatus,
}

impl Opinion {
    fn unwanted() -> Self {
        Self { wanted: false, health: HealthStatus::default() }
    }

    fn unhealthy(by: &str, why: &str) -> Self {
        Self::new(HealthLevel::Unhealthy, by, why)
    }

    fn new(level: HealthLevel, by: &str, why: &str) -> Self {
        Self { wanted: true, health: HealthStatus { level, by: Some(by.to_owned()), why: Some(why.to_owned()) } }
    }

    const fn level(&self) -> HealthLevel {
        self.health.level
    }

    fn works(&self) -> bool {
        self.level() != HealthLevel::Unhealthy
    }
}

/// How well a unit is.
#[must_use]
pub fn unit_health(unit: &UnitStatus) -> Opinion {
    let name = unit.unit.as_str();
    // What rests is not missed: that is what makes it optional.
    if unit.held || unit.rests || unit.state == "stopped" {
        return Opinion::unwanted();
    }
    if unit.paused {
        return Opinion::unhealthy(name, "paused by an operator");
    }
    if !unit.ready {
        return Opinion::unhealthy(name, unit.reason.as_ref().unwrap_or(&unit.state));
    }
    match unit.probes.iter().find(|probe| probe.is_doubtful()) {
        Some(probe) => Opinion::new(HealthLevel::Degraded, name, &probe.sentence()),
        None => Opinion { wanted: true, health: HealthStatus::default() },
    }
}

/// How well every supervisor is, by name. `units` has the opinion of every unit.
#[must_use]
pub fn assess(plan: &Plan, units: &BTreeMap<String, Opinion>, supervisors: &[SupervisorStatus]) -> BTreeMap<String, Opinion> {
    let states: BTreeMap<_, _> = supervisors.iter().map(|status| (status.supervisor.as_str(), status)).collect();
    // Parents first; so from the end on, children come before them.
    let mut order = vec![&*plan.supervisors[&plan.root]];
    let mut next = 0;
    while let Some(supervisor) = order.get(next) {
        let below =
            supervisor.children.iter().filter_map(|child| if let Child::Supervisor(id) = child { plan.supervisors.get(id) } else { None });
        order.extend(below.map(|plan| &**plan));
        next += 1;
    }
    let mut found = BTreeMap::new();
    for supervisor in order.into_iter().rev() {
        let children: Vec<_> =
            supervisor.children.iter().filter_map(|child| Some((child.as_str(), opinion(child, units, &found)?))).collect();
        let together = combine(supervisor, &children);
        let own = states.get(supervisor.id.as_str()).map(|status| own(status, together.clone()));
        found.insert(supervisor.id.as_str().to_owned(), own.unwrap_or(together));
    }
    found
}

fn opinion<'a>(child: &Child, units: &'a BTreeMap<String, Opinion>, found: &'a BTreeMap<String, Opinion>) -> Option<&'a Opinion> {
    match child {
        Child::Unit(id) => units.get(id.as_str()),
        Child::Supervisor(id) => found.get(id.as_str()),
    }
}

/// A supervisor that does not run is its own leaf.
fn own(status: &SupervisorStatus, children: Opinion) -> Opinion {
    let name = status.supervisor.as_str();
    match (status.state.as_str(), &status.reason) {
        ("active", _) => children,
        ("stopped", None) => Opinion::unwanted(),
        ("starting", _) if !children.works() => children,
        (state, reason) => Opinion::unhealthy(name, reason.as_deref().unwrap_or(state)),
    }
}

fn combine(supervisor: &SupervisorPlan, children: &[(&str, &Opinion)]) -> Opinion {
    let wanted: Vec<_> = children.iter().filter(|(_, opinion)| opinion.wanted).collect();
    // Of those that are equally bad the first.
    let Some((_, worst)) = wanted.iter().rev().max_by_key(|(_, opinion)| opinion.level()) else { return Opinion::unwanted() };
    let working = wanted.iter().filter(|(_, opinion)| opinion.works()).count();
    let quorum = |needed: usize| {
        let level = if working < needed { HealthLevel::Unhealthy } else { worst.level().min(HealthLevel::Degraded) };
        (level, format!("{working} of {} work, {needed} have to", wanted.len()))
    };
    let (level, count) = match &supervisor.health {
        Aggregation::Worst => return (*worst).clone(),
        Aggregation::Quorum(needed) => quorum(*needed as usize),
        Aggregation::QuorumShare(share) => quorum(needed(*share, wanted.len())),
        Aggregation::Weighted { weights, degraded_below, unhealthy_below } => {
            let weight = |name: &str| f64::from(weights.get(template(name)).copied().unwrap_or(1));
            let all: f64 = wanted.iter().map(|(name, _)| weight(name)).sum();
            let well: f64 = wanted.iter().map(|(name, opinion)| weight(name) * part(opinion.level())).sum();
            let share = if all > 0.0 { well / all } else { 1.0 };
            let level = match share {
                share if share < *unhealthy_below => HealthLevel::Unhealthy,
                share if share < *degraded_below => HealthLevel::Degraded,
                _ => HealthLevel::Healthy,
            };
            let heavy = wanted.iter().rev().filter(|(name, _)| weight(name) > 0.0).max_by_key(|(_, opinion)| opinion.level());
            return told(level, heavy.map_or(*worst, |(_, opinion)| *opinion), &format!("{:.0} % work", share * 100.0));
        }
    };
    told(level, worst, &count)
}

/// An opinion about several, with the leaf that is to blame.
fn told(level: HealthLevel, worst: &Opinion, count: &str) -> Opinion {
    if level == HealthLevel::Healthy {
        return Opinion { wanted: true, health: HealthStatus::default() };
    }
    // With a count that nobody can meet, no child needs to be to blame.
    let HealthStatus { by, why, .. } = worst.health.clone();
    let why = why.map_or_else(|| count.to_owned(), |why| format!("{why} ({count})"));
    Opinion { wanted: true, health: HealthStatus { level, by, why: Some(why) } }
}

/// How many of `all` make up `share`, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts of children, at most some thousands"
)]
fn needed(share: f64, all: usize) -> usize {
    // A hair less, so that 60 % of 5 are 3.
    (share.mul_add(all as f64, -1e-9)).ceil() as usize
}

const fn part(level: HealthLevel) -> f64 {
    match level {
        HealthLevel::Healthy => 1.0,
        HealthLevel::Degraded => 0.5,
        HealthLevel::Unhealthy => 0.0,
    }
}

fn template(name: &str) -> &str {
    name.split_once('@').map_or(name, |(template, _)| template)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::choice::ProbeRole;
    use crate::base::outcome::{Outcome, Verdict};
    use crate::base::time::{Mono, Wall};
    use crate::event::ProbeStatus;
    use crate::plan::plan_of;

    /// The health of `s` and of the root, with units in these states.
    fn health(rule: &str, states: &[(&str, &str)]) -> (HealthLevel, String) {
        let names: Vec<_> = states.iter().map(|(name, _)| *name).collect();
        let units: Vec<_> = names.iter().map(|name| format!("unit: {name}\nexec: x\n")).collect();
        let tree = format!("supervisor: s\nhealth: {rule}\nchildren: [{}]\n", names.join(", "));
        let plan = plan_of(&[("units/u.yaml", &units.join("---\n")), ("supervisors/s.yaml", &tree)]);
        let opinions = states.iter().map(|(name, state)| ((*name).to_owned(), unit_health(&unit(name, state)))).collect();
        let found = assess(&plan, &opinions, &[]);
        assert_eq!(found["s"], found["root"], "the root judges by the worst");
        let HealthStatus { level, by, why } = found["s"].health.clone();
        (level, by.zip(why).map(|(by, why)| format!("{by}: {why}")).unwrap_or_default())
    }

    fn unit(name: &str, state: &str) -> UnitStatus {
        let mut status = UnitStatus::new(name.into(), "s".into(), Wall(0), Mono(0));
        state.clone_into(&mut status.state);
        status.ready = matches!(state, "active" | "slow");
        status.held = state == "held";
        if state == "slow" {
            let mut probe = ProbeStatus::new("http".into(), ProbeRole::Observe, "http");
            probe.found(Outcome { verdict: Verdict::Degraded, text: "took 2s".into(), values: Vec::new() }, std::time::Duration::ZERO);
            status.probes.push(probe);
        }
        status
    }

    use HealthLevel::{Degraded, Healthy, Unhealthy};

    #[test]
    fn the_worst_child_decides() {
        assert_eq!(health("worst", &[("a", "active"), ("b", "active")]), (Healthy, String::new()));
        assert_eq!(health("worst", &[("a", "active"), ("b", "slow")]), (Degraded, "b: probe http: took 2s".into()));
        assert_eq!(health("worst", &[("a", "slow"), ("b", "failed"), ("c", "backoff")]), (Unhealthy, "b: failed".into()));
        assert_eq!(health("worst", &[("a", "active"), ("b", "held"), ("c", "stopped")]), (Healthy, String::new()));
    }

    #[test]
    fn a_quorum_is_only_degraded() {
        let states = [("a", "active"), ("b", "failed"), ("c", "active")];
        assert_eq!(health("{quorum: 2}", &states), (Degraded, "b: failed (2 of 3 work, 2 have to)".into()));
        assert_eq!(health("{quorum: 3}", &states).0, Unhealthy);
        assert_eq!(health("{quorum: 60%}", &states), (Degraded, "b: failed (2 of 3 work, 2 have to)".into()));
        assert_eq!(health("{quorum: 67%}", &states).0, Unhealthy);
        // Who is not wanted is no part of a share, but does not make up a number either.
        let states = [("a", "active"), ("b", "held"), ("c", "held")];
        assert_eq!(health("{quorum: 60%}", &states).0, Healthy);
        assert_eq!(health("{quorum: 2}", &states), (Unhealthy, String::new()));
    }

    #[test]
    fn weights_weigh() {
        let rule = "{weights: {db: 3, cache: 0}, unhealthy_below: 60%}";
        assert_eq!(health(rule, &[("db", "active"), ("web", "active"), ("cache", "failed")]).0, Healthy);
        let degraded = health(rule, &[("db", "active"), ("web", "failed"), ("cache", "failed")]);
        assert_eq!(degraded, (Degraded, "web: failed (75 % work)".into()));
        assert_eq!(health(rule, &[("db", "failed"), ("web", "active"), ("cache", "active")]).0, Unhealthy);
        assert_eq!(health(rule, &[("db", "slow"), ("web", "active"), ("cache", "active")]).0, Degraded);
    }

    #[test]
    fn a_supervisor_that_is_down_decides_itself() {
        let plan = plan_of(&[("units/u.yaml", "unit: a\nexec: x\n"), ("supervisors/s.yaml", "supervisor: s\nchildren: a\n")]);
        let units = BTreeMap::from([("a".to_owned(), unit_health(&unit("a", "stopped")))]);
        let status = |state: &str, reason: Option<&str>| SupervisorStatus {
            supervisor: "s".into(),
            parent: None,
            strategy: String::new(),
            state: state.into(),
            children: Vec::new(),
            restarts: 0,
            escalations: 0,
            wish: None,
            reason: reason.map(str::to_owned),
            limits: Vec::new(),
        };
        let found = |state, reason| assess(&plan, &units, &[status(state, reason)])["root"].health.clone();
        assert_eq!(found("stopped", None).level, Healthy);
        let gave_up = found("stopped", Some("gave up"));
        assert_eq!((gave_up.level, gave_up.by.as_deref(), gave_up.why.as_deref()), (Unhealthy, Some("s"), Some("gave up")));
        assert_eq!(found("degraded", Some("x")).level, Unhealthy);
    }
}
