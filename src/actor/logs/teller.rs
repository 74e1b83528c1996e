//! Tells of rotations and losses, not more often than anybody wants to hear of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::context::Context;
use crate::base::id::UnitId;
use crate::base::time::{Mono, Wall};
use crate::event::{Event, Gap, GapReason};
use crate::os::clock;
use crate::os::logfile::{LogError, RotateReport};
use crate::os::pump::PumpReport;

/// How often the same is told of a unit; what comes meanwhile is added up and told with the next.
const EVERY: Duration = Duration::from_secs(10);

/// What it knows of whom.
pub(super) struct Teller {
    context: Arc<Context>,
    rotated: BTreeMap<UnitId, Sum>,
    dropped: BTreeMap<(UnitId, GapReason), Sum>,
}

/// What is not told yet.
#[derive(Default)]
struct Sum {
    bytes: u64,
    lost: u64,
    from: Option<Wall>,
    told: Option<Mono>,
}

impl Sum {
    /// Whether it is time to tell.
    fn is_due(&mut self, now: Mono) -> bool {
        let due = self.told.is_none_or(|told| now - told >= EVERY);
        if due {
            self.told = Some(now);
        }
        due
    }
}

impl Teller {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context, rotated: BTreeMap::new(), dropped: BTreeMap::new() }
    }

    /// A log was rotated, or archives of it were removed.
    pub(super) fn rotated(&mut self, unit: &UnitId, outcome: Result<RotateReport, LogError>) {
        let done = match outcome {
            Ok(done) => done,
            Err(error) => return tracing::warn!("cannot keep the log of {unit} in bounds: {error}"),
        };
        let unit = &UnitId::from(UnitId::of_log(unit.as_str()).0);
        for gap in &done.gaps {
            self.dropped(unit, gap.why, gap.bytes(), gap.from, gap.to);
        }
        if done.rotated == 0 {
            return;
        }
        let sum = self.rotated.entry(unit.clone()).or_default();
        sum.bytes += done.rotated;
        sum.lost += done.gaps.iter().map(Gap::bytes).sum::<u64>();
        if sum.is_due(clock::mono()) {
            let event =
                Event::LogRotated { unit: unit.clone(), bytes: std::mem::take(&mut sum.bytes), lost: std::mem::take(&mut sum.lost) };
            self.context.bus.tell(event);
        }
    }

    /// The pump has news.
    pub(super) fn pump(&mut self, report: PumpReport) {
        match report {
            PumpReport::Rotated { unit, done } => self.rotated(&unit, Ok(done)),
            PumpReport::Waiting { unit, why } => {
                tracing::warn!("{unit} waits, because its log takes no more: {why}");
                self.context.bus.tell(Event::LogBlocked { unit, why: why.to_string() });
            }
            PumpReport::Lost { unit, news, from, why, .. } => self.dropped(&unit, why.why, news, from, clock::wall()),
        }
    }

    fn dropped(&mut self, unit: &UnitId, why: GapReason, bytes: u64, from: Wall, to: Wall) {
        self.context.view.change_unit(unit.as_str(), |status| *status.counters.log_dropped.entry(why).or_default() += bytes);
        let sum = self.dropped.entry((unit.clone(), why)).or_default();
        sum.bytes += bytes;
        let from = *sum.from.get_or_insert(from);
        if sum.bytes > 0 && sum.is_due(clock::mono()) {
            sum.from = None;
            let bytes = std::mem::take(&mut sum.bytes);
            self.context.bus.tell(Event::LogDropped { unit: unit.clone(), bytes, from, to, why });
        }
    }
}
