//! Limits that follow the pressure: what each look decides, and what becomes of it.

use std::path::{Path, PathBuf};

use super::watch::Found;
use super::{Limits, Standing};
use crate::actor::context::Context;
use crate::base::limit::{ControlFile, Setting};
use crate::base::time::Mono;
use crate::event::{AdjustCause, Event, LimitAdjusted, LimitsUnavailable};
use crate::launcher::wire::{LimitTarget, ToLauncher};
use crate::os::cgroup::Cgroup;
use crate::os::clock;
use crate::os::pressure::PressureFiles;
use crate::os::usage;
use crate::plan::{AdjustedLimit, LimitsPlan, Plan};
use crate::policy::Machine as _;
use crate::policy::adjust::{Adjuster, Change, Sample};

/// So many units and supervisors are named.
const TARGETS_MAX: usize = 8;

/// The limits of a unit or supervisor, as they are declared.
pub(super) fn limits_of<'a>(plan: &'a Plan, name: &str) -> Option<&'a LimitsPlan> {
    let unit = plan.units.get(name).map(|unit| &unit.limits);
    unit.or_else(|| plan.supervisors.get(name).map(|supervisor| &supervisor.limits))
}

/// What is measured for these limits. Reads files.
pub(super) fn measured(cgroup: &Path, limits: &[AdjustedLimit]) -> Vec<(ControlFile, Sample)> {
    let files = PressureFiles::in_directory(cgroup);
    let waited = |resource| files.one(resource).ok().map(|pressure| pressure.some);
    let sample = |limit: &AdjustedLimit| match limit.file {
        ControlFile::MemoryHigh => Sample { pressure: waited("memory"), used: usage::working_set(cgroup), available: None },
        _ => Sample { pressure: waited("cpu"), ..Sample::default() },
    };
    limits.iter().map(|limit| (limit.file, sample(limit))).collect()
}

/// What to write into a cgroup that was found: limits that follow the pressure stay where an earlier brain has brought them. Reads files.
pub(super) fn kept(cgroup: Option<PathBuf>, limits: &LimitsPlan, settings: &mut Vec<Setting>) {
    let Some(cgroup) = cgroup.and_then(|path| Cgroup::at(path).ok()) else { return };
    for limit in limits.adjusted() {
        // What nobody has written is of a cgroup that was made anew.
        let found = cgroup.read(limit.file.as_str()).ok().filter(|found| found.trim() != limit.file.default_value());
        if let Some(value) = found.and_then(|found| found.trim().parse().ok()).filter(|value| limit.holds(*value)) {
            settings.retain(|setting| setting.file != limit.file);
            settings.push(limit.setting(value));
        }
    }
}

/// That nothing can follow a pressure nobody tells. Reads a file.
pub(super) fn unmeasured(plan: &Plan) -> Option<LimitsUnavailable> {
    let units = plan.units.values().map(|unit| (unit.id.as_str(), &unit.limits));
    let supervisors = plan.supervisors.values().map(|supervisor| (supervisor.id.as_str(), &supervisor.limits));
    let names: Vec<_> = supervisors.chain(units).filter(|(_, limits)| limits.adjust.is_some()).map(|(name, _)| name).collect();
    let why = names.first().and_then(|_| PressureFiles::default().one("memory").err())?;
    Some(LimitsUnavailable {
        limits: vec!["adjust".into()],
        targets: names.iter().take(TARGETS_MAX).map(|name| (*name).to_owned()).collect(),
        count: names.len(),
        why,
        cure: "boot with `psi=1` on the kernel's command line".into(),
    })
}

impl Standing {
    /// Where a limit is to stand.
    fn stands(&self, limit: &AdjustedLimit) -> u64 {
        let wanted = self.wanted.iter().find(|setting| setting.file == limit.file).map(|setting| setting.value.as_str());
        wanted.unwrap_or_else(|| limit.file.default_value()).parse().unwrap_or(limit.declared)
    }

    /// Brings the machines in line with what is declared now. What was adjusted and is declared otherwise goes back to what is declared.
    /// `declared`: those of `limits` that can follow the pressure here.
    fn follow(&mut self, now: Mono, limits: &LimitsPlan, declared: &[AdjustedLimit]) -> Vec<(AdjustedLimit, u64, AdjustCause)> {
        let mut back = Vec::new();
        let known = std::mem::take(&mut self.adjusters);
        for (file, adjuster) in &known {
            let limit = *adjuster.limit();
            // A value that is declared anew is written by whoever changes the plan.
            let is_same = limits.declared(*file) == Some(limit.declared) && self.stands(&limit) == adjuster.value();
            if adjuster.is_adjusted() && is_same && declared.iter().all(|limit| limit.file != *file) {
                back.push((limit, limit.declared, AdjustCause::Replanned));
            }
        }
        for limit in declared {
            let stands = self.stands(limit);
            if self.statuses.is_empty() && stands != limit.declared {
                // What was found is not known yet.
                continue;
            }
            let adjuster = match known.get(&limit.file) {
                Some(known) if known.limit() == limit && known.value() == stands => known.clone(),
                Some(known) if known.limit().declared != limit.declared => Adjuster::new(*limit, limit.declared, now),
                _ => Adjuster::new(*limit, stands, now),
            };
            if adjuster.value() != stands {
                back.push((*limit, adjuster.value(), AdjustCause::Replanned));
            }
            self.adjusters.insert(limit.file, adjuster);
        }
        back
    }

    /// What is to be changed now.
    fn decide(&mut self, now: Mono, samples: &[(ControlFile, Sample)]) -> Vec<(AdjustedLimit, u64, AdjustCause)> {
        let mut decided = Vec::new();
        for (file, sample) in samples {
            let is_refused = self.statuses.get(file.limit()).is_some_and(|status| status.refused.is_some());
            let Some(adjuster) = self.adjusters.get_mut(file).filter(|_| !is_refused) else { continue };
            let mut out: Vec<Change> = Vec::new();
            adjuster.step(now, *sample, &mut out);
            decided.extend(out.into_iter().map(|Change { was, is, pressure }| {
                let why = if is > was { AdjustCause::Pressure(pressure) } else { AdjustCause::Calm(pressure) };
                (*adjuster.limit(), is, why)
            }));
        }
        decided
    }

    /// The launcher has answered for a limit: what there is to tell if it was to be adjusted.
    pub(super) fn adjusted(&mut self, setting: &Setting, is_refused: bool) -> Option<LimitAdjusted> {
        let at = self.adjusting.iter().position(|change| change.limit == setting.file.limit() && change.is.to_string() == setting.value)?;
        let change = self.adjusting.remove(at);
        if !is_refused {
            return Some(change);
        }
        self.want(&[Setting::new(setting.file, change.was.to_string())]);
        if let Some(adjuster) = self.adjusters.get_mut(&setting.file) {
            adjuster.go_back(change.was);
        }
        None
    }
}

impl Limits {
    /// Changes what follows the pressure. It is told once the launcher has read it back.
    pub(super) fn adjust(&self, context: &Context, plan: &Plan, found: &Found) {
        let name = &found.place.name;
        let Some(limits) = limits_of(plan, name) else { return };
        let available = context.host.status().memory_available;
        let samples: Vec<_> = found.samples.iter().map(|(file, sample)| (*file, Sample { available, ..*sample })).collect();
        let (target, settings) = {
            let mut state = self.state();
            let Some(standing) = state.standings.get_mut(name).filter(|standing| {
                standing.cgroup.as_ref() == Some(&found.place.cgroup) && !standing.is_changing && standing.adjusting.is_empty()
            }) else {
                return;
            };
            if limits.adjust.is_none() && standing.adjusters.is_empty() {
                return;
            }
            let now = clock::mono();
            let before = standing.adjusters.len();
            let mut changes = standing.follow(now, limits, &found.place.adjusted);
            let is_new = before != standing.adjusters.len();
            if changes.is_empty() {
                changes = standing.decide(now, &samples);
            }
            if changes.is_empty() && !is_new {
                return;
            }
            let mut settings = Vec::new();
            for (limit, is, why) in changes {
                let (target, was, declared) = (name.clone(), standing.stands(&limit), limit.declared);
                settings.push(limit.setting(is));
                standing.adjusting.push(LimitAdjusted { target, limit: limit.file.limit().into(), was, is, declared, why });
            }
            standing.want(&settings);
            (standing.target.clone(), settings)
        };
        self.show(context, name);
        if !settings.is_empty() {
            context.launcher.send(ToLauncher::Limit { target, settings });
        }
    }

    /// Tells of a limit that was changed, and counts it.
    pub(super) fn tell_adjusted(context: &Context, target: &LimitTarget, change: LimitAdjusted) {
        if let LimitTarget::Unit { unit, .. } = target {
            context.view.change_unit(unit.as_str(), |status| *status.counters.adjustments.entry(change.limit.clone()).or_default() += 1);
        }
        context.bus.tell(Event::LimitAdjusted(change));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::LimitStatus;
    use crate::plan::plan_of;

    fn declared(limits: &str) -> LimitsPlan {
        plan_of(&[("units/u.yaml", &format!("unit: a\nexec: x\nlimits: {limits}\n"))]).units["a"].limits.clone()
    }

    fn standing(limits: &LimitsPlan) -> Standing {
        let mut standing = Standing::new(LimitTarget::Unit { unit: "a".into(), group: Vec::new() });
        standing.want(&limits.settings());
        let (limit, wanted) = ("cpu_weight".to_owned(), "200".to_owned());
        standing.statuses.insert(limit.clone(), LimitStatus { limit, wanted, refused: None, declared: None });
        standing
    }

    fn at(second: u64) -> Mono {
        Mono(0) + Duration::from_secs(second)
    }

    const WEIGHT: &str = "{cpu_weight: 200, adjust: {cpu_weight: {floor: 50, ceiling: 400}}}";

    /// Lets it be raised once.
    fn raise(standing: &mut Standing) -> Setting {
        let sample = (ControlFile::CpuWeight, Sample { pressure: Some(0.9), ..Sample::default() });
        let decided = standing.decide(at(1000), &[sample]);
        let [(limit, is, AdjustCause::Pressure(_))] = decided[..] else { panic!("{decided:?}") };
        let (target, was, declared) = ("a".into(), standing.stands(&limit), limit.declared);
        standing.adjusting.push(LimitAdjusted {
            target,
            limit: limit.file.limit().into(),
            was,
            is,
            declared,
            why: AdjustCause::Pressure(0.9),
        });
        standing.want(&[limit.setting(is)]);
        limit.setting(is)
    }

    #[test]
    fn what_is_adjusted_goes_back_when_it_is_declared_otherwise() {
        let plan = declared(WEIGHT);
        let mut standing = standing(&plan);
        assert!(standing.follow(at(0), &plan, &plan.adjusted()).is_empty());
        let raised = raise(&mut standing);
        assert_eq!(raised.value, "300");
        assert_eq!(standing.adjusted(&raised, false).map(|change| (change.was, change.is)), Some((200, 300)));
        assert!(standing.follow(at(1001), &plan, &plan.adjusted()).is_empty(), "nothing has changed");
        let wider = declared("{cpu_weight: 200, adjust: {cpu_weight: {floor: 50, ceiling: 900}}}");
        assert!(standing.follow(at(1002), &wider, &wider.adjusted()).is_empty(), "300 may stay");
        let narrow = declared("{cpu_weight: 200, adjust: {cpu_weight: {floor: 50, ceiling: 250}}}");
        let back = standing.follow(at(1003), &narrow, &narrow.adjusted());
        assert_eq!(back.iter().map(|(_, is, _)| *is).collect::<Vec<_>>(), [200]);
        standing.want(&[back[0].0.setting(200)]);
        assert!(standing.follow(at(1004), &declared("{cpu_weight: 200}"), &[]).is_empty(), "it stood as declared");
        assert!(standing.adjusters.is_empty());
    }

    #[test]
    fn without_adjust_it_is_as_declared() {
        let plan = declared(WEIGHT);
        let mut standing = standing(&plan);
        standing.follow(at(0), &plan, &plan.adjusted());
        let raised = raise(&mut standing);
        standing.adjusted(&raised, false);
        let back = standing.follow(at(1001), &declared("{cpu_weight: 200}"), &[]);
        assert_eq!(
            back.iter().map(|(limit, is, why)| (limit.file, *is, *why)).collect::<Vec<_>>(),
            [(ControlFile::CpuWeight, 200, AdjustCause::Replanned)]
        );
    }

    #[test]
    fn a_change_that_is_refused_is_no_change() {
        let plan = declared(WEIGHT);
        let mut standing = standing(&plan);
        standing.follow(at(0), &plan, &plan.adjusted());
        let raised = raise(&mut standing);
        assert_eq!(standing.adjusted(&raised, true), None);
        assert!(standing.adjusting.is_empty());
        assert_eq!(standing.wanted, plan.settings());
        assert!(!standing.adjusters[&ControlFile::CpuWeight].is_adjusted());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a control file")]
    fn what_an_earlier_brain_has_written_stays() {
        let directory = tempfile::tempdir().unwrap();
        let plan = declared(WEIGHT);
        let kept_of = |found: &str| {
            std::fs::write(directory.path().join("cpu.weight"), found).unwrap();
            let mut settings = plan.settings();
            kept(Some(directory.path().into()), &plan, &mut settings);
            settings.into_iter().map(|setting| setting.value).collect::<Vec<_>>()
        };
        assert_eq!(kept_of("300\n"), ["300"]);
        assert_eq!(kept_of("100\n"), ["200"], "nobody has written that");
        assert_eq!(kept_of("500\n"), ["200"], "more than it may be");
        let mut found = Standing { wanted: vec![Setting::new(ControlFile::CpuWeight, "300")], ..standing(&plan) };
        assert!(found.follow(at(0), &plan, &plan.adjusted()).is_empty());
        assert_eq!(found.adjusters[&ControlFile::CpuWeight].value(), 300);
    }
}
