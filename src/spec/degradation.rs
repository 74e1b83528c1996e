//! `degradation` in `daemon.yaml`: what the daemon does without, step by step, while there is too little of something.

use serde_json::json;

use crate::base::choice::DegradationStep;

use super::code;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Spanned, quote};
use super::node::{Kind, Node};
use super::restart::{Share, is_word};
use super::value::{Int, PositiveTime, choose, one_of, schema};

mapping! {
    /// What the daemon does without, step by step, while the machine or the daemon itself is under pressure. Without this key nothing is
    /// done. If no limit is given, all five hold; else only those that are given.
    DegradationSpec: "a mapping, for example `{memory_available: 5%, for: 30s}`" {
        /// The most of the last ten seconds in which something may wait for a processor (PSI, some); 60 % if no limit is given.
        cpu_pressure: Share,
        /// The same for memory; 20 % if no limit is given.
        memory_pressure: Share,
        /// The same for input and output; 60 % if no limit is given.
        io_pressure: Share,
        /// The least of the memory that has to be available; 5 % if no limit is given.
        memory_available: Share,
        /// How late a timer of the daemon may be, at worst within ten seconds; 500 ms if no limit is given.
        brain_lag: PositiveTime,
        /// Beyond any limit without a break for so long, the next step is taken.
        for_ as "for": PositiveTime = "30s",
        /// All is well below this part of each limit, and of the memory more than the limit divided by this has to be available, or half of what
        /// is beyond the limit if that is less. Between that and the limit nothing happens, so that steps are not taken and undone in turn.
        clear: Share = "80%",
        /// Well for so long, the last step is undone. What cannot be measured takes no step; if nothing can be for five times as long, a
        /// step is undone.
        recover_for: PositiveTime = "60s",
        /// The steps, in the order they are taken.
        steps: DegradationStepsSpec = ["slow_sampling", "fewer_probes", "pause_optional", "stop_optional"],
    }
}

schema!(DegradationSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for DegradationSpec {
    const EXPECTED: &'static str = "a mapping, for example `{memory_available: 5%, for: 30s}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Self::from_mapping(node, cx)
    }
}

/// The steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DegradationStepsSpec(pub Vec<Spanned<DegradationStepSpec>>);

schema!(DegradationStepsSpec, generator => json!({"type": "array", "items": generator.subschema_for::<DegradationStepSpec>(), "minItems": 1, "maxItems": 4}));

impl Decode for DegradationStepsSpec {
    const EXPECTED: &'static str = "a list of steps, for example `[slow_sampling, pause_optional]`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Kind::Sequence(items) = &node.kind else { return cx.expected(node, Self::EXPECTED) };
        if items.is_empty() {
            return cx.bad_value(code::OUT_OF_RANGE, node, "there has to be a step");
        }
        let step = |item: &std::rc::Rc<Node>| DegradationStepSpec::decode(item, cx).map(|value| Spanned { value, span: item.span });
        let steps: Vec<Spanned<DegradationStepSpec>> = items.iter().filter_map(step).collect();
        for (at, step) in steps.iter().enumerate() {
            if let Some(first) = steps[..at].iter().find(|first| first.kind == step.kind) {
                let message = format!("the step {} is given twice", quote(step.kind.as_str()));
                cx.report(Diagnostic::new(code::CONFLICT, step.span, message).related(first.span, "first given here"));
            }
        }
        Some(Self(steps))
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DegradationStepSpec {
    /// What is done without.
    pub kind: DegradationStep,
    /// How many times slower, if that is given.
    pub slowdown: Option<u32>,
}

mapping! {
    /// How much slower is looked.
    SlowSamplingSpec: "a step or a mapping, for example `pause_optional` or `{slow_sampling: 4}`" {
        /// Everything that looks at regular times does so as many times more seldom.
        slow_sampling: Int<2, 100> = required,
    }
}

schema!(DegradationStepSpec, generator => json!({"anyOf": [
    one_of::<DegradationStep>(),
    SlowSamplingSpec::mapping_schema(generator),
]}));

impl Decode for DegradationStepSpec {
    const EXPECTED: &'static str = "a step, for example `pause_optional`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            return choose(node, cx).map(|kind| Self { kind, slowdown: None });
        }
        let spec = SlowSamplingSpec::from_mapping(node, cx)?;
        spec.slow_sampling.map(|factor| Self { kind: DegradationStep::SlowSampling, slowdown: Some(factor.to_u32()) })
    }
}
