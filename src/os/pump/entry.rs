//! What the journal gets of a unit's line.

use crate::base::id::UnitId;
use crate::os::journald::Entry;

/// The priority of a line that says nothing of it: informational.
const INFO: &[u8] = b"6";

/// The facility of daemons.
const DAEMON: &str = "3";

/// Whose lines they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) unit: UnitId,
    pub(super) run: u64,
}

/// The entry of a line without its newline. A prefix such as `<3>` is the line's priority (`sd-daemon(3)`) and no part of the message.
pub(super) fn entry(origin: &Origin, line: &[u8]) -> Entry {
    let (priority, message) = match line {
        [b'<', digit @ b'0'..=b'7', b'>', message @ ..] => (std::slice::from_ref(digit), message),
        _ => (INFO, line),
    };
    let Origin { unit, run } = origin;
    Entry::default()
        .with("PRIORITY", priority)
        .with("SYSLOG_FACILITY", DAEMON)
        .with("SYSLOG_IDENTIFIER", unit.as_str())
        .with("MS_UNIT", unit.as_str())
        .with("MS_RUN", run.to_string())
        .with("MS_INVOCATION_ID", format!("{unit}:{run}"))
        .message(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_serious_it_is() {
        let origin = Origin { unit: "web@2".into(), run: 7 };
        let expect = |priority: &str, message: &[u8]| {
            let entry = Entry::default().with("PRIORITY", priority).with("SYSLOG_FACILITY", "3").with("SYSLOG_IDENTIFIER", "web@2");
            entry.with("MS_UNIT", "web@2").with("MS_RUN", "7").with("MS_INVOCATION_ID", "web@2:7").message(message)
        };
        assert_eq!(entry(&origin, b"<3>it \xff failed"), expect("3", b"it \xff failed"));
        assert_eq!(entry(&origin, b"<9>odd"), expect("6", b"<9>odd"));
    }
}
