//! What a specification may say.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{AutoShutdown, ChildSpec, Flags};
use crate::base::choice::RestartType;

/// Why a specification is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Two children of one supervisor have the same id.
    #[error("two children are called `{0}`; ids must be unique within a supervisor")]
    DuplicateId(Arc<str>),
    /// The period of the restart intensity is zero.
    #[error("the period of the restart intensity must be longer than zero")]
    Period,
    /// A permanent child is significant: it is always started again, so that its end can never end its supervisor.
    #[error("`{0}` is permanent and cannot be significant; make it transient or temporary")]
    SignificantPermanent(Arc<str>),
    /// A child is significant under a supervisor that does not care.
    #[error("`{0}` is significant, but its supervisor has no automatic shutdown; set auto_shutdown")]
    SignificantInVain(Arc<str>),
    /// A supervisor has a probe.
    #[error("`{0}` is a supervisor and cannot be probed; probe its children")]
    ProbedSupervisor(Arc<str>),
    /// A dynamic supervisor has automatic shutdown.
    #[error("a dynamic supervisor cannot have automatic shutdown")]
    DynamicAutoShutdown,
}

/// Whether a supervisor could be made of these.
///
/// # Errors
/// The first fault found.
pub fn check<'a>(flags: &Flags, children: impl IntoIterator<Item = &'a ChildSpec>) -> Result<(), SpecError> {
    if flags.period.is_zero() {
        return Err(SpecError::Period);
    }
    if flags.dynamic && flags.auto_shutdown != AutoShutdown::Never {
        return Err(SpecError::DynamicAutoShutdown);
    }
    let mut ids = BTreeSet::new();
    for child in children {
        check_child(flags, child)?;
        if !ids.insert(&child.id) {
            return Err(SpecError::DuplicateId(child.id.clone()));
        }
    }
    Ok(())
}

/// Whether a supervisor with these flags could have this child.
pub(super) fn check_child(flags: &Flags, child: &ChildSpec) -> Result<(), SpecError> {
    match (child.significant, child.restart, flags.auto_shutdown) {
        (true, RestartType::Permanent, _) => Err(SpecError::SignificantPermanent(child.id.clone())),
        (true, _, AutoShutdown::Never) => Err(SpecError::SignificantInVain(child.id.clone())),
        _ => Ok(()),
    }
}
