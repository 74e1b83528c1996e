//! `limits.adjust`: limits that follow the pressure, between a floor and a ceiling.

use std::time::Duration;

use super::code;
use super::decode::{Cx, Decode, Field, mapping};
use super::diagnostic::{Diagnostic, Span};
use super::limits::LimitsSpec;
use super::node::Node;
use super::restart::Share;
use super::value::{Int, PositiveTime, Size, schema};
use crate::base::quantity::format_size;
use crate::base::time::format_duration;

/// What is changed more often is judged by pressure from before the last change: the kernel's average is over ten seconds.
const COOL_DOWN_LEAST: Duration = Duration::from_secs(10);

const COOL_DOWN_MOST: Duration = Duration::from_secs(24 * 3600);

mapping! {
    /// Limits that are changed while it runs, each between a floor and a ceiling, by what its cgroup waits for (PSI, some). They begin with what
    /// `limits` says, and do so again with each run and whenever that is changed. Each change is an event, `LimitAdjusted`.
    AdjustSpec: "a mapping, for example `{memory_high: {ceiling: 1GiB}}`" {
        /// `limits.memory_high`, by how much is waited for memory. It is raised by half as long as at least 10 % of the machine's memory is
        /// available, and lowered by a fifth if at most 80 % of what is left then is used, without the page cache that can be dropped.
        memory_high: MemoryRangeSpec,
        /// `limits.cpu_weight`, by how much is waited for processors. It is raised by half, and lowered by a fifth.
        cpu_weight: WeightRangeSpec,
        /// Raised when something waited for more of the last ten seconds than this; lowered when it was less than a quarter of this for twice
        /// the `cool_down`.
        pressure: Share = "10%",
        /// A limit is not changed again for so long, from 10s to 1d.
        cool_down: PositiveTime = "30s",
    }
}

schema!(AdjustSpec, generator => Self::mapping_schema(generator).to_value());

mapping! {
    /// Between which sizes.
    MemoryRangeSpec: "a mapping, for example `{floor: 256MiB, ceiling: 1GiB}`" {
        /// The least it is lowered to; what `limits` says if not given.
        floor: Size<1_048_576>,
        /// The most it is raised to.
        ceiling: Size<1_048_576> = required,
    }
}

schema!(MemoryRangeSpec, generator => Self::mapping_schema(generator).to_value());

mapping! {
    /// Between which weights.
    WeightRangeSpec: "a mapping, for example `{floor: 50, ceiling: 400}`" {
        /// The least it is lowered to; what `limits` says if not given.
        floor: Int<1, 10_000>,
        /// The most it is raised to.
        ceiling: Int<1, 10_000> = required,
    }
}

schema!(WeightRangeSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for MemoryRangeSpec {
    const EXPECTED: &'static str = "a mapping, for example `{floor: 256MiB, ceiling: 1GiB}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Self::from_mapping(node, cx)
    }
}

impl Decode for WeightRangeSpec {
    const EXPECTED: &'static str = "a mapping, for example `{floor: 50, ceiling: 400}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Self::from_mapping(node, cx)
    }
}

impl Decode for AdjustSpec {
    const EXPECTED: &'static str = "a mapping, for example `{memory_high: {ceiling: 1GiB}}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        if spec.memory_high.is_none() && spec.cpu_weight.is_none() {
            let fault = Diagnostic::new(code::MISSING_KEY, node.span, "`limits.adjust` adjusts nothing");
            cx.report(fault.help("give a range to `memory_high` or `cpu_weight`, for example `memory_high: {ceiling: 1GiB}`"));
        }
        if let Some(given) = spec.cool_down.as_ref().filter(|time| !(COOL_DOWN_LEAST..=COOL_DOWN_MOST).contains(&time.value.0)) {
            let (least, most) = (format_duration(COOL_DOWN_LEAST), format_duration(COOL_DOWN_MOST));
            let message = format!("`limits.adjust.cool_down` is not in the range from {least} to {most}");
            cx.report(Diagnostic::new(code::OUT_OF_RANGE, given.span, message));
        }
        Some(spec)
    }
}

/// A bound of a range, and where it is given.
type Given = Option<(u64, Span)>;

/// What is checked of each range.
struct Checked {
    limit: &'static str,
    /// What the limit begins with.
    declared: u64,
    floor: Given,
    ceiling: Given,
    show: fn(u64) -> String,
}

impl Checked {
    /// Floor, declared value and ceiling have to be in this order.
    fn check(&self, cx: &mut Cx<'_>) {
        let Self { limit, declared, floor, ceiling, show } = self;
        let shown = show(*declared);
        let mut report = |span, message: String| {
            let fault = Diagnostic::new(code::CONFLICT, span, message);
            cx.report(fault.help(format!("the order is floor <= {limit} <= ceiling; it begins with `limits.{limit}`")));
        };
        if let Some((_, span)) = floor.filter(|(floor, _)| floor > declared) {
            report(span, format!("`floor` is more than `limits.{limit}`, {shown}"));
        }
        if let Some((_, span)) = ceiling.filter(|(ceiling, _)| ceiling < declared) {
            report(span, format!("`ceiling` is less than `limits.{limit}`, {shown}"));
        }
    }
}

impl AdjustSpec {
    /// What is adjusted has to fit to the limits beside it.
    pub(super) fn check(limits: &LimitsSpec, cx: &mut Cx<'_>) {
        let Some(adjust) = &limits.adjust else { return };
        if let Some(range) = &adjust.value.memory_high {
            let size = |field: &Field<Size<1_048_576>>| field.as_ref().map(|size| (size.value.0, size.span));
            let (floor, ceiling) = (size(&range.value.floor), size(&range.value.ceiling));
            match limits.memory_high.as_ref().and_then(|high| high.value.0) {
                Some(declared) => Checked { limit: "memory_high", declared, floor, ceiling, show: format_size }.check(cx),
                None => {
                    let message = "`limits.adjust.memory_high` has nothing to begin with";
                    cx.report(Diagnostic::new(code::CONFLICT, range.span, message).help("give `limits.memory_high` a size"));
                }
            }
            let max = limits.memory_max.as_ref().and_then(|max| Some((max.value.0?, max.span)));
            if let (Some((ceiling, span)), Some((max, at))) = (ceiling, max)
                && ceiling > max
            {
                let fault = Diagnostic::new(code::CONFLICT, span, "`ceiling` is more than `limits.memory_max`");
                cx.report(fault.related(at, "`memory_max` is given here"));
            }
            let least = [&limits.memory_min, &limits.memory_low].into_iter().flatten();
            for given in least.filter(|given| floor.is_some_and(|(floor, _)| given.value.0.is_none_or(|least| least > floor))) {
                let Some((_, span)) = floor else { continue };
                let fault = Diagnostic::new(code::CONFLICT, span, "`floor` is less than what is guaranteed");
                cx.report(fault.related(given.span, "guaranteed here"));
            }
        }
        if let Some(range) = &adjust.value.cpu_weight {
            let weight = |field: &Field<Int<1, 10_000>>| field.as_ref().map(|weight| (u64::from(weight.value.to_u32()), weight.span));
            let declared = limits.cpu_weight.as_ref().map_or(100, |weight| u64::from(weight.value.to_u32()));
            let (floor, ceiling) = (weight(&range.value.floor), weight(&range.value.ceiling));
            Checked { limit: "cpu_weight", declared, floor, ceiling, show: |weight| weight.to_string() }.check(cx);
        }
    }
}
