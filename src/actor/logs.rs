//! Keeps the units' logs in bounds: rotation, time index, quotas, compression, pipes.

mod keeper;
mod teller;
mod throttler;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

use self::keeper::{Keeper, Round, WARY};
use self::teller::Teller;
use self::throttler::Throttler;
use super::context::Context;
use super::library::{BoxError, TaskContext};
use super::tree::Tree;
use crate::base::id::UnitId;
use crate::launcher::wire::{SpillTo, ToLauncher};
use crate::os::archiver::Archiver;
use crate::os::clock;
use crate::os::logfile::{LogError, RotateReport};
use crate::os::pump::{PumpLog, PumpReport};
use crate::plan::{LogMode, LogOverflow, Plan, UnitPlan};
use crate::policy::throttle::Throttling;

/// How much may wait for the keeper of the logs. What the pump reports beyond is not counted; a command beyond is refused.
pub const INBOX: usize = 4096;

/// What the keeper of the logs hears.
#[derive(Debug)]
pub enum ToLogs {
    /// Rotate a log now.
    Rotate(UnitId, oneshot::Sender<Result<RotateReport, LogError>>),
    /// The pump has news.
    Pump(PumpReport),
}

/// What waits for the keeper of the logs.
pub type Inbox = Arc<Mutex<mpsc::Receiver<ToLogs>>>;

/// Looks at every log file now and then, until the daemon ends.
///
/// # Errors
/// The blocking pool is gone.
pub(crate) async fn run(task: TaskContext, context: Arc<Context>, tree: Arc<Tree>, inbox: Inbox) -> Result<(), BoxError> {
    let mut inbox = inbox.lock().await;
    let mut keeper = Keeper::new(context.directories.logs.clone());
    let mut throttler = Throttler::new(context.directories.logs.clone());
    let mut teller = Teller::new(context.clone());
    let archiver = Archiver::start(context.directories.logs.clone())?;
    let mut known = Arc::new(Plan::clone(&tree.plan()));
    let mut next = clock::mono();
    loop {
        let rest = next.since(clock::mono());
        let order = tokio::select! {
            () = task.shutdown_requested() => return Ok(()),
            heard = inbox.recv() => match heard {
                Some(ToLogs::Pump(report)) => {
                    teller.pump(report);
                    continue;
                }
                Some(ToLogs::Rotate(unit, answer)) => Some((unit, answer)),
                None => return Ok(()),
            },
            () = tokio::time::sleep(rest) => None,
        };
        let plan = tree.plan();
        if !Arc::ptr_eq(&known, &plan) {
            replan(&context, &known, &plan);
            known.clone_from(&plan);
        }
        if let Some((unit, answer)) = order {
            keeper = rotate(&context, keeper, &mut teller, &plan, unit, answer).await?;
            continue;
        }
        // Before anything is rotated: what they write meanwhile would come on top.
        let mut is_wary;
        (throttler, is_wary) = throttle(&context, &tree, throttler, &plan).await?;
        let of = plan.clone();
        let mut rounding = tokio::task::spawn_blocking(move || {
            let round = keeper.round(&of, clock::wall());
            (keeper, round)
        });
        let round;
        (keeper, round) = loop {
            tokio::select! {
                done = &mut rounding => break done?,
                () = tokio::time::sleep(WARY) => (throttler, is_wary) = throttle(&context, &tree, throttler, &plan).await?,
            }
        };
        let pause = if is_wary { round.next.min(WARY) } else { round.next };
        next = clock::mono() + context.degradation.slow(pause);
        carry_out(&context, &tree, &archiver, &mut teller, round);
    }
}

/// Looks at who writes too fast; whether to look again soon.
async fn throttle(context: &Context, tree: &Tree, mut throttler: Throttler, plan: &Arc<Plan>) -> Result<(Throttler, bool), BoxError> {
    let plan = plan.clone();
    let (throttler, looked) = tokio::task::spawn_blocking(move || {
        let looked = throttler.look(&plan);
        (throttler, looked)
    })
    .await?;
    for unit in looked.seen_first {
        // The brain before this one may have stopped it, and did not live to let it go on.
        tree.pause_for_log(&unit, false);
    }
    for (unit, decision, event) in looked.decisions {
        throttled(tree, &unit, decision);
        event.into_iter().for_each(|event| context.bus.tell(event));
    }
    Ok((throttler, looked.is_wary))
}

/// A unit writes faster than its log is kept in bounds, or does not any more.
fn throttled(tree: &Tree, unit: &UnitId, decision: Throttling) {
    match decision {
        Throttling::Stop { .. } | Throttling::StopAgain => tree.pause_for_log(unit, true),
        Throttling::Kill => tree.log_resists(unit),
        Throttling::GoOn => tree.pause_for_log(unit, false),
    }
}

/// Carries out what a round has found.
fn carry_out(context: &Context, tree: &Tree, archiver: &Archiver, teller: &mut Teller, round: Round) {
    for (unit, outcome) in round.reports {
        teller.rotated(&unit, outcome);
    }
    for (unit, plan) in round.aged {
        // What came of it is reported like any rotation of the pump.
        let news = context.logs.clone();
        let answer = move |done: Result<RotateReport, LogError>| {
            if let Ok(done) = done {
                drop(news.try_send(ToLogs::Pump(PumpReport::Rotated { unit, done })));
            }
        };
        context.pump.rotate(plan.id.clone(), context.directories.logs.clone(), plan.logs.clone(), answer);
    }
    for (unit, is_full, event) in round.full {
        tree.pause_for_log(&unit, is_full);
        if let Some(event) = event {
            context.bus.tell(event);
        }
    }
    for (unit, decision) in round.resisting {
        throttled(tree, &unit, decision);
    }
    if !round.compress.is_empty() {
        archiver.compress(round.compress);
    }
    for (unit, bytes) in round.sizes.unwrap_or_default() {
        context.view.change_unit(unit.as_str(), |status| status.counters.log_bytes = bytes);
    }
}

/// Rotates a log that somebody wants rotated.
async fn rotate(
    context: &Context,
    mut keeper: Keeper,
    teller: &mut Teller,
    plan: &Plan,
    unit: UnitId,
    answer: oneshot::Sender<Result<RotateReport, LogError>>,
) -> Result<Keeper, BoxError> {
    let Some(plan) = plan.units.get(&unit).cloned() else { return Ok(keeper) };
    let of = plan.clone();
    let (returned, mut done) = tokio::task::spawn_blocking(move || {
        let done = keeper.rotate(&of);
        (keeper, done)
    })
    .await?;
    keeper = returned;
    if plan.logs.mode == LogMode::Pipe {
        let (sender, piped) = oneshot::channel();
        let answer = move |done| drop(sender.send(done));
        context.pump.rotate(unit.clone(), context.directories.logs.clone(), plan.logs.clone(), answer);
        let piped = piped.await?;
        done = done.and_then(|mut done| {
            done += piped?;
            Ok(done)
        });
    }
    if let Ok(done) = &done {
        teller.rotated(&unit, Ok(done.clone()));
    }
    // Who asked may be gone.
    drop(answer.send(done));
    Ok(keeper)
}

/// A new plan: what pipes are emptied into has new bounds.
fn replan(context: &Context, before: &Plan, after: &Plan) {
    for (unit, old) in &before.units {
        if let Some(new) = after.units.get(unit).filter(|new| new.logs != old.logs) {
            context.pump.change(unit.clone(), new.logs.clone());
        }
    }
}

impl Context {
    /// Has a unit's output pipe emptied into its log.
    pub(crate) fn pump(&self, plan: &UnitPlan, run: u64, output: OwnedFd) {
        let log = PumpLog::new(&self.directories.logs, plan.id.as_str(), run, plan.logs.clone());
        let to = SpillTo { path: log.spill.clone(), limit: plan.logs.max_total, may_drop: plan.logs.overflow == LogOverflow::DropOldest };
        self.launcher.send(ToLauncher::Spill { unit: plan.id.clone(), to });
        self.pump.add(plan.id.clone(), output, log);
    }

    /// Rotates the log of a unit now.
    ///
    /// # Errors
    /// Why that cannot be done.
    pub async fn rotate(&self, unit: UnitId) -> Result<RotateReport, String> {
        let (answer, done) = oneshot::channel();
        self.logs.try_send(ToLogs::Rotate(unit, answer)).map_err(|_| "too much is asked of the logs at once".to_owned())?;
        done.await.map_err(|_| "it is not declared any more".to_owned())?.map_err(|error| error.to_string())
    }
}
