//! Keeps the units' logs in bounds: rotation, time index, pipes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::library::{BoxError, TaskContext};
use super::tree::Tree;
use crate::event::Event;
use crate::os::clock;
use crate::os::logfile::{SweepMemory, SweepUnit, sweep};
use crate::os::pump::PumpLog;
use crate::plan::{LogMode, UnitPlan};

/// How often log files are looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Looks at every log file now and then, until the daemon ends.
///
/// # Errors
/// The blocking pool is gone.
pub(crate) async fn run(task: TaskContext, context: Arc<Context>, tree: Arc<Tree>) -> Result<(), BoxError> {
    let mut memory = SweepMemory::default();
    loop {
        tokio::select! {
            () = task.shutdown_requested() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
        let plan = tree.plan();
        let directory = context.directories.logs.clone();
        let swept = tokio::task::spawn_blocking(move || {
            let units = plan.units.values().filter(|unit| unit.logs.mode != LogMode::None);
            let units: Vec<_> = units.map(|unit| sweep_unit(unit)).collect();
            let reports = sweep(&directory, &units, clock::wall(), &mut memory);
            (memory, reports)
        });
        let (returned, reports) = swept.await?;
        memory = returned;
        for report in reports {
            match report.outcome {
                Ok(done) => context.bus.tell(Event::LogRotated { unit: report.unit, bytes: done.rotated, lost: done.dropped }),
                Err(error) => tracing::warn!("cannot keep the log of {} in bounds: {error}", report.unit),
            }
        }
    }
}

fn sweep_unit(unit: &UnitPlan) -> SweepUnit {
    SweepUnit { unit: unit.id.clone(), mode: unit.logs.mode, max_size: unit.logs.max_size, keep: unit.logs.keep }
}

impl Context {
    /// Has a unit's output pipe emptied into its log file.
    pub(crate) fn pump(&self, plan: &UnitPlan, output: OwnedFd) {
        let log = PumpLog { dir: self.directories.logs.clone(), max_size: plan.logs.max_size, keep: plan.logs.keep };
        self.pump.add(plan.id.clone(), output, log);
    }
}
