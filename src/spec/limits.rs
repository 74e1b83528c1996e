//! `limits` of a unit or a supervisor: what it may use, with everything below it.

use serde_json::json;

use crate::base::cpus::{CPU_MAX, Cpus};
use crate::base::limit::OomPolicy;
use crate::base::quantity::{format_size, parse_size};

use super::adjust::AdjustSpec;
use super::code;
use super::decode::{Cx, Decode, Field, mapping};
use super::diagnostic::{Diagnostic, Spanned, quote};
use super::node::{Kind, Node};
use super::value::{Int, OneOf, schema};

/// The longest path of a device.
const DEVICE_MAX: usize = 255;

/// So many devices may have limits in one place.
const DEVICES_MAX: usize = 64;

mapping! {
    /// What a unit, or a supervisor with all that is below it, may use: the control files of its cgroup (systemd.resource-control(5) has the same
    /// names). All of it changes live with a reload. Where the controllers are not to be had, it is said what has no effect.
    LimitsSpec: "a mapping, for example `{memory_max: 512MiB, cpu_max: 150%}`" {
        /// Memory that is never taken away, whoever else is short of it. A supervisor that says nothing guarantees what its children do
        /// together; saying less is a fault.
        memory_min: Amount = 0,
        /// Memory that is taken away only if there is none elsewhere. For supervisors as `memory_min`; if not given, that.
        memory_low: Amount = 0,
        /// Above this it is slowed down and its memory reclaimed: the limit it is to live with.
        memory_high: Amount = "infinity",
        /// There is no more than this: if nothing can be reclaimed, the kernel kills a process of it. At least 1 MiB.
        memory_max: Amount = "infinity",
        /// The most swap space.
        memory_swap_max: Amount = "infinity",
        /// Its share of processor time among its siblings, when there is not enough.
        cpu_weight: Int<1, 10_000> = 100,
        /// The most processor time, as a share of one processor: `50%`, `150%`; at least 1 %.
        cpu_max: CpuShare = "infinity",
        /// The processors it may run on; all if not given.
        cpuset: CpuList,
        /// Its share among its siblings of what block devices can do. It has an effect with the I/O scheduler `bfq`, or where io.cost is set up.
        io_weight: Int<1, 10_000> = 100,
        /// The most that is read from or written to a block device: by path or number (`8:0`), bytes and operations a second.
        io_max: IoMaxSpec,
        /// The most processes and threads together.
        tasks_max: TasksMax = "infinity",
        /// What happens when the kernel kills a process of it because memory is short. Of units only.
        oom_policy: OneOf<OomPolicy> = "kill",
        /// Which of them follow the pressure while it runs; none if not given.
        adjust: AdjustSpec,
    }
}

schema!(LimitsSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for LimitsSpec {
    const EXPECTED: &'static str = "a mapping, for example `{memory_max: 512MiB, cpu_max: 150%}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        spec.check_order(cx);
        AdjustSpec::check(&spec, cx);
        if let Some(max) = spec.memory_max.as_ref().filter(|max| max.value.0.is_some_and(|max| max < MEMORY_MAX_LEAST)) {
            let message = format!("`limits.memory_max`: less than {} is not enough for any program", format_size(MEMORY_MAX_LEAST));
            cx.report(Diagnostic::new(code::OUT_OF_RANGE, max.span, message));
        }
        Some(spec)
    }
}

const MEMORY_MAX_LEAST: u64 = 1 << 20;

impl LimitsSpec {
    /// Each of these may not be more than those after it.
    fn check_order(&self, cx: &mut Cx<'_>) {
        let order = [
            ("memory_min", &self.memory_min),
            ("memory_low", &self.memory_low),
            ("memory_high", &self.memory_high),
            ("memory_max", &self.memory_max),
        ];
        let given: Vec<_> = order.into_iter().filter_map(|(key, field)| Some((key, field.as_ref()?))).collect();
        for pair in given.windows(2) {
            let [(lower, less), (upper, more)] = pair else { continue };
            if more.value.0.is_some_and(|most| less.value.0.is_none_or(|least| least > most)) {
                let message = format!("`{lower}` is more than `{upper}`");
                let fault = Diagnostic::new(code::CONFLICT, less.span, message).related(more.span, format!("`{upper}` is given here"));
                cx.report(fault.help("the order is memory_min <= memory_low <= memory_high <= memory_max"));
            }
        }
    }

    /// A supervisor has no processes of its own to be killed.
    pub(super) fn check_supervisor(limits: &Field<Self>, cx: &mut Cx<'_>) {
        if let Some(policy) = limits.as_ref().and_then(|limits| limits.value.oom_policy.as_ref()) {
            let fault = Diagnostic::new(code::CONFLICT, policy.span, "`oom_policy` is for units: a supervisor has no processes of its own");
            cx.report(fault.help("write it in the units below"));
        }
    }
}

/// A size; `None` is `infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(pub Option<u64>);

schema!(Amount, _generator => json!({"anyOf": [
    {"type": ["string", "integer"], "pattern": r"^[0-9.]+\s*([kKMGT]i?)?B?$", "minimum": 0, "examples": ["512MiB"]},
    {"const": "infinity", "description": "As much as there is."},
]}));

impl Decode for Amount {
    const EXPECTED: &'static str = "a size or `infinity`, for example `512MiB`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match cx.text(node, Self::EXPECTED)? {
            "infinity" => Some(Self(None)),
            text => match parse_size(text) {
                Ok(size) => Some(Self(Some(size))),
                Err(why) => cx.bad_value(code::BAD_VALUE, node, why),
            },
        }
    }
}

/// A share of one processor in thousandths; `None` is `infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuShare(pub Option<u32>);

schema!(CpuShare, _generator => json!({"anyOf": [
    {"type": "string", "pattern": r"^[0-9]+([.][0-9]+)?\s*%$", "examples": ["150%"]},
    {"const": "infinity", "description": "As much as there is."},
]}));

impl Decode for CpuShare {
    const EXPECTED: &'static str = "a share of one processor or `infinity`, for example `150%`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        if text == "infinity" {
            return Some(Self(None));
        }
        match text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok()) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
            Some(percent) if (1.0..=1_000_000.0).contains(&percent) => Some(Self(Some((percent * 10.0).round() as u32))),
            Some(_) => cx.bad_value(code::OUT_OF_RANGE, node, format!("{} is not in the range from 1 % to 1000000 %", quote(text))),
            None => cx.expected(node, Self::EXPECTED),
        }
    }
}

/// Processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Cpus);

schema!(CpuList, _generator => json!({
    "type": ["string", "integer"], "pattern": r"^[0-9]+(-[0-9]+)?(\s*,\s*[0-9]+(-[0-9]+)?)*$", "minimum": 0, "maximum": CPU_MAX, "examples": ["0-3,5"],
}));

impl Decode for CpuList {
    const EXPECTED: &'static str = "processors by number, for example `0-3,5`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match Cpus::parse(cx.text(node, Self::EXPECTED)?) {
            Ok(cpus) => Some(Self(cpus)),
            Err(why) => cx.bad_value(code::BAD_VALUE, node, why),
        }
    }
}

/// A number of tasks; `None` is `infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TasksMax(pub Option<u32>);

schema!(TasksMax, generator => json!({"anyOf": [
    generator.subschema_for::<Int<1, 4_194_304>>(),
    {"const": "infinity", "description": "As many as there may be."},
]}));

impl Decode for TasksMax {
    const EXPECTED: &'static str = "a number or `infinity`, for example `64`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match cx.text(node, Self::EXPECTED)? {
            "infinity" => Some(Self(None)),
            text if text.starts_with(|c: char| c.is_ascii_digit()) => {
                Int::<1, 4_194_304>::decode(node, cx).map(|count| Self(Some(count.to_u32())))
            }
            _ => cx.expected(node, Self::EXPECTED),
        }
    }
}

mapping! {
    /// The most of what a device does, in a second.
    IoLimitSpec: "a mapping, for example `{rbps: 10MiB, wiops: 100}`" {
        /// Bytes read.
        rbps: Amount = "infinity",
        /// Bytes written.
        wbps: Amount = "infinity",
        /// Reading operations.
        riops: Amount = "infinity",
        /// Writing operations.
        wiops: Amount = "infinity",
    }
}

/// The devices with their limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IoMaxSpec(pub Vec<(Spanned<String>, IoLimitSpec)>);

schema!(IoMaxSpec, generator => json!({
    "type": "object", "additionalProperties": IoLimitSpec::mapping_schema(generator), "maxProperties": DEVICES_MAX,
    "examples": [{"/dev/sda": {"wbps": "10MiB"}}],
}));

impl Decode for IoMaxSpec {
    const EXPECTED: &'static str = "a mapping of devices to what they do, for example `{/dev/sda: {wbps: 10MiB}}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Kind::Mapping(items) = &node.kind else { return cx.expected(node, Self::EXPECTED) };
        if items.len() > DEVICES_MAX {
            return cx.bad_value(code::OUT_OF_RANGE, node, format!("there are more than {DEVICES_MAX} devices"));
        }
        let mut devices: Vec<(Spanned<String>, IoLimitSpec)> = Vec::new();
        for (key, value) in items {
            let Some(name) = key.text().filter(|name| is_device(name)) else {
                let message = format!("{} is no device; write its path or its number, for example `/dev/sda` or `8:0`", key.describe());
                let _: Option<()> = cx.bad_value(code::BAD_VALUE, key, message);
                continue;
            };
            if let Some((first, _)) = devices.iter().find(|(known, _)| known.value == name) {
                let fault = Diagnostic::new(code::DUPLICATE_KEY, key.span, format!("the device {} is given twice", quote(name)));
                cx.report(fault.label("given again here").related(first.span, "first given here"));
                continue;
            }
            if let Some(limit) = IoLimitSpec::from_mapping(value, cx) {
                let rates = [&limit.rbps, &limit.wbps, &limit.riops, &limit.wiops];
                for rate in rates.into_iter().flatten().filter(|rate| rate.value.0 == Some(0)) {
                    cx.report(Diagnostic::new(code::OUT_OF_RANGE, rate.span, "`limits.io_max`: a limit of 0 would stop it for ever"));
                }
                devices.push((Spanned { value: name.to_owned(), span: key.span }, limit));
            }
        }
        Some(Self(devices))
    }
}

/// An absolute path, or two numbers.
fn is_device(name: &str) -> bool {
    let number = |word: &str| !word.is_empty() && word.len() <= 7 && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = name.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor));
    is_number || (name.starts_with('/') && name.len() <= DEVICE_MAX && !name.contains('\0'))
}
