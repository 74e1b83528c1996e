//! `file`, `log`, `resources`, `network` and `host` of a probe: what this machine knows by itself.

use serde_json::json;

use crate::spec::code;
use crate::spec::decode::{Cx, Decode, mapping};
use crate::spec::diagnostic::{Diagnostic, Spanned, quote};
use crate::spec::logs::Rate;
use crate::spec::node::Node;
use crate::spec::restart::{Share, is_word};
use crate::spec::value::{Amount, Flag, Int, PositiveTime, Size, Text, schema};

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
    /// The most that all processes of the unit may use; each becomes a value of the probe's metric. One of them has to be given.
    ResourcesSpec: "a mapping, for example `{memory: 1GiB, cpu: 150%}`" {
        /// Resident memory, shared pages counted once for each process.
        memory: Size<0>,
        /// Processor time since the last look, in per cent of one processor.
        cpu: PercentOfOne,
        /// Open descriptors.
        descriptors: Int<1, 1_000_000_000>,
        /// Threads.
        threads: Int<1, 1_000_000_000>,
        /// By how much the number of threads may differ from the median of the last 30 looks, as a share of that: more, and two threads at
        /// least, is degraded. Nothing is said before the seventh look; a new number that persists for 16 looks is the usual one then.
        threads_change: Share,
        /// Processes.
        processes: Int<1, 1_000_000_000>,
        /// The most of the last ten seconds in which something of the unit's cgroup may wait for memory (PSI, some): it waits when
        /// `limits.memory_high` is reached, long before anything is killed.
        memory_pressure: Share,
        /// The same for processors: because of `limits.cpu_max`, or because others are as busy.
        cpu_pressure: Share,
        /// The same for input and output.
        io_pressure: Share,
    }
}

schema!(ResourcesSpec, generator => Self::mapping_schema(generator).to_value());

/// What is looked at.
const RESOURCES: [&str; 9] =
    ["memory", "cpu", "descriptors", "threads", "threads_change", "processes", "memory_pressure", "cpu_pressure", "io_pressure"];

impl Decode for ResourcesSpec {
    const EXPECTED: &'static str = "a mapping, for example `{memory: 1GiB, cpu: 150%}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        at_least_one(&RESOURCES, node, cx);
        Some(spec)
    }
}

mapping! {
    /// The network as the unit's main process sees it, in its own name space: a TCP port somebody has to listen on, an interface that has to be
    /// there, and what may come of them. A bare number is its `port`; a port or an interface has to be given.
    NetworkSpec: "a port or a mapping, for example `{port: 8080, max_backlog: 100}`" {
        /// The port, of any address of this machine.
        port: Int<1, 65_535>,
        /// How many connections to the port there may be.
        max_connections: Int<0, 1_000_000_000>,
        /// How many connections may wait to be accepted at the port.
        max_backlog: Int<0, 1_000_000_000>,
        /// The interface, for example `eth0`. Its rates, which become values of the probe's metric, are those since the look before: the first
        /// look knows none, nor does one before which a counter went back.
        interface: Text,
        /// How much the interface may receive, in bytes a second, for example `100MiB/s`; at least 1KiB/s.
        max_receive: Rate,
        /// How much the interface may transmit, in bytes a second; at least 1KiB/s.
        max_transmit: Rate,
        /// How many packets a second with errors, or dropped ones, there may be on the interface in both directions, from 0 to 1000000000.
        max_errors: Amount,
    }
}

schema!(NetworkSpec, generator => json!({"anyOf": [generator.subschema_for::<Int<1, 65_535>>(), Self::mapping_schema(generator)]}));

impl Decode for NetworkSpec {
    const EXPECTED: &'static str = "a port or a mapping, for example `{port: 8080, max_backlog: 100}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let value = Int::decode(node, cx)?;
            return Some(Self { port: Some(Spanned { value, span: node.span }), ..Self::default() });
        }
        let spec = Self::from_mapping(node, cx)?;
        at_least_one(&["port", "interface"], node, cx);
        let has = |key| node.key(key).is_some();
        if has("port") != has("interface") {
            spec.check(has("port"), cx);
        }
        Some(spec)
    }
}

impl NetworkSpec {
    /// What is about a port needs one; what is about an interface likewise.
    fn check(&self, has_port: bool, cx: &mut Cx<'_>) {
        let of_port = [("max_connections", self.max_connections.as_ref()), ("max_backlog", self.max_backlog.as_ref())];
        let of_interface = [("max_receive", self.max_receive.as_ref()), ("max_transmit", self.max_transmit.as_ref())];
        let of_port = of_port.map(|(key, count)| (key, count.map(|count| count.span)));
        let of_interface = of_interface.map(|(key, rate)| (key, rate.map(|rate| rate.span)));
        let errors = ("max_errors", self.max_errors.as_ref().map(|errors| errors.span));
        let (wanted, given) =
            if has_port { ("interface", of_interface.into_iter().chain([errors]).collect::<Vec<_>>()) } else { ("port", of_port.to_vec()) };
        for (key, span) in given {
            if let Some(span) = span {
                let article = if has_port { "an" } else { "a" };
                let fault = Diagnostic::new(code::CONFLICT, span, format!("`{key}` is about {article} {wanted}, but none is given"));
                cx.report(fault.help(format!("give `{wanted}`, or remove the key")));
            }
        }
    }

    pub(super) fn checked(&self) -> Vec<(&Spanned<Text>, Check)> {
        self.interface.iter().map(|interface| (interface, interface_fault as Check)).collect()
    }

    pub(super) fn texts(&self) -> Vec<&Spanned<Text>> {
        self.interface.iter().collect()
    }
}

/// Finds fault with the name of an interface; the kernel takes at most 15 bytes.
fn interface_fault(name: &str) -> Option<String> {
    let is_odd = |c: char| c.is_whitespace() || matches!(c, '/' | ':');
    let is_bad = name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(is_odd);
    is_bad.then(|| format!("{} cannot be the name of an interface; write for example `eth0`", quote(name)))
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
        /// The most processes that run or wait for a processor or a disk, on the average of the last minute, per processor (the load), for
        /// example `1.5`; from 0 to 1000000000.
        load: Amount,
        /// The least share of the swap space that is free. Where there is none, nothing is known.
        swap_free: Share,
        /// The least share of the descriptors all processes may have together (`fs.file-max`) that is free.
        descriptors_free: Share,
        /// The wall clock is kept by somebody (NTP, PTP); its offset and its greatest error become values of the probe's metric, in seconds.
        clock_synchronized: Flag,
    }
}

schema!(HostSpec, generator => Self::mapping_schema(generator).to_value());

/// What can be looked at of a machine.
const HOST_KEYS: [&str; 10] = [
    "memory_available",
    "disk_free",
    "inodes_free",
    "cpu_pressure",
    "memory_pressure",
    "io_pressure",
    "load",
    "swap_free",
    "descriptors_free",
    "clock_synchronized",
];

impl Decode for HostSpec {
    const EXPECTED: &'static str = "a mapping, for example `{memory_available: 5%, disk_free: 10%}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        at_least_one(&HOST_KEYS, node, cx);
        if let Some(clock) = spec.clock_synchronized.as_ref().filter(|flag| !flag.0) {
            let fault = Diagnostic::new(code::CONFLICT, clock.span, "`clock_synchronized: false` looks at nothing");
            cx.report(fault.help("remove the key"));
        }
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
