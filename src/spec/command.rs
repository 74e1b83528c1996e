//! `exec`: a program with its arguments. No shell ever runs it.

use serde_json::json;

use super::code;
use super::decode::{Cx, Decode};
use super::diagnostic::{Diagnostic, Span, Spanned, quote};
use super::node::{Kind, Node};
use super::value::schema;

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Exec(pub Vec<Spanned<String>>);

schema!(Exec, _generator => json!({"anyOf": [
    {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1, "examples": [["./resizer", "--id", "%i"]]},
    {"type": "string", "minLength": 1, "examples": ["./resizer --id %i"]},
]}));

impl Decode for Exec {
    const EXPECTED: &'static str = "a program with its arguments, for example `[\"./server\", \"--port\", \"80\"]`";

    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let words = match &node.kind {
            Kind::Sequence(items) => items
                .iter()
                .map(|item| Some(Spanned { value: cx.text(item, "text in every place")?.to_owned(), span: item.span }))
                .collect::<Option<Vec<_>>>()?,
            Kind::Scalar { .. } if !node.is_null() => split(node, cx)?,
            _ => return cx.expected(node, Self::EXPECTED),
        };
        match words.first() {
            None => cx.bad_value(code::BAD_VALUE, node, "there is no program; write for example `[\"./server\"]`"),
            Some(program) if program.value.is_empty() => cx.bad_value(code::BAD_VALUE, node, "the program's name is empty"),
            Some(_) => Some(Self(words)),
        }
    }
}

/// Splits one string as a shell would, after making sure that nothing else is expected of a shell.
fn split(node: &Node, cx: &mut Cx<'_>) -> Option<Vec<Spanned<String>>> {
    let text = cx.text(node, Exec::EXPECTED)?;
    if let Some((offset, found)) = shell_syntax(text) {
        // The offset is that in the file only where the text stands there as it is.
        let plain = matches!(node.kind, Kind::Scalar { plain: true, .. }) && node.span.end - node.span.start == text.len();
        let span = if plain { Span { start: node.span.start + offset, end: node.span.start + offset + 1, ..node.span } } else { node.span };
        let message = format!("{}: no shell runs this, so `{found}` has no meaning", cx.subject());
        let fault = Diagnostic::new(code::SHELL_SYNTAX, span, message);
        cx.report(fault.help("exec is not run through a shell; write exec: [sh, -c, \"…\"], or put the character in quotes"));
        return None;
    }
    match shlex::split(text) {
        Some(words) => Some(words.into_iter().map(|value| Spanned { value, span: node.span }).collect()),
        None => cx.bad_value(code::BAD_VALUE, node, format!("a quote is not closed in {}", quote(text))),
    }
}

/// The first character outside quotes that a shell would act upon, with its place.
fn shell_syntax(text: &str) -> Option<(usize, char)> {
    let mut quoted = None;
    let mut word_begins = true;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quoted, c) {
            (Some(quote), _) if c == quote => quoted = None,
            (None | Some('"'), '\\') => {
                chars.next();
            }
            (Some(_), _) => {}
            (None, '\'' | '"') => quoted = Some(c),
            (None, '|' | '>' | '<' | ';' | '&' | '`' | '$') => return Some((at, c)),
            (None, '#') if word_begins => return Some((at, c)),
            (None, _) => {}
        }
        word_begins = quoted.is_none() && c.is_whitespace();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_syntax_is_found_outside_quotes_only() {
        for (text, expect) in [
            ("a b", None),
            ("a | b", Some((2, '|'))),
            ("a 'x|y' \"$HOME;\"", None),
            ("a \\| b", None),
            ("a \"\\\"|\" $x", Some((8, '$'))),
            ("a #b", Some((2, '#'))),
            ("a b#c", None),
            ("a *.txt", None),
        ] {
            assert_eq!(shell_syntax(text), expect, "{text}");
        }
    }
}
