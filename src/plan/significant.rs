//! Which children may end their supervisor.

use super::resolve::or;
use super::tree::{Item, ROOT, Tree};
use crate::base::choice::{AutoShutdown, RestartType};
use crate::spec::value::Flag;
use crate::spec::{Diagnostic, Diagnostics, Field, code};

/// Reports children that are significant where that says nothing, and a root that would end itself.
pub(super) fn check_significant(tree: &Tree<'_>, out: &mut Diagnostics) {
    for (name, item) in &tree.items {
        let (flag, restart) = match item {
            Item::Unit(spec) => (
                &spec.significant,
                or(&spec.restart, RestartType::default(), |restart| or(&restart.kind, RestartType::default(), |kind| kind.0)),
            ),
            Item::Supervisor(spec) => (&spec.significant, or(&spec.restart, RestartType::default(), |restart| restart.0)),
        };
        check_child(tree, name, flag, restart, out);
        if let (Item::Supervisor(spec), &ROOT) = (item, name)
            && let Some(choice) = spec.auto_shutdown.as_ref().filter(|choice| choice.value.0 != AutoShutdown::Never)
        {
            let fault = Diagnostic::new(code::CONFLICT, choice.span, "the root cannot shut down automatically: the daemon would end");
            out.push(fault.help("put the significant children under a supervisor of their own"));
        }
    }
}

fn check_child(tree: &Tree<'_>, name: &str, flag: &Field<Flag>, restart: RestartType, out: &mut Diagnostics) {
    let Some(flag) = flag.as_ref().filter(|flag| flag.value.0) else { return };
    if restart == RestartType::Permanent {
        let fault = Diagnostic::new(
            code::CONFLICT,
            flag.span,
            format!("`{name}` is permanent and cannot be significant: it is always started again"),
        );
        out.push(fault.help("write `restart: transient` or `restart: temporary`"));
        return;
    }
    let parent = tree.parent.get(name).and_then(|parent| tree.items.get(parent));
    let cares = matches!(parent, Some(Item::Supervisor(spec)) if or(&spec.auto_shutdown, false, |choice| choice.0 != AutoShutdown::Never));
    if !cares {
        let message = format!("`{name}` is significant, but its supervisor does not shut down automatically");
        out.push(
            Diagnostic::new(code::CONFLICT, flag.span, message).help("set `auto_shutdown` on its supervisor, or remove `significant`"),
        );
    }
}
