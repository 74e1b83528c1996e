//! `restart.on` of a unit: what is done about a failure, by what it was.

use std::time::Duration;

use serde_json::json;

use crate::base::choice::{Choice as _, FailureClass};
use crate::base::exit::Signal;
use crate::base::time::parse_duration;

use super::code;
use super::decode::{Cx, Decode};
use super::diagnostic::{Diagnostic, Span, Spanned, did_you_mean, quote};
use super::node::Node;
use super::restart::ExitValue;
use super::value::schema;

/// What a failure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CauseSpec {
    /// Of a class.
    Class(FailureClass),
    /// An end by itself with this code or signal.
    Exit(ExitValue),
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseSpec {
    /// As if nothing were declared.
    Restart,
    /// It is started again after this time.
    After(Duration),
    /// It stays down.
    Stop,
}

/// What is done about each failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponsesSpec(pub Vec<(Spanned<CauseSpec>, Spanned<ResponseSpec>)>);

schema!(ResponsesSpec, _generator => {
    let response = json!({
        "description": "`restart` (as if nothing were declared), `stop` (it stays down, as if an operator had stopped it), or the time after which \
                        it is started again.",
        "type": ["string", "integer"],
        "examples": ["stop", "30s"],
    });
    let classes = FailureClass::ALL.iter().map(|(_, word, meaning)| {
        let mut schema = response.clone();
        schema["description"] = json!(meaning.trim_start());
        ((*word).to_owned(), schema)
    });
    let properties: serde_json::Map<_, _> = classes.collect();
    let exits = json!({"^exit [0-9]+$": response, "^signal [A-Z0-9+]+$": response});
    json!({"type": "object", "properties": properties, "patternProperties": exits, "additionalProperties": false})
});

impl Decode for ResponsesSpec {
    const EXPECTED: &'static str = "a mapping of failures to what is done, for example `{hang: 0s, \"exit 78\": stop}`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let Some(items) = node.entries() else { return cx.expected(node, Self::EXPECTED) };
        let mut responses: Vec<(Spanned<CauseSpec>, Spanned<ResponseSpec>)> = Vec::new();
        for (key, value) in items {
            let cause = cause(key, cx).map(|value| Spanned { value, span: key.span });
            let response = response(value, cx).map(|response| Spanned { value: response, span: value.span });
            let Some((cause, response)) = cause.zip(response) else { continue };
            if let Some((first, _)) = responses.iter().find(|(first, _)| first.value == cause.value) {
                let fault = Diagnostic::new(code::DUPLICATE_KEY, cause.span, "the same failure is given twice");
                cx.report(fault.label("given again here").related(first.span, "first given here"));
                continue;
            }
            responses.push((cause, response));
        }
        Some(Self(responses))
    }
}

fn cause(node: &Node, cx: &mut Cx<'_>) -> Option<CauseSpec> {
    let text = cx.text(node, "a failure")?;
    if let Some(class) = FailureClass::from_word(text) {
        return Some(CauseSpec::Class(class));
    }
    let exit = match text.split_once(' ') {
        Some(("exit", code)) => code.parse().ok().filter(|code| (0..=255).contains(code)).map(ExitValue::Code),
        Some(("signal", name)) => Signal::parse(name).map(ExitValue::Signal),
        _ => None,
    };
    if exit.is_none() {
        let words: Vec<_> = FailureClass::words().map(quote).collect();
        let message =
            format!("{}: {} is no failure; it is one of {}, `exit CODE` or `signal NAME`", cx.subject(), quote(text), words.join(", "));
        cx.report(Diagnostic::new(code::BAD_VALUE, node.span, message).maybe_help(did_you_mean(text, FailureClass::words())));
    }
    exit.map(CauseSpec::Exit)
}

fn response(node: &Node, cx: &mut Cx<'_>) -> Option<ResponseSpec> {
    let expected = "`restart`, `stop` or a time, for example `30s`";
    match cx.text(node, expected)? {
        "restart" => Some(ResponseSpec::Restart),
        "stop" => Some(ResponseSpec::Stop),
        text => match parse_duration(text) {
            Ok(time) => Some(ResponseSpec::After(time)),
            Err(_) => cx.expected(node, expected),
        },
    }
}

impl ResponsesSpec {
    /// Where a response is that never comes to pass, because the unit is never started again.
    pub(super) fn first(&self) -> Option<Span> {
        self.0.first().map(|(cause, _)| cause.span)
    }
}
