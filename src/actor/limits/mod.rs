//! Limits of units and supervisors: what is to hold, what the launcher has found in the control files, and what has no effect here.

mod adjust;
mod hearing;
mod oom;
mod unavailable;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use self::unavailable::unavailable;
pub use self::watch::run;
use super::context::Context;
use crate::base::id::{SupervisorId, UnitId};
use crate::base::limit::{Bound, ControlFile, Controller, Setting};
use crate::base::quantity::format_size;
use crate::base::time::Mono;
use crate::event::{Event, GroupUse, LimitAdjusted, LimitRefused, LimitStatus, LimitsChanged, LimitsUnavailable};
use crate::launcher::wire::{Applied, LimitTarget, ToLauncher, group_directory};
use crate::os::controllers::Controllers;
use crate::os::kmsg::{KernelLog, Kill};
use crate::os::usage::Hits;
use crate::os::{clock, device, usage};
use crate::plan::{LimitsPlan, Plan, ROOT, UnitPlan, groups};
use crate::policy::adjust::Adjuster;
use crate::policy::episode::Episode;
use crate::policy::strain::Strain;

/// The limits of everything.
#[derive(Debug)]
pub struct Limits {
    controllers: Controllers,
    /// The directory of the cgroup in which all others are.
    base: Option<PathBuf>,
    /// Where it is told which processes were killed; or why that cannot be read.
    log: Result<KernelLog, String>,
    /// Something that is limited has a place now.
    placed: Notify,
    /// How often the kernel has said by itself that something is at a limit, or waits for memory.
    alarms: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<SupervisorId, Vec<String>>,
    supervisors: BTreeMap<SupervisorId, LimitsPlan>,
    unavailable: Vec<LimitsUnavailable>,
    /// By the name of the unit or supervisor.
    standings: BTreeMap<String, Standing>,
    /// Processes that were killed lately.
    kills: VecDeque<Kill>,
}

/// How the limits of one unit or supervisor stand.
#[derive(Debug)]
struct Standing {
    target: LimitTarget,
    run: u64,
    cgroup: Option<PathBuf>,
    /// What is to stand in its control files, besides what does so by itself.
    wanted: Vec<Setting>,
    statuses: BTreeMap<String, LimitStatus>,
    /// The next answer tells of a change.
    is_changing: bool,
    /// How often it was at its limits when that was looked at last.
    hits: Option<Hits>,
    tasks: Episode,
    high: Episode,
    strain: Strain,
    /// When something of it was killed last, and what is to be said of that.
    killed: Option<(Mono, String)>,
    /// What was told to have been changed by others.
    drifts: BTreeMap<ControlFile, String>,
    /// Limits that follow the pressure.
    adjusters: BTreeMap<ControlFile, Adjuster>,
    /// Changes of those that the launcher has not answered for.
    adjusting: Vec<LimitAdjusted>,
}

impl Standing {
    fn new(target: LimitTarget) -> Self {
        Self {
            target,
            run: 0,
            cgroup: None,
            wanted: Vec::new(),
            statuses: BTreeMap::new(),
            is_changing: false,
            hits: None,
            tasks: Episode::default(),
            high: Episode::default(),
            strain: Strain::default(),
            killed: None,
            drifts: BTreeMap::new(),
            adjusters: BTreeMap::new(),
            adjusting: Vec::new(),
        }
    }

    /// Whether a limit stands elsewhere than declared, because it follows the pressure.
    fn is_adjusted(&self, file: ControlFile) -> bool {
        self.adjusters.get(&file).is_some_and(Adjuster::is_adjusted)
    }

    /// How its limits stand, for people.
    fn shown(&self) -> Vec<LimitStatus> {
        let adjusted = self.adjusters.values().filter(|adjuster| adjuster.is_adjusted());
        let declared: BTreeMap<_, _> = adjusted.map(|one| (one.limit().file.limit(), one.limit().declared.to_string())).collect();
        let status = |status: &LimitStatus| LimitStatus { declared: declared.get(status.limit.as_str()).cloned(), ..status.clone() };
        self.statuses.values().map(status).collect()
    }

    /// Takes note of what is to hold from now on.
    fn want(&mut self, changes: &[Setting]) {
        for change in changes {
            let device = |setting: &Setting| setting.value.split(' ').next().map(str::to_owned);
            let same =
                |known: &Setting| known.file == change.file && (change.file != ControlFile::IoMax || device(known) == device(change));
            self.wanted.retain(|known| !same(known));
            if !is_default(change) {
                self.wanted.push(change.clone());
            }
        }
    }
}

/// Whether this stands in the file anyway.
fn is_default(setting: &Setting) -> bool {
    match setting.file {
        ControlFile::IoMax => setting.value.ends_with(setting.file.default_value()),
        file => setting.value == file.default_value(),
    }
}

/// A limit that cannot even be asked for, and why.
pub(crate) type Unfit = (ControlFile, String);

/// With devices by number, and without those whose controllers are not to be had: that is told for all together. Reads files.
pub(crate) fn resolved(settings: Vec<Setting>, controllers: &Controllers) -> (Vec<Setting>, Vec<Unfit>) {
    let (mut fit, mut unfit) = (Vec::new(), Vec::new());
    for mut setting in settings.into_iter().filter(|setting| controllers.usable.contains(&setting.file.controller())) {
        if setting.file == ControlFile::IoMax
            && let Some((name, limits)) = setting.value.split_once(' ')
        {
            match device::number(name) {
                Ok(number) => setting.value = format!("{number} {limits}"),
                Err(why) => {
                    unfit.push((setting.file, why));
                    continue;
                }
            }
        }
        fit.push(setting);
    }
    (fit, unfit)
}

impl Limits {
    /// What the launcher has said can be limited, and where.
    #[must_use]
    pub fn new(controllers: Controllers, base: Option<PathBuf>) -> Self {
        let log = KernelLog::open().map_err(|fault| format!("the kernel's log cannot be read: {fault}"));
        Self { controllers, base, log, placed: Notify::new(), alarms: AtomicU64::new(0), state: Mutex::default() }
    }

    /// What can be limited.
    #[must_use]
    pub const fn controllers(&self) -> &Controllers {
        &self.controllers
    }

    /// Declared limits that have no effect.
    #[must_use]
    pub fn unavailable(&self) -> Vec<LimitsUnavailable> {
        self.state().unavailable.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the units of a supervisor have their cgroups.
    pub(crate) fn group(&self, supervisor: &SupervisorId) -> Vec<String> {
        self.state().groups.get(supervisor).cloned().unwrap_or_default()
    }

    /// The directory of the cgroup of the supervisors on this way down from the root.
    fn cgroup_of(&self, names: &[String]) -> Option<PathBuf> {
        Some(names.iter().fold(self.base.clone()?, |above, name| above.join(group_directory(name))))
    }

    /// The cgroup of each supervisor that has one of its own.
    #[must_use]
    pub fn supervisor_cgroups(&self) -> Vec<(String, PathBuf)> {
        let state = self.state();
        let own = state.groups.iter().filter(|(id, names)| names.last().is_none_or(|last| last == id.as_str()));
        own.filter_map(|(id, names)| Some((id.as_str().to_owned(), self.cgroup_of(names)?))).collect()
    }

    /// The directory of a unit's cgroup, while it has one.
    #[must_use]
    pub fn cgroup(&self, unit: &str) -> Option<PathBuf> {
        self.state().standings.get(unit)?.cgroup.clone()
    }

    /// The cgroup of each unit that has one.
    #[must_use]
    pub fn cgroups(&self) -> Vec<(String, PathBuf)> {
        let state = self.state();
        let units = state.standings.iter().filter(|(_, standing)| matches!(standing.target, LimitTarget::Unit { .. }));
        units.filter_map(|(name, standing)| Some((name.clone(), standing.cgroup.clone()?))).collect()
    }

    /// What each of these cgroups uses. Reads files.
    #[must_use]
    pub fn used(cgroups: Vec<(String, PathBuf)>) -> BTreeMap<String, GroupUse> {
        cgroups.into_iter().filter_map(|(name, cgroup)| Some((name, usage::used(&cgroup).ok()?))).collect()
    }

    /// Takes over a plan: supervisors are limited, and it is said what has no effect.
    pub(crate) async fn plan(&self, context: &Arc<Context>, plan: &Plan) {
        let mut unavailable = unavailable(plan, &self.controllers);
        let needed = plan.supervisors.get(&plan.root).map_or(Bound::ZERO, |root| root.limits.memory_min);
        unavailable.extend(self.not_guaranteed(needed).await);
        unavailable.extend(adjust::unmeasured(plan));
        let (mut wanted, mut pruned) = (Vec::new(), Vec::new());
        {
            let mut state = self.state();
            for told in unavailable.iter().filter(|told| !state.unavailable.contains(told)) {
                context.bus.tell(Event::LimitsUnavailable(told.clone()));
            }
            state.unavailable = unavailable;
            let before = std::mem::replace(&mut state.groups, groups(plan));
            pruned.extend(before.into_values().filter(|path| !state.groups.values().any(|kept| kept.starts_with(path))));
            let is_first = state.supervisors.is_empty();
            let limits = plan.supervisors.iter().map(|(id, supervisor)| (id.clone(), supervisor.limits.clone())).collect();
            let before = std::mem::replace(&mut state.supervisors, limits);
            for (id, limits) in &state.supervisors {
                let changes = before.get(id).map_or_else(|| limits.settings(), |before| before.changes(limits));
                let found = is_first.then(|| limits.clone()).filter(|limits| limits.adjust.is_some());
                // One that follows the pressure has to be looked at, even if it begins where the kernel does.
                if !changes.is_empty() || limits.adjust.is_some() && !state.standings.contains_key(id.as_str()) {
                    wanted.push((
                        id.clone(),
                        state.groups.get(id).cloned().unwrap_or_default(),
                        changes,
                        !is_first && before.contains_key(id),
                        found,
                    ));
                }
            }
            state.standings.retain(|_, standing| !matches!(&standing.target, LimitTarget::Supervisor(path) if pruned.contains(path)));
        }
        for (id, path, mut changes, is_change, limits) in wanted {
            let (controllers, cgroup) = (self.controllers.clone(), self.cgroup_of(&path));
            let found = tokio::task::spawn_blocking(move || {
                if let Some(limits) = limits {
                    adjust::kept(cgroup, &limits, &mut changes);
                }
                resolved(changes, &controllers)
            })
            .await;
            let (fit, unfit) = found.unwrap_or_default();
            self.change(context, id.as_str(), LimitTarget::Supervisor(path), fit, &unfit, is_change);
        }
        for group in pruned {
            context.launcher.send(ToLauncher::Prune { group });
        }
    }

    /// What units are guaranteed together is worth no more than what the daemon itself is.
    async fn not_guaranteed(&self, needed: Bound) -> Option<LimitsUnavailable> {
        let base = self.base.clone().filter(|_| needed != Bound::ZERO && self.controllers.usable.contains(&Controller::Memory))?;
        let (above, least) = tokio::task::spawn_blocking(move || usage::guaranteed_above(&base)).await.ok()??;
        needed.exceeds(Bound(Some(least))).then(|| LimitsUnavailable {
            limits: vec![ControlFile::MemoryMin.limit().into()],
            targets: vec![ROOT.into()],
            count: 1,
            why: format!("the cgroup {} above it is guaranteed only {}", above.display(), format_size(least)),
            cure: "give the service, and the slices above it, `MemoryMin=`".into(),
        })
    }

    /// A unit is about to be started with these limits.
    pub(crate) fn ordered(&self, unit: &UnitId, run: u64, group: &[String], limits: &[Setting]) {
        let mut state = self.state();
        let target = LimitTarget::Unit { unit: unit.clone(), group: group.to_vec() };
        let standing = state.standings.entry(unit.as_str().into()).or_insert_with(|| Standing::new(target.clone()));
        let (tasks, high, strain) = (standing.tasks, standing.high, standing.strain.of_next_run());
        // A storm outlives the run: one that is started again and again in the middle of it is not told each time.
        *standing = Standing { run, wanted: limits.to_vec(), hits: Some(Hits::default()), tasks, high, strain, ..Standing::new(target) };
    }

    /// Where the launcher has put a unit.
    pub(crate) fn found_in(&self, unit: &UnitId, run: u64, cgroup: Option<PathBuf>) {
        let mut state = self.state();
        let target = LimitTarget::Unit { unit: unit.clone(), group: Vec::new() };
        let standing = state.standings.entry(unit.as_str().into()).or_insert_with(|| Standing::new(target));
        standing.run = run;
        self.place_in(standing, cgroup);
    }

    fn place_in(&self, standing: &mut Standing, cgroup: Option<PathBuf>) {
        if standing.cgroup != cgroup && !standing.wanted.is_empty() {
            self.placed.notify_one();
        }
        standing.cgroup = cgroup;
    }

    /// How often the kernel has said by itself that something is at a limit, or waits for memory.
    #[must_use]
    pub fn alarms(&self) -> u64 {
        self.alarms.load(Ordering::Relaxed)
    }

    /// A unit is not in the plan any more.
    pub(crate) fn forget(&self, unit: &UnitId) {
        self.state().standings.remove(unit.as_str());
    }

    /// A unit that runs goes on under another plan, or another supervisor, or was found running. `old`: what held before.
    pub(crate) fn change_unit(&self, context: &Arc<Context>, old: Option<&UnitPlan>, new: &Arc<UnitPlan>, supervisor: &SupervisorId) {
        let group = self.group(supervisor);
        let changes = old.map_or_else(|| new.limits.settings(), |old| old.limits.changes(&new.limits));
        let target = LimitTarget::Unit { unit: new.id.clone(), group };
        let stays = self.state().standings.get(new.id.as_str()).is_some_and(|standing| standing.target == target);
        let is_found = old.is_none() && new.limits.adjust.is_some();
        if changes.is_empty() && !is_found && (stays || self.base.is_none()) {
            return;
        }
        let (context, new, is_change, mut changes) = (context.clone(), new.clone(), old.is_some(), changes);
        tokio::spawn(async move {
            let (controllers, cgroup, plan) = (context.limits.controllers.clone(), context.limits.cgroup(new.id.as_str()), new.clone());
            let found = tokio::task::spawn_blocking(move || {
                if is_found {
                    adjust::kept(cgroup, &plan.limits, &mut changes);
                }
                resolved(changes, &controllers)
            })
            .await;
            let (fit, unfit) = found.unwrap_or_default();
            context.limits.change(&context, new.id.as_str(), target, fit, &unfit, is_change);
        });
    }

    fn change(&self, context: &Context, name: &str, target: LimitTarget, settings: Vec<Setting>, unfit: &[Unfit], is_change: bool) {
        {
            let mut state = self.state();
            let standing = state.standings.entry(name.into()).or_insert_with(|| Standing::new(target.clone()));
            standing.target = target.clone();
            standing.want(&settings);
            standing.is_changing = is_change;
        }
        self.refuse(context, name, unfit);
        if self.base.is_some() {
            context.launcher.send(ToLauncher::Limit { target, settings });
        }
    }

    /// These limits cannot even be asked for.
    pub(crate) fn refuse(&self, context: &Context, name: &str, unfit: &[Unfit]) {
        for (file, why) in unfit {
            let refused = LimitRefused { target: name.into(), limit: file.limit().into(), wanted: "set".into(), why: why.clone() };
            let status = LimitStatus { limit: file.limit().into(), wanted: String::new(), refused: Some(why.clone()), declared: None };
            if let Some(standing) = self.state().standings.get_mut(name) {
                standing.statuses.insert(file.limit().into(), status);
            }
            context.bus.tell(Event::LimitRefused(refused));
        }
        self.show(context, name);
    }

    /// What the launcher has found in the control files.
    pub(crate) fn hear(&self, context: &Context, target: &LimitTarget, cgroup: Option<PathBuf>, applied: &[Applied]) {
        let (mut events, mut held, mut adjusted) = (Vec::new(), Vec::new(), Vec::new());
        let name = {
            let mut state = self.state();
            let name = match target {
                LimitTarget::Unit { unit, .. } => unit.as_str().to_owned(),
                LimitTarget::Supervisor(path) => {
                    let owner = state.groups.iter().find(|(_, known)| *known == path).map(|(id, _)| id.as_str().to_owned());
                    let Some(owner) = owner else { return };
                    owner
                }
            };
            let Some(standing) = state.standings.get_mut(&name) else { return };
            self.place_in(standing, cgroup);
            if applied.is_empty() {
                standing.adjusting.clear();
            }
            for Applied { setting, found } in applied {
                let (limit, wanted) = (setting.file.limit().to_owned(), setting.value.clone());
                let refused = match found {
                    Ok(found) if setting.is_in(found) => None,
                    Ok(found) => Some(format!("the kernel has taken it and says {}", found.trim())),
                    Err(errno) => Some(std::io::Error::from_raw_os_error(*errno).to_string()),
                };
                adjusted.extend(standing.adjusted(setting, refused.is_some()));
                match &refused {
                    None => held.push(setting.to_string()),
                    Some(why) => {
                        let (target, why) = (name.clone(), why.clone());
                        events.push(Event::LimitRefused(LimitRefused { target, limit: limit.clone(), wanted: wanted.clone(), why }));
                    }
                }
                if refused.is_none() && is_default(setting) && !standing.is_adjusted(setting.file) {
                    standing.statuses.remove(&limit);
                } else {
                    standing.statuses.insert(limit.clone(), LimitStatus { limit, wanted, refused, declared: None });
                }
            }
            if std::mem::take(&mut standing.is_changing) && !held.is_empty() {
                events.push(Event::LimitsChanged(LimitsChanged { target: name.clone(), limits: held }));
            }
            name
        };
        events.into_iter().for_each(|event| context.bus.tell(event));
        adjusted.into_iter().for_each(|change| Self::tell_adjusted(context, target, change));
        self.show(context, &name);
    }

    /// Brings the entry of a unit or supervisor up to date.
    fn show(&self, context: &Context, name: &str) {
        let (statuses, is_unit) = match self.state().standings.get(name) {
            Some(standing) => (standing.shown(), matches!(standing.target, LimitTarget::Unit { .. })),
            None => return,
        };
        if is_unit {
            context.view.change_unit(name, |status| status.limits = statuses);
        } else {
            context.view.change_supervisor(&SupervisorId::from(name), |status| status.limits = statuses);
        }
    }

    /// What was killed of a unit lately, if anything: a sentence.
    fn killed_lately(&self, unit: &str) -> Option<String> {
        let now = clock::mono();
        self.state().standings.get(unit)?.killed.clone().filter(|(at, _)| now.since(*at) < oom::LATELY).map(|(_, why)| why)
    }
}
