//! Diagnostics for people, in the manner of rustc.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::diagnostic::{Diagnostic, Diagnostics, Source, Span};

/// How many diagnostics are shown; the summary counts them all.
pub const SHOWN_MAX: usize = 100;

/// An excerpt larger than this, in bytes, is left out: nobody reads it, and laying it out takes long.
const EXCERPT_MAX: usize = 8 << 10;

impl Diagnostics {
    /// Every fault with its excerpt, then the summary; empty if nothing is wrong.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        if self.is_empty() {
            return String::new();
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for diagnostic in self.iter().take(SHOWN_MAX) {
            let mut report = vec![self.group(diagnostic)];
            if let Some(help) = &diagnostic.help {
                report.push(Group::with_title(Level::HELP.secondary_title(help.as_str())));
            }
            out.push_str(&renderer.render(&report));
            out.push_str("\n\n");
        }
        if self.len() > SHOWN_MAX {
            out.push_str(&format!("… and {} more\n\n", self.len() - SHOWN_MAX));
        }
        out.push_str(&self.summary());
        out.push('\n');
        out
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let mut group = Group::with_title(Level::ERROR.primary_title(diagnostic.message.as_str()).id(diagnostic.code));
        // One excerpt for each file, the fault's own first.
        let mut files = vec![diagnostic.span.file];
        for (span, _) in &diagnostic.related {
            if !files.contains(&span.file) {
                files.push(span.file);
            }
        }
        for file in files {
            let Some(source) = self.sources.get(file) else { continue };
            let primary = (file == diagnostic.span.file).then_some((diagnostic.span, diagnostic.label.as_deref()));
            let related: Vec<_> = diagnostic.related.iter().filter(|(span, _)| span.file == file).collect();
            group = excerpt(group, source, primary, &related);
        }
        group
    }
}

/// Adds the lines of `source` from the first to the last place that matters.
fn excerpt<'a>(
    group: Group<'a>,
    source: &'a Source,
    primary: Option<(Span, Option<&'a str>)>,
    related: &[&'a (Span, String)],
) -> Group<'a> {
    let ranges = || primary.iter().map(|(span, _)| *span).chain(related.iter().map(|(span, _)| *span)).map(|span| source.range(span));
    let start = ranges().map(|range| range.start).min().unwrap_or(0);
    let end = ranges().map(|range| range.end).max().unwrap_or(0);
    let first_line = source.line(start);
    let window = source.line_start(first_line)..source.line_start(source.line(end) + 1);
    if source.text.is_empty() {
        return group.element(Origin::path(source.path.as_str()));
    }
    if window.len() > EXCERPT_MAX {
        let (line, column) = source.position(primary.map_or(start, |(span, _)| source.range(span).start));
        return group.element(Origin::path(source.path.as_str()).line(line).char_column(column));
    }
    let shift = |span: Span| {
        let range = source.range(span);
        range.start - window.start..range.end - window.start
    };
    let text = &source.text[window.clone()];
    let mut snippet = Snippet::source(text).path(source.path.as_str()).line_start(first_line + 1);
    if let Some((span, label)) = primary {
        snippet = snippet.annotation(AnnotationKind::Primary.span(shift(span)).label(label));
    }
    for (span, what) in related {
        snippet = snippet.annotation(AnnotationKind::Context.span(shift(*span)).label(what.as_str()));
    }
    group.element(snippet)
}

#[cfg(test)]
mod tests {
    use crate::spec::diagnostic::SourceFile;

    use super::*;

    #[test]
    fn colour_is_a_choice() {
        let mut all = Diagnostics::default();
        let file = all.add_source(SourceFile { path: "a.yaml".into(), text: "a: b\n".into() });
        all.push(Diagnostic::new("MS0101", Span { file, start: 0, end: 1 }, "wrong"));
        assert!(all.render(true).contains('\u{1b}'));
        assert!(!all.render(false).contains('\u{1b}'));
        assert_eq!(Diagnostics::default().render(true), "");
    }

    #[test]
    fn long_lines_are_not_laid_out() {
        let mut all = Diagnostics::default();
        let file = all.add_source(SourceFile { path: "a.yaml".into(), text: "ä".repeat(1 << 20) });
        all.push(Diagnostic::new("MS0101", Span { file, start: 7, end: 1 << 20 }, "wrong"));
        let shown = all.render(false);
        assert!(shown.contains("a.yaml:1:4") && shown.len() < 200, "{shown}");
    }
}
