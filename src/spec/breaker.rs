//! `breaker` of a unit's `restart`, or of a probe: what fails is left alone for a while.

use std::time::Duration;

use serde_json::json;

use super::code;
use super::decode::{Cx, Decode, Field, mapping};
use super::diagnostic::{Diagnostic, Span};
use super::node::Node;
use super::restart::{Factor, Share};
use super::value::{Flag, Int, PositiveTime, schema};

/// `open_for` and `max_open` when they are not declared.
pub(crate) const DEFAULT_OPEN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

mapping! {
    /// A circuit breaker: after too many failures it opens, and nothing is tried for a while; then one is tried, and its success closes it.
    BreakerSpec: "a mapping, for example `{consecutive: 5, open_for: 30s}`" {
        /// It opens after so many failures one after the other.
        consecutive: Int<1, 1_000_000> = 5,
        /// It opens when this share of what counts has failed.
        failure_rate: Share = "50%",
        /// It opens when this share of what counts was slow; of a probe only. Slowness is no reason if not given.
        slow_rate: Share,
        /// What takes longer is slow.
        slow_after: PositiveTime = "1s",
        /// Shares mean nothing of fewer than this.
        minimum: Int<1, 1_000_000> = 10,
        /// What counts: so many of the last, or those of the last so much time.
        window: WindowSpec = "10m",
        /// How long it stays open for the first time.
        open_for: PositiveTime = "30s",
        /// What that time is multiplied by with each opening in a row, from 1 to 100.
        factor: Factor = 2,
        /// The longest it stays open.
        max_open: PositiveTime = "10m",
        /// Of the instances of a unit at most this share, but one in any case, is kept from being started again at a time; of a unit only.
        max_ejected: Share = "50%",
        /// Whether it is only told and shown how it stands, and nothing is kept from being tried.
        metrics_only: Flag = false,
    }
}

schema!(BreakerSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for BreakerSpec {
    const EXPECTED: &'static str = "a mapping, for example `{consecutive: 5, open_for: 30s}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        let time = |field: &Field<PositiveTime>, default| field.as_ref().map_or(default, |time| time.0);
        if let Some(given) = spec.max_open.as_ref().map(|time| time.span).or(spec.open_for.as_ref().map(|time| time.span))
            && time(&spec.open_for, DEFAULT_OPEN.0) > time(&spec.max_open, DEFAULT_OPEN.1)
        {
            cx.report(Diagnostic::new(code::CONFLICT, given, "the longest time (`max_open`) is shorter than the first (`open_for`)"));
        }
        Some(spec)
    }
}

impl BreakerSpec {
    /// Finds fault with a breaker of restarts, or else of a probe.
    pub(super) fn check(&self, of_restarts: bool, cx: &mut Cx<'_>) {
        let slow = self.slow_rate.as_ref().map(|rate| rate.span).or(self.slow_after.as_ref().map(|time| time.span));
        let (misplaced, why): (Option<Span>, _) = match of_restarts {
            true => (slow, "a run is never too slow: `slow_rate` and `slow_after` are for the breaker of a probe"),
            false => (self.max_ejected.as_ref().map(|share| share.span), "`max_ejected` is for the breaker of a unit's restarts"),
        };
        if let Some(span) = misplaced {
            cx.report(Diagnostic::new(code::CONFLICT, span, why).help("remove it"));
        }
    }
}

/// So many of the last, or so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowSpec {
    /// So many.
    Calls(u32),
    /// So much time.
    Time(Duration),
}

schema!(WindowSpec, generator => json!({"anyOf": [generator.subschema_for::<PositiveTime>(), {"type": "integer", "minimum": 1, "maximum": 10_000}]}));

impl Decode for WindowSpec {
    const EXPECTED: &'static str = "a time or a number, for example `10m` or `20`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match cx.text(node, Self::EXPECTED)?.parse::<u32>() {
            Ok(calls) if (1..=10_000).contains(&calls) => Some(Self::Calls(calls)),
            Ok(_) => cx.bad_value(code::OUT_OF_RANGE, node, "a window of this many is not in the range from 1 to 10000"),
            Err(_) => PositiveTime::decode(node, cx).map(|time| Self::Time(time.0)),
        }
    }
}
