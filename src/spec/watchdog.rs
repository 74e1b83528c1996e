//! `watchdog` of a unit: signs of life it gives by itself.

use std::time::Duration;

use serde_json::json;

use crate::base::choice::choices;

use super::code;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Spanned};
use super::node::Node;
use super::restart::is_word;
use super::value::{OneOf, PositiveTime, schema};

choices! {
    /// How the silence of a unit is judged.
    DetectorKind = Phi {
        /// By how unlikely it is, given how regular the unit was so far (phi-accrual); never later than `timeout`.
        Phi = "phi",
        /// By `timeout` alone.
        Timeout = "timeout",
        /// By when the next sign is expected, and a quarter of `timeout` more (Chen's detector); never later than `timeout`.
        Chen = "chen",
    }
}

mapping! {
    /// Signs of life a unit gives by itself; a bare time is its `timeout`.
    WatchdogSpec: "a time or a mapping, for example `30s` or `{timeout: 30s, detector: timeout}`" {
        /// A unit that is silent for this long hangs, and is started again. It is told in `$WATCHDOG_USEC`, as systemd does, and should send
        /// `WATCHDOG=1` to `$NOTIFY_SOCKET` twice as often; `msctl heartbeat UNIT` does the same for it. The time to become ready is not
        /// judged.
        timeout: PositiveTime = required,
        /// How its silence is judged.
        detector: OneOf<DetectorKind> = "phi",
        /// With `detector: phi` it hangs from this suspicion on: 8 means that one in 10⁸ pauses as long as this would be an accident.
        threshold: Threshold = 8,
    }
}

schema!(WatchdogSpec, generator => json!({"anyOf": [generator.subschema_for::<PositiveTime>(), Self::mapping_schema(generator)]}));

/// The least that can be told apart from what a busy machine does.
const LEAST: Duration = Duration::from_millis(100);

impl Decode for WatchdogSpec {
    const EXPECTED: &'static str = "a time or a mapping, for example `30s`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = if is_word(node) {
            let value = PositiveTime::decode(node, cx)?;
            Self { timeout: Some(Spanned { value, span: node.span }), ..Self::default() }
        } else {
            Self::from_mapping(node, cx)?
        };
        if let Some(timeout) = spec.timeout.as_ref().filter(|timeout| timeout.0 < LEAST) {
            cx.report(Diagnostic::new(code::OUT_OF_RANGE, timeout.span, "a watchdog needs 100ms at least"));
        }
        let kind = spec.detector.as_ref().map_or_else(DetectorKind::default, |kind| kind.0);
        if let Some(threshold) = spec.threshold.as_ref().filter(|_| kind != DetectorKind::Phi) {
            let message = format!("`threshold` needs `detector: phi`, but it is `{kind}`");
            cx.report(Diagnostic::new(code::CONFLICT, threshold.span, message).help("remove `threshold`"));
        }
        Some(spec)
    }
}

/// A suspicion from 1 to 30.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold(pub f64);

schema!(Threshold, _generator => json!({"type": "number", "minimum": 1, "maximum": 30}));

impl Decode for Threshold {
    const EXPECTED: &'static str = "a number from 1 to 30, for example `8`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        match text.parse::<f64>() {
            Ok(threshold) if (1.0..=30.0).contains(&threshold) => Some(Self(threshold)),
            Ok(threshold) if threshold.is_finite() => {
                cx.bad_value(code::OUT_OF_RANGE, node, format!("`{text}` is not in the range from 1 to 30"))
            }
            _ => cx.expected(node, Self::EXPECTED),
        }
    }
}
