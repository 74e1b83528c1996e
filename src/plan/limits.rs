//! What units and supervisors may use: every default filled in, and what guarantees add up to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::adjust::{AdjustPlan, adjust_plan};
use super::model::{Child, Plan};
use super::resolve::or;
use super::tree::{Item, ROOT, Tree};
use crate::base::cpus::Cpus;
use crate::base::id::SupervisorId;
pub use crate::base::limit::OomPolicy;
use crate::base::limit::{Bound, ControlFile, Setting};
use crate::base::quantity::format_size;
use crate::spec::limits::{Amount, LimitsSpec};
use crate::spec::{Diagnostic, Diagnostics, Field, code};

/// So many supervisors below the root have cgroups inside each other; what is below them is in the last one's. Paths stay short enough
/// for the launcher's book.
pub const GROUPS_DEEP: usize = 8;

/// What a unit, or a supervisor with all that is below it, may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitsPlan {
    /// Memory that is never taken away, in bytes.
    pub memory_min: Bound,
    /// Memory that is taken away only if there is none elsewhere, in bytes.
    pub memory_low: Bound,
    /// Above this it is slowed down, in bytes.
    pub memory_high: Bound,
    /// There is no more than this, in bytes.
    pub memory_max: Bound,
    /// The most swap space, in bytes.
    pub memory_swap_max: Bound,
    /// Its share of processor time.
    pub cpu_weight: u32,
    /// The most processor time, in thousandths of a processor.
    pub cpu_max: Bound,
    /// The processors it may run on; `None`: all.
    pub cpuset: Option<Cpus>,
    /// Its share of what devices can do.
    pub io_weight: u32,
    /// The most of what a device does.
    pub io_max: BTreeMap<String, IoLimit>,
    /// The most processes and threads.
    pub tasks_max: Bound,
    /// What happens when the kernel kills a process of it.
    pub oom_policy: OomPolicy,
    /// Which of them follow the pressure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjust: Option<AdjustPlan>,
}

/// The most of what a device does in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IoLimit {
    /// Bytes read.
    pub rbps: Bound,
    /// Bytes written.
    pub wbps: Bound,
    /// Reads.
    pub riops: Bound,
    /// Writes.
    pub wiops: Bound,
}

impl IoLimit {
    /// As a line of `io.max` has it, without the device.
    #[must_use]
    pub fn to_value(self) -> String {
        let Self { rbps, wbps, riops, wiops } = self;
        format!("rbps={} wbps={} riops={} wiops={}", rbps.to_value(), wbps.to_value(), riops.to_value(), wiops.to_value())
    }
}

impl Default for LimitsPlan {
    fn default() -> Self {
        Self {
            memory_min: Bound::ZERO,
            memory_low: Bound::ZERO,
            memory_high: Bound::INFINITY,
            memory_max: Bound::INFINITY,
            memory_swap_max: Bound::INFINITY,
            cpu_weight: 100,
            cpu_max: Bound::INFINITY,
            cpuset: None,
            io_weight: 100,
            io_max: BTreeMap::new(),
            tasks_max: Bound::INFINITY,
            oom_policy: OomPolicy::default(),
            adjust: None,
        }
    }
}

impl LimitsPlan {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What stands in each control file but `io.max`.
    fn files(&self) -> Vec<Setting> {
        let cpu_max = match self.cpu_max.0 {
            // Of each 100 ms, in microseconds.
            Some(thousandths) => format!("{} 100000", thousandths * 100),
            None => ControlFile::CpuMax.default_value().into(),
        };
        vec![
            Setting::new(ControlFile::MemoryMin, self.memory_min.to_value()),
            Setting::new(ControlFile::MemoryLow, self.memory_low.to_value()),
            Setting::new(ControlFile::MemoryHigh, self.memory_high.to_value()),
            Setting::new(ControlFile::MemoryMax, self.memory_max.to_value()),
            Setting::new(ControlFile::MemorySwapMax, self.memory_swap_max.to_value()),
            Setting::new(ControlFile::MemoryOomGroup, if self.oom_policy == OomPolicy::Group { "1" } else { "0" }),
            Setting::new(ControlFile::CpuWeight, self.cpu_weight.to_string()),
            Setting::new(ControlFile::CpuMax, cpu_max),
            Setting::new(ControlFile::CpusetCpus, self.cpuset.as_ref().map(Cpus::to_string).unwrap_or_default()),
            Setting::new(ControlFile::IoWeight, format!("default {}", self.io_weight)),
            Setting::new(ControlFile::PidsMax, self.tasks_max.to_value()),
        ]
    }

    /// What has to be written into a fresh cgroup. Devices of `io.max` are as they are declared.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = self.files();
        settings.retain(|setting| setting.value != setting.file.default_value());
        settings
            .extend(self.io_max.iter().map(|(device, limit)| Setting::new(ControlFile::IoMax, format!("{device} {}", limit.to_value()))));
        settings
    }

    /// What has to be written into a cgroup with these limits to make it one with `new`.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Setting> {
        let old = self.files();
        let mut changes: Vec<_> = new.files().into_iter().filter(|setting| !old.contains(setting)).collect();
        let gone = self.io_max.keys().filter(|device| !new.io_max.contains_key(*device));
        changes.extend(gone.map(|device| Setting::new(ControlFile::IoMax, format!("{device} {}", ControlFile::IoMax.default_value()))));
        let changed = new.io_max.iter().filter(|(device, limit)| self.io_max.get(*device) != Some(limit));
        changes.extend(changed.map(|(device, limit)| Setting::new(ControlFile::IoMax, format!("{device} {}", limit.to_value()))));
        changes
    }
}

fn bound(field: &Field<Amount>, assumed: Bound) -> Bound {
    or(field, assumed, |amount| Bound(amount.0))
}

/// The limits as they are declared. What is guaranteed as `memory_min` is so as `memory_low`, too.
pub(super) fn limits_plan(spec: Option<&LimitsSpec>) -> LimitsPlan {
    let Some(spec) = spec else { return LimitsPlan::default() };
    let memory_min = bound(&spec.memory_min, Bound::ZERO);
    let mut plan = LimitsPlan {
        memory_min,
        memory_low: bound(&spec.memory_low, memory_min),
        memory_high: bound(&spec.memory_high, Bound::INFINITY),
        memory_max: bound(&spec.memory_max, Bound::INFINITY),
        memory_swap_max: bound(&spec.memory_swap_max, Bound::INFINITY),
        cpu_weight: or(&spec.cpu_weight, 100, |weight| weight.to_u32()),
        cpu_max: or(&spec.cpu_max, Bound::INFINITY, |share| Bound(share.0.map(u64::from))),
        cpuset: spec.cpuset.as_ref().map(|list| list.value.0.clone()),
        io_weight: or(&spec.io_weight, 100, |weight| weight.to_u32()),
        io_max: spec
            .io_max
            .iter()
            .flat_map(|devices| &devices.value.0)
            .map(|(device, limit)| {
                let rate = |field: &Field<Amount>| bound(field, Bound::INFINITY);
                let limit =
                    IoLimit { rbps: rate(&limit.rbps), wbps: rate(&limit.wbps), riops: rate(&limit.riops), wiops: rate(&limit.wiops) };
                (device.value.clone(), limit)
            })
            .collect(),
        tasks_max: or(&spec.tasks_max, Bound::INFINITY, |count| Bound(count.0.map(u64::from))),
        oom_policy: or(&spec.oom_policy, OomPolicy::default(), |policy| policy.0),
        adjust: None,
    };
    plan.adjust = adjust_plan(&spec.adjust, &plan);
    plan
}

/// The limits of each supervisor. One that says nothing of guarantees guarantees what its children do together: the kernel
/// takes a guarantee of a child for nothing that is not one of all that are above it.
pub(super) fn supervisors_limits<'a>(tree: &Tree<'a>) -> BTreeMap<&'a str, LimitsPlan> {
    let mut found: BTreeMap<&str, LimitsPlan> = BTreeMap::new();
    for name in bottom_up(tree) {
        let spec = declared(tree, name);
        let (min, low) = children_guarantee(tree, name, &found);
        let mut plan = limits_plan(spec);
        if spec.is_none_or(|spec| spec.memory_min.is_none()) {
            plan.memory_min = min;
        }
        if spec.is_none_or(|spec| spec.memory_low.is_none()) {
            plan.memory_low = if low.exceeds(plan.memory_min) { low } else { plan.memory_min };
        }
        found.insert(name, plan);
    }
    found
}

/// Reports guarantees that cannot be kept, and limits where there is no cgroup for them.
pub(super) fn check_limits(tree: &Tree<'_>, out: &mut Diagnostics) {
    if tree.circular {
        return;
    }
    let limits = supervisors_limits(tree);
    for (&name, plan) in &limits {
        let (min, low) = children_guarantee(tree, name, &limits);
        let Some(spec) = declared(tree, name) else { continue };
        let span = |field: &Field<Amount>| field.as_ref().map(|field| field.span);
        for (key, sum, own, given) in
            [("memory_min", min, plan.memory_min, span(&spec.memory_min)), ("memory_low", low, plan.memory_low, span(&spec.memory_low))]
        {
            if let Some(given) = given.filter(|_| sum.exceeds(own)) {
                let message = format!("`{name}` has less `{key}` than its children together, {}", amount(sum));
                let fault = Diagnostic::new(code::CONFLICT, given, message).label("less than its children are guaranteed");
                out.push(fault.help(format!("give it at least {}, or leave `{key}` out: then it is what the children have", amount(sum))));
            }
        }
        if let Some(given) = span(&spec.memory_max).filter(|_| low.exceeds(plan.memory_max) || min.exceeds(plan.memory_max)) {
            let most = if low.exceeds(min) { low } else { min };
            let message = format!("the children of `{name}` are guaranteed {} together, more than its `memory_max`", amount(most));
            out.push(Diagnostic::new(code::CONFLICT, given, message));
        }
    }
    for (&name, item) in &tree.items {
        if let Item::Supervisor(spec) = item
            && let Some(limits) = &spec.limits
            && depth(tree, name) > GROUPS_DEEP
        {
            let message = format!("`{name}` is more than {GROUPS_DEEP} supervisors below the root and has no cgroup of its own");
            out.push(Diagnostic::new(code::CONFLICT, limits.span, message).help("move `limits` to a supervisor above it, or to the units"));
        }
    }
}

fn amount(bound: Bound) -> String {
    bound.0.map_or_else(|| "infinity".into(), format_size)
}

fn declared<'a>(tree: &Tree<'a>, name: &str) -> Option<&'a LimitsSpec> {
    let Some(Item::Supervisor(spec)) = tree.items.get(name) else { return None };
    spec.limits.as_ref().map(|limits| &limits.value)
}

/// What the children of a supervisor are guaranteed together: `memory_min`, `memory_low`.
fn children_guarantee(tree: &Tree<'_>, name: &str, known: &BTreeMap<&str, LimitsPlan>) -> (Bound, Bound) {
    let (mut min, mut low) = (Bound::ZERO, Bound::ZERO);
    for child in tree.children.get(name).into_iter().flatten() {
        match tree.items.get(child) {
            Some(Item::Unit(spec)) => {
                let plan = limits_plan(spec.limits.as_ref().map(|limits| &limits.value));
                let count = u64::from(or(&spec.instances, 1, |count| count.to_u32()));
                let times = |bound: Bound| Bound(bound.0.map(|number| number.saturating_mul(count)));
                (min, low) = (min.plus(times(plan.memory_min)), low.plus(times(plan.memory_low)));
            }
            Some(Item::Supervisor(_)) => {
                if let Some(plan) = known.get(child) {
                    (min, low) = (min.plus(plan.memory_min), low.plus(plan.memory_low));
                }
            }
            None => {}
        }
    }
    (min, low)
}

/// Every supervisor, each after those below it.
fn bottom_up<'a>(tree: &Tree<'a>) -> Vec<&'a str> {
    let mut open = vec![ROOT];
    let mut found = Vec::new();
    while let Some(name) = open.pop() {
        found.push(name);
        let children = tree.children.get(name).into_iter().flatten();
        open.extend(children.filter(|child| matches!(tree.items.get(*child), Some(Item::Supervisor(_)))));
    }
    found.reverse();
    found
}

fn depth(tree: &Tree<'_>, name: &str) -> usize {
    std::iter::successors(tree.parent.get(name), |name| tree.parent.get(*name)).count()
}

/// Where the cgroup of each supervisor is: the names from below the root down to it. Whose children have none of their own are in it.
#[must_use]
pub fn groups(plan: &Plan) -> BTreeMap<SupervisorId, Vec<String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![(plan.root.clone(), Vec::new())];
    while let Some((id, path)) = open.pop() {
        for child in plan.supervisors.get(&id).into_iter().flat_map(|supervisor| &supervisor.children) {
            if let Child::Supervisor(child) = child
                && !found.contains_key(child)
            {
                let mut path: Vec<String> = path.clone();
                if path.len() < GROUPS_DEEP {
                    path.push(child.as_str().into());
                }
                open.push((child.clone(), path));
            }
        }
        found.insert(id, path);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn limits_become_the_contents_of_control_files() {
        let unit = "unit: a\nexec: x\nlimits: {memory_min: 1MiB, memory_max: 64MiB, cpu_max: 150%, cpuset: '3,0-1', tasks_max: 7, \
                    io_weight: 50, oom_policy: group, io_max: {/dev/sda: {wbps: 1MiB}}}\n---\nunit: b\nexec: x\n";
        let plan = plan_of(&[("units/u.yaml", unit)]);
        let texts: Vec<_> = plan.units["a"].limits.settings().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "memory.min=1048576",
                "memory.low=1048576",
                "memory.max=67108864",
                "memory.oom.group=1",
                "cpu.max=150000 100000",
                "cpuset.cpus=0-1,3",
                "io.weight=default 50",
                "pids.max=7",
                "io.max=/dev/sda rbps=max wbps=1048576 riops=max wiops=max",
            ]
        );
        let (a, b) = (&plan.units["a"].limits, &plan.units["b"].limits);
        assert!(b.is_default() && b.settings().is_empty() && a.changes(a).is_empty());
        let back: Vec<_> = a.changes(b).iter().map(ToString::to_string).collect();
        assert_eq!(back.len(), 9);
        assert!(back.contains(&"cpuset.cpus=".into()) && back.contains(&"cpu.max=max 100000".into()), "{back:?}");
        assert_eq!(back.last().map(String::as_str), Some("io.max=/dev/sda rbps=max wbps=max riops=max wiops=max"));
        assert_eq!(b.changes(a), a.settings());
    }

    #[test]
    fn guarantees_add_up() {
        let units = "unit: a\nexec: x\ninstances: 3\nlimits: {memory_min: 10MiB}\n---\nunit: b\nexec: x\nlimits: {memory_low: 5MiB}\n---\nunit: c\nexec: x\n";
        let supervisors = "supervisor: s\nchildren: [a]\n---\nsupervisor: t\nchildren: [b, s]\nlimits: {memory_min: 40MiB}\n---\nsupervisor: u\nchildren: c\n";
        let plan = plan_of(&[("supervisors/s.yaml", supervisors), ("units/u.yaml", units)]);
        let of = |name: &str| (plan.supervisors[name].limits.memory_min.0, plan.supervisors[name].limits.memory_low.0);
        let mib = |count: u64| Some(count << 20);
        assert_eq!(
            [of("s"), of("t"), of("u"), of("root")],
            [(mib(30), mib(30)), (mib(40), mib(40)), (Some(0), Some(0)), (mib(40), mib(40))]
        );
        assert_eq!(groups(&plan)["s"], ["t", "s"]);
        assert!(groups(&plan)["root"].is_empty());
    }
}
