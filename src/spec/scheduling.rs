//! How the kernel treats the processes of a unit, besides its cgroup: `scheduler`, `io_priority`, `cpu_affinity`, `rlimits`, `oom_score_adj`.

use serde_json::json;

use crate::base::quantity::parse_size;
use crate::base::scheduling::{IoClass, RLIMITS, SchedulerPolicy};

use super::code;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Spanned, did_you_mean, quote};
use super::node::{Kind, Node};
use super::restart::is_word;
use super::value::{Int, OneOf, schema};

mapping! {
    /// How processor time is shared out to it; a bare word is its `policy`.
    SchedulerSpec: "a word or a mapping, for example `batch` or `{policy: fifo, priority: 10}`" {
        /// The scheduling policy.
        policy: OneOf<SchedulerPolicy> = "other",
        /// The real-time priority; to be given with `fifo` and `rr`, and only with these.
        priority: Int<1, 99>,
    }
}

schema!(SchedulerSpec, generator => json!({"anyOf": [generator.subschema_for::<OneOf<SchedulerPolicy>>(), Self::mapping_schema(generator)]}));

impl Decode for SchedulerSpec {
    const EXPECTED: &'static str = "a word or a mapping, for example `batch` or `{policy: fifo, priority: 10}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = if is_word(node) {
            let value = OneOf::decode(node, cx)?;
            Self { policy: Some(Spanned { value, span: node.span }), priority: None }
        } else {
            Self::from_mapping(node, cx)?
        };
        let policy = spec.policy.as_ref().map_or_else(SchedulerPolicy::default, |policy| policy.0);
        match &spec.priority {
            None if policy.is_real_time() => {
                let fault = Diagnostic::new(code::MISSING_KEY, node.span, format!("`priority` must be given with `policy: {policy}`"));
                cx.report(fault.help("write for example `{policy: fifo, priority: 10}`"));
            }
            Some(priority) if !policy.is_real_time() => {
                let message = format!("`policy: {policy}` has no priorities");
                cx.report(Diagnostic::new(code::CONFLICT, priority.span, message).help("use `nice`, or remove `priority`"));
            }
            _ => {}
        }
        Some(spec)
    }
}

mapping! {
    /// Who is served first by a disk; a bare word is its `class`, a bare number its `level`.
    IoPrioritySpec: "a class, a level or a mapping, for example `idle`, `7` or `{class: best_effort, level: 7}`" {
        /// The class it belongs to.
        class: OneOf<IoClass> = "best_effort",
        /// Within its class: 0 comes first. `idle` has none.
        level: Int<0, 7> = 4,
    }
}

schema!(IoPrioritySpec, generator => json!({"anyOf": [
    generator.subschema_for::<OneOf<IoClass>>(),
    generator.subschema_for::<Int<0, 7>>(),
    Self::mapping_schema(generator),
]}));

impl Decode for IoPrioritySpec {
    const EXPECTED: &'static str = "a class, a level or a mapping, for example `idle`, `7` or `{class: best_effort, level: 7}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let mut spec = Self::default();
        if is_word(node) {
            if node.text().is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit() || c == '-')) {
                spec.level = Int::decode(node, cx).map(|value| Spanned { value, span: node.span });
            } else {
                spec.class = OneOf::decode(node, cx).map(|value| Spanned { value, span: node.span });
            }
        } else {
            spec = Self::from_mapping(node, cx)?;
        }
        if let (Some(class), Some(level)) = (&spec.class, &spec.level)
            && class.value.0 == IoClass::Idle
        {
            cx.report(Diagnostic::new(code::CONFLICT, level.span, "the class `idle` has no levels").help("remove `level`"));
        }
        Some(spec)
    }
}

/// Resource limits: number, soft and hard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RlimitsSpec(pub Vec<(u32, Spanned<RlimitSpec>)>);

schema!(RlimitsSpec, _generator => {
    let limit = json!({
        "description": "A number, a size or `infinity`, for soft and hard limit; `soft:hard` for two.",
        "type": ["string", "integer"], "minimum": 0, "examples": [65536, "1024:65536", "infinity"],
    });
    let properties: serde_json::Map<_, _> = RLIMITS.iter().map(|(name, _)| ((*name).to_owned(), limit.clone())).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
});

impl Decode for RlimitsSpec {
    const EXPECTED: &'static str = "a mapping of resources to limits, for example `{nofile: 65536, core: 0}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Kind::Mapping(items) = &node.kind else { return cx.expected(node, Self::EXPECTED) };
        let mut limits: Vec<(u32, Spanned<RlimitSpec>)> = Vec::new();
        for (key, value) in items {
            let name = key.text().unwrap_or_default();
            let Some((_, number)) = RLIMITS.iter().find(|(known, _)| *known == name) else {
                let names = || RLIMITS.iter().map(|(name, _)| *name);
                let help =
                    did_you_mean(name, names()).unwrap_or_else(|| format!("the resources are {}", names().collect::<Vec<_>>().join(", ")));
                cx.report(
                    Diagnostic::new(code::UNKNOWN_KEY, key.span, format!("`rlimits`: there is no resource {}", quote(name))).help(help),
                );
                continue;
            };
            if let Some((_, first)) = limits.iter().find(|(known, _)| known == number) {
                let fault = Diagnostic::new(code::DUPLICATE_KEY, key.span, format!("the resource {} is given twice", quote(name)));
                cx.report(fault.related(first.span, "its limit is given here"));
                continue;
            }
            let limit = RlimitSpec::decode(value, cx).map(|limit| (*number, Spanned { value: limit, span: value.span }));
            limits.extend(limit);
        }
        Some(Self(limits))
    }
}

/// A soft and a hard limit; `u64::MAX` is infinity, as for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RlimitSpec {
    /// What holds.
    pub soft: u64,
    /// What a process may raise it to.
    pub hard: u64,
}

schema!(RlimitSpec, _generator => json!({"type": ["string", "integer"]}));

impl Decode for RlimitSpec {
    const EXPECTED: &'static str = "a number, a size, `infinity` or `soft:hard`, for example `65536` or `1024:65536`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let one = |word: &str| if word.trim() == "infinity" { Ok(u64::MAX) } else { parse_size(word) };
        match (one(soft), one(hard)) {
            (Ok(soft), Ok(hard)) if soft <= hard => Some(Self { soft, hard }),
            (Ok(_), Ok(_)) => cx.bad_value(code::CONFLICT, node, format!("in {} the soft limit is more than the hard one", quote(text))),
            _ => cx.expected(node, Self::EXPECTED),
        }
    }
}
