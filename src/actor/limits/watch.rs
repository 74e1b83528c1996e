//! Looks again and again how often units and supervisors are at their limits, and whether the limits still are what they are to be.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::adjust::{limits_of, measured};
use super::{Limits, is_default};
use crate::actor::context::Context;
use crate::actor::tree::Tree;
use crate::actor::{BoxError, TaskContext};
use crate::base::choice::FailureClass;
use crate::base::limit::{ControlFile, Setting};
use crate::base::time::Mono;
use crate::event::{Event, LimitCleared, LimitDrifted, LimitReached};
use crate::launcher::wire::ToLauncher;
use crate::os::cgroup::Cgroup;
use crate::os::clock;
use crate::os::usage::{self, Hits};
use crate::plan::{AdjustedLimit, LimitsPlan, OomPolicy, Plan};
use crate::policy::adjust::Sample;
use crate::policy::episode::{Episode, Turn};

/// How often it is looked whether limits are reached.
const LOOK: Duration = Duration::from_secs(1);

/// At every so many looks the control files are compared with what is to stand in them.
const COMPARED: u32 = 10;

/// What there is to look at.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) cgroup: PathBuf,
    /// What is to stand in its files, if that is to be compared.
    expected: Vec<Setting>,
    /// Limits that follow the pressure.
    pub(super) adjusted: Vec<AdjustedLimit>,
}

/// What was found there.
pub(super) struct Found {
    pub(super) place: Place,
    hits: Option<Hits>,
    /// Settings that are not what they are to be, and what is found instead.
    drifted: Vec<(Setting, String)>,
    /// What was measured for limits that follow the pressure.
    pub(super) samples: Vec<(ControlFile, Sample)>,
}

/// Looks for as long as the daemon runs.
///
/// # Errors
/// None.
pub async fn run(task: TaskContext, context: Arc<Context>, tree: Arc<Tree>) -> Result<(), BoxError> {
    if context.limits.controllers.usable.is_empty() {
        // Nothing is limited, and that was said.
        task.shutdown_requested().await;
        return Ok(());
    }
    for look in 0_u32.. {
        tokio::select! {
            () = task.shutdown_requested() => break,
            () = tokio::time::sleep(context.degradation.slow(LOOK)) => {}
        }
        let plan = tree.plan();
        let places = context.limits.places(look % COMPARED == COMPARED - 1, &plan);
        let found = tokio::task::spawn_blocking(move || places.into_iter().map(look_at).collect::<Vec<_>>()).await;
        for found in found.unwrap_or_default() {
            context.limits.compared(&context, &found);
            context.limits.adjust(&context, &plan, &found);
            context.limits.counted(&context, &tree, &found);
        }
    }
    Ok(())
}

fn look_at(place: Place) -> Found {
    let drifted = match Cgroup::at(place.cgroup.clone()) {
        Ok(cgroup) => place
            .expected
            .iter()
            .filter_map(|setting| {
                // A file that is not there has nothing in it that somebody could have changed.
                let found = cgroup.read(setting.file.as_str()).ok()?;
                (!setting.is_in(&found)).then(|| (setting.clone(), setting.part_of(&found).unwrap_or("nothing").trim().to_owned()))
            })
            .collect(),
        Err(_) => Vec::new(),
    };
    let samples = measured(&place.cgroup, &place.adjusted);
    Found { hits: usage::hits(&place.cgroup).ok(), drifted, samples, place }
}

impl Limits {
    fn places(&self, compare: bool, plan: &Plan) -> Vec<Place> {
        let state = self.state();
        let place = |(name, standing): (&String, &super::Standing)| {
            let refused = |setting: &&Setting| standing.statuses.get(setting.file.limit()).is_none_or(|status| status.refused.is_none());
            let mut expected: Vec<Setting> = Vec::new();
            if compare && !standing.wanted.is_empty() && !standing.is_changing && standing.adjusting.is_empty() {
                expected.extend(standing.wanted.iter().filter(refused).cloned());
                let usual = ControlFile::ALL
                    .iter()
                    .filter(|file| **file != ControlFile::IoMax && self.controllers.usable.contains(&file.controller()));
                let usual = usual.filter(|file| !standing.wanted.iter().any(|setting| setting.file == **file));
                expected.extend(usual.map(|file| Setting::new(*file, file.default_value())));
            }
            let mut adjusted = limits_of(plan, name).map(LimitsPlan::adjusted).unwrap_or_default();
            adjusted.retain(|limit| self.controllers.usable.contains(&limit.file.controller()));
            Some(Place { name: name.clone(), cgroup: standing.cgroup.clone()?, expected, adjusted })
        };
        state.standings.iter().filter_map(place).collect()
    }

    /// Sets again what somebody else has changed, and tells it once.
    fn compared(&self, context: &Context, found: &Found) {
        if found.place.expected.is_empty() {
            return;
        }
        let (mut again, mut told) = (Vec::new(), Vec::new());
        let target = {
            let mut state = self.state();
            let Some(standing) = state.standings.get_mut(&found.place.name) else { return };
            if standing.is_changing || !standing.adjusting.is_empty() {
                return;
            }
            standing.drifts.retain(|file, _| found.drifted.iter().any(|(setting, _)| setting.file == *file));
            for (setting, there) in &found.drifted {
                // A new plan may have come meanwhile.
                if !(standing.wanted.contains(setting)
                    || is_default(setting) && !standing.wanted.iter().any(|one| one.file == setting.file))
                {
                    continue;
                }
                again.push(setting.clone());
                if standing.drifts.insert(setting.file, there.clone()).as_ref() != Some(there) {
                    told.push(LimitDrifted {
                        target: found.place.name.clone(),
                        limit: setting.file.limit().into(),
                        wanted: setting.value.clone(),
                        found: there.clone(),
                    });
                }
            }
            standing.target.clone()
        };
        if !again.is_empty() {
            context.launcher.send(ToLauncher::Limit { target, settings: again });
        }
        told.into_iter().for_each(|drifted| context.bus.tell(Event::LimitDrifted(drifted)));
    }

    /// Tells of limits that were reached since the last look, and ends a unit of which something was killed, if that is declared.
    fn counted(&self, context: &Arc<Context>, tree: &Tree, found: &Found) {
        let Some(hits) = found.hits else { return };
        let now = clock::mono();
        let name = &found.place.name;
        let (before, mut turns) = {
            let mut state = self.state();
            let Some(standing) = state.standings.get_mut(name).filter(|standing| standing.cgroup.as_ref() == Some(&found.place.cgroup))
            else {
                return;
            };
            // The first look after a new brain has begun only tells where the counters stand.
            let before = standing.hits.replace(hits).unwrap_or(hits);
            let tasks = seen(&mut standing.tasks, now, hits.tasks, before.tasks);
            let high = seen(&mut standing.high, now, hits.high, before.high);
            (before, [tasks.map(|turn| (ControlFile::PidsMax, turn)), high.map(|turn| (ControlFile::MemoryHigh, turn))])
        };
        for (file, turn) in turns.iter_mut().filter_map(Option::take) {
            context.bus.tell(self.reached(found, file, turn));
        }
        let killed = hits.oom_kills.saturating_sub(before.oom_kills);
        let Some((unit, run)) = self.run_of(name).filter(|_| killed > 0) else { return };
        let why = self.killed(context, &unit, &found.place.cgroup, killed);
        let policy = tree.plan().units.get(&unit).map(|plan| plan.limits.oom_policy);
        if let (Some(why), Some(OomPolicy::Kill | OomPolicy::Group)) = (why, policy) {
            tree.unwell(&unit, run, FailureClass::Oom, why);
        }
    }

    fn reached(&self, found: &Found, file: ControlFile, turn: Turn) -> Event {
        let Place { name, cgroup, .. } = &found.place;
        let wanted = |file| {
            let state = self.state();
            state.standings.get(name)?.wanted.iter().find(|setting| setting.file == file)?.value.parse::<u64>().ok()
        };
        let (target, limit) = (name.clone(), wanted(file));
        match turn {
            Turn::Over { count, after } => Event::LimitCleared(LimitCleared { target, limit: file.limit().into(), count, after }),
            Turn::Begun => {
                let used = usage::used(cgroup).unwrap_or_default();
                match file {
                    ControlFile::PidsMax => Event::TasksMaxReached(LimitReached { target, used: used.tasks, limit, pressure: None }),
                    _ => {
                        let pressure = usage::memory_pressure(cgroup);
                        Event::MemoryHighReached(LimitReached { target, used: used.memory, limit, pressure })
                    }
                }
            }
        }
    }
}

fn seen(episode: &mut Episode, now: Mono, hits: u64, before: u64) -> Option<Turn> {
    episode.seen(now, hits.saturating_sub(before))
}
