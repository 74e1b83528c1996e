//! What changes from one plan to the next, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::base::id::{SupervisorId, UnitId};
use crate::base::scheduling::Scheduling;

use super::limits::LimitsPlan;
use super::model::{Child, DaemonPlan, Plan, SupervisorPlan, UnitPlan};

/// Everything that changes from one plan to the next. Every unit and supervisor of either plan is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// What happens to each unit.
    pub units: BTreeMap<UnitId, UnitChange>,
    /// What happens to each supervisor.
    pub supervisors: BTreeMap<SupervisorId, SupervisorChange>,
    /// The settings in `daemon.yaml` that change.
    pub daemon: Vec<&'static str>,
}

/// What happens to a unit. Fields go by their names in YAML; `supervisor` stands for the supervisor that lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum UnitChange {
    /// It is new.
    Start,
    /// It is gone.
    Stop,
    /// Something changed that only a new process takes on.
    Restart {
        /// Everything that changed.
        fields: Vec<&'static str>,
    },
    /// What changed takes effect without a new process.
    Live {
        /// Everything that changed.
        fields: Vec<&'static str>,
    },
    /// Nothing changed.
    Leave,
}

/// What happens to a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum SupervisorChange {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Something changed.
    Changed {
        /// Everything that changed.
        fields: Vec<&'static str>,
    },
    /// Nothing changed.
    Unchanged,
}

/// What changes from `old` to `new`.
#[must_use]
pub fn diff(old: &Plan, new: &Plan) -> Diff {
    let (parents_before, parents_after) = (parents(old), parents(new));
    let moved = |name: &str| parents_before.get(name) != parents_after.get(name);
    let units: BTreeSet<_> = old.units.keys().chain(new.units.keys()).collect();
    let supervisors: BTreeSet<_> = old.supervisors.keys().chain(new.supervisors.keys()).collect();
    Diff {
        units: units.into_iter().map(|id| (id.clone(), unit_change(old.units.get(id), new.units.get(id), moved(id.as_str())))).collect(),
        supervisors: supervisors
            .into_iter()
            .map(|id| (id.clone(), supervisor_change(old.supervisors.get(id), new.supervisors.get(id), moved(id.as_str()))))
            .collect(),
        daemon: daemon_changes(&old.daemon, &new.daemon),
    }
}

/// Whether a unit that runs under `old` needs a new process to run under `new`.
#[must_use]
pub fn needs_restart(old: &UnitPlan, new: &UnitPlan) -> bool {
    !is_all_live(old, new, &unit_changes(old, new))
}

/// Whether everything that changed takes effect without a new process. What is only watched gets none from us.
fn is_all_live(old: &UnitPlan, new: &UnitPlan, fields: &[&str]) -> bool {
    old.watch.is_some() && new.watch.is_some() || fields.iter().all(|field| is_live(field))
}

/// The supervisor of each child.
fn parents(plan: &Plan) -> BTreeMap<&str, &SupervisorId> {
    plan.supervisors
        .values()
        .flat_map(|supervisor| supervisor.children.iter().map(|child| (Child::as_str(child), &supervisor.id)))
        .collect()
}

/// Lists the names of the fields that differ. Every field must be named, or `_` for those that are not compared.
macro_rules! changes {
    ($type:ident { $($field:ident: $name:tt),+ $(,)? }, $old:expr, $new:expr) => {{
        // Fails to compile when a field is added and forgotten here.
        let $type { $($field: _),+ } = $old;
        let mut names: Vec<&'static str> = Vec::new();
        $(changes!(@compare $name, names, $old.$field, $new.$field);)+
        names
    }};
    (@compare _, $names:ident, $old:expr, $new:expr) => {};
    (@compare $name:literal, $names:ident, $old:expr, $new:expr) => {
        if $old != $new {
            $names.push($name);
        }
    };
}

fn unit_change(old: Option<&std::sync::Arc<UnitPlan>>, new: Option<&std::sync::Arc<UnitPlan>>, moved: bool) -> UnitChange {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (&**old, &**new),
        (None, _) => return UnitChange::Start,
        (_, None) => return UnitChange::Stop,
    };
    let mut fields = unit_changes(old, new);
    if moved {
        fields.push("supervisor");
    }
    if fields.is_empty() {
        UnitChange::Leave
    } else if is_all_live(old, new, &fields) {
        UnitChange::Live { fields }
    } else {
        UnitChange::Restart { fields }
    }
}

/// Whether a change of this field takes effect without a new process.
fn is_live(field: &str) -> bool {
    let is_limit = field.starts_with("limits.");
    is_limit
        || matches!(
            field,
            "description"
                | "nice"
                | "scheduler"
                | "io_priority"
                | "cpu_affinity"
                | "rlimits"
                | "oom_score_adj"
                | "requires"
                | "binds"
                | "wants"
                | "after"
                | "restart.type"
                | "restart.backoff"
                | "restart.on"
                | "restart.breaker"
                | "shutdown.signal"
                | "shutdown.timeout"
                | "success_exit"
                | "significant"
                | "optional"
                | "notify_access"
                | "may_command"
                | "readiness.timeout"
                | "readiness.learned"
                | "probes"
                | "remediation"
                | "logs.max_size"
                | "logs.max_age"
                | "logs.keep"
                | "logs.keep_for"
                | "logs.max_total"
                | "logs.overflow"
                | "logs.compress"
                | "logs.rate_limit"
                | "logs.timestamps"
                | "supervisor"
        )
}

fn unit_changes(old: &UnitPlan, new: &UnitPlan) -> Vec<&'static str> {
    use super::model::{LogsPlan, ReadinessPlan, RestartPlan, ShutdownPlan};
    let mut names = changes!(
        UnitPlan {
            id: _,
            description: "description",
            exec: "exec",
            watch: "watch",
            working_directory: "working_directory",
            user: "user",
            group: "group",
            environment: "environment",
            environment_files: "environment_file",
            umask: "umask",
            nice: "nice",
            scheduling: _,
            limits: _,
            requires: "requires",
            binds: "binds",
            wants: "wants",
            after: "after",
            success_exit: "success_exit",
            significant: "significant",
            optional: "optional",
            pid_file: "pid_file",
            probes: "probes",
            watchdog: "watchdog",
            remediation: "remediation",
            isolation: "isolation",
            notify_access: "notify_access",
            may_command: "may_command",
            secrets: "secrets",
            restart: _,
            shutdown: _,
            readiness: _,
            logs: _,
        },
        old,
        new
    );
    names.extend(scheduling_changes(&old.scheduling, &new.scheduling));
    names.extend(limits_changes(&old.limits, &new.limits));
    names.extend(changes!(
        RestartPlan { kind: "restart.type", backoff: "restart.backoff", on: "restart.on", breaker: "restart.breaker" },
        old.restart,
        new.restart
    ));
    names.extend(changes!(ShutdownPlan { signal: "shutdown.signal", timeout: "shutdown.timeout" }, old.shutdown, new.shutdown));
    names.extend(changes!(
        ReadinessPlan { kind: "readiness", timeout: "readiness.timeout", learned: "readiness.learned" },
        old.readiness,
        new.readiness
    ));
    names.extend(changes!(
        LogsPlan {
            mode: "logs.mode",
            max_size: "logs.max_size",
            max_age: "logs.max_age",
            keep: "logs.keep",
            keep_for: "logs.keep_for",
            max_total: "logs.max_total",
            overflow: "logs.overflow",
            compress: "logs.compress",
            rate_limit: "logs.rate_limit",
            stderr: "logs.stderr",
            timestamps: "logs.timestamps",
        },
        old.logs,
        new.logs
    ));
    names
}

fn scheduling_changes(old: &Scheduling, new: &Scheduling) -> Vec<&'static str> {
    changes!(
        Scheduling {
            scheduler: "scheduler",
            io_priority: "io_priority",
            affinity: "cpu_affinity",
            rlimits: "rlimits",
            oom_score_adj: "oom_score_adj",
        },
        old,
        new
    )
}

fn limits_changes(old: &LimitsPlan, new: &LimitsPlan) -> Vec<&'static str> {
    changes!(
        LimitsPlan {
            memory_min: "limits.memory_min",
            memory_low: "limits.memory_low",
            memory_high: "limits.memory_high",
            memory_max: "limits.memory_max",
            memory_swap_max: "limits.memory_swap_max",
            cpu_weight: "limits.cpu_weight",
            cpu_max: "limits.cpu_max",
            cpuset: "limits.cpuset",
            io_weight: "limits.io_weight",
            io_max: "limits.io_max",
            tasks_max: "limits.tasks_max",
            oom_policy: "limits.oom_policy",
            adjust: "limits.adjust",
        },
        old,
        new
    )
}

fn supervisor_change(
    old: Option<&std::sync::Arc<SupervisorPlan>>,
    new: Option<&std::sync::Arc<SupervisorPlan>>,
    moved: bool,
) -> SupervisorChange {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (&**old, &**new),
        (None, _) => return SupervisorChange::Added,
        (_, None) => return SupervisorChange::Removed,
    };
    let mut fields = changes!(
        SupervisorPlan {
            id: _,
            description: "description",
            strategy: "strategy",
            intensity: "intensity",
            period: "period",
            retry_after: "retry_after",
            restart: "restart",
            auto_shutdown: "auto_shutdown",
            significant: "significant",
            health: "health",
            limits: _,
            shutdown: "shutdown",
            start: "start",
            children: "children",
        },
        old,
        new
    );
    fields.extend(limits_changes(&old.limits, &new.limits));
    if moved {
        fields.push("supervisor");
    }
    if fields.is_empty() { SupervisorChange::Unchanged } else { SupervisorChange::Changed { fields } }
}

fn daemon_changes(old: &DaemonPlan, new: &DaemonPlan) -> Vec<&'static str> {
    changes!(
        DaemonPlan {
            tier: "tier",
            listen: "listen",
            start_limit: "start_limit",
            restart_budget: "restart_budget",
            on_root_failure: "on_root_failure",
            on_launcher_death: "on_launcher_death",
            degradation: "degradation",
            scripts: "scripts",
            logs_max_total: "logs.max_total"
        },
        old,
        new
    )
}

impl Diff {
    /// Whether the plans mean the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.daemon.is_empty()
            && self.units.values().all(|change| *change == UnitChange::Leave)
            && self.supervisors.values().all(|change| *change == SupervisorChange::Unchanged)
    }

    /// The units that need a new process.
    pub fn restarts(&self) -> impl Iterator<Item = &UnitId> {
        self.units.iter().filter(|(_, change)| matches!(change, UnitChange::Restart { .. })).map(|(id, _)| id)
    }
}

impl fmt::Display for Diff {
    /// One line for each thing that changes, then how many units stay as they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, change) in self.supervisors.iter().filter(|(_, change)| **change != SupervisorChange::Unchanged) {
            writeln!(f, "supervisor {id}: {change}")?;
        }
        for (id, change) in self.units.iter().filter(|(_, change)| **change != UnitChange::Leave) {
            writeln!(f, "unit {id}: {change}")?;
        }
        if !self.daemon.is_empty() {
            writeln!(f, "daemon: {} changed", self.daemon.join(", "))?;
        }
        let left = self.units.values().filter(|change| **change == UnitChange::Leave).count();
        writeln!(f, "{left} {} unchanged", if left == 1 { "unit" } else { "units" })
    }
}

impl fmt::Display for UnitChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start, because it is new"),
            Self::Stop => f.write_str("stop, because it is not declared any more"),
            Self::Restart { fields } => write!(f, "restart, because {} changed", fields.join(", ")),
            Self::Live { fields } => write!(f, "change live: {}", fields.join(", ")),
            Self::Leave => f.write_str("leave as it is"),
        }
    }
}

impl fmt::Display for SupervisorChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added => f.write_str("add, because it is new"),
            Self::Removed => f.write_str("remove, because it is not declared any more"),
            Self::Changed { fields } => write!(f, "change {}", fields.join(", ")),
            Self::Unchanged => f.write_str("leave as it is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::plan::resolve;
    use crate::spec::{SourceFile, parse};

    use super::*;

    fn plan(units: &str, supervisors: &str) -> Plan {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let (plan, faults) = resolve(&parse(vec![file("supervisors/s.yaml", supervisors), file("units/u.yaml", units)]), Path::new("/c"));
        plan.unwrap_or_else(|| panic!("{faults}"))
    }

    fn unit(extra: &str) -> String {
        format!("unit: a\nexec: x\n{extra}\n---\nunit: b\nexec: y\n")
    }

    #[test]
    fn each_field_asks_for_what_it_needs() {
        let check = |before: &str, after: &str, expect: &str| {
            let changes = diff(&plan(&unit(before), ""), &plan(&unit(after), ""));
            assert_eq!(changes.units["a"].to_string(), expect, "{before} -> {after}");
            assert_eq!(changes.units["b"], UnitChange::Leave);
        };
        check("", "", "leave as it is");
        check("nice: 0", "umask: 022", "leave as it is");
        check("", "nice: 5\nenvironment: {A: b}", "restart, because environment, nice changed");
        check("", "nice: 5\nlimits: {memory_max: 1GiB, cpu_max: 50%}", "change live: nice, limits.memory_max, limits.cpu_max");
        check("rlimits: {core: 0}", "rlimits: {core: 0, nofile: 9}\nscheduler: idle", "change live: scheduler, rlimits");
        check("", "restart: temporary", "change live: restart.type");
        check("", "shutdown: infinity", "change live: shutdown.timeout");
        check("logs: {keep: 2}", "logs: {keep: 3, max_size: 1MiB}", "change live: logs.max_size, logs.keep, logs.max_total");
        check("logs: pipe", "logs: none", "restart, because logs.mode changed");
        check("requires: b", "wants: b", "change live: requires, wants");
        check("readiness: notify", "readiness: {notify: true, timeout: 5s}", "change live: readiness.timeout");
        check("", "isolation: {private_tmp: true}", "restart, because isolation changed");
        check("secrets: {s: /a}", "secrets: {s: /b}", "restart, because secrets changed");
        check("description: c", "readiness: notify", "restart, because description, readiness changed");
    }

    #[test]
    fn what_is_only_watched_changes_live_until_we_run_it() {
        let check = |before: &str, after: &str, expect: &str| {
            let changes = diff(&plan(&format!("unit: a\n{before}"), ""), &plan(&format!("unit: a\n{after}"), ""));
            assert_eq!(changes.units["a"].to_string(), expect, "{before} -> {after}");
        };
        check("watch: x", "watch: {name: x}", "leave as it is");
        check("watch: x", "watch: {name: y, min: 2}", "change live: watch");
        check("watch: x", "watch: x\nworking_directory: y", "change live: working_directory");
        check("watch: x", "exec: x", "restart, because exec, watch, logs.mode changed");
        check("exec: x", "watch: x", "restart, because exec, watch, logs.mode changed");
    }

    #[test]
    fn the_difference_prints() {
        let old = plan(&unit(""), "supervisor: s\nchildren: [a, b]\n---\nsupervisor: t\nchildren: [s]");
        let new = plan("unit: b\nexec: z\n---\nunit: c\nexec: x\ninstances: 2\n", "supervisor: s\nintensity: 9\nchildren: [c, b]");
        let expect = "supervisor root: change children\n\
                      supervisor s: change intensity, children, supervisor\n\
                      supervisor t: remove, because it is not declared any more\n\
                      unit a: stop, because it is not declared any more\n\
                      unit b: restart, because exec changed\n\
                      unit c@1: start, because it is new\n\
                      unit c@2: start, because it is new\n\
                      0 units unchanged\n";
        let changes = diff(&old, &new);
        assert_eq!(changes.to_string(), expect);
        assert!(!changes.is_empty() && diff(&old, &old).is_empty());
        assert_eq!(serde_json::to_value(&changes.units["b"]).unwrap(), serde_json::json!({"change": "restart", "fields": ["exec"]}));
    }

    #[test]
    fn a_moved_unit_keeps_its_process() {
        let old = plan(&unit(""), "supervisor: s\nchildren: a\n---\nsupervisor: t\nchildren: b\n");
        let new = plan(&unit(""), "supervisor: s\nchildren: b\n---\nsupervisor: t\nchildren: a\n");
        assert_eq!(diff(&old, &new).units["a"], UnitChange::Live { fields: vec!["supervisor"] });
    }
}
