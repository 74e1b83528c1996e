//! `health` of a supervisor: how it judges its children together.

use serde_json::json;

use super::code;
use super::decode::{Cx, Decode, Field, mapping};
use super::diagnostic::{Diagnostic, Span, Spanned, quote};
use super::node::Node;
use super::restart::{Share, is_word};
use super::value::{Name, schema};

mapping! {
    /// How a supervisor judges its children together. `worst`: it is as well as the one that is worst. `quorum`: it is only degraded as long as
    /// enough of them work. With any of the other keys: by the share that works, each child with its weight; one that is degraded counts half.
    AggregationSpec: "`worst` or a mapping, for example `{quorum: 60%}`" {
        /// So many children have to work, or such a share of those that anybody wants up.
        quorum: Amount,
        /// What children weigh; 0: it does not matter how that one is, 1 if not given.
        weights: Weights,
        /// Below this share it is degraded.
        degraded_below: Share = "100%",
        /// Below this share it is unhealthy.
        unhealthy_below: Share = "50%",
    }
}

schema!(AggregationSpec, generator => json!({"anyOf": [
    {"const": "worst", "description": "As well as the worst child."},
    Self::mapping_schema(generator),
]}));

impl Decode for AggregationSpec {
    const EXPECTED: &'static str = "`worst` or a mapping, for example `{quorum: 60%}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            return if node.text() == Some("worst") { Some(Self::default()) } else { cx.expected(node, Self::EXPECTED) };
        }
        let spec = Self::from_mapping(node, cx)?;
        if let (Some(_), Some(shares)) = (&spec.quorum, spec.shares()) {
            let fault = Diagnostic::new(code::CONFLICT, shares, "`quorum` counts, and shares weigh: one supervisor cannot do both");
            cx.report(fault.help("remove `quorum`, or all other keys"));
        }
        let below = |field: &Field<Share>, default: f64| field.as_ref().map_or(default, |share| share.0);
        if let Some(share) = spec.unhealthy_below.as_ref().filter(|share| share.0 > below(&spec.degraded_below, 1.0)) {
            cx.report(Diagnostic::new(code::CONFLICT, share.span, "`unhealthy_below` is more than `degraded_below`"));
        }
        Some(spec)
    }
}

impl AggregationSpec {
    /// Where something of the weighted kind is given.
    pub(crate) fn shares(&self) -> Option<Span> {
        let weights = self.weights.as_ref().map(|weights| weights.span);
        weights.or_else(|| self.degraded_below.as_ref().or(self.unhealthy_below.as_ref()).map(|share| share.span))
    }
}

/// A number of children, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So many.
    Count(u32),
    /// Such a share, above 0 to 1.
    Share(f64),
}

schema!(Amount, generator => json!({"anyOf": [{"type": "integer", "minimum": 1}, generator.subschema_for::<Share>()]}));

impl Decode for Amount {
    const EXPECTED: &'static str = "a number of children or a share, for example `2` or `60%`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        match text.parse() {
            Ok(count) if count > 0 => Some(Self::Count(count)),
            Ok(_) => cx.bad_value(code::OUT_OF_RANGE, node, "a quorum of none is always met"),
            Err(_) if text.ends_with('%') => Share::decode(node, cx).map(|share| Self::Share(share.0)),
            Err(_) => cx.expected(node, Self::EXPECTED),
        }
    }
}

/// The most a child can weigh.
const WEIGHT_MAX: u32 = 1_000_000;

/// What children weigh, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights(pub Vec<(Spanned<String>, u32)>);

schema!(Weights, generator => json!({
    "type": "object",
    "propertyNames": generator.subschema_for::<Name>(),
    "additionalProperties": {"type": "integer", "minimum": 0, "maximum": WEIGHT_MAX},
}));

impl Decode for Weights {
    const EXPECTED: &'static str = "a mapping of children to weights, for example `{db: 3, cache: 0}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Some(items) = node.entries() else { return cx.expected(node, Self::EXPECTED) };
        let mut weights: Vec<(Spanned<String>, u32)> = Vec::new();
        for (key, value) in items {
            let Some(Name(name)) = Name::decode(key, cx) else { continue };
            if let Some((first, _)) = weights.iter().find(|(first, _)| first.value == name) {
                let fault = Diagnostic::new(code::DUPLICATE_KEY, key.span, format!("the weight of {} is given twice", quote(&name)));
                cx.report(fault.label("given again here").related(first.span, "first given here"));
                continue;
            }
            let expected = "a whole number from 0 on for each child";
            match cx.text(value, expected).map(str::parse::<u32>) {
                Some(Ok(weight)) if weight <= WEIGHT_MAX => weights.push((Spanned { value: name, span: key.span }, weight)),
                Some(Ok(_)) => drop(cx.bad_value::<()>(code::OUT_OF_RANGE, value, format!("a child weighs {WEIGHT_MAX} at most"))),
                Some(Err(_)) => drop(cx.expected::<()>(value, expected)),
                None => {}
            }
        }
        Some(Self(weights))
    }
}
