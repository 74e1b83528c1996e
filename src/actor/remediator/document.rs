//! What a remedy is told: as variables, and as one JSON document.

use std::path::PathBuf;

use crate::base::time::Wall;
use crate::event::{Remediation, RemedyContext, UnitStatus};
use crate::plan::Action;

/// The document about a step, whose action is `action`.
pub(super) fn context(
    about: &Remediation,
    action: &Action,
    status: Option<UnitStatus>,
    evidence: Option<PathBuf>,
    now: Wall,
) -> RemedyContext {
    RemedyContext {
        version: RemedyContext::VERSION,
        time: now.to_string(),
        unit: about.unit.clone(),
        supervisor: status.as_ref().map(|status| status.supervisor.clone()),
        probe: about.probe.clone(),
        why: about.why.clone(),
        step: about.step.unwrap_or_default(),
        action: action.in_full(),
        mode: about.mode.unwrap_or_default(),
        pid: status.as_ref().and_then(|status| status.pid),
        evidence,
        status,
    }
}

/// The same as variables; `file` is where the document is.
pub(super) fn variables(context: &RemedyContext, file: Option<&PathBuf>) -> Vec<(String, String)> {
    let path = |path: &PathBuf| path.display().to_string();
    let status = context.status.as_ref();
    let variables = [
        ("MS_UNIT", Some(context.unit.as_str().to_owned())),
        ("MS_INSTANCE", context.unit.instance().map(|instance| instance.to_string())),
        ("MS_SUPERVISOR", context.supervisor.as_ref().map(|supervisor| supervisor.as_str().to_owned())),
        ("MS_PROBE", context.probe.clone()),
        ("MS_WHY", Some(context.why.replace('\0', " "))),
        ("MS_STEP", Some(context.step.to_string())),
        ("MS_ACTION", Some(context.action.clone())),
        ("MS_MAINPID", context.pid.map(|pid| pid.to_string())),
        ("MS_STATE", status.map(|status| status.state.clone())),
        ("MS_RESTARTS", status.map(|status| status.restarts.to_string())),
        ("MS_LAST_EXIT", status.and_then(|status| status.last_exit.as_ref()).map(|exit| exit.text.clone())),
        ("MS_EVIDENCE", context.evidence.as_ref().map(path)),
        ("MS_CONTEXT", file.map(path)),
    ];
    variables.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
