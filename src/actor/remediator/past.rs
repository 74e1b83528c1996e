//! What was done about whom before, as the events tell it.

use std::collections::BTreeMap;
use std::io;

use super::Patient;
use crate::actor::recorder::History;
use crate::event::{Envelope, Event, RemediationStage};
use crate::os::clock;
use crate::policy::remediation::Past;

/// What has happened to each ladder, in order, and how many nanoseconds ago. Blocks.
pub(super) fn of(history: &History) -> io::Result<BTreeMap<Patient, Vec<(u64, Past)>>> {
    let (first, now) = (history.first_recent(), clock::wall());
    let recent = history.recent(first, usize::MAX).unwrap_or_default();
    let all = history.read_older(0)?.take_while(|event| event.sequence < first).chain(recent);
    let mut found: BTreeMap<Patient, Vec<_>> = BTreeMap::new();
    for Envelope { event, time, .. } in all {
        let Event::Remediation(remediation) = event else { continue };
        let at = remediation.step.unwrap_or_default().saturating_sub(1);
        let past = match remediation.stage {
            RemediationStage::Withheld | RemediationStage::Started => Past::Taken(at),
            RemediationStage::PassedOver | RemediationStage::Ended => continue,
            RemediationStage::Exhausted => Past::Exhausted,
            RemediationStage::Over => Past::Over,
        };
        let ago = u64::try_from(now.since(time).as_nanos()).unwrap_or(u64::MAX);
        let events = found.entry((remediation.unit, remediation.probe)).or_default();
        if past == Past::Over {
            // What was before matters to budgets alone.
            events.retain(|(_, past)| matches!(past, Past::Taken(_)));
        }
        events.push((ago, past));
    }
    Ok(found)
}
