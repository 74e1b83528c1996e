//! One look at all logs: what blocks, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::id::UnitId;
use crate::base::time::{Mono, Wall};
use crate::event::{Event, GapReason};
use crate::os::clock;
use crate::os::logfile::{
    LogError, PERIOD, RotateReport, Survey, SweepMemory, SweepUnit, changed, live_size, remove_archives, rotate_direct, survey, sweep, used,
};
use crate::plan::{LogCompress, LogMode, LogOverflow, Plan, UnitPlan};
use crate::policy::retention::{Archive, Removal, is_full, retain};
use crate::policy::throttle::{Resistance, Throttling};

/// How long after it was written an archive is compressed. What a flood drops at once is not worth the work.
const COMPRESS_AFTER: Duration = Duration::from_secs(5);

/// Logs are looked at again after this when a unit had to be stopped a short while ago, and while a rotation is under way.
pub(super) const WARY: Duration = Duration::from_millis(20);

/// How often the directory is listed at most, and at least: archives also get older without any change.
const SURVEY_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What the looks remember from one to the next.
pub(super) struct Keeper {
    dir: PathBuf,
    memory: SweepMemory,
    survey: Survey,
    surveyed: Option<Mono>,
    /// The directory's stamp at the last survey.
    stamp: Option<Wall>,
    /// Something in it waits for its time.
    pending: bool,
    /// All together take more than they may, and only units that wait could yield.
    over: bool,
    /// Units that wait for room or do not, and how their logs grow meanwhile. A unit a brain sees for the first time may have been stopped by
    /// the last one.
    full: BTreeMap<UnitId, (bool, Resistance)>,
}

/// What a look has found and done.
#[derive(Default)]
pub(super) struct Round {
    pub(super) reports: Vec<(UnitId, Result<RotateReport, LogError>)>,
    /// Logs the pump is to rotate.
    pub(super) aged: Vec<(UnitId, Arc<UnitPlan>)>,
    /// Units to stop because their logs are full, or to let go on; and what is to be told of it.
    pub(super) full: Vec<(UnitId, bool, Option<Event>)>,
    /// Units that write on although they wait for room: to stop again, or to kill.
    pub(super) resisting: Vec<(UnitId, Throttling)>,
    /// Units with archives to compress.
    pub(super) compress: Vec<UnitId>,
    /// What each log takes, when that was looked at.
    pub(super) sizes: Option<BTreeMap<UnitId, u64>>,
    /// When to look again.
    pub(super) next: Duration,
}

impl Keeper {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            memory: SweepMemory::default(),
            survey: Survey::default(),
            surveyed: None,
            stamp: None,
            pending: false,
            over: false,
            full: BTreeMap::new(),
        }
    }

    /// Looks at everything once. Blocks.
    pub(super) fn round(&mut self, plan: &Plan, now: Wall) -> Round {
        let logs = plan.units.values().flat_map(|unit| unit.log_files());
        let units: Vec<_> = logs.map(|(log, logs)| SweepUnit { unit: log, logs }).collect();
        let swept = sweep(&self.dir, &units, now, &mut self.memory);
        let mut round = Round { next: swept.next, ..Round::default() };
        round.reports.extend(swept.reports.into_iter().map(|report| (report.unit, report.outcome)));
        let aged = swept.aged.into_iter().filter_map(|unit| plan.units.get(&unit).map(|plan| (unit, plan.clone())));
        round.aged.extend(aged);
        self.look_around(plan, now, &mut round);
        self.judge_full(plan, &mut round);
        round
    }

    /// Rotates those logs of a unit that are written directly. Blocks.
    pub(super) fn rotate(&mut self, unit: &UnitPlan) -> Result<RotateReport, LogError> {
        let mut report = RotateReport::default();
        for (log, plan) in unit.log_files().filter(|(_, plan)| plan.mode == LogMode::Direct) {
            report += rotate_direct(&self.dir, log.as_str(), &plan, true)?;
        }
        Ok(report)
    }

    /// Lists the directory, if it has changed or something in it gets too old; removes what is beyond the quota of all.
    fn look_around(&mut self, plan: &Plan, now: Wall, round: &mut Round) {
        let at = clock::mono();
        let since = self.surveyed.map(|surveyed| at - surveyed);
        let stamp = changed(&self.dir);
        let (soon, late) = SURVEY_EVERY;
        let due = since.is_none_or(|since| since >= late || (since >= soon && (self.pending || stamp != self.stamp)));
        if !due {
            return;
        }
        (self.surveyed, self.stamp) = (Some(at), stamp);
        // A directory that cannot be read: the sweep has told why.
        let Ok(found) = survey(&self.dir) else { return };
        self.survey = found;
        self.retain(plan, now, round);
        self.pending = false;
        for (unit, archives) in &self.survey.units {
            if plan.unit_of_log(unit).is_none_or(|plan| plan.logs.compress == LogCompress::None) {
                continue;
            }
            let plain: Vec<_> = archives.iter().filter(|archive| archive.plain).collect();
            let is_settled =
                |written: Wall| u128::try_from(now.0.saturating_sub(written.0)).is_ok_and(|age| age >= COMPRESS_AFTER.as_millis());
            if plain.iter().any(|archive| is_settled(archive.written)) {
                round.compress.push(unit.clone());
            }
            self.pending |= !plain.is_empty();
        }
        let names: BTreeSet<_> = self.survey.units.keys().chain(self.survey.live.keys()).collect();
        let mut sizes = BTreeMap::new();
        for log in names {
            *sizes.entry(UnitId::of_log(log.as_str()).0.into()).or_default() += self.survey.used(log.as_str());
        }
        round.sizes = Some(sizes);
    }

    fn retain(&mut self, plan: &Plan, now: Wall, round: &mut Round) {
        let archives = self.survey.units.iter().flat_map(|(unit, archives)| {
            let logs = plan.unit_of_log(unit).map(|plan| &plan.logs);
            archives.iter().map(move |archive| Archive {
                unit: unit.clone(),
                end: archive.end,
                bytes: archive.bytes,
                written: archive.written,
                keep_for: logs.and_then(|logs| logs.keep_for),
                yields: logs.is_none_or(|logs| logs.overflow == LogOverflow::DropOldest),
            })
        });
        let live = self.survey.live.values().sum();
        let (removals, over) = retain(&archives.collect::<Vec<_>>(), live, plan.daemon.logs_max_total, now);
        self.over = over;
        for (unit, removal) in removals {
            let (end, why) = match removal {
                Removal::Old(end) => (end, None),
                Removal::Beyond(end) => (end, Some(GapReason::Total)),
            };
            let done = remove_archives(&self.dir, unit.as_str(), end, why);
            if let Some(archives) = self.survey.units.get_mut(&unit).filter(|_| done.is_ok()) {
                archives.retain(|archive| archive.end > end);
            }
            round.reports.push((unit, done));
        }
    }

    /// Which units are to be stopped because their logs are full, and which may go on.
    fn judge_full(&mut self, plan: &Plan, round: &mut Round) {
        let waits = |unit: &UnitId| plan.units.get(unit).is_some_and(|plan| plan.logs.overflow == LogOverflow::Pause);
        for (unit, (was, _)) in &self.full {
            if *was && !waits(unit) {
                round.full.push((unit.clone(), false, Some(Event::LogHasRoom { unit: unit.clone() })));
            }
        }
        self.full.retain(|unit, _| waits(unit));
        let units = plan.units.values().filter(|unit| unit.logs.overflow == LogOverflow::Pause && unit.logs.mode != LogMode::None);
        for unit in units {
            let was = self.full.get(&unit.id).map(|(was, _)| *was);
            let (mut is, mut used, mut written) = (self.over, 0, 0);
            for (log, bounds) in unit.log_files() {
                let bytes = self.used(&log, round);
                // The pump begins no file for which there is no room.
                let direct = bounds.mode == LogMode::Direct;
                let quota = if direct { bounds.max_total } else { bounds.max_total.saturating_sub(bounds.max_size) };
                is |= is_full(was.unwrap_or(false), bytes, quota);
                used += bytes;
                // The pump may still write what is in its pipe.
                written += if direct { bytes } else { 0 };
            }
            let resists = self.full.get_mut(&unit.id).filter(|(was, _)| *was && is).and_then(|(_, resistance)| resistance.look(written));
            if let Some(resists) = resists {
                round.resisting.push((unit.id.clone(), resists));
                round.next = round.next.min(WARY);
            }
            if was != Some(is) {
                self.full.insert(unit.id.clone(), (is, Resistance::begun(written)));
                let event = if is { Some(Event::LogFull { unit: unit.id.clone(), bytes: used }) } else { None };
                let room = was.map(|_| Event::LogHasRoom { unit: unit.id.clone() });
                round.full.push((unit.id.clone(), is, event.or(room)));
            }
            if is {
                round.next = round.next.min(*PERIOD.end());
            }
        }
    }

    /// How many bytes a log takes.
    fn used(&self, log: &UnitId, round: &Round) -> u64 {
        // What was counted before a rotation is not true any more.
        if round.reports.iter().any(|(of, _)| of == log) {
            return used(&self.dir, log.as_str()).unwrap_or(0);
        }
        let archives = self.survey.units.get(log).into_iter().flatten().map(|archive| archive.bytes).sum::<u64>();
        archives + live_size(&self.dir, log.as_str())
    }
}
