//! `probes` of a unit: how it is found out whether it is well.

use crate::base::choice::ProbeRole;

use super::code;
use super::command::Exec;
use super::decode::{Cx, Decode, mapping};
use super::diagnostic::{Diagnostic, Span, Spanned};
use super::node::{Kind, Node};
use super::readiness::{http_fault, tcp_fault};
use super::value::{Flag, Int, Name, OneOf, PositiveTime, Text, Time, schema};

/// What a probe may look at.
const KINDS: [&str; 4] = ["http", "tcp", "command", "process"];

mapping! {
    /// One way to find out whether a unit is well: exactly one of `http`, `tcp`, `command` and `process`. The words mean what they mean in
    /// Kubernetes.
    ProbeSpec: "a mapping, for example `{role: liveness, http: \"http://127.0.0.1:8080/health\"}`" {
        /// Its name in status, events and metrics; what it looks at if not given.
        name: Name,
        /// What it is asked for.
        role: OneOf<ProbeRole> = "liveness",
        /// A GET of this `http:` URL answers with a status from 200 to 399.
        http: Text,
        /// A TCP connection to this `host:port` succeeds.
        tcp: Text,
        /// A program that ends as Nagios' plugins do: 0 well, 1 degraded, 2 failed, 3 unknown. The first line it prints is shown, and what
        /// stands behind `|` in it becomes metrics (performance data); so do the numbers of a JSON object. It runs as the daemon's user, in
        /// the unit's working directory, with the unit's environment; whatever is left of it after `timeout` is killed.
        command: Exec,
        /// The unit's main process is there, and neither stopped, a zombie, nor stuck in the kernel.
        process: Flag,
        /// How often it is asked.
        period: PositiveTime = "10s",
        /// How long one answer may take.
        timeout: PositiveTime = "1s",
        /// How long after the start, or after the end of the startup probes, it is asked first.
        initial_delay: Time = "0s",
        /// So many failures in a row mean that it fails.
        failure_threshold: Int<1, 1000> = 3,
        /// So many successes in a row mean that it passes.
        success_threshold: Int<1, 1000> = 1,
    }
}

schema!(ProbeSpec, generator => Self::mapping_schema(generator).to_value());

impl Decode for ProbeSpec {
    const EXPECTED: &'static str = "a mapping, for example `{http: \"http://127.0.0.1:8080/health\"}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let spec = Self::from_mapping(node, cx)?;
        let given = KINDS.into_iter().filter_map(|kind| node.key(kind).map(|key| (kind, key.span)));
        let mut given: Vec<_> = given.collect();
        given.sort_by_key(|(_, span)| span.start);
        match given[..] {
            [] => {
                let message = format!("a probe must have one of {}", KINDS.map(|kind| format!("`{kind}`")).join(", "));
                cx.report(Diagnostic::new(code::CONFLICT, node.span, message));
            }
            [(first, first_span), (second, second_span), ..] => {
                let message = format!("a probe looks at one thing, but `{first}` and `{second}` are given");
                cx.report(Diagnostic::new(code::CONFLICT, second_span, message).related(first_span, "first given here"));
            }
            [_] => {
                if let Some(process) = spec.process.as_ref().filter(|flag| !flag.0) {
                    let fault = Diagnostic::new(code::CONFLICT, process.span, "`process: false` looks at nothing");
                    cx.report(fault.help("remove the probe"));
                }
            }
        }
        Some(spec)
    }
}

/// Finds fault with a value whose specifiers are replaced.
type Check = fn(&str) -> Option<String>;

impl ProbeSpec {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        let kinds = [self.http.is_some(), self.tcp.is_some(), self.command.is_some(), self.process.is_some()];
        let kind = KINDS.into_iter().zip(kinds).find(|(_, given)| *given).map_or("", |(kind, _)| kind);
        self.name.as_ref().map_or(kind, |name| &name.0)
    }

    /// The texts in it that may hold specifiers.
    pub(crate) fn texts(&self) -> Vec<(Span, String)> {
        let words = self.command.iter().flat_map(|command| &command.0).map(|word| (word.span, word.value.clone()));
        let targets = self.target().map(|(target, _)| (target.span, target.0.clone()));
        words.chain(targets).collect()
    }

    /// The text that says what to ask, with what finds fault with it.
    pub(crate) fn target(&self) -> Option<(&Spanned<Text>, Check)> {
        let http = self.http.as_ref().map(|target| (target, http_fault as Check));
        http.or(self.tcp.as_ref().map(|target| (target, tcp_fault as Check)))
    }
}

/// The probes of a unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbesSpec(pub Vec<Spanned<ProbeSpec>>);

schema!(ProbesSpec, generator => serde_json::json!({"type": "array", "items": generator.subschema_for::<ProbeSpec>()}));

impl Decode for ProbesSpec {
    const EXPECTED: &'static str = "a list of probes, for example `[{role: liveness, tcp: \"127.0.0.1:5432\"}]`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Kind::Sequence(items) = &node.kind else { return cx.expected(node, Self::EXPECTED) };
        let spanned = |item: &std::rc::Rc<Node>| ProbeSpec::decode(item, cx).map(|value| Spanned { value, span: item.span });
        let probes: Vec<Spanned<ProbeSpec>> = items.iter().filter_map(spanned).collect();
        for (at, probe) in probes.iter().enumerate() {
            if let Some(first) = probes[..at].iter().find(|first| first.name() == probe.name()) {
                let message = format!("two probes are called `{}`", probe.name());
                cx.report(Diagnostic::new(code::CONFLICT, probe.span, message).related(first.span, "the first").help("give one a `name`"));
            }
        }
        Some(Self(probes))
    }
}
