//! Looks for the processes that units watch: one look for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::Notify;

use super::context::Context;
use super::unit::{Msg, WatchedNews};
use super::{BoxError, TaskContext};
use crate::base::id::UnitId;
use crate::base::identity::Identity;
use crate::base::time::Mono;
use crate::os::clock;
use crate::os::foreign::{self, Purpose, Table, doing};
use crate::os::search::{Look, LookedUp, Seeker, look};

/// The least time between two looks, whoever is in a hurry.
const REST: Duration = Duration::from_millis(50);

/// Looking takes a twentieth of the time at most: after a look so many times as long as it took is rested.
const REST_SHARE: u32 = 20;

/// A look that takes longer is told: some process is too busy to be looked at.
const SLOW: Duration = Duration::from_secs(10);

/// What a unit names, a file or a user, may keep the others waiting so long, once.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(1);

/// Who looks for what.
#[derive(Debug)]
pub struct Searches {
    /// The launcher: what is below it is no stranger.
    launcher: u32,
    seekers: Mutex<BTreeMap<UnitId, Registered>>,
    /// Somebody wants a look now.
    hurried: Notify,
}

/// A unit that looks for processes.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) seeker: Seeker,
    /// How often.
    pub(crate) period: Duration,
    /// Tells the answers from those to an earlier question.
    pub(crate) token: u64,
    /// Who asks.
    pub(crate) actor: ActorRef<Msg>,
}

impl Searches {
    /// Nobody looks for anything yet.
    #[must_use]
    pub fn new(launcher: u32) -> Self {
        Self { launcher, seekers: Mutex::default(), hurried: Notify::new() }
    }

    /// The launcher.
    pub(crate) const fn launcher(&self) -> u32 {
        self.launcher
    }

    /// A unit looks for something, or for something else.
    pub(crate) fn begin(&self, unit: &UnitId, registered: Registered) {
        self.seekers().insert(unit.clone(), registered);
    }

    /// A unit knows these.
    pub(crate) fn know(&self, unit: &UnitId, known: BTreeSet<Identity>) {
        if let Some(registered) = self.seekers().get_mut(unit) {
            registered.seeker.known = known;
        }
    }

    /// It looks for nothing any more.
    pub(crate) fn end(&self, unit: &UnitId) {
        self.seekers().remove(unit);
    }

    /// The processes that were found for each unit.
    pub(crate) fn found(&self) -> BTreeMap<UnitId, Vec<u32>> {
        let pids = |registered: &Registered| registered.seeker.known.iter().map(|known| known.pid).collect();
        self.seekers().iter().map(|(unit, registered)| (unit.clone(), pids(registered))).collect()
    }

    /// Has it looked now.
    pub(crate) fn hurry(&self) {
        self.hurried.notify_one();
    }

    fn seekers(&self) -> MutexGuard<'_, BTreeMap<UnitId, Registered>> {
        self.seekers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it has to be looked; `None` while nobody looks for anything.
    fn period(&self) -> Option<Duration> {
        self.seekers().values().map(|registered| registered.period).min()
    }
}

/// Looks whenever somebody has to be told.
///
/// # Errors
/// None: what cannot be seen is told in the log.
pub async fn run(task: TaskContext, context: Arc<Context>) -> Result<(), BoxError> {
    let searches = &context.searches;
    let mut complained = false;
    loop {
        let begun = clock::mono();
        let looked = tokio::select! {
            looked = look_once(&context) => looked,
            () = task.shutdown_requested() => return Ok(()),
        };
        let took = match looked {
            Ok(took) => {
                complained = false;
                took
            }
            Err(fault) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!("cannot look for processes: {fault}");
                }
                Duration::ZERO
            }
        };
        let rest = REST.max(took * REST_SHARE);
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = task.shutdown_requested() => return Ok(()),
        }
        tokio::select! {
            () = wait_for_turn(searches, begun) => {}
            () = searches.hurried.notified() => {}
            () = task.shutdown_requested() => return Ok(()),
        }
    }
}

async fn wait_for_turn(searches: &Searches, last: Mono) {
    match searches.period() {
        Some(period) => tokio::time::sleep((last + period) - clock::mono()).await,
        None => std::future::pending().await,
    }
}

/// One look; how long that took, without what was waited for because of what the units name.
async fn look_once(context: &Context) -> Result<Duration, BoxError> {
    let registered = context.searches.seekers().clone();
    if registered.is_empty() {
        return Ok(Duration::ZERO);
    }
    let seekers = registered.iter().map(|(unit, registered)| seeker(unit, registered.seeker.clone()));
    let seekers: BTreeMap<UnitId, Seeker> = futures_util::future::join_all(seekers).await.into_iter().collect();
    let (ours, begun) = (ours(context), clock::mono());
    // One of them may not let us look; nothing is found then, and said, until it does.
    let looking = foreign::look((Purpose::Other, Table::Own), "the processes of this machine", SLOW, move || {
        doing(format_args!("looking for processes"));
        look(&seekers, &ours)
    });
    let mut looks: BTreeMap<UnitId, Look> = looking.await??;
    let took = clock::mono() - begun;
    for (unit, Registered { token, actor, .. }) in registered {
        if let Some(look) = looks.remove(&unit) {
            // One that is gone looks for nothing.
            drop(actor.cast(Msg::Watched(WatchedNews::Looked(token, look))));
        }
    }
    Ok(took)
}

/// One that looks for processes, with what has to be looked up for it: if that hangs, nobody else is kept waiting for long.
async fn seeker(unit: &UnitId, seeker: Seeker) -> (UnitId, Seeker) {
    if !seeker.criteria.names_something() {
        return (unit.clone(), seeker);
    }
    let criteria = seeker.criteria.clone();
    let whose = format!("watch of {unit}");
    let look = foreign::look((Purpose::Other, Table::Shared), &whose, LOOK_UP_WITHIN, move || criteria.look_up());
    let looked_up = look.await.unwrap_or_else(|hangs| LookedUp::failed(hangs.to_string()));
    (unit.clone(), Seeker { looked_up, ..seeker })
}

/// The processes that nobody else has started, with all that is below them.
fn ours(context: &Context) -> BTreeSet<u32> {
    let mut ours = BTreeSet::from([context.searches.launcher, std::process::id()]);
    ours.extend(context.keeper());
    context.view.each_unit(|unit| ours.extend(unit.pid.filter(|_| unit.watch.is_none())));
    ours
}
