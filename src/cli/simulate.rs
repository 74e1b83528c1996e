//! `simulate`: what would happen, in virtual time. Nothing is started.

use super::Session;
use super::args::SimulateArgs;
use super::declarations::{faulty, load};
use super::exit::{Ending, Exit, Failure};
use crate::sim::script::Script;
use crate::sim::{Case, forecast, run, shrink};
use crate::spec::did_you_mean;

/// What a fault may say, for `--help`.
pub(super) const HELP: &str = "Faults:
  UNIT exits CODE        [at T | every T | after T] [N times]   its main process exits so
  UNIT killed by SIGNAL  [at T | every T | after T] [N times]   a signal ends its main process
  UNIT fails to start    [N times]                              its program cannot be executed
  UNIT never gets ready  [N times]                              its readiness times out
  UNIT hangs when stopped                                       it ends only when it is killed

  at T: once, so long after the beginning; every T: again and again; after T: each time it
  has been active for so long (the default is `after 1s`). A unit with instances means all of
  them. Starting, getting ready and stopping take 10ms each when nothing goes wrong.

Example:
  ms-supervisor simulate --fault \"planner exits 1 every 3s\" --for 2m";

pub(super) fn simulate(session: &mut Session, args: &SimulateArgs) -> Ending {
    match args.seed {
        Some(seed) => replay(session, seed),
        None => declared(session, args),
    }
}

/// Replays a random case, and makes it small if it breaks a rule.
fn replay(session: &mut Session, seed: u64) -> Ending {
    let case = Case::random(seed);
    let outcome = run(&case, true);
    session.out.text(&format!("case {seed}\n{case}trace\n{}", outcome.trace))?;
    let Some(violation) = outcome.violation else {
        session.out.line(&format!("verdict: {} steps, every rule holds", outcome.steps))?;
        return Ok(Exit::Done);
    };
    session.out.line(&format!("verdict: {violation}"))?;
    let small = shrink::shrink(case, |case| run(case, false).violation.is_some());
    session.out.text(&format!("\na smaller case that breaks a rule\n{small}trace\n{}", run(&small, true).trace))?;
    Ok(Exit::Failed)
}

/// Simulates the declared tree.
fn declared(session: &mut Session, args: &SimulateArgs) -> Ending {
    let (plan, diagnostics) = load(session)?;
    let Some(plan) = plan else { return Err(faulty(&diagnostics)) };
    let mut script = Script::default();
    for text in &args.faults {
        let fault = Script::parse(text)
            .map_err(|error| Failure::new(Exit::Bad, format!("`{text}` is no fault: {error}")).help("see `simulate --help`"))?;
        if plan.units.values().any(|unit| unit.watch.is_some() && unit.id.as_str().split('@').next() == fault.unit.split('@').next()) {
            let why = format!("`{}` is only watched: what somebody else starts is not simulated", fault.unit);
            return Err(Failure::new(Exit::Bad, why));
        }
        if !script.add(&plan, &fault) {
            let known = plan.units.keys().map(crate::base::id::UnitId::as_str);
            let failure = Failure::new(Exit::Bad, format!("there is no unit called `{}`", fault.unit));
            let templates = known.clone().filter_map(|id| id.split_once('@')).map(|(template, _)| template);
            return Err(match did_you_mean(&fault.unit, known.clone().chain(templates)) {
                Some(help) => failure.help(help),
                None => failure.help(format!("the units are {}", known.collect::<Vec<_>>().join(", "))),
            });
        }
    }
    let text = forecast::forecast(&plan, &script, args.duration);
    session.out.text(&text)?;
    Ok(Exit::Done)
}
