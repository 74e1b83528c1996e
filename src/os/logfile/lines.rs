//! Bytes into lines.

use super::pattern::Pattern;
use crate::event::Gap;

/// The longest line shown in one piece, in bytes; longer ones come in pieces of this size.
pub const LINE_MAX: usize = 64 * 1024;

/// A line, or a piece of a very long one. What is not UTF-8 is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The stream offset of its first byte.
    pub offset: u64,
    /// The stream offset behind it and its newline.
    pub end: u64,
    /// The text without its newline.
    pub text: String,
    /// What is gone, for a line that only tells of that.
    pub gap: Option<Gap>,
}

impl Line {
    /// The line that stands for what is gone.
    pub(super) fn of_gap(gap: Gap) -> Self {
        Self { offset: gap.start, end: gap.end, text: gap.to_string(), gap: Some(gap) }
    }
}

/// Cuts a stream into lines; holds the unfinished one.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    rest: Vec<u8>,
    start: u64,
}

impl Cutter {
    /// Takes the bytes at `offset` and adds the lines they end to `lines`.
    pub(super) fn push(&mut self, offset: u64, mut bytes: &[u8], lines: &mut Vec<Line>) {
        if offset != self.start + self.rest.len() as u64 {
            // Bytes are missing here: they were removed, or could not be kept.
            lines.extend(self.take());
            self.start = offset;
        }
        while !bytes.is_empty() {
            let room = LINE_MAX - self.rest.len();
            let window = &bytes[..bytes.len().min(room + 1)];
            if let Some(length) = window.iter().position(|&byte| byte == b'\n') {
                self.rest.extend_from_slice(&bytes[..length]);
                bytes = &bytes[length + 1..];
                lines.push(self.cut(1));
            } else {
                let length = bytes.len().min(room);
                self.rest.extend_from_slice(&bytes[..length]);
                bytes = &bytes[length..];
                // Full, and more than a newline follows.
                if self.rest.len() == LINE_MAX && !bytes.is_empty() {
                    lines.push(self.cut(0));
                }
            }
        }
    }

    /// As [`Cutter::push`], but only lines that match. Most of the bytes are never cut into lines.
    pub(super) fn sift(&mut self, offset: u64, mut bytes: &[u8], pattern: &Pattern, lines: &mut Vec<Line>) {
        let mut cut = Vec::new();
        // The line that was begun before, and everything where the pattern must see each line alone.
        let own =
            if pattern.is_by_line() { bytes.len() } else { bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1) };
        self.push(offset, &bytes[..own], &mut cut);
        bytes = &bytes[own..];
        let mut at = offset + own as u64;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        pattern.each_match(&bytes[..whole], |line| {
            self.push(at + line.start as u64, &bytes[line], &mut cut);
        });
        at += whole as u64;
        self.push(at, &bytes[whole..], &mut cut);
        lines.extend(cut.into_iter().filter(|line| pattern.is_match(line.text.as_bytes())));
    }

    /// The unfinished line, if there is one.
    pub(super) fn take(&mut self) -> Option<Line> {
        (!self.rest.is_empty()).then(|| self.cut(0))
    }

    fn cut(&mut self, newline: u64) -> Line {
        let end = self.start + self.rest.len() as u64 + newline;
        let line = Line { offset: self.start, end, text: String::from_utf8_lossy(&self.rest).into_owned(), gap: None };
        self.start = end;
        self.rest.clear();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[(u64, &[u8])]) -> Vec<(u64, String)> {
        let mut cutter = Cutter::default();
        let mut lines = Vec::new();
        for (offset, bytes) in pieces {
            cutter.push(*offset, bytes, &mut lines);
        }
        lines.extend(cutter.take());
        lines.into_iter().map(|line| (line.offset, line.text)).collect()
    }

    fn own(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
        lines.iter().map(|&(offset, text)| (offset, text.to_owned())).collect()
    }

    #[test]
    fn lines_are_whole_across_pieces() {
        assert_eq!(cut(&[(0, b"a\nb"), (3, b"c\n"), (5, b"\nd")]), own(&[(0, "a"), (2, "bc"), (5, ""), (6, "d")]));
        assert_eq!(cut(&[(0, b"\xff\x80\n")]), own(&[(0, "\u{fffd}\u{fffd}")]));
    }

    #[test]
    fn a_gap_ends_a_line() {
        assert_eq!(cut(&[(0, b"ab"), (10, b"cd\n")]), own(&[(0, "ab"), (10, "cd")]));
        assert_eq!(cut(&[(7, b"cd\n")]), own(&[(7, "cd")]));
    }

    #[test]
    fn long_lines_come_in_pieces() {
        let long = vec![b'x'; LINE_MAX * 2];
        let whole = [&long[..], b"\nend\n"].concat();
        let max = LINE_MAX as u64;
        let expected = vec![(0, "x".repeat(LINE_MAX)), (max, "x".repeat(LINE_MAX)), (2 * max + 1, "end".to_owned())];
        assert_eq!(cut(&[(0, &whole)]), expected);
        let split: Vec<(u64, &[u8])> = whole.chunks(1000).enumerate().map(|(at, piece)| (at as u64 * 1000, piece)).collect();
        assert_eq!(cut(&split), expected);
    }
}
