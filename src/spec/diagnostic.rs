//! What is wrong with the declarations: collected, never thrown.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::base::text::visible_line;

/// How many diagnostics are kept; the rest is counted.
pub const KEPT_MAX: usize = 1000;

/// A file as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path relative to the configuration directory: `units/resizer.yaml`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// A stretch of a file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The file's number in [`Diagnostics::sources`].
    pub file: usize,
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

impl Span {
    /// A file as a whole.
    #[must_use]
    pub const fn whole(file: usize) -> Self {
        Self { file, start: 0, end: 0 }
    }
}

/// A value and where it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub span: Span,
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// One of [`crate::spec::code`].
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What stands beside the excerpt.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// Other places that matter, each with what it is.
    pub related: Vec<(Span, String)>,
}

impl Diagnostic {
    /// A fault at `span`.
    #[must_use]
    pub fn new(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), span, label: None, help: None, related: Vec::new() }
    }

    /// With a label beside the excerpt.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = Some(text.into());
        self
    }

    /// With an advice.
    #[must_use]
    pub fn help(self, text: impl Into<String>) -> Self {
        self.maybe_help(Some(text.into()))
    }

    /// With an advice, where there is one.
    #[must_use]
    pub fn maybe_help(mut self, text: Option<String>) -> Self {
        self.help = text;
        self
    }

    /// With another place that matters.
    #[must_use]
    pub fn related(mut self, span: Span, what: impl Into<String>) -> Self {
        self.related.push((span, what.into()));
        self
    }
}

/// A file with an index of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Source {
    fn new(file: SourceFile) -> Self {
        let lines = std::iter::once(0).chain(file.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path: file.path, text: file.text, lines }
    }

    /// The line of `offset`, from 0.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|&start| start <= offset).saturating_sub(1)
    }

    /// Where line `number` (from 0) begins; the end of the text if there is no such line.
    pub(super) fn line_start(&self, number: usize) -> usize {
        self.lines.get(number).copied().unwrap_or(self.text.len())
    }

    /// Line and column of `offset`, from 1; columns count characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let column = self.text.get(self.line_start(line)..offset).map_or(0, |before| before.chars().count());
        (line + 1, column + 1)
    }

    /// `span` as a range that is surely inside the text and on borders of characters.
    pub(super) fn range(&self, span: Span) -> Range<usize> {
        let start = floor_boundary(&self.text, span.start);
        start..floor_boundary(&self.text, span.end).max(start)
    }
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Every fault found, with the files they are in.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    pub(super) sources: Vec<Arc<Source>>,
    list: Vec<Diagnostic>,
    dropped: usize,
}

impl Diagnostics {
    /// Takes in a file; spans refer to it by the number returned.
    pub fn add_source(&mut self, file: SourceFile) -> usize {
        self.sources.push(Arc::new(Source::new(file)));
        self.sources.len() - 1
    }

    /// The files, in the order they were taken in.
    pub fn sources(&self) -> impl Iterator<Item = SourceFile> {
        self.sources.iter().map(|source| SourceFile { path: source.path.clone(), text: source.text.clone() })
    }

    /// Takes note of a fault. Beyond [`KEPT_MAX`] they are only counted.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.list.len() < KEPT_MAX {
            self.list.push(diagnostic);
        } else {
            self.dropped += 1;
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many faults were found.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.list.len() + self.dropped
    }

    /// The faults that were kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// How many faults were found beyond those that were kept.
    #[must_use]
    pub const fn dropped(&self) -> usize {
        self.dropped
    }

    /// Puts the faults in the order of files (as they were read) and of places in them.
    pub fn sort(&mut self) {
        self.list.sort_by(|a, b| (a.span, a.code, &a.message).cmp(&(b.span, b.code, &b.message)));
    }

    /// The path, line and column (both from 1) of the beginning of `span`.
    #[must_use]
    pub fn locate(&self, span: Span) -> (&str, usize, usize) {
        self.sources.get(span.file).map_or(("", 1, 1), |source| {
            let (line, column) = source.position(source.range(span).start);
            (&source.path, line, column)
        })
    }

    /// `3 errors in 2 files`.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut files: Vec<_> = self.list.iter().map(|diagnostic| diagnostic.span.file).collect();
        files.sort_unstable();
        files.dedup();
        let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
        format!("{} in {}", count(self.len(), "error"), count(files.len(), "file"))
    }

    /// The faults for programs: a list of objects with `file`, `line`, `column`, `code`, `message` and, where there is one,
    /// `label`, `help` and `related`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let place = |span| {
            let (file, line, column) = self.locate(span);
            json!({"file": file, "line": line, "column": column})
        };
        let one = |diagnostic: &Diagnostic| {
            let mut value = place(diagnostic.span);
            value["code"] = diagnostic.code.into();
            value["message"] = diagnostic.message.as_str().into();
            for (key, text) in [("label", &diagnostic.label), ("help", &diagnostic.help)] {
                if let Some(text) = text {
                    value[key] = text.as_str().into();
                }
            }
            if !diagnostic.related.is_empty() {
                let related = diagnostic.related.iter().map(|(span, what)| {
                    let mut value = place(*span);
                    value["message"] = what.as_str().into();
                    value
                });
                value["related"] = related.collect();
            }
            value
        };
        self.list.iter().map(one).collect()
    }
}

impl fmt::Display for Diagnostics {
    /// As [`Diagnostics::render`] without colour.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// `text` in backquotes, short enough for a message and without control characters.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    let start = text.char_indices().nth(SHOWN).map_or(text, |(end, _)| &text[..end]);
    let cleaned = visible_line(start);
    let more = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    format!("`{cleaned}{more}`")
}

/// "did you mean …?" with the one of `known` that `word` most resembles, if any is near enough.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if word.len() > crate::base::id::NAME_MAX {
        return None;
    }
    // Names and keys are ASCII; a word that is not resembles none of them.
    let limit = word.len() / 3;
    let similar_length = |candidate: &&'a str| candidate.len().abs_diff(word.len()) <= limit;
    let near = |candidate: &'a str| (strsim::damerau_levenshtein(word, candidate), candidate);
    let (_, best) = known.into_iter().filter(similar_length).map(near).filter(|&(distance, _)| distance <= limit).min()?;
    Some(format!("did you mean `{best}`?"))
}

#[cfg(test)]
mod tests {

    use super::*;

    fn sample() -> Diagnostics {
        let mut all = Diagnostics::default();
        let file = all.add_source(SourceFile { path: "units/a.yaml".into(), text: "unit: ä\nexec: b\n".into() });
        all.push(Diagnostic::new("MS0102", Span { file, start: 9, end: 13 }, "second").related(Span { file, start: 0, end: 4 }, "first"));
        all.push(Diagnostic::new("MS0101", Span { file, start: 7, end: 8 }, "first").help("write it"));
        all.sort();
        all
    }

    #[test]
    fn places_count_characters_from_one() {
        let all = sample();
        // Byte 7 is in the middle of the `ä` that begins at 6.
        assert_eq!(all.locate(Span { file: 0, start: 7, end: 8 }), ("units/a.yaml", 1, 7));
        assert_eq!(all.locate(Span { file: 0, start: 9, end: 13 }), ("units/a.yaml", 2, 1));
        assert_eq!(all.locate(Span { file: 0, start: 900, end: 1300 }), ("units/a.yaml", 3, 1));
        assert_eq!(all.summary(), "2 errors in 1 file");
    }

    #[test]
    fn programs_get_json() {
        let json = sample().to_json();
        assert_eq!(json[0]["help"], "write it");
        assert_eq!((&json[1]["line"], &json[1]["column"], &json[1]["code"]), (&json!(2), &json!(1), &json!("MS0102")));
        assert_eq!(json[1]["related"][0]["message"], "first");
    }

    #[test]
    fn the_list_is_bounded() {
        let mut all = Diagnostics::default();
        for _ in 0..KEPT_MAX + 5 {
            all.push(Diagnostic::new("MS0101", Span::default(), ""));
        }
        assert_eq!((all.iter().count(), all.dropped(), all.len()), (KEPT_MAX, 5, KEPT_MAX + 5));
    }

    #[test]
    fn near_words_are_offered() {
        let known = ["restart", "requires", "exec"];
        assert_eq!(did_you_mean("restrat", known).as_deref(), Some("did you mean `restart`?"));
        assert_eq!(did_you_mean("colour", known), None);
    }
}
