//! What `--grep` looks for.

use std::ops::Range;

use regex::bytes::{Regex, RegexBuilder};

/// After so many places in one block that look like a match and are none, its lines are looked at one by one.
const FALSE_ALARMS: usize = 64;

/// A regular expression that is matched against lines.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    /// It tells the beginning or the end of the text from that of a line: to look at many lines at once would be something else.
    by_line: bool,
}

impl Pattern {
    /// Reads a regular expression; `(?i)` at its beginning ignores case.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        match RegexBuilder::new(text).multi_line(true).build() {
            Ok(regex) => Ok(Self { regex, by_line: text.contains("\\A") || text.contains("\\z") || unsets_lines(text) }),
            Err(error) => {
                let error = error.to_string();
                let why = error.lines().last().unwrap_or("").trim_start_matches("error: ");
                Err(format!("`{text}` is not a regular expression: {why}"))
            }
        }
    }

    /// Whether a line matches.
    #[must_use]
    pub fn is_match(&self, line: &[u8]) -> bool {
        self.regex.is_match(line)
    }

    pub(super) const fn is_by_line(&self) -> bool {
        self.by_line
    }

    /// Calls `found` with the place of each line that may match, its newline included. `bytes` are whole lines.
    pub(super) fn each_match(&self, bytes: &[u8], mut found: impl FnMut(Range<usize>)) {
        let (mut at, mut alarms) = (0, 0);
        while at < bytes.len() {
            let start = if alarms < FALSE_ALARMS {
                let Some(place) = self.regex.find_at(bytes, at) else { return };
                // The newline before a line belongs to the line before it.
                let place = place.start().clamp(at, bytes.len() - 1);
                bytes[at..place].iter().rposition(|byte| *byte == b'\n').map_or(at, |newline| at + newline + 1)
            } else {
                at
            };
            let end = bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| start + newline + 1);
            if self.regex.is_match(bytes[start..end].strip_suffix(b"\n").unwrap_or(&bytes[start..end])) {
                found(start..end);
            } else {
                alarms += 1;
            }
            // Not where the match ends: it may have run over lines that match by themselves.
            at = end;
        }
    }
}

/// Whether flags such as `(?-m)` let `^` and `$` mean the text as a whole.
fn unsets_lines(text: &str) -> bool {
    let flags = text.split("(?").skip(1).map(|rest| rest.split([')', ':', '<']).next().unwrap_or(""));
    flags.into_iter().any(|flags| flags.split_once('-').is_some_and(|(_, unset)| unset.contains('m')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::os::logfile::lines::Cutter;

    /// What a pattern finds in a text that comes in pieces, and what it finds line by line.
    fn both(pattern: &str, text: &[u8], piece: usize) -> (Vec<String>, Vec<String>) {
        let pattern = Pattern::new(pattern).unwrap();
        let (mut cutter, mut lines) = (Cutter::default(), Vec::new());
        for (number, bytes) in text.chunks(piece).enumerate() {
            cutter.sift((number * piece) as u64, bytes, &pattern, &mut lines);
        }
        lines.extend(cutter.take().filter(|line| pattern.is_match(line.text.as_bytes())));
        for line in &lines {
            assert_eq!(&text[usize::try_from(line.offset).unwrap()..][..line.text.len()], line.text.as_bytes(), "at its offset");
        }
        let mut whole = Cutter::default();
        let mut all = Vec::new();
        whole.push(0, text, &mut all);
        all.extend(whole.take());
        all.retain(|line| pattern.is_match(line.text.as_bytes()));
        (lines.into_iter().map(|line| line.text).collect(), all.into_iter().map(|line| line.text).collect())
    }

    const PATTERNS: [&str; 14] =
        ["(?-m)^a", "(?i-m:b)$", "ab", "^a", "b$", "a.b", "[^c]b", "a\\s+b", "^$", "a[^b]*c", "\\Aa", "c\\z", "(?i)AB", "a|^c$"];

    #[test]
    fn a_pattern_sees_line_by_line() {
        for pattern in PATTERNS {
            for piece in [1, 3, 7, 100] {
                let (found, expected) = both(pattern, b"ab\na b\n\nxab\nca\nb\nc\nAB\ncb\nba\n\nend ab", piece);
                assert_eq!(found, expected, "{pattern} in pieces of {piece}");
            }
        }
        assert!(Pattern::new("(").unwrap_err().contains("is not a regular expression"));
    }

    #[test]
    fn many_false_alarms_end_in_looking_at_each_line() {
        let text = "x\nz\n".repeat(5000) + "xz\n";
        let (found, expected) = both("x[^y]*z", text.as_bytes(), 256 * 1024);
        assert_eq!((found.len(), found), (1, expected));
    }

    proptest! {
        #[test]
        fn no_line_is_missed(text in "[abcAB \n]{0,200}", pattern in 0..PATTERNS.len(), piece in 1_usize..50) {
            let (found, expected) = both(PATTERNS[pattern], text.as_bytes(), piece);
            prop_assert_eq!(found, expected);
        }
    }
}
