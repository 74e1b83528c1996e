//! Ends of processes that earlier brains have dealt with: each is reported once, whatever became of the brain that did.

use std::collections::BTreeSet;
use std::path::Path;

use crate::actor::context::Context;
use crate::actor::tree::{HeldUnits, exit_event};
use crate::base::id::UnitId;
use crate::base::time::Wall;
use crate::event::Event;
use crate::launcher::wire::{Exit, HeldState, ToLauncher};
use crate::store::journal;

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
