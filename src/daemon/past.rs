//! What comes from before: ends of processes that earlier brains have dealt with, each to be reported once; and what operators wished.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::actor::context::{Bus, Context};
use crate::actor::tree::{HeldUnits, exit_event};
use crate::base::id::UnitId;
use crate::base::time::Wall;
use crate::event::Event;
use crate::launcher::wire::{Exit, HeldState, ToLauncher};
use crate::os::clock;
use crate::plan::Plan;
use crate::store::database::Opened;
use crate::store::journal;
use crate::store::wishes::{self, Report, Stopped, Wishes};

/// How much of the journal is read: what nobody has acknowledged happened lately.
const TAIL: u64 = 1 << 20;

/// Reports what is not written down, and acknowledges what is.
pub(super) async fn report(held: &mut HeldUnits, state: &Path, context: &Context) -> Result<(), String> {
    let has_exits = held.values().any(|held| !held.earlier.is_empty() || matches!(held.state, HeldState::Exited { .. }));
    if !has_exits {
        return Ok(());
    }
    let directory = state.to_owned();
    let written = tokio::task::spawn_blocking(move || Written::read(&directory)).await.map_err(|error| error.to_string())?;
    for (unit, held) in held.iter_mut() {
        for (run, exit) in std::mem::take(&mut held.earlier) {
            if written.knows(unit, run, &exit) {
                context.launcher.send(ToLauncher::Ack { unit: unit.clone(), run });
            } else {
                context.bus.tell(exit_event(unit, run, &exit, held.expected(run)));
            }
        }
        if let HeldState::Exited { exit, .. } = &held.state {
            held.reported = written.knows(unit, held.run, exit);
        }
    }
    Ok(())
}

/// The store with what was wished before.
pub(super) struct Wished {
    pub(super) wishes: Wishes,
    pub(super) stopped: Vec<Stopped>,
    /// What is to be told of it.
    pub(super) opened: Option<Event>,
}

impl Wished {
    /// Opens the store in `directory`. Supervision does not depend on it: one that cannot be opened is said to have failed.
    pub(super) async fn open(directory: &Path, bus: &Arc<Bus>) -> Result<Self, String> {
        let (directory, bus) = (directory.to_owned(), bus.clone());
        let report = move |report| {
            bus.tell(match report {
                Report::Failed(why) => Event::StoreFailed { why },
                Report::Resumed => Event::StoreResumed,
            });
        };
        let open = move || match Wishes::open(&directory, report.clone()) {
            Ok((wishes, stopped, Opened::Good)) => Self { wishes, stopped, opened: None },
            Ok((wishes, stopped, Opened::Restored(generation))) => {
                Self { wishes, stopped, opened: Some(Event::StoreRestored { generation: Some(generation) }) }
            }
            Ok((wishes, stopped, Opened::Lost)) => Self { wishes, stopped, opened: Some(Event::StoreRestored { generation: None }) },
            Err(error) => {
                let why = error.to_string();
                Self { wishes: Wishes::without(&directory, report), stopped: Vec::new(), opened: Some(Event::StoreFailed { why }) }
            }
        };
        tokio::task::spawn_blocking(open).await.map_err(|error| error.to_string())
    }
}

/// The units and supervisors of the plan that operators keep stopped. Wishes for what is not in the plan are kept for a while: it may come back.
pub(super) async fn still_stopped(wished: Vec<Stopped>, plan: &Plan, context: &Context) -> BTreeSet<String> {
    let exists = |target: &str| plan.units.contains_key(target) || plan.supervisors.contains_key(target);
    let (meant, old) = wishes::still_meant(wished, exists, clock::wall());
    for target in old {
        // Should that fail, it is too old the next time, too.
        let _next_time = context.wishes.lift(&target).await;
    }
    meant.into_iter().map(|wish| wish.target).filter(|target| exists(target)).collect()
}

/// The exits that are in the journal: unit, run, process id, time.
struct Written(BTreeSet<(UnitId, u64, u32, Wall)>);

impl Written {
    /// A journal that cannot be read knows nothing: twice is better than not at all.
    fn read(directory: &Path) -> Self {
        let events = journal::tail(directory, TAIL).unwrap_or_default();
        let exit = |event: crate::event::Envelope| match event.event {
            Event::UnitExited { unit, run, pid, .. } => Some((unit, run, pid, event.time)),
            _ => None,
        };
        Self(events.into_iter().filter_map(exit).collect())
    }

    /// Run numbers begin anew with each daemon: one of an earlier daemon was over before this process began.
    fn knows(&self, unit: &UnitId, run: u64, exit: &Exit) -> bool {
        let from = (unit.clone(), run, exit.process.pid, exit.process.started_wall);
        let to = (unit.clone(), run, exit.process.pid, Wall(i64::MAX));
        self.0.range(from..=to).next().is_some()
    }
}
