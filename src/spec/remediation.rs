//! `remediation` of a unit or a probe: what is done, step by step, when it fails again and again.

use serde_json::json;

use crate::base::choice::{Choice as _, RemediationMode, RestartScope};

use super::code;
use super::command::Exec;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Span, Spanned};
use super::node::{Kind, Node};
use super::restart::is_word;
use super::unit::Account;
use super::value::{Flag, Int, OneOf, PositiveTime, Text, Time, schema};

mapping! {
    /// What is done, step by step, when a unit or a probe fails again and again. The restarts its supervisor makes are not meant.
    RemediationSpec: "a mapping, for example `{steps: [restart, {restart: dependents}, give_up]}`" {
        /// The steps, the mildest first. The next one is taken if it fails again, or is not well yet, once the one before has had its time.
        steps: StepsSpec = required,
        /// The first step is taken after so many failures within `period`; 3 of a unit and 1 of a probe if not given.
        failures: Int<1, 1000>,
        /// The time in which failures are counted.
        period: PositiveTime = "10m",
        /// How long a step is given to help.
        cool_down: Time = "1m",
        /// After it was well for so long the steps begin anew.
        reset_after: PositiveTime = "10m",
        /// Whether steps are taken; restarts are and all else is only told if not given.
        mode: OneOf<RemediationMode>,
    }
}

schema!(RemediationSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for RemediationSpec {
    const EXPECTED: &'static str = "a mapping, for example `{steps: [restart, {restart: dependents}, give_up]}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Self::from_mapping(node, cx)
    }
}

impl RemediationSpec {
    /// Where the steps are that only help what is our own.
    pub(super) fn own_steps(&self) -> impl Iterator<Item = Span> {
        let steps = self.steps.iter().flat_map(|steps| &steps.value.0);
        steps.filter(|step| step.restart.is_some() || step.give_up.is_some()).map(|step| step.span)
    }

    /// The texts in it that may hold specifiers.
    pub(super) fn texts(&self) -> Vec<(Span, String)> {
        let steps = || self.steps.iter().flat_map(|steps| &steps.value.0);
        let words = steps().flat_map(|step| step.run.iter().flat_map(|words| &words.0)).map(|word| (word.span, word.value.clone()));
        words.chain(steps().flat_map(|step| &step.notify).map(|url| (url.span, url.0.clone()))).collect()
    }
}

/// The steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepsSpec(pub Vec<Spanned<StepSpec>>);

/// The most steps there are.
const STEPS_MAX: usize = 32;

schema!(StepsSpec, generator => json!({"type": "array", "items": generator.subschema_for::<StepSpec>(), "minItems": 1, "maxItems": STEPS_MAX}));

impl Decode for StepsSpec {
    const EXPECTED: &'static str = "a list of steps, for example `[restart, give_up]`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Kind::Sequence(items) = &node.kind else { return cx.expected(node, Self::EXPECTED) };
        if items.is_empty() || items.len() > STEPS_MAX {
            return cx.bad_value(code::OUT_OF_RANGE, node, format!("there have to be 1 to {STEPS_MAX} steps"));
        }
        let step = |item: &std::rc::Rc<Node>| StepSpec::decode(item, cx).map(|value| Spanned { value, span: item.span });
        Some(Self(items.iter().filter_map(step).collect()))
    }
}

mapping! {
    /// One step; `restart` and `give_up` may be written as a bare word.
    StepSpec: "`restart`, `give_up` or a mapping, for example `{run: [clear-cache], timeout: 30s}`" {
        /// What is started again.
        restart: OneOf<RestartScope>,
        /// A script and its arguments, in the directory `scripts` of `daemon.yaml`. It finds what it is about in variables `MS_…` and, as
        /// JSON, on its stdin; it runs in the unit's working directory and in a cgroup of its own. Exit code 0 is success.
        run: Exec,
        /// The user a script runs as; the unit's if not given, and `nobody` if that is root.
        user: Account,
        /// Where what has happened is sent by HTTP, as JSON (POST).
        notify: Text,
        /// The unit is stopped, as by an operator.
        give_up: Flag,
        /// How long it may take; a script is then asked to end, and killed 5 s later.
        timeout: PositiveTime = "60s",
        /// How long it is given to help; as the whole ladder says if not given.
        cool_down: Time,
        /// How often it may be taken in a time; without a budget as often as it is its turn. A step without budget left is passed over.
        budget: StepBudgetSpec,
        /// Whether it is taken; as the whole ladder says if not given.
        mode: OneOf<RemediationMode>,
    }
}

schema!(StepSpec, generator => json!({"anyOf": [{"enum": ["restart", "give_up"]}, Self::mapping_schema(generator)]}));

impl Decode for StepSpec {
    const EXPECTED: &'static str = "`restart`, `give_up` or a mapping, for example `{run: [clear-cache], timeout: 30s}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if is_word(node) {
            return match node.text() {
                Some("restart") => {
                    Some(Self { restart: Some(Spanned { value: OneOf(RestartScope::Unit), span: node.span }), ..Self::default() })
                }
                Some("give_up") => Some(Self { give_up: Some(Spanned { value: Flag(true), span: node.span }), ..Self::default() }),
                _ => cx.expected(node, Self::EXPECTED),
            };
        }
        let spec = Self::from_mapping(node, cx)?;
        let given: Vec<Span> = ["restart", "run", "notify", "give_up"].into_iter().filter_map(|key| Some(node.key(key)?.span)).collect();
        match given[..] {
            [_] => spec.check(cx),
            [] => {
                let help = format!("give one of `restart` ({}), `run`, `notify` and `give_up`", words());
                cx.report(Diagnostic::new(code::CONFLICT, node.span, "a step must say what is done").help(help));
            }
            [first, second, ..] => {
                let fault = Diagnostic::new(code::CONFLICT, second, "a step does one thing");
                cx.report(fault.related(first, "the first is given here").help("make two steps of it"));
            }
        }
        Some(spec)
    }
}

fn words() -> String {
    RestartScope::words().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

impl StepSpec {
    fn check(&self, cx: &mut Cx<'_>) {
        if let Some(flag) = self.give_up.as_ref().filter(|flag| !flag.0) {
            cx.report(Diagnostic::new(code::CONFLICT, flag.span, "`give_up: false` does nothing").help("remove the step"));
        }
        if let (Some(user), None) = (&self.user, &self.run) {
            cx.report(Diagnostic::new(code::CONFLICT, user.span, "`user` is whom a script runs as").help("remove `user`"));
        }
        if let Some(word) = self.run.as_ref().and_then(|words| words.0.first()) {
            let is_inside = !word.value.starts_with('/') && !word.value.split('/').any(|part| part == "..");
            if !is_inside {
                let message = "a script is in the directory `scripts` of `daemon.yaml`, and named relative to it";
                cx.report(Diagnostic::new(code::BAD_VALUE, word.span, message));
            }
        }
        if let Some(url) = self.notify.as_ref().filter(|url| !["http://", "https://"].iter().any(|scheme| url.0.starts_with(scheme))) {
            cx.report(Diagnostic::new(code::BAD_VALUE, url.span, "`notify` takes a URL that begins with `http://` or `https://`"));
        }
    }
}

mapping! {
    /// How often a step may be taken.
    StepBudgetSpec: "a mapping, for example `{times: 2, period: 1h}`" {
        /// So often.
        times: Int<1, 1000> = required,
        /// In this time.
        period: PositiveTime = "1h",
    }
}

schema!(StepBudgetSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for StepBudgetSpec {
    const EXPECTED: &'static str = "a mapping, for example `{times: 2, period: 1h}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Self::from_mapping(node, cx)
    }
}
