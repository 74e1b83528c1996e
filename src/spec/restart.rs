//! `restart` and `shutdown` of a unit: when it is started again, and how it is stopped.

use serde_json::json;

use crate::base::choice::{Jitter, RestartType, choices};

use super::breaker::BreakerSpec;
use super::code;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Spanned};
use super::node::{Kind, Node};
use super::response::ResponsesSpec;
use super::value::{OneOf, PositiveTime, SignalName, Time, TimeLimit, choose, one_of, schema};

choices! {
    /// How the delay between restarts grows.
    BackoffKind = Exponential {
        /// Each delay is the one before times `factor`.
        Exponential = "exponential",
        /// Each delay is the one before plus `step`.
        Linear = "linear",
        /// The more failures there were lately the longer; what a failure weighs fades with time. A unit that fails seldom is started again
        /// at once each time, and a crash loop costs no more than a share of one core.
        Adaptive = "adaptive",
        /// Every restart waits `first`.
        None = "none",
    }
}

mapping! {
    /// When and how soon a unit is started again; a bare word is its `type`.
    RestartSpec: "a restart type or a mapping, for example `{type: transient}`" {
        /// When the unit is started again after it has ended.
        kind as "type": OneOf<RestartType> = "permanent",
        /// How long restarts are held back; a bare word is its `kind`.
        backoff: BackoffSpec = "exponential",
        /// What is done about a failure instead, by what it was: `crash` (it ended, and not well), `start` (it did not become ready), `config`
        /// (it could not even be started), `hang` (its watchdog), `probe`, or more exactly `exit CODE` or `signal NAME`, which goes before
        /// its class. `stop`: it stays down as if an operator had stopped it, and its siblings run on; a time: it is started again after
        /// that; `restart`: as if nothing were declared.
        on: ResponsesSpec = {},
        /// While it is open the unit is not started again by itself. A start that does not last for `backoff.reset_after` is a failure.
        breaker: BreakerSpec,
    }
}

schema!(RestartSpec, generator => json!({"anyOf": [one_of::<RestartType>(), Self::mapping_schema(generator)]}));

impl Decode for RestartSpec {
    const EXPECTED: &'static str = "a restart type or a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let kind = choose(node, cx)?;
            let kind = Some(Spanned { value: OneOf(kind), span: node.span });
            return Some(Self { kind, ..Self::default() });
        }
        let spec = Self::from_mapping(node, cx)?;
        spec.breaker.iter().for_each(|breaker| breaker.check(true, cx));
        if let (Some(kind), Some(on)) = (&spec.kind, spec.on.as_ref().and_then(|on| on.first()))
            && kind.0 == RestartType::Temporary
        {
            let fault = Diagnostic::new(code::CONFLICT, on, "a `temporary` unit is never started again: there is nothing to choose");
            cx.report(fault.related(kind.span, "its type is given here").help("remove `on`, or write `type: permanent` or `transient`"));
        }
        Some(spec)
    }
}

/// Whether a short form is written instead of a mapping.
pub(crate) fn is_word(node: &Node) -> bool {
    matches!(node.kind, Kind::Scalar { .. }) && !node.is_null()
}

mapping! {
    /// How long restarts are held back.
    BackoffSpec: "a kind of back-off or a mapping, for example `{base: 200ms, max: 30s}`" {
        /// How the delay grows from restart to restart.
        kind: OneOf<BackoffKind> = "exponential",
        /// The delay of the first restart after a quiet time.
        first: Time = "0s",
        /// The delay of the second restart in a row.
        base: PositiveTime = "200ms",
        /// What each further delay is multiplied by, from 1 to 100; with `kind: exponential` and `adaptive` only.
        factor: Factor = 2,
        /// What each further delay is longer by; with `kind: linear` only.
        step: Time = "1s",
        /// In this time the weight of a failure falls to 37 %, in three times as long to 5 %; with `kind: adaptive` only.
        memory: PositiveTime = "10m",
        /// The share of one core that runs which fail before `reset_after` may use; with `kind: adaptive` only.
        cost: Share = "5%",
        /// The longest delay; 5 minutes if not given with `kind: adaptive`.
        max: Time = "30s",
        /// How much of the delay is left to chance, so that units that fell together do not rise together; `equal` if not given with
        /// `kind: adaptive`.
        jitter: OneOf<Jitter> = "full",
        /// After so long in operation the next restart counts as the first again. With `kind: adaptive` nothing is forgiven so: a run that ends
        /// sooner is a part of a crash loop, and has to pay its `cost`.
        reset_after: Time = "60s",
    }
}

schema!(BackoffSpec, generator => json!({"anyOf": [one_of::<BackoffKind>(), Self::mapping_schema(generator)]}));

impl Decode for BackoffSpec {
    const EXPECTED: &'static str = "a kind of back-off or a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let kind = choose(node, cx)?;
            return Some(Self { kind: Some(Spanned { value: OneOf(kind), span: node.span }), ..Self::default() });
        }
        let spec = Self::from_mapping(node, cx)?;
        // Without knowing the kind nothing can be said about what fits it.
        if spec.kind.is_some() || node.key("kind").is_none() {
            spec.check(cx);
        }
        Some(spec)
    }
}

impl BackoffSpec {
    /// The kind, written or assumed.
    #[must_use]
    pub fn kind(&self) -> BackoffKind {
        self.kind.as_ref().map_or_else(BackoffKind::default, |kind| kind.0)
    }

    fn check(&self, cx: &mut Cx<'_>) {
        let kind = self.kind();
        let grows = matches!(kind, BackoffKind::Exponential | BackoffKind::Adaptive);
        let given = [
            ("base", self.base.as_ref().map(|base| base.span), kind != BackoffKind::None, "`exponential`, `linear` or `adaptive`"),
            ("factor", self.factor.as_ref().map(|factor| factor.span), grows, "`exponential` or `adaptive`"),
            ("memory", self.memory.as_ref().map(|memory| memory.span), kind == BackoffKind::Adaptive, "`adaptive`"),
            ("cost", self.cost.as_ref().map(|cost| cost.span), kind == BackoffKind::Adaptive, "`adaptive`"),
            ("step", self.step.as_ref().map(|step| step.span), kind == BackoffKind::Linear, "`linear`"),
        ];
        for (key, span, fits, wanted) in given {
            if let Some(span) = span.filter(|_| !fits) {
                let message = format!("`{key}` needs a back-off of kind {wanted}, but it is `{kind}`");
                let fault = Diagnostic::new(code::CONFLICT, span, message).help(format!("remove `{key}` or change `kind`"));
                cx.report(match &self.kind {
                    Some(kind) => fault.related(kind.span, "the kind is given here"),
                    None => fault,
                });
            }
        }
        if let (Some(base), Some(max)) = (&self.base, &self.max)
            && base.0 > max.0
        {
            let fault =
                Diagnostic::new(code::CONFLICT, max.span, "the longest delay (`max`) is shorter than the delay it begins with (`base`)");
            cx.report(fault.related(base.span, "`base` is given here"));
        }
    }
}

/// A share, above 0 to 100 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

schema!(Share, _generator => json!({"type": "string", "pattern": "^[0-9]+([.][0-9]+)?%$", "examples": ["5%"]}));

impl Decode for Share {
    const EXPECTED: &'static str = "a share, for example `5%`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        match text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok()) {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Some(Self(percent / 100.0)),
            Some(_) => cx.bad_value(code::OUT_OF_RANGE, node, format!("`{text}` is not in the range above 0 to 100 %")),
            None => cx.expected(node, Self::EXPECTED),
        }
    }
}

/// A factor from 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor(pub f64);

schema!(Factor, _generator => json!({"type": "number", "minimum": 1, "maximum": 100}));

impl Decode for Factor {
    const EXPECTED: &'static str = "a number from 1 to 100, for example `2`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        match text.parse::<f64>() {
            Ok(factor) if (1.0..=100.0).contains(&factor) => Some(Self(factor)),
            Ok(factor) if factor.is_finite() => {
                cx.bad_value(code::OUT_OF_RANGE, node, format!("`{text}` is not in the range from 1 to 100"))
            }
            _ => cx.expected(node, Self::EXPECTED),
        }
    }
}

mapping! {
    /// How a unit is stopped; a bare time, `infinity` or `brutal_kill` is its `timeout`.
    ShutdownSpec: "a time, `infinity`, `brutal_kill` or a mapping, for example `{signal: SIGTERM, timeout: 10s}`" {
        /// The signal that asks the main process to end.
        signal: SignalName = "SIGTERM",
        /// How long it may take before everything of the unit is killed; `brutal_kill`: it is not asked at all.
        timeout: TimeLimit = "10s",
    }
}

schema!(ShutdownSpec, generator => json!({"anyOf": [generator.subschema_for::<TimeLimit>(), Self::mapping_schema(generator)]}));

impl Decode for ShutdownSpec {
    const EXPECTED: &'static str = "a time, `infinity`, `brutal_kill` or a mapping";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            let value = TimeLimit::decode(node, cx)?;
            return Some(Self { signal: None, timeout: Some(Spanned { value, span: node.span }) });
        }
        let spec = Self::from_mapping(node, cx)?;
        if let (Some(signal), Some(timeout)) = (&spec.signal, &spec.timeout)
            && timeout.value == TimeLimit::BrutalKill
        {
            let fault = Diagnostic::new(code::CONFLICT, signal.span, "`signal` is never sent with `timeout: brutal_kill`");
            cx.report(fault.related(timeout.span, "the unit is not asked to stop").help("remove `signal`, or give a time as `timeout`"));
        }
        Some(spec)
    }
}

/// An exit code or a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitValue {
    /// A code from 0 to 255.
    Code(i32),
    /// A signal.
    Signal(crate::base::exit::Signal),
}

schema!(ExitValue, _generator => json!({
    "type": ["string", "integer"], "minimum": 0, "maximum": 255, "pattern": r"^((SIG)?[A-Z][A-Z0-9]*(\+[0-9]+)?|[0-9]+)$", "examples": [143, "SIGTERM"],
}));

impl Decode for ExitValue {
    const EXPECTED: &'static str = "an exit code or a signal, for example `143` or `SIGTERM`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, Self::EXPECTED)?;
        if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return SignalName::decode(node, cx).map(|signal| Self::Signal(signal.0));
        }
        match text.parse::<i32>() {
            Ok(code) if (0..=255).contains(&code) => Some(Self::Code(code)),
            Ok(_) => cx.bad_value(code::OUT_OF_RANGE, node, format!("exit code {text} is not in the range from 0 to 255")),
            Err(_) => cx.expected(node, Self::EXPECTED),
        }
    }
}
