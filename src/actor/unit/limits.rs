//! Limits and scheduling of a unit that runs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::Unit;
use crate::base::id::SupervisorId;
use crate::base::scheduling::Scheduling;
use crate::event::{Event, LimitRefused, LimitsChanged};
use crate::os::cgroup::Cgroup;
use crate::os::process;
use crate::os::scheduling::{self, Change};
use crate::plan::UnitPlan;
use crate::policy::lifecycle::State as Life;

impl Unit {
    /// Where the launcher has put this run.
    pub(super) fn found_in(&self, cgroup: Option<PathBuf>) {
        self.context.limits.found_in(self.id(), self.run, cgroup);
    }

    /// A process was found running: what was declared may have changed since it was started.
    pub(super) fn limit_found(&self) {
        if self.process.is_some() {
            self.context.limits.change_unit(&self.context, None, &self.plan, &self.supervisor());
        }
    }

    /// The supervisor it has now.
    pub(super) fn supervisor(&self) -> SupervisorId {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner).supervisor.clone()
    }

    /// The plan changes, or the supervisor, while the unit may be running.
    pub(super) fn limit_anew(&self, new: &Arc<UnitPlan>, supervisor: &SupervisorId) {
        if matches!(self.driver.machine.state(), Life::Stopped | Life::Backoff | Life::Waiting) {
            return;
        }
        self.context.limits.change_unit(&self.context, Some(&self.plan), new, supervisor);
        let change = changed(&self.plan, new);
        let lost = lost_rlimits(&self.plan, new);
        let Some(process) = self.process.filter(|_| change != Change::default() || lost) else { return };
        let (context, unit, cgroup) = (self.context.clone(), new.id.clone(), self.context.limits.cgroup(new.id.as_str()));
        tokio::spawn(async move {
            let done = change.clone();
            let refused = tokio::task::spawn_blocking(move || scheduling::apply(&processes(process.pid, cgroup), &done)).await;
            let mut refused = refused.unwrap_or_default();
            if lost {
                refused.push(("rlimits", "what it was before one was declared is known only when it is started again".into()));
            }
            let limits: Vec<String> =
                names(&change).into_iter().filter(|name| refused.iter().all(|(what, _)| what != name)).map(str::to_owned).collect();
            if !limits.is_empty() {
                context.bus.tell(Event::LimitsChanged(LimitsChanged { target: unit.as_str().into(), limits }));
            }
            for (what, why) in refused {
                let refused = LimitRefused { target: unit.as_str().into(), limit: what.into(), wanted: "changed".into(), why };
                context.bus.tell(Event::LimitRefused(refused));
            }
        });
    }
}

/// Every process of a unit.
fn processes(main: u32, cgroup: Option<PathBuf>) -> Vec<u32> {
    match cgroup.and_then(|path| Cgroup::at(path).ok()) {
        Some(cgroup) => cgroup.processes(),
        None => below(main),
    }
}

/// A process with all that is below it.
fn below(main: u32) -> Vec<u32> {
    let (mut found, mut open, mut children) = (BTreeSet::from([main]), vec![main], Vec::new());
    while let Some(parent) = open.pop() {
        process::children(parent, &mut children);
        open.extend(children.drain(..).filter(|child| found.insert(*child)));
    }
    found.into_iter().collect()
}

/// What has to be set anew. What is not declared any more becomes what it is without a declaration.
fn changed(old: &UnitPlan, new: &UnitPlan) -> Change {
    let (before, after) = (&old.scheduling, &new.scheduling);
    let all = || vec![u64::MAX; 128];
    Change {
        nice: (old.nice != new.nice).then_some(new.nice),
        scheduling: Scheduling {
            scheduler: (before.scheduler != after.scheduler).then(|| after.scheduler.unwrap_or((0, 0))),
            io_priority: (before.io_priority != after.io_priority).then(|| after.io_priority.unwrap_or(0)),
            affinity: (before.affinity != after.affinity).then(|| after.affinity.clone().unwrap_or_else(all)),
            rlimits: after.rlimits.iter().filter(|limit| !before.rlimits.contains(limit)).copied().collect(),
            oom_score_adj: (before.oom_score_adj != after.oom_score_adj).then(|| after.oom_score_adj.unwrap_or(0)),
        },
    }
}

fn lost_rlimits(old: &UnitPlan, new: &UnitPlan) -> bool {
    old.scheduling.rlimits.iter().any(|(resource, ..)| !new.scheduling.rlimits.iter().any(|(kept, ..)| kept == resource))
}

/// The keys of what is to be set.
fn names(change: &Change) -> Vec<&'static str> {
    let Scheduling { scheduler, io_priority, affinity, rlimits, oom_score_adj } = &change.scheduling;
    let all = [
        ("nice", change.nice.is_some()),
        ("scheduler", scheduler.is_some()),
        ("io_priority", io_priority.is_some()),
        ("cpu_affinity", affinity.is_some()),
        ("rlimits", !rlimits.is_empty()),
        ("oom_score_adj", oom_score_adj.is_some()),
    ];
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn only_what_changes_is_set_anew() {
        let unit = |text: &str| plan_of(&[("units/u.yaml", &format!("unit: a\nexec: x\n{text}"))]).units["a"].clone();
        let (plain, set) =
            (unit(""), unit("nice: 3\nscheduler: batch\nrlimits: {core: 0, nofile: 9}\noom_score_adj: 7\ncpu_affinity: 0\n"));
        assert_eq!(changed(&plain, &plain), Change::default());
        assert_eq!(names(&changed(&plain, &set)), ["nice", "scheduler", "cpu_affinity", "rlimits", "oom_score_adj"]);
        let back = changed(&set, &plain);
        assert_eq!((back.nice, back.scheduling.scheduler, back.scheduling.oom_score_adj), (Some(0), Some((0, 0)), Some(0)));
        assert!(back.scheduling.rlimits.is_empty() && lost_rlimits(&set, &plain) && !lost_rlimits(&plain, &set));
    }
}
