//! A document in `supervisors/`: a node of the supervision tree.

use std::time::Duration;

use serde_json::json;

use crate::base::choice::{AutoShutdown, RestartType, StartOrder, Strategy};

use super::aggregation::AggregationSpec;
use super::code;
use super::decode::{Cx, Decode, mapping};
use super::limits::LimitsSpec;
use super::node::Node;
use super::value::{Flag, Int, Name, OneOf, OneOrMany, PositiveTime, Reference, Text, TimeLimit, schema};

mapping! {
    /// A supervisor: it starts its children, watches them, and gives up when they fail too often.
    SupervisorSpec: "a mapping, for example `supervisor: workers`" {
        /// The supervisor's name. One called `root` is the top of the tree; without it the top is implied.
        supervisor: Name = required,
        /// One line for people.
        description: Text,
        /// Whom a child's end concerns.
        strategy: OneOf<Strategy> = "one_for_one",
        /// How many restarts within `period` are tolerated; one more, and the supervisor gives up.
        intensity: Int<0, 1_000_000> = 5,
        /// The window in which restarts are counted.
        period: PositiveTime = "60s",
        /// One restart too many does not make it give up: it waits so long, starts the child that failed again, and counts from the
        /// beginning. So nothing is a dead end; its parent never hears of it.
        retry_after: PositiveTime,
        /// What its parent does when it has given up.
        restart: OneOf<RestartType> = "permanent",
        /// Whether it ends when significant children have ended by themselves and are not started again. Its parent then sees a
        /// clean end: make it `transient`, or it is started again.
        auto_shutdown: OneOf<AutoShutdown> = "never",
        /// Whether its end may end its parent: see `auto_shutdown` there. Something `permanent` cannot be significant.
        significant: Flag = false,
        /// How it judges its children together, for `/healthz`, the metrics and `status`. It decides nothing about restarts.
        health: AggregationSpec = "worst",
        /// What everything below it may use together.
        limits: LimitsSpec,
        /// How long its parent waits for it to stop.
        shutdown: TimeOrInfinity = "infinity",
        /// Whether its children start one after the other; `parallel` if not given with `one_for_one`, else `ordered`.
        start: OneOf<StartOrder>,
        /// The names of its children, in the order they start.
        children: OneOrMany<Reference> = required,
    }
}

schema!(SupervisorSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for SupervisorSpec {
    const EXPECTED: &'static str = "a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        LimitsSpec::check_supervisor(&spec.limits, cx);
        Some(spec)
    }
}

/// A time; `None` is `infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOrInfinity(pub Option<Duration>);

schema!(TimeOrInfinity, generator => json!({"anyOf": [
    generator.subschema_for::<super::value::Time>(),
    {"const": "infinity", "description": "As long as it takes."},
]}));

impl Decode for TimeOrInfinity {
    const EXPECTED: &'static str = "a time or `infinity`, for example `30s`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if node.text() == Some("brutal_kill") {
            return cx.bad_value(
                code::BAD_VALUE,
                node,
                "a supervisor cannot be killed brutally: its children would be left; write a time or `infinity`",
            );
        }
        if node.text().is_some_and(|text| text != "infinity" && !text.starts_with(|c: char| c.is_ascii_digit())) {
            return cx.expected(node, Self::EXPECTED);
        }
        match TimeLimit::decode(node, cx)? {
            TimeLimit::After(time) => Some(Self(Some(time))),
            TimeLimit::BrutalKill | TimeLimit::Infinity => Some(Self(None)),
        }
    }
}
