//! YAML as a tree that knows where each value is written.
//!
//! Built from the events of `granit-parser`, the parser beneath serde-saphyr: serde would stop at the first fault, and all are
//! wanted. Aliases are followed (the subtree is shared, not copied); tags and merge keys are refused. A document that goes wrong
//! is given up as a whole, and reading goes on with the next one.

use std::collections::BTreeMap;
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span as YamlSpan, StrInput, StructureStyle};

use super::code;
use super::diagnostic::{Diagnostic, Diagnostics, Span, quote};

/// How deep a document may be nested, aliases followed.
const DEPTH_MAX: usize = 64;

/// How much a document may hold, aliases followed: a value counts one, and one more for each KiB of text.
const WEIGHT_MAX: usize = 100_000;

/// A value and where it is written.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
    /// The levels below.
    height: usize,
    /// What it counts towards [`WEIGHT_MAX`].
    weight: usize,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Text; `plain` if written without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// A mapping, as written: keys may repeat.
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
    /// What a drop-in takes back (`key: null`): as if the key were not given. Only layers make it.
    Reset,
}

/// The entries of a mapping.
pub(crate) type Items = Vec<(Rc<Node>, Rc<Node>)>;

impl Node {
    /// The text of a scalar; `None` for collections and for nothing (`key:`, `key: null`, `key: ~`).
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// Whether nothing is written here.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The key called `name` as it is written, if this is a mapping with that key.
    pub(crate) fn key(&self, name: &str) -> Option<&Self> {
        let Kind::Mapping(items) = &self.kind else { return None };
        items.iter().find(|(key, value)| key.text() == Some(name) && !value.is_reset()).map(|(key, _)| &**key)
    }

    /// The value of the key called `name`, if this is a mapping with that key.
    pub(crate) fn value(&self, name: &str) -> Option<&Self> {
        let Kind::Mapping(items) = &self.kind else { return None };
        items.iter().find(|(key, value)| key.text() == Some(name) && !value.is_reset()).map(|(_, value)| &**value)
    }

    /// Whether a drop-in took it back.
    pub(crate) const fn is_reset(&self) -> bool {
        matches!(self.kind, Kind::Reset)
    }

    /// The entries of a mapping whose keys are not known in advance, without those a drop-in took back.
    pub(crate) fn entries(&self) -> Option<impl Iterator<Item = &(Rc<Self>, Rc<Self>)>> {
        let Kind::Mapping(items) = &self.kind else { return None };
        Some(items.iter().filter(|(_, value)| !value.is_reset()))
    }

    /// A mapping put together of others, which is said to stand where `span` is.
    pub(crate) fn mapping(span: Span, items: Items) -> Rc<Self> {
        let all = || items.iter().flat_map(|(key, value)| [key, value]);
        let height = 1 + all().map(|node| node.height).max().unwrap_or(0);
        let weight = all().fold(1, |sum: usize, node| sum.saturating_add(node.weight));
        Rc::new(Self { span, kind: Kind::Mapping(items), height, weight })
    }

    /// A list put together of others, which is said to stand where `span` is.
    pub(crate) fn sequence(span: Span, items: Vec<Rc<Self>>) -> Rc<Self> {
        let height = 1 + items.iter().map(|node| node.height).max().unwrap_or(0);
        let weight = items.iter().fold(1, |sum: usize, node| sum.saturating_add(node.weight));
        Rc::new(Self { span, kind: Kind::Sequence(items), height, weight })
    }

    /// A word that stands where `span` is.
    pub(crate) fn word(span: Span, text: &str) -> Rc<Self> {
        Rc::new(Self { span, kind: Kind::Scalar { text: text.into(), plain: false }, height: 0, weight: 1 })
    }

    /// What stands for a value that a drop-in takes back.
    pub(crate) fn reset(span: Span) -> Rc<Self> {
        Rc::new(Self { span, kind: Kind::Reset, height: 0, weight: 1 })
    }

    /// What it is, for "found …".
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            _ if self.is_null() => "nothing".into(),
            Kind::Reset => "nothing".into(),
            Kind::Scalar { text, .. } => quote(text),
            Kind::Sequence(_) => "a list".into(),
            Kind::Mapping(_) => "a mapping".into(),
        }
    }
}

/// The documents of a file, without empty ones.
pub(crate) struct Documents {
    pub(crate) nodes: Vec<Rc<Node>>,
    /// Whether a document could not be read.
    pub(crate) lost: bool,
}

/// Reads every document of `text`, which is source number `file` of `out`.
pub(crate) fn read(file: usize, text: &str, out: &mut Diagnostics) -> Documents {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = DEPTH_MAX;
    options.block_nesting_limit = DEPTH_MAX;
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut documents = Documents { nodes: Vec::new(), lost: false };
    loop {
        match read_document(file, text, &mut parser) {
            Ok(Some(node)) if node.is_null() => {}
            Ok(Some(node)) => documents.nodes.push(node),
            Ok(None) => return documents,
            Err(fault) => {
                out.push(*fault);
                documents.lost = true;
                if !matches!(parser.proceed_next_document(), Ok(true)) {
                    return documents;
                }
            }
        }
    }
}

/// Boxed: it is rare, and large.
type Fault = Box<Diagnostic>;

fn read_document<'a>(file: usize, text: &'a str, parser: &mut Parser<'a, StrInput<'a>>) -> Result<Option<Rc<Node>>, Fault> {
    let mut builder = Builder { file, text, open: Vec::new(), anchors: BTreeMap::new(), root: None };
    for next in parser {
        let (event, span) = next.map_err(|error| syntax_fault(file, text, &error))?;
        match event {
            Event::DocumentEnd => return Ok(builder.root),
            Event::StreamEnd => return Ok(None),
            event => builder.take(event, span)?,
        }
    }
    Ok(None)
}

fn syntax_fault(file: usize, text: &str, error: &ScanError) -> Fault {
    let offset = error.marker().byte_offset().unwrap_or(0).min(text.len());
    // The end of a file is a place nobody can see; the last thing written is.
    let start = if offset >= text.trim_end().len() { text.trim_end().len().saturating_sub(1) } else { offset };
    let span = Span { file, start, end: (start + 1).min(text.len()) };
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        return too_much(span);
    }
    let info = error.info();
    let what = info.rsplit_once(", ").filter(|(before, _)| before.starts_with("while")).map_or(info.as_str(), |(_, what)| what);
    Box::new(Diagnostic::new(code::SYNTAX, span, format!("this is not YAML: {what}")))
}

fn too_much(span: Span) -> Fault {
    let message = format!("this document is too large: at most {DEPTH_MAX} levels and {WEIGHT_MAX} values, aliases followed");
    Box::new(Diagnostic::new(code::DOCUMENT_LIMIT, span, message))
}

/// A document in the making.
struct Builder<'a> {
    file: usize,
    text: &'a str,
    open: Vec<Open>,
    /// Finished nodes with an anchor, by the parser's number for it.
    anchors: BTreeMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
}

/// A collection in the making.
struct Open {
    start: usize,
    flow: bool,
    anchor: usize,
    mapping: bool,
    /// Keys and values alternate in a mapping.
    items: Vec<Rc<Node>>,
    /// What the items weigh together.
    weight: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: YamlSpan) -> Result<(), Fault> {
        self.refuse_tag(&event, span)?;
        let range = span.byte_range().unwrap_or(0..0);
        let here = Span { file: self.file, start: range.start, end: range.end };
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let weight = 1 + text.len() / 1024;
                let kind = Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.put(Rc::new(Node { span: self.one_line(here), kind, height: 0, weight }), anchor)
            }
            Event::SequenceStart(style, anchor, _) => self.begin(here.start, style, anchor, false),
            Event::MappingStart(style, anchor, _) => self.begin(here.start, style, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.end(here.end),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => self.put(Rc::clone(node), 0),
                None => Err(Box::new(Diagnostic::new(code::ALIAS, here, "this alias stands inside its own anchor"))),
            },
            Event::UnresolvedAlias(name) => {
                let message = format!("there is no anchor {} before this alias", quote(&format!("&{name}")));
                Err(Box::new(Diagnostic::new(code::ALIAS, here, message).help("put text that begins with `*` in quotes")))
            }
            _ => Ok(()),
        }
    }

    fn refuse_tag(&self, event: &Event<'_>, span: YamlSpan) -> Result<(), Fault> {
        let Some(tag) = event.tag() else { return Ok(()) };
        let range = span.tag_span().and_then(|span| span.byte_range()).or(span.byte_range()).unwrap_or(0..0);
        let here = Span { file: self.file, start: range.start, end: range.end };
        let message = format!("declarations know no YAML tags; found {}", quote(&tag.original()));
        Err(Box::new(Diagnostic::new(code::TAG, here, message).help("remove the tag, or put text that begins with `!` in quotes")))
    }

    fn begin(&mut self, start: usize, style: StructureStyle, anchor: usize, mapping: bool) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MAX {
            return Err(too_much(Span { file: self.file, start, end: start + 1 }));
        }
        self.open.push(Open { start, flow: style == StructureStyle::Flow, anchor, mapping, items: Vec::new(), weight: 1 });
        Ok(())
    }

    fn end(&mut self, end: usize) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        // A block collection ends where its last item does; the parser says where the next thing begins.
        let end = if open.flow { end } else { open.items.last().map_or(open.start, |item| item.span.end).max(open.start) };
        let span = self.one_line(Span { file: self.file, start: open.start, end });
        let height = 1 + open.items.iter().map(|item| item.height).max().unwrap_or(0);
        let kind = if open.mapping {
            let mut items = open.items.into_iter();
            Kind::Mapping(std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect())
        } else {
            Kind::Sequence(open.items)
        };
        self.put(Rc::new(Node { span, kind, height, weight: open.weight }), open.anchor)
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Fault> {
        if self.open.len() + node.height > DEPTH_MAX || self.open.iter().map(|open| open.weight).sum::<usize>() + node.weight > WEIGHT_MAX {
            return Err(too_much(node.span));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        match self.open.last_mut() {
            Some(open) => {
                let is_key = open.mapping && open.items.len().is_multiple_of(2);
                if is_key && matches!(&node.kind, Kind::Scalar { text, plain: true } if text == "<<") {
                    let message = "declarations know no merge keys (`<<`)";
                    return Err(Box::new(Diagnostic::new(code::MERGE_KEY, node.span, message).help("write the keys out")));
                }
                open.weight += node.weight;
                open.items.push(node);
            }
            None => self.root = Some(node),
        }
        Ok(())
    }

    /// `span` up to the end of its first line: an excerpt points to where a thing begins.
    fn one_line(&self, span: Span) -> Span {
        let line = self.text.get(span.start..span.end).and_then(|text| text.lines().next()).unwrap_or("");
        Span { end: span.start + line.trim_end().len(), ..span }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::spec) fn show(node: &Node) -> String {
        match &node.kind {
            Kind::Scalar { text, plain: true } => text.clone(),
            Kind::Scalar { text, plain: false } => format!("{text:?}"),
            Kind::Reset => "reset".into(),
            Kind::Sequence(items) => format!("[{}]", items.iter().map(|item| show(item)).collect::<Vec<_>>().join(", ")),
            Kind::Mapping(items) => {
                let items: Vec<_> = items.iter().map(|(key, value)| format!("{}: {}", show(key), show(value))).collect();
                format!("{{{}}}", items.join(", "))
            }
        }
    }

    fn check(text: &str, expect: &[&str], codes: &[&str]) {
        let mut out = Diagnostics::default();
        let documents = read(0, text, &mut out);
        assert_eq!(documents.nodes.iter().map(|node| show(node)).collect::<Vec<_>>(), expect, "{text}");
        assert_eq!(out.iter().map(|fault| fault.code).collect::<Vec<_>>(), codes, "{text}");
        assert_eq!(documents.lost, !codes.is_empty());
    }

    #[test]
    fn documents_become_trees() {
        check("a: [1, 'two']\nb:\n  c: d\n", &[r#"{a: [1, "two"], b: {c: d}}"#], &[]);
        check("a: 1\na: 2\n", &["{a: 1, a: 2}"], &[]);
        check("# nothing\n---\n---\nx: y\n...\n", &["{x: y}"], &[]);
        check("\u{feff}a: b\r\nc: d\r\n", &["{a: b, c: d}"], &[]);
        check("", &[], &[]);
    }

    #[test]
    fn aliases_are_followed_within_bounds() {
        check("a: &x [1]\nb: *x\n", &["{a: [1], b: [1]}"], &[]);
        check("a: *x\n---\nb: c\n", &["{b: c}"], &[code::ALIAS]);
        check("a: &x [*x]\n", &[], &[code::ALIAS]);
        let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
            let last = format!("*a{}, ", n - 1);
            format!("{text}a{n}: &a{n} [{}]\n", last.repeat(9))
        });
        check(&bomb, &[], &[code::DOCUMENT_LIMIT]);
        let ladder = (1..100).fold("a0: &a0 [x]\n".to_owned(), |text, n| format!("{text}a{n}: &a{n} [*a{}]\n", n - 1));
        check(&ladder, &[], &[code::DOCUMENT_LIMIT]);
    }

    #[test]
    fn a_broken_document_costs_only_itself() {
        check("a: [1\n---\nb: c\n---\n'd\n", &["{b: c}"], &[code::SYNTAX, code::SYNTAX]);
        check("a: !x b\n---\nc: {<<: d}\n---\ne: f\n", &["{e: f}"], &[code::TAG, code::MERGE_KEY]);
        check(&"[".repeat(1000), &[], &[code::DOCUMENT_LIMIT]);
        check(&"- ".repeat(1000), &[], &[code::DOCUMENT_LIMIT]);
    }

    #[test]
    fn spans_end_with_the_first_line() {
        let mut out = Diagnostics::default();
        let text = "key:\n  - a\n  - b\nnext: [x,\n y]\n";
        let documents = read(0, text, &mut out);
        let Kind::Mapping(items) = &documents.nodes[0].kind else { panic!("a mapping") };
        let spans: Vec<_> = items.iter().map(|(_, value)| &text[value.span.start..value.span.end]).collect();
        assert_eq!(spans, ["- a", "[x,"]);
    }
}
