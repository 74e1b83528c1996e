//! Metrics as OpenMetrics text, made anew at each scrape from the view and from /proc.

mod families;
mod limits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;

use crate::actor::context::{Context, LauncherTurns};
use crate::actor::health::assessed;
use crate::actor::limits::Limits;
use crate::actor::recorder::History;
use crate::actor::tree::Tree;
use crate::base::choice::HealthLevel;
use crate::base::id::UnitId;
use crate::base::tier::Tier;
use crate::base::time::{Mono, Wall};
use crate::event::{GroupUse, HostStatus, StoreStatus, SupervisorStatus, UnitStatus, WatchStatus};
use crate::os::clock;
use crate::os::foreign::{self, Purpose};
use crate::os::sample::{Sample, SampleError, Samples, sample};

/// How old a look at /proc may be, so that scrapes cannot pile up.
const FRESH: Duration = Duration::from_secs(1);

/// The launcher among the sampled processes; no unit can be called so.
const LAUNCHER: &str = "/launcher";

/// The same for the keeper.
const KEEPER: &str = "/keeper";

/// The brain among the sampled processes, so that nothing of it counts as the launcher's.
const BRAIN: &str = "/brain";

/// Makes the page.
#[derive(Debug)]
pub struct Exporter {
    context: Arc<Context>,
    tree: Arc<Tree>,
    history: Arc<History>,
    version: String,
    launcher_pid: u32,
    /// Held while /proc is read: one look at a time.
    last: Mutex<Option<(Mono, Look)>>,
}

/// What was found in /proc and in cgroups.
type Look = (Arc<Samples>, Groups, Groups);

/// What cgroups use, by the name of the unit or supervisor.
type Groups = Arc<BTreeMap<String, GroupUse>>;

/// Everything one page tells.
#[derive(Debug, Default)]
struct Snapshot {
    version: String,
    tier: Option<Tier>,
    units: Vec<UnitStatus>,
    supervisors: Vec<SupervisorStatus>,
    health: BTreeMap<String, HealthLevel>,
    samples: Arc<Samples>,
    groups: Groups,
    supervisor_groups: Groups,
    events: u64,
    events_dropped: u64,
    store: StoreStatus,
    host: HostStatus,
    degradation_step: usize,
    limit_alarms: u64,
    launcher_turns: LauncherTurns,
    hanging: BTreeMap<Purpose, usize>,
}

impl Exporter {
    /// For the daemon with this version and this launcher.
    #[must_use]
    pub fn new(context: Arc<Context>, tree: Arc<Tree>, history: Arc<History>, version: String, launcher_pid: u32) -> Self {
        Self { context, tree, history, version, launcher_pid, last: Mutex::default() }
    }

    /// The page, in OpenMetrics text format 1.0.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    pub async fn page(&self) -> Result<String, String> {
        let (samples, groups, supervisor_groups) = self.samples().await.map_err(|error| error.to_string())?;
        let health = assessed(&self.context.view, &self.tree.plan());
        let snapshot = Snapshot {
            version: self.version.clone(),
            tier: self.tree.plan().daemon.tier,
            units: self.context.view.units(),
            supervisors: self.context.view.supervisors(),
            health: health.into_iter().map(|(name, opinion)| (name, opinion.health.level)).collect(),
            samples,
            groups,
            supervisor_groups,
            events: self.history.last(),
            events_dropped: self.context.bus.dropped(),
            store: self.context.wishes.store(),
            host: self.context.host.status(),
            degradation_step: self.context.degradation.status().step,
            limit_alarms: self.context.limits.alarms(),
            launcher_turns: self.context.launcher_turns(),
            hanging: foreign::hanging(),
        };
        render(snapshot).map_err(|error| format!("cannot write the metrics: {error}"))
    }

    async fn samples(&self) -> Result<Look, SampleError> {
        let mut last = self.last.lock().await;
        if let Some((at, look)) = &*last
            && clock::mono() - *at < self.context.degradation.slow(FRESH)
        {
            return Ok(look.clone());
        }
        let mut mains: BTreeMap<UnitId, u32> = BTreeMap::new();
        let mut watched = BTreeMap::new();
        self.context.view.each_unit(|unit| match &unit.watch {
            // They are no tree, and were looked at anyway.
            Some(watch) => watched.extend(sampled(watch).map(|sample| (unit.unit.clone(), sample))),
            None => mains.extend(unit.pid.map(|pid| (unit.unit.clone(), pid))),
        });
        mains.insert(LAUNCHER.into(), self.launcher_pid);
        mains.extend(self.context.keeper().map(|pid| (KEEPER.into(), pid)));
        mains.insert(BRAIN.into(), std::process::id());
        let (units, supervisors) = (self.context.limits.cgroups(), self.context.limits.supervisor_cgroups());
        let look = move || Ok::<_, SampleError>((sample(&mains)?, Limits::used(units), Limits::used(supervisors)));
        let taken = tokio::task::spawn_blocking(look).await;
        let (mut samples, units, supervisors) = taken.map_err(|error| SampleError::from(std::io::Error::other(error)))??;
        samples.units.extend(watched);
        let look = (Arc::new(samples), Arc::new(units), Arc::new(supervisors));
        *last = Some((clock::mono(), look.clone()));
        Ok(look)
    }
}

/// What the processes of a watched unit used when they were last looked at, if there are any.
fn sampled(watch: &WatchStatus) -> Option<Sample> {
    let sample = watch.sample?;
    Some(Sample {
        user_seconds: sample.user.as_secs_f64(),
        system_seconds: sample.system.as_secs_f64(),
        resident_bytes: sample.resident,
        threads: sample.threads,
        descriptors: sample.descriptors,
        processes: watch.matches,
        started: Wall(0),
    })
}

fn render(snapshot: Snapshot) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut page = String::new();
    encode(&mut page, &registry)?;
    Ok(page)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for family in families::ALL.iter().chain(limits::ALL) {
            let metric = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            (family.series)(self, metric)?;
        }
        Ok(())
    }
}

impl Snapshot {
    /// What each unit's processes use.
    fn sampled(&self) -> impl Iterator<Item = (&str, &Sample)> {
        self.samples.units.iter().map(|(unit, sample)| (unit.as_str(), sample)).filter(|(unit, _)| !unit.starts_with('/'))
    }

    /// What the daemon's own processes use.
    fn own(&self) -> impl Iterator<Item = (&'static str, &Sample)> {
        let others = [("launcher", LAUNCHER), ("keeper", KEEPER)];
        let others = others.into_iter().filter_map(|(name, key)| Some((name, self.samples.units.get(key)?)));
        others.chain([("brain", &self.samples.own)])
    }
}

#[cfg(test)]
mod tests;
