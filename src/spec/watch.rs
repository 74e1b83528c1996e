//! `watch` of a unit: processes that somebody else starts.

use std::time::Duration;

use super::code;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Span, Spanned, quote};
use super::node::Node;
use super::probe::Check;
use super::readiness::regex_fault;
use super::restart::is_word;
use super::unit::Account;
use super::value::{Int, PositiveTime, Text, schema};

/// What finds a process. A user alone does not: most of them run many things.
const CRITERIA: [&str; 5] = ["name", "exe", "command_line", "cgroup", "pid_file"];

/// More often the processes of a machine are not looked through.
const PERIOD_MIN: Duration = Duration::from_millis(100);

mapping! {
    /// Which processes are watched: those that fit everything that is given, of which `name`, `exe`, `command_line`, `cgroup` or `pid_file` must
    /// be something. What ms-supervisor has started itself is never among them.
    WatchSpec: "a name or a mapping, for example `{name: sshd, user: root}`" {
        /// What it is called: its own name (`comm`), or the file name of its program or of the first word of its command line.
        name: Text,
        /// Its program, an absolute path. Symbolic links are followed.
        exe: Text,
        /// Its command line, words separated by spaces, matches this regular expression somewhere.
        command_line: Text,
        /// Its cgroup (v2), as `/proc/PID/cgroup` tells it, or one below that: `system.slice/ssh.service`.
        cgroup: Text,
        /// A file with its process id, relative to `working_directory`. Without another criterion a process that was started after the file was
        /// written is not believed to be it. A file of another user than root or the daemon's can only name processes of its own user.
        pid_file: Text,
        /// The user it runs as, by name or number.
        user: Account,
        /// So many processes have to be there.
        min: Int<1, 1_000_000> = 1,
        /// How often new ones are looked for. That one has ended is known at once.
        period: PositiveTime = "1s",
    }
}

schema!(WatchSpec, generator => {
    let mut mapping = Self::mapping_schema(generator);
    let criteria: Vec<_> = CRITERIA.iter().map(|key| serde_json::json!({"required": [key]})).collect();
    mapping.insert("anyOf".into(), criteria.into());
    serde_json::json!({"anyOf": [generator.subschema_for::<Text>(), mapping]})
});

impl Decode for WatchSpec {
    const EXPECTED: &'static str = "a name or a mapping, for example `sshd`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let value = Text::decode(node, cx)?;
            return Some(Self { name: Some(Spanned { value, span: node.span }), ..Self::default() });
        }
        let spec = Self::from_mapping(node, cx)?;
        if CRITERIA.iter().all(|key| node.key(key).is_none()) {
            let help = format!("give one of {}", CRITERIA.map(quote).join(", "));
            cx.report(Diagnostic::new(code::CONFLICT, node.span, "`watch` must say which processes").help(help));
        }
        if let Some(period) = spec.period.as_ref().filter(|period| period.0 < PERIOD_MIN) {
            let message = "`watch.period`: the processes of a machine are not looked through more often than every 100ms";
            cx.report(Diagnostic::new(code::OUT_OF_RANGE, period.span, message));
        }
        Some(spec)
    }
}

impl WatchSpec {
    /// The texts in it that may hold specifiers.
    pub(crate) fn texts(&self) -> Vec<(Span, String)> {
        self.checked().into_iter().map(|(text, _)| (text.span, text.0.clone())).collect()
    }

    /// The texts in it, with what finds fault with them.
    pub(crate) fn checked(&self) -> Vec<(&Spanned<Text>, Check)> {
        let checks: [(_, Check); 5] = [
            (&self.name, name_fault),
            (&self.exe, exe_fault),
            (&self.command_line, pattern_fault),
            (&self.cgroup, empty_fault),
            (&self.pid_file, empty_fault),
        ];
        checks.into_iter().filter_map(|(text, fault)| Some((text.as_ref()?, fault))).collect()
    }
}

fn empty_fault(text: &str) -> Option<String> {
    text.is_empty().then(|| "an empty text finds nothing".into())
}

/// An empty pattern fits everything.
fn pattern_fault(pattern: &str) -> Option<String> {
    empty_fault(pattern).or_else(|| regex_fault(pattern))
}

fn name_fault(name: &str) -> Option<String> {
    let path = name.contains('/').then(|| format!("{} is a path; write it as `exe`", quote(name)));
    empty_fault(name).or(path)
}

fn exe_fault(path: &str) -> Option<String> {
    (!path.starts_with('/')).then(|| format!("{} is not an absolute path; a mere file name is a `name`", quote(path)))
}
