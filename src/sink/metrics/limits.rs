//! Metrics of what units may use and do use, from their cgroups as a whole.

use std::fmt::Error;

use prometheus_client::encoding::MetricEncoder;
use prometheus_client::metrics::MetricType::{Counter, Gauge};

use super::Snapshot;
use super::families::{Family, counter, family, gauge, seconds};
use crate::base::limit::ControlFile;
use crate::event::{GroupUse, LimitStatus};

/// Every one of them, in the order of the page.
pub(super) const ALL: &[Family] = &[
    family("ms_unit_cgroup_memory_bytes", Gauge, "Memory of the unit's cgroup, with the page cache it has filled.", memory),
    family("ms_unit_cgroup_memory_peak_bytes", Gauge, "The most memory of the unit's cgroup in this run.", memory_peak),
    family("ms_unit_cgroup_swap_bytes", Gauge, "Swap space of the unit's cgroup.", swap),
    family("ms_unit_cgroup_cpu_seconds", Counter, "CPU time of the unit's cgroup in this run, of processes that have ended, too.", cpu),
    family("ms_unit_cgroup_throttled_seconds", Counter, "Time for which cpu_max kept the unit from running in this run.", throttled),
    family("ms_unit_cgroup_tasks", Gauge, "Processes and threads in the unit's cgroup.", tasks),
    family("ms_unit_cgroup_io_bytes", Counter, "Bytes the unit's cgroup has read from and written to block devices in this run.", io),
    family("ms_unit_oom_kills", Counter, "Processes of the unit killed because memory was short, since the brain started.", oom_kills),
    family(
        "ms_unit_limit",
        Gauge,
        "A limit of the unit that holds: bytes, tasks, weights, and of cpu_max the share of one processor.",
        limit,
    ),
    family("ms_unit_limit_refused", Gauge, "Whether a limit of the unit was refused: 1 for each that was.", refused),
    family(
        "ms_unit_limit_adjustments",
        Counter,
        "How often a limit of the unit was changed because it follows the pressure, since the brain started.",
        adjustments,
    ),
    family(
        "ms_supervisor_cgroup_memory_bytes",
        Gauge,
        "Memory of the supervisor's cgroup, all that is below it included.",
        supervisor_memory,
    ),
    family("ms_supervisor_cgroup_cpu_seconds", Counter, "CPU time of the supervisor's cgroup since that was made.", supervisor_cpu),
    family(
        "ms_supervisor_cgroup_throttled_seconds",
        Counter,
        "Time for which cpu_max of the supervisor kept what is below it from running, since its cgroup was made.",
        supervisor_throttled,
    ),
    family("ms_supervisor_cgroup_tasks", Gauge, "Processes and threads in the supervisor's cgroup.", supervisor_tasks),
    family(
        "ms_supervisor_limit",
        Gauge,
        "A limit of the supervisor that holds: bytes, tasks, weights, and of cpu_max the share of one processor.",
        supervisor_limit,
    ),
    family("ms_supervisor_limit_refused", Gauge, "Whether a limit of the supervisor was refused: 1 for each that was.", supervisor_refused),
];

fn used(snapshot: &Snapshot, mut metric: MetricEncoder<'_>, value: fn(&GroupUse) -> Option<u64>) -> Result<(), Error> {
    let mut known = snapshot.groups.iter().filter_map(|(unit, used)| Some((unit, value(used)?)));
    known.try_for_each(|(unit, value)| gauge(&mut metric, [("unit", unit)], value))
}

fn time(snapshot: &Snapshot, mut metric: MetricEncoder<'_>, value: fn(&GroupUse) -> Option<f64>) -> Result<(), Error> {
    let mut known = snapshot.groups.iter().filter_map(|(unit, used)| Some((unit, value(used)?)));
    known.try_for_each(|(unit, value)| seconds(&mut metric, [("unit", unit)], value))
}

fn memory(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    used(snapshot, metric, |used| used.memory)
}

fn memory_peak(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    used(snapshot, metric, |used| used.memory_peak)
}

fn swap(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    used(snapshot, metric, |used| used.swap)
}

fn cpu(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    time(snapshot, metric, |used| used.cpu)
}

fn throttled(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    time(snapshot, metric, |used| used.throttled)
}

fn tasks(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    used(snapshot, metric, |used| used.tasks)
}

fn io(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    for (unit, used) in snapshot.groups.iter() {
        for (direction, bytes) in [("read", used.read), ("written", used.written)] {
            if let Some(bytes) = bytes {
                counter(&mut metric, [("unit", unit), ("direction", direction)], bytes)?;
            }
        }
    }
    Ok(())
}

fn oom_kills(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.units.iter().try_for_each(|unit| counter(&mut metric, [("unit", unit.unit.as_str())], unit.counters.oom_kills))
}

fn adjustments(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    for unit in &snapshot.units {
        for (limit, count) in &unit.counters.adjustments {
            counter(&mut metric, [("unit", unit.unit.as_str()), ("limit", limit)], *count)?;
        }
    }
    Ok(())
}

fn limit(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.units.iter().try_for_each(|unit| holding(&mut metric, ("unit", unit.unit.as_str()), &unit.limits))
}

fn refused(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.units.iter().try_for_each(|unit| not_had(&mut metric, ("unit", unit.unit.as_str()), &unit.limits))
}

fn supervisor_limit(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.supervisors.iter().try_for_each(|one| holding(&mut metric, ("supervisor", one.supervisor.as_str()), &one.limits))
}

fn supervisor_refused(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.supervisors.iter().try_for_each(|one| not_had(&mut metric, ("supervisor", one.supervisor.as_str()), &one.limits))
}

fn supervisor_memory(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let mut known = snapshot.supervisor_groups.iter().filter_map(|(name, used)| Some((name, used.memory?)));
    known.try_for_each(|(name, bytes)| gauge(&mut metric, [("supervisor", name)], bytes))
}

fn supervisor_tasks(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let mut known = snapshot.supervisor_groups.iter().filter_map(|(name, used)| Some((name, used.tasks?)));
    known.try_for_each(|(name, tasks)| gauge(&mut metric, [("supervisor", name)], tasks))
}

fn supervisor_cpu(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let mut known = snapshot.supervisor_groups.iter().filter_map(|(name, used)| Some((name, used.cpu?)));
    known.try_for_each(|(name, time)| seconds(&mut metric, [("supervisor", name)], time))
}

fn supervisor_throttled(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let mut known = snapshot.supervisor_groups.iter().filter_map(|(name, used)| Some((name, used.throttled?)));
    known.try_for_each(|(name, time)| seconds(&mut metric, [("supervisor", name)], time))
}

/// Limits that hold.
fn holding(metric: &mut MetricEncoder<'_>, whose: (&'static str, &str), limits: &[LimitStatus]) -> Result<(), Error> {
    for status in limits.iter().filter(|status| status.refused.is_none()) {
        if let Some(value) = number(&status.limit, &status.wanted) {
            gauge(metric, [whose, ("limit", &status.limit)], value)?;
        }
    }
    Ok(())
}

/// Limits that were refused.
fn not_had(metric: &mut MetricEncoder<'_>, whose: (&'static str, &str), limits: &[LimitStatus]) -> Result<(), Error> {
    let mut refused = limits.iter().filter(|status| status.refused.is_some());
    refused.try_for_each(|status| gauge(metric, [whose, ("limit", &status.limit)], 1_i64))
}

/// A limit as a number, if it is one.
fn number(limit: &str, value: &str) -> Option<f64> {
    if limit == ControlFile::CpuMax.limit() {
        let (quota, period) = value.split_once(' ')?;
        return Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?);
    }
    value.trim_start_matches("default ").parse().ok()
}
