//! Looks again and again how often units and supervisors are at their limits, and whether the limits still are what they are to be.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::adjust::{limits_of, measured};
use super::hearing::{Due, Hearing};
use super::{Limits, is_default, oom};
use crate::actor::context::Context;
use crate::actor::tree::Tree;
use crate::actor::{BoxError, TaskContext};
use crate::base::choice::FailureClass;
use crate::base::limit::{ControlFile, Setting};
use crate::base::pressure::STRAINED;
use crate::base::time::Mono;
use crate::event::{Event, LimitCleared, LimitDrifted, LimitReached, MEMORY_PRESSURE, OomKilled};
use crate::launcher::wire::{LimitTarget, ToLauncher};
use crate::os::alarm::Sources;
use crate::os::cgroup::Cgroup;
use crate::os::clock;
use crate::os::usage::{self, Hits};
use crate::plan::{AdjustedLimit, LimitsPlan, OomPolicy, Plan};
use crate::policy::adjust::Sample;
use crate::policy::episode::{Episode, Turn};
use crate::policy::strain::Waited;

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
    /// What the kernel is to say by itself.
    pub(super) sources: Sources,
    /// It has said that something waits for memory.
    rang: bool,
    /// For how long that was is measured, because it does not say so.
    is_measured: bool,
}

/// What was found there.
pub(super) struct Found {
    pub(super) place: Place,
    hits: Option<Hits>,
    waited: Waited,
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
    let mut hearing = Hearing::new();
    let mut looks = 0_u32;
    let mut period = std::pin::pin!(tokio::time::sleep(context.degradation.slow(LOOK)));
    loop {
        // None: everything.
        let due = tokio::select! {
            () = task.shutdown_requested() => return Ok(()),
            () = &mut period => None,
            due = hearing.due(&context.limits) => Some(due),
        };
        let round = Round { context: &context, tree: &tree, plan: tree.plan() };
        match due {
            Some(due) => round.some(&mut hearing, due).await,
            None => {
                round.all(&mut hearing, looks % COMPARED == COMPARED - 1).await;
                looks = looks.wrapping_add(1);
                period.set(tokio::time::sleep(context.degradation.slow(LOOK)));
            }
        }
    }
}

/// What one round of looks needs.
struct Round<'a> {
    context: &'a Arc<Context>,
    tree: &'a Tree,
    plan: Arc<Plan>,
}

impl Round<'_> {
    /// Looks at everything.
    async fn all(&self, hearing: &mut Hearing, compare: bool) {
        let places = self.context.limits.places(compare, &self.plan, |_| true);
        hearing.tune(&places).await;
        self.look(hearing, places).await;
    }

    /// Looks where something has happened.
    async fn some(&self, hearing: &mut Hearing, mut due: Due) {
        let limits = &self.context.limits;
        if due.is_placed {
            due.names.extend(hearing.tune(&limits.places(false, &self.plan, |_| true)).await);
        }
        let mut places = limits.places(false, &self.plan, |name| due.names.contains(name));
        places.iter_mut().for_each(|place| place.rang = due.waiting.contains(&place.name));
        let above = self.look(hearing, places).await;
        if !above.is_empty() {
            // It was a process of something below, which may have no limit of its own.
            let mut below = limits.places(false, &self.plan, |_| true);
            below.retain(|place| above.iter().any(|above| place.cgroup != *above && place.cgroup.starts_with(above)));
            self.look(hearing, below).await;
        }
    }

    /// The cgroups of supervisors below which processes were killed since the last look.
    async fn look(&self, hearing: &Hearing, mut places: Vec<Place>) -> Vec<PathBuf> {
        places.iter_mut().for_each(|place| place.is_measured = place.sources.pressure && !hearing.hears_pressure(&place.name));
        let found = tokio::task::spawn_blocking(move || places.into_iter().map(look_at).collect::<Vec<_>>()).await;
        let mut above = Vec::new();
        for found in found.unwrap_or_default() {
            self.context.limits.compared(self.context, &found);
            self.context.limits.adjust(self.context, &self.plan, &found);
            let killed = self.context.limits.counted(self.context, self.tree, &found);
            above.extend(killed.then_some(found.place.cgroup));
        }
        above
    }
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
    let waited = Waited { rang: place.rang, total: place.is_measured.then(|| usage::memory_waited(&place.cgroup)).flatten() };
    Found { hits: usage::hits(&place.cgroup).ok(), waited, drifted, samples, place }
}

impl Limits {
    /// The places of these names. `compare`: whether their files are compared with what is to stand there.
    fn places(&self, compare: bool, plan: &Plan, is_due: impl Fn(&str) -> bool) -> Vec<Place> {
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
            let (cgroup, sources) = (standing.cgroup.clone()?, sources(&standing.wanted, &adjusted));
            Some(Place { name: name.clone(), cgroup, expected, adjusted, sources, rang: false, is_measured: false })
        };
        state.standings.iter().filter(|(name, _)| is_due(name)).filter_map(place).collect()
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
    /// Whether it is a supervisor below which something was killed.
    fn counted(&self, context: &Arc<Context>, tree: &Tree, found: &Found) -> bool {
        let Some(hits) = found.hits else { return false };
        let now = clock::mono();
        let name = &found.place.name;
        let (mut turns, killed) = {
            let mut state = self.state();
            let Some(standing) = state.standings.get_mut(name).filter(|standing| standing.cgroup.as_ref() == Some(&found.place.cgroup))
            else {
                return false;
            };
            let hits = standing.hits.map_or(hits, |before| hits.not_before(before));
            // The first look after a new brain has begun only tells where the counters stand.
            let before = standing.hits.replace(hits).unwrap_or(hits);
            let tasks = seen(&mut standing.tasks, now, hits.tasks, before.tasks);
            let high = seen(&mut standing.high, now, hits.high, before.high);
            let strain = standing.strain.looked(now, found.waited, standing.high.is_running());
            let turn = |kind, turn: Option<Turn>| turn.map(|turn| (kind, turn));
            let turns = [turn(Kind::Tasks, tasks), turn(Kind::High, high), turn(Kind::Strain, strain)];
            let count = hits.oom_kills - before.oom_kills;
            let run = standing.run;
            let killed = match standing.target.clone() {
                LimitTarget::Supervisor(_) => Killed::Below(count > 0),
                LimitTarget::Unit { unit, .. } => Killed::Here(run, self.note_kills(&mut state, &unit, &found.place.cgroup, count)),
            };
            (turns, killed)
        };
        for (kind, turn) in turns.iter_mut().filter_map(Option::take) {
            context.bus.tell(self.reached(found, kind, turn));
        }
        let (run, killed) = match killed {
            Killed::Here(run, Some(killed)) => (run, killed),
            Killed::Here(_, None) => return false,
            Killed::Below(some) => return some,
        };
        let unit = killed.unit.clone();
        let why = oom::tell_kills(context, killed);
        let policy = tree.plan().units.get(&unit).map(|plan| plan.limits.oom_policy);
        if let Some(OomPolicy::Kill | OomPolicy::Group) = policy {
            tree.unwell(&unit, run, FailureClass::Oom, why);
        }
        false
    }

    fn reached(&self, found: &Found, kind: Kind, turn: Turn) -> Event {
        let Place { name, cgroup, .. } = &found.place;
        let wanted = |file| {
            let state = self.state();
            state.standings.get(name)?.wanted.iter().find(|setting| setting.file == file)?.value.parse::<u64>().ok()
        };
        let target = name.clone();
        if let Turn::Over { count, after } = turn {
            return Event::LimitCleared(LimitCleared { target, limit: kind.key().into(), count, after });
        }
        let used = usage::used(cgroup).unwrap_or_default();
        let pressure = usage::memory_pressure(cgroup);
        match kind {
            Kind::Tasks => {
                Event::TasksMaxReached(LimitReached { target, used: used.tasks, limit: wanted(ControlFile::PidsMax), pressure: None })
            }
            Kind::High => {
                Event::MemoryHighReached(LimitReached { target, used: used.memory, limit: wanted(ControlFile::MemoryHigh), pressure })
            }
            Kind::Strain => {
                let limit = wanted(ControlFile::MemoryHigh).or_else(|| wanted(ControlFile::MemoryMax));
                // The average of ten seconds has not followed yet.
                let pressure = Some(pressure.unwrap_or_default().max(STRAINED));
                Event::MemoryPressure(LimitReached { target, used: used.memory, limit, pressure })
            }
        }
    }
}

/// What of a place was killed since the last look.
enum Killed {
    /// Of a unit in this run.
    Here(u64, Option<OomKilled>),
    /// Whether something below a supervisor was.
    Below(bool),
}

/// What is told once, and once that it is over.
#[derive(Clone, Copy)]
enum Kind {
    Tasks,
    High,
    Strain,
}

impl Kind {
    fn key(self) -> &'static str {
        match self {
            Self::Tasks => ControlFile::PidsMax.limit(),
            Self::High => ControlFile::MemoryHigh.limit(),
            Self::Strain => MEMORY_PRESSURE,
        }
    }
}

/// What the kernel is to say by itself of a place with these limits.
fn sources(wanted: &[Setting], adjusted: &[AdjustedLimit]) -> Sources {
    let has = |files: &[ControlFile]| wanted.iter().any(|setting| files.contains(&setting.file));
    let memory = has(&[ControlFile::MemoryHigh, ControlFile::MemoryMax]);
    let follows = adjusted.iter().any(|limit| limit.file == ControlFile::MemoryHigh);
    Sources { memory, tasks: has(&[ControlFile::PidsMax]), pressure: memory || follows }
}

fn seen(episode: &mut Episode, now: Mono, hits: u64, before: u64) -> Option<Turn> {
    episode.seen(now, hits.saturating_sub(before))
}

#[cfg(test)]
impl Place {
    pub(super) fn of(name: &str, sources: Sources) -> Self {
        let (cgroup, expected, adjusted) = (PathBuf::new(), Vec::new(), Vec::new());
        Self { name: name.into(), cgroup, expected, adjusted, sources, rang: false, is_measured: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn only_what_can_happen_is_to_be_heard() {
        let of = |limits: &str| {
            let plan = plan_of(&[("units/u.yaml", &format!("unit: a\nexec: x\nlimits: {limits}\n"))]);
            let limits = &plan.units["a"].limits;
            let Sources { memory, tasks, pressure } = sources(&limits.settings(), &limits.adjusted());
            (memory, tasks, pressure)
        };
        assert_eq!(of("{cpu_max: 50%, memory_min: 8MiB}"), (false, false, false));
        assert_eq!(of("{tasks_max: 9}"), (false, true, false));
        assert_eq!(of("{memory_max: 64MiB}"), (true, false, true));
        assert_eq!(of("{memory_high: 64MiB, tasks_max: 9}"), (true, true, true));
        assert_eq!(of("{cpu_weight: 200, adjust: {cpu_weight: {floor: 50, ceiling: 400}}}"), (false, false, false));
    }
}
