//! `file`, `log`, `resources`, `network` and `host` of a probe: what this machine knows by itself.

use serde_json::json;

use crate::spec::code;
use crate::spec::decode::{Cx, Decode, mapping};
use crate::spec::diagnostic::{Diagnostic, Spanned};
use crate::spec::node::Node;
use crate::spec::restart::Share;
use crate::spec::value::{Int, PositiveTime, Size, Text, schema};

use super::{Check, bare_or_mapping, regex_fault};

mapping! {
    /// A file that has to be there; a bare text is its `path`.
    FileSpec: "a path or a mapping, for example `{path: /var/backups/last, max_age: 26h}`" {
        /// Where it is; from the unit's working directory on, if it does not begin with `/`.
        path: Text = required,
        /// How long ago it may have been changed.
        max_age: PositiveTime,
        /// How small it may be.
        min_size: Size<0>,
        /// How large it may be.
        max_size: Size<0>,
    }
}

bare_or_mapping!(FileSpec, path: Text, "a path or a mapping, for example `{path: /var/backups/last, max_age: 26h}`");

impl FileSpec {
    fn check(&self, cx: &mut Cx<'_>) {
        if let (Some(min), Some(max)) = (&self.min_size, &self.max_size)
            && min.0 > max.0
        {
            let fault = Diagnostic::new(code::CONFLICT, max.span, "`max_size` is less than `min_size`: no file is well");
            cx.report(fault.related(min.span, "`min_size` is given here"));
        }
    }

    pub(super) fn texts(&self) -> Vec<&Spanned<Text>> {
        self.path.iter().collect()
    }
}

mapping! {
    /// What the unit's log has to be like. At least one of the two has to be given.
    LogSpec: "a mapping, for example `{max_silence: 5m}`" {
        /// How long nothing may be written.
        max_silence: PositiveTime,
        /// A regular expression; a line since the last look that matches it is a failure. `failure_threshold` is 1 then, if not given.
        alarm: Text,
    }
}

schema!(LogSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for LogSpec {
    const EXPECTED: &'static str = "a mapping, for example `{max_silence: 5m}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        if spec.max_silence.is_none() && spec.alarm.is_none() {
            at_least_one(&["max_silence", "alarm"], node, cx);
        }
        Some(spec)
    }
}

impl LogSpec {
    pub(super) fn checked(&self) -> Vec<(&Spanned<Text>, Check)> {
        self.alarm.iter().map(|alarm| (alarm, regex_fault as Check)).collect()
    }

    pub(super) fn texts(&self) -> Vec<&Spanned<Text>> {
        self.alarm.iter().collect()
    }
}

fn at_least_one(keys: &[&str], node: &Node, cx: &mut Cx<'_>) {
    // A value that is wrong is given all the same.
    if !keys.iter().any(|key| node.key(key).is_some()) {
        let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
        let message = format!("{} must say something: give one of {} at least", cx.subject(), keys.join(", "));
        cx.report(Diagnostic::new(code::MISSING_KEY, node.span, message));
    }
}

mapping! {
    /// The most that all processes of the unit may use; each becomes a value of the probe's metric.
    ResourcesSpec: "a mapping, for example `{memory: 1GiB, cpu: 150%}`" {
        /// Resident memory, shared pages counted once for each process.
        memory: Size<0>,
        /// Processor time since the last look, in per cent of one processor.
        cpu: PercentOfOne,
        /// Open descriptors.
        descriptors: Int<1, 1_000_000_000>,
        /// Threads.
        threads: Int<1, 1_000_000_000>,
        /// Processes.
        processes: Int<1, 1_000_000_000>,
    }
}

schema!(ResourcesSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for ResourcesSpec {
    const EXPECTED: &'static str = "a mapping, for example `{memory: 1GiB, cpu: 150%}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        at_least_one(&["memory", "cpu", "descriptors", "threads", "processes"], node, cx);
        Some(spec)
    }
}

mapping! {
    /// A TCP port somebody has to listen on, and what may come of that; a bare number is its `port`.
    NetworkSpec: "a port or a mapping, for example `{port: 8080, max_backlog: 100}`" {
        /// The port, of any address of this machine.
        port: Int<1, 65_535> = required,
        /// How many connections to it there may be.
        max_connections: Int<0, 1_000_000_000>,
        /// How many connections may wait to be accepted.
        max_backlog: Int<0, 1_000_000_000>,
    }
}

bare_or_mapping!(NetworkSpec, port: Int<1, 65_535>, "a port or a mapping, for example `{port: 8080, max_backlog: 100}`");

impl NetworkSpec {
    /// Nothing is wrong with the whole that is not with a part.
    fn check(&self, _cx: &mut Cx<'_>) {}
}

mapping! {
    /// How the machine has to be.
    HostSpec: "a mapping, for example `{memory_available: 5%, disk_free: 10%}`" {
        /// The least share of the memory that is available.
        memory_available: Share,
        /// The least share of the file system of `path` that is free for others than root.
        disk_free: Share,
        /// The least share of its inodes that is free.
        inodes_free: Share,
        /// A file or directory of that file system.
        path: Text = "/",
        /// The most of the last ten seconds in which something waited for a processor (PSI, some).
        cpu_pressure: Share,
        /// The same for memory.
        memory_pressure: Share,
        /// The same for input and output.
        io_pressure: Share,
    }
}

schema!(HostSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for HostSpec {
    const EXPECTED: &'static str = "a mapping, for example `{memory_available: 5%, disk_free: 10%}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        at_least_one(&["memory_available", "disk_free", "inodes_free", "cpu_pressure", "memory_pressure", "io_pressure"], node, cx);
        Some(spec)
    }
}

impl HostSpec {
    pub(super) fn texts(&self) -> Vec<&Spanned<Text>> {
        self.path.iter().collect()
    }
}

/// Per cent of one processor; may be more than 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PercentOfOne(pub f64);

schema!(PercentOfOne, _generator => json!({"type": "string", "pattern": "^[0-9]+([.][0-9]+)?%$", "examples": ["150%"]}));

impl Decode for PercentOfOne {
    const EXPECTED: &'static str = "per cent of one processor, for example `150%`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        match text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok()) {
            Some(percent) if percent > 0.0 && percent <= 1e6 => Some(Self(percent)),
            Some(_) => cx.bad_value(code::OUT_OF_RANGE, node, format!("`{text}` is not in the range above 0 to 1000000 %")),
            None => cx.expected(node, Self::EXPECTED),
        }
    }
}
