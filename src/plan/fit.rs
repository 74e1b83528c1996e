//! Whether a plan fits the place it is for.

use std::path::PathBuf;

use crate::base::id::UnitId;
use crate::spec::{Declared, Diagnostic, Diagnostics, code};

use super::model::Plan;

/// A plan, and what is wrong if units have notification sockets whose paths, as `path` says them, have more than `most` bytes.
#[must_use]
pub fn with_sockets(
    declared: &Declared,
    (plan, mut out): (Option<Plan>, Diagnostics),
    path: &dyn Fn(&UnitId) -> PathBuf,
    most: usize,
) -> (Option<Plan>, Diagnostics) {
    let Some(plan) = plan else { return (None, out) };
    for unit in plan.units.values().filter(|unit| unit.uses_notify()) {
        let socket = path(&unit.id);
        let length = socket.as_os_str().len();
        let declared = declared.units.iter().find(|spec| spec.unit.as_ref().is_some_and(|name| name.0 == unit.id.template()));
        let Some(name) = declared.and_then(|spec| spec.unit.as_ref()).filter(|_| length > most) else { continue };
        let message =
            format!("the unit's notification socket would be {}, of {length} bytes, and the kernel allows {most}", socket.display());
        let fault = Diagnostic::new(code::BAD_NAME, name.span, message);
        out.push(fault.help("choose a shorter name, or set MS_RUN_DIR to a shorter directory"));
    }
    out.sort();
    (out.is_empty().then_some(plan), out)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::resolve;
    use crate::spec::{SourceFile, parse};

    #[test]
    fn a_socket_path_that_is_too_long_is_found_beforehand() {
        let text = "unit: a-long-name\nexec: x\nreadiness: notify\ninstances: 12\n---\nunit: another-long-name\nexec: x\n";
        let declared = parse(vec![SourceFile { path: "units/a.yaml".into(), text: text.into() }]);
        let socket = |unit: &UnitId| Path::new("/run/notify").join(format!("{unit}.sock"));
        let check = |most| with_sockets(&declared, resolve(&declared, Path::new("/c")), &socket, most);
        assert!(check("/run/notify/a-long-name@12.sock".len()).0.is_some());
        let (plan, faults) = check("/run/notify/a-long-name@1.sock".len());
        assert!(plan.is_none() && faults.len() == 3, "{faults}");
        assert!(faults.to_string().contains("of 31 bytes, and the kernel allows 30"), "{faults}");
    }
}
