//! What operators asked for: how the brain comes to know it.

use std::time::Duration;

use crate::actor::context::Bus;
use crate::actor::wishes::Wishes;
use crate::event::Event;
use crate::os::clock;
use crate::os::paths::Directories;
use crate::store::wishes::{Clocks, Report, Store};

/// How long the brain waits for the store before it carries on with what the launcher remembers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the wishes, and starts their writer. Supervision does not depend on it.
pub(super) async fn recall(directories: &Directories, bus: &Bus) -> Result<Wishes, String> {
    let bus = bus.clone();
    let tell = move |report| {
        let event = told(report);
        match &event {
            Event::StoreRecovered { .. } | Event::WishForgotten { .. } => {}
            trouble => tracing::error!("{}", crate::event::event_text(trouble)),
        }
        bus.tell(event);
    };
    let clocks = Clocks { mono: clock::mono, wall: clock::wall };
    let (store, loaded) =
        Store::start(directories.state.join("store"), clocks, tell).map_err(|error| format!("cannot start the store: {error}"))?;
    let loaded = match tokio::time::timeout(PATIENCE, loaded).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(_)) => Err("the store has ended".into()),
        Err(_) => {
            tracing::error!("the store does not answer: going on with what the launcher remembers");
            Err("the disk does not answer".into())
        }
    };
    Ok(Wishes::new(store, loaded))
}

fn told(report: Report) -> Event {
    match report {
        Report::Failed { why } => Event::StoreFailed { why },
        Report::Recovered { written } => Event::StoreRecovered { written },
        Report::Restored(restored) => Event::StoreRestored(restored),
        Report::BackupFailed { why } => Event::StoreBackupFailed { why },
        Report::Forgotten { target, wish, why } => Event::WishForgotten { target, wish, why },
    }
}
