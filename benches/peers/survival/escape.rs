//! One unit whose grandchild hides: what an ordered stop leaves of it.

use std::path::Path;
use std::time::Duration;

use super::Row;
use super::place::{Mode, PATIENCE, Place, Sweep, wait};
use super::subject::{Subject, wait_for_up};
use crate::Fault;

pub(super) const COLUMNS: &[&str] = &["supervisor", "version", "unit stopped", "supervisor stopped"];

/// How long it may take to find what has escaped.
const FOUND: Duration = Duration::from_secs(15);

/// A row of the table.
pub(super) fn run(subject: &dyn Subject, version: &str, above: &Path, unit: &Path) -> Result<Row, Fault> {
    let place = Place::new(above, unit, vec![Mode::Escape])?;
    let _sweep = Sweep;
    subject.declare(&place)?;
    let supervisor = subject.start(&place)?;
    let escaped = || -> Result<_, Fault> { Ok(place.all_runs()?.into_iter().find(|run| run.unit.is_none())) };
    if !wait_for_up(subject, &place)? || !wait(PATIENCE, || Ok(escaped()?.is_some()))? {
        return Err("the unit came not up".into());
    }
    let escaped = escaped()?.ok_or("nothing has escaped")?;
    let fate = || -> Result<String, Fault> { Ok(if wait(FOUND, || Ok(!escaped.is_alive()))? { "gone" } else { "runs on" }.into()) };
    if !escaped.is_alive() {
        return Err("it had gone before anything was stopped".into());
    }
    subject.stop_unit(&place, 0)?;
    if !wait(FOUND, || Ok(place.alive()?.is_empty()))? {
        return Err("the unit itself does not stop".into());
    }
    let after_unit = fate()?;
    subject.stop(&place, supervisor)?;
    Ok(vec![subject.name().into(), version.into(), after_unit, fate()?])
}
