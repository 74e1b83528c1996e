//! Every metric there is: its name, what it means, and where its values come from.

use std::fmt::Error;

use prometheus_client::encoding::{EncodeGaugeValue, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType::{self, Counter, Gauge, Histogram};

use super::Snapshot;
use crate::actor::context::LauncherTurns;
use crate::base::outcome::Verdict;
use crate::event::{self, BOUNDS, ExitLabel, ProbeStatus};
use crate::os::sample::Sample;

/// One metric. A counter's series carry the suffix `_total`.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    pub(super) series: fn(&Snapshot, MetricEncoder<'_>) -> Result<(), Error>,
}

pub(super) const fn family(
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    series: fn(&Snapshot, MetricEncoder<'_>) -> Result<(), Error>,
) -> Family {
    Family { name, help, kind, series }
}

/// Every metric, in the order of the page.
pub(super) const ALL: &[Family] = &[
    family("ms_build_info", Gauge, "The version that runs; always 1.", build_info),
    family("ms_tier_info", Gauge, "The tier that is in force; always 1, and left out if there is none.", tier_info),
    family("ms_unit_up", Gauge, "Whether the unit is ready for work.", unit_up),
    family("ms_unit_state", Gauge, "Where the unit stands: 1 for its current state, other states are left out.", unit_state),
    family("ms_unit_paused", Gauge, "Whether an operator has paused the unit.", unit_paused),
    family(
        "ms_unit_isolation_missing",
        Gauge,
        "How much of its isolation the unit runs without, as best_effort allows.",
        isolation_missing,
    ),
    family("ms_unit_restarts", Counter, "How often the unit was started again since the brain started, by cause.", unit_restarts),
    family("ms_unit_exits", Counter, "How the unit's main process ended since the brain started, by exit code or signal.", unit_exits),
    family("ms_unit_start_seconds", Histogram, "From the order to start until the unit was in operation.", unit_start),
    family("ms_unit_restart_seconds", Histogram, "From an unexpected exit until the unit was in operation again.", unit_restart),
    family("ms_unit_cpu_seconds", Counter, "CPU time of the unit's processes that run now and of those they waited for.", unit_cpu),
    family("ms_unit_memory_bytes", Gauge, "Resident memory of the unit's processes; shared pages count once for each.", unit_memory),
    family("ms_unit_threads", Gauge, "Threads of the unit's processes.", unit_threads),
    family("ms_unit_descriptors", Gauge, "Open descriptors of the unit's processes.", unit_descriptors),
    family("ms_unit_processes", Gauge, "Processes of the unit.", unit_processes),
    family("ms_unit_log_bytes", Gauge, "What the unit's log files take.", unit_log_bytes),
    family(
        "ms_unit_log_dropped_bytes",
        Counter,
        "Output of the unit that was dropped since the brain started, by reason.",
        unit_log_dropped,
    ),
    family(
        "ms_unit_notifications_dropped",
        Counter,
        "Notifications of the unit that were not told for themselves since the brain started, by reason.",
        unit_notices_dropped,
    ),
    family(
        "ms_unit_remedies",
        Counter,
        "What became of remedies of the unit and its probes since the brain started, by stage.",
        unit_remedies,
    ),
    family(
        "ms_breaker_state",
        Gauge,
        "How the breaker of the unit's restarts, or of its probe, stands: 1 for its current state, other states are left out.",
        breaker_state,
    ),
    family("ms_probe_up", Gauge, "Whether the probe of the unit passes; a probe that has not said yet is left out.", probe_up),
    family("ms_probe_runs", Counter, "Runs of the probe since the brain started, by verdict.", probe_runs),
    family("ms_probe_seconds", Counter, "Time all runs of the probe took since the brain started.", probe_seconds),
    family(
        "ms_probe_late",
        Counter,
        "Runs that began later than a tenth of the period, or were left out, since the brain started.",
        probe_late,
    ),
    family("ms_probe_value", Gauge, "Numbers the probe found in its last run.", probe_value),
    family("ms_supervisor_up", Gauge, "Whether all children of the supervisor have come up and it still runs.", supervisor_up),
    family(
        "ms_supervisor_health",
        Gauge,
        "How well the supervisor is with all that is below: 1 for its current level, other levels are left out.",
        supervisor_health,
    ),
    family("ms_supervisor_restarts", Counter, "How often the supervisor restarted a child that had ended or failed.", supervisor_restarts),
    family("ms_supervisor_escalations", Counter, "How often the supervisor gave up and ended.", supervisor_escalations),
    family("ms_events", Counter, "Events recorded, over the life of the journal.", events),
    family("ms_store_up", Gauge, "Whether what operators ask for can be written down.", store_up),
    family("ms_store_wishes", Gauge, "What operators asked for and the store holds.", store_wishes),
    family("ms_store_pending", Gauge, "Changes that wait to be written down.", store_pending),
    family("ms_store_commits", Counter, "Transactions of the store since the brain started.", store_commits),
    family("ms_store_failures", Counter, "How often the store could not be written or backed up since the brain started.", store_failures),
    family("ms_store_backups", Counter, "Backups of the store since the brain started.", store_backups),
    family(
        "ms_events_dropped",
        Counter,
        "Events lost since the brain started, because they came faster than they could be recorded.",
        events_dropped,
    ),
    family(
        "ms_host_pressure_ratio",
        Gauge,
        "The share of the last ten seconds in which something (some) or everything (full) waited for the resource.",
        host_pressure,
    ),
    family("ms_host_memory_available_ratio", Gauge, "The share of the memory that is available.", host_memory),
    family("ms_brain_lag_seconds", Gauge, "How late a timer of the brain was at worst in the last ten seconds.", brain_lag),
    family(
        "ms_launcher_turns",
        Counter,
        "Turns of the launcher since it began: it wakes up, does what is to be done, sleeps.",
        launcher_turns,
    ),
    family("ms_launcher_turn_seconds", Gauge, "The launcher's longest turn, in the last second and since it began.", launcher_turn),
    family(
        "ms_lookups_hanging",
        Gauge,
        "Looks at files, mounts and user databases that nobody waits for any more and that have not come back. Each holds a thread.",
        lookups_hanging,
    ),
    family("ms_degradation_step", Gauge, "How many steps of what is done without under pressure are taken.", degradation_step),
    family(
        "ms_limit_alarms",
        Counter,
        "How often the kernel said by itself that a limit was reached or memory was waited for, since the brain started.",
        limit_alarms,
    ),
    family(
        "ms_observer_blind_seconds",
        Counter,
        "Time in which what probes found did not count since the brain started, because the machine or the brain stood still.",
        observer_blind,
    ),
    family("ms_process_cpu_seconds", Counter, "CPU time of the daemon's own processes.", process_cpu),
    family("ms_process_resident_memory_bytes", Gauge, "Resident memory of the daemon's own processes.", process_memory),
    family("ms_process_threads", Gauge, "Threads of the daemon's own processes.", process_threads),
    family("ms_process_open_fds", Gauge, "Open descriptors of the daemon's own processes.", process_descriptors),
    family("ms_process_start_time_seconds", Gauge, "When the daemon's own processes were started, since the epoch.", process_start),
];

/// Labels of a series.
struct Labels<'a, const N: usize>([(&'static str, &'a str); N]);

impl<const N: usize> EncodeLabelSet for Labels<'_, N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), Error> {
        for (name, value) in &self.0 {
            (*name, *value).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

pub(super) fn gauge<const N: usize>(
    metric: &mut MetricEncoder<'_>,
    labels: [(&'static str, &str); N],
    value: impl EncodeGaugeValue,
) -> Result<(), Error> {
    metric.encode_family(&Labels(labels))?.encode_gauge(&value)
}

pub(super) fn counter<const N: usize>(metric: &mut MetricEncoder<'_>, labels: [(&'static str, &str); N], value: u64) -> Result<(), Error> {
    metric.encode_family(&Labels(labels))?.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

pub(super) fn seconds<const N: usize>(metric: &mut MetricEncoder<'_>, labels: [(&'static str, &str); N], value: f64) -> Result<(), Error> {
    metric.encode_family(&Labels(labels))?.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn histogram(metric: &mut MetricEncoder<'_>, unit: &str, histogram: &event::Histogram) -> Result<(), Error> {
    let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(histogram.buckets).collect();
    let labels = Labels([("unit", unit)]);
    metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(histogram.sum, histogram.count(), &buckets, None)
}

fn build_info(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    gauge(&mut metric, [("version", &snapshot.version)], 1_i64)
}

fn tier_info(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.tier.map_or(Ok(()), |tier| gauge(&mut metric, [("tier", tier.as_str())], 1_i64))
}

fn unit_up(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.units.iter().try_for_each(|unit| {
        gauge(&mut metric, [("unit", unit.unit.as_str()), ("supervisor", unit.supervisor.as_str())], i64::from(unit.ready))
    })
}

fn unit_state(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.units.iter().try_for_each(|unit| gauge(&mut metric, [("unit", unit.unit.as_str()), ("state", &unit.state)], 1_i64))
}

fn unit_paused(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.units.iter().try_for_each(|unit| gauge(&mut metric, [("unit", unit.unit.as_str())], i64::from(unit.paused)))
}

fn isolation_missing(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let isolated = snapshot.units.iter().filter_map(|unit| Some((unit, unit.isolation.as_ref()?)));
    let mut isolated = isolated.map(|(unit, isolation)| (unit.unit.as_str(), isolation.missing.len() as u64));
    isolated.try_for_each(|(unit, missing)| gauge(&mut metric, [("unit", unit)], missing))
}

fn unit_restarts(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    for unit in &snapshot.units {
        for (cause, count) in &unit.counters.restarts {
            counter(&mut metric, [("unit", unit.unit.as_str()), ("cause", cause.as_str())], *count)?;
        }
    }
    Ok(())
}

fn unit_exits(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    for unit in &snapshot.units {
        for (exit, count) in &unit.counters.exits {
            let (label, value) = match exit {
                ExitLabel::Code(code) => ("code", code.to_string()),
                ExitLabel::Signal(signal) => ("signal", signal.to_string()),
                ExitLabel::Unknown => ("code", "unknown".into()),
            };
            counter(&mut metric, [("unit", unit.unit.as_str()), (label, &value)], *count)?;
        }
    }
    Ok(())
}

/// A unit that never started has no histogram: a thousand empty ones would fill the page.
fn unit_start(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let counted = snapshot.units.iter().map(|unit| (unit.unit.as_str(), &unit.counters.start)).filter(|(_, counted)| counted.count() > 0);
    counted.into_iter().try_for_each(|(unit, counted)| histogram(&mut metric, unit, counted))
}

fn unit_restart(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let counted = snapshot.units.iter().map(|unit| (unit.unit.as_str(), &unit.counters.restart)).filter(|(_, counted)| counted.count() > 0);
    counted.into_iter().try_for_each(|(unit, counted)| histogram(&mut metric, unit, counted))
}

fn unit_cpu(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.sampled().try_for_each(|(unit, sample)| cpu(&mut metric, "unit", unit, sample))
}

fn cpu(metric: &mut MetricEncoder<'_>, label: &'static str, whose: &str, sample: &Sample) -> Result<(), Error> {
    seconds(metric, [(label, whose), ("mode", "user")], sample.user_seconds)?;
    seconds(metric, [(label, whose), ("mode", "system")], sample.system_seconds)
}

fn unit_memory(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    of_units(snapshot, metric, |sample| sample.resident_bytes)
}

fn unit_threads(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    of_units(snapshot, metric, |sample| sample.threads)
}

fn unit_descriptors(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    of_units(snapshot, metric, |sample| sample.descriptors)
}

fn unit_processes(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    of_units(snapshot, metric, |sample| sample.processes)
}

/// Every probe with its unit.
fn probes(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &ProbeStatus)> {
    snapshot.units.iter().flat_map(|unit| unit.probes.iter().map(|probe| (unit.unit.as_str(), probe)))
}

fn unit_remedies(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.units.iter().try_for_each(|unit| {
        let mut stages = unit.counters.remedies.iter();
        stages.try_for_each(|(stage, count)| counter(&mut metric, [("unit", unit.unit.as_str()), ("stage", stage.as_str())], *count))
    })
}

fn breaker_state(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.units.iter().try_for_each(|unit| {
        let own = unit.breaker.map(|state| ("", state));
        let of_probes = unit.probes.iter().filter_map(|probe| Some((&*probe.name, probe.breaker?)));
        own.into_iter().chain(of_probes).try_for_each(|(probe, state)| {
            gauge(&mut metric, [("unit", unit.unit.as_str()), ("probe", probe), ("state", state.as_str())], 1_i64)
        })
    })
}

fn probe_up(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    probes(snapshot).filter(|(_, probe)| probe.standing != "pending").try_for_each(|(unit, probe)| {
        let labels = [("unit", unit), ("probe", &*probe.name), ("role", probe.role.as_str())];
        gauge(&mut metric, labels, i64::from(probe.standing == "passing"))
    })
}

fn probe_runs(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    probes(snapshot).try_for_each(|(unit, probe)| {
        let counts = Verdict::ALL.iter().zip(probe.runs).filter(|(_, count)| *count > 0);
        counts.into_iter().try_for_each(|(verdict, count)| {
            counter(&mut metric, [("unit", unit), ("probe", &*probe.name), ("verdict", verdict.as_str())], count)
        })
    })
}

fn probe_seconds(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    probes(snapshot).try_for_each(|(unit, probe)| seconds(&mut metric, [("unit", unit), ("probe", &*probe.name)], probe.busy.as_secs_f64()))
}

fn probe_late(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    probes(snapshot).try_for_each(|(unit, probe)| counter(&mut metric, [("unit", unit), ("probe", &*probe.name)], probe.late))
}

fn probe_value(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    probes(snapshot).try_for_each(|(unit, probe)| {
        let mut known = std::collections::BTreeSet::new();
        // A plugin may say the same twice; a page may not.
        let values = probe.values.iter().filter(|value| known.insert(&value.name));
        values
            .into_iter()
            .try_for_each(|value| gauge(&mut metric, [("unit", unit), ("probe", &*probe.name), ("value", &*value.name)], value.value))
    })
}

fn unit_log_bytes(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.units.iter().try_for_each(|unit| gauge(&mut metric, [("unit", unit.unit.as_str())], unit.counters.log_bytes))
}

fn unit_log_dropped(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    for unit in &snapshot.units {
        for (reason, bytes) in &unit.counters.log_dropped {
            counter(&mut metric, [("unit", unit.unit.as_str()), ("reason", reason.as_str())], *bytes)?;
        }
    }
    Ok(())
}

fn unit_notices_dropped(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    for unit in &snapshot.units {
        for (reason, count) in &unit.counters.notices_dropped {
            counter(&mut metric, [("unit", unit.unit.as_str()), ("reason", reason.as_str())], *count)?;
        }
    }
    Ok(())
}

fn of_units(snapshot: &Snapshot, mut metric: MetricEncoder<'_>, value: fn(&Sample) -> u64) -> Result<(), Error> {
    snapshot.sampled().try_for_each(|(unit, sample)| gauge(&mut metric, [("unit", unit)], value(sample)))
}

fn supervisor_up(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let supervisors = snapshot.supervisors.iter();
    supervisors.into_iter().try_for_each(|supervisor| {
        gauge(&mut metric, [("supervisor", supervisor.supervisor.as_str())], i64::from(supervisor.state == "active"))
    })
}

fn supervisor_health(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let mut each = snapshot.health.iter();
    each.try_for_each(|(supervisor, level)| gauge(&mut metric, [("supervisor", supervisor.as_str()), ("level", level.as_str())], 1_i64))
}

fn supervisor_restarts(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let mut each = snapshot.supervisors.iter();
    each.try_for_each(|supervisor| counter(&mut metric, [("supervisor", supervisor.supervisor.as_str())], supervisor.restarts))
}

fn supervisor_escalations(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let mut each = snapshot.supervisors.iter();
    each.try_for_each(|supervisor| counter(&mut metric, [("supervisor", supervisor.supervisor.as_str())], supervisor.escalations))
}

fn events(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_counter::<NoLabelSet, _, u64>(&snapshot.events, None)
}

fn events_dropped(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_counter::<NoLabelSet, _, u64>(&snapshot.events_dropped, None)
}

fn process_cpu(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.own().try_for_each(|(process, sample)| cpu(&mut metric, "process", process, sample))
}

fn process_memory(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    of_processes(snapshot, metric, |sample| sample.resident_bytes)
}

fn process_threads(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    of_processes(snapshot, metric, |sample| sample.threads)
}

fn process_descriptors(snapshot: &Snapshot, metric: MetricEncoder<'_>) -> Result<(), Error> {
    of_processes(snapshot, metric, |sample| sample.descriptors)
}

fn of_processes(snapshot: &Snapshot, mut metric: MetricEncoder<'_>, value: fn(&Sample) -> u64) -> Result<(), Error> {
    snapshot.own().try_for_each(|(process, sample)| gauge(&mut metric, [("process", process)], value(sample)))
}

fn process_start(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch fit")]
    snapshot.own().try_for_each(|(process, sample)| gauge(&mut metric, [("process", process)], sample.started.0 as f64 / 1e3))
}

fn launcher_turns(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_counter::<NoLabelSet, _, u64>(&snapshot.launcher_turns.count, None)
}

fn launcher_turn(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    let LauncherTurns { longest, recent, .. } = snapshot.launcher_turns;
    let mut windows = [("last_second", recent), ("all", longest)].into_iter();
    windows.try_for_each(|(window, turn)| gauge(&mut metric, [("window", window)], turn.as_secs_f64()))
}

fn lookups_hanging(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.hanging.iter().try_for_each(|(purpose, count)| gauge(&mut metric, [("purpose", purpose.as_str())], *count as u64))
}

fn store_up(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_gauge(&i64::from(snapshot.store.failing.is_none()))
}

fn store_wishes(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_gauge(&(snapshot.store.wishes as u64))
}

fn store_pending(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_gauge(&(snapshot.store.pending as u64))
}

fn store_commits(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_counter::<NoLabelSet, _, u64>(&snapshot.store.commits, None)
}

fn store_failures(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_counter::<NoLabelSet, _, u64>(&snapshot.store.failures, None)
}

fn store_backups(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_counter::<NoLabelSet, _, u64>(&snapshot.store.backups, None)
}

fn host_pressure(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.host.pressure.each().try_for_each(|(resource, pressure)| {
        let kinds = [("some", Some(pressure.some)), ("full", pressure.full)];
        let mut known = kinds.into_iter().filter_map(|(kind, share)| Some((kind, share?)));
        known.try_for_each(|(kind, share)| gauge(&mut metric, [("resource", resource), ("kind", kind)], share))
    })
}

fn host_memory(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    snapshot.host.memory_available.map_or(Ok(()), |share| metric.encode_gauge(&share))
}

fn brain_lag(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_gauge(&snapshot.host.lag.as_secs_f64())
}

fn degradation_step(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_gauge(&(snapshot.degradation_step as u64))
}

fn limit_alarms(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_counter::<NoLabelSet, _, f64>(&snapshot.limit_alarms, None)
}

fn observer_blind(snapshot: &Snapshot, mut metric: MetricEncoder<'_>) -> Result<(), Error> {
    metric.encode_counter::<NoLabelSet, _, f64>(&snapshot.host.blind.as_secs_f64(), None)
}
