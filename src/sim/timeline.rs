//! What a simulation says: lines with times, cycles that repeat told once.

use std::time::Duration;

use super::fault::stamp_ms;
use crate::base::time::Mono;

/// How many lines a cycle has at most, to be recognised as one.
const CYCLE: usize = 60;
/// How often a cycle is shown before it is only counted.
const SHOWN: usize = 2;

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    at: Mono,
    who: String,
    text: String,
}

/// Everything that happens, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline(Vec<Line>);

impl Timeline {
    pub(super) fn add(&mut self, at: Mono, who: &str, text: impl Into<String>) {
        self.0.push(Line { at, who: who.to_owned(), text: text.into() });
    }

    /// As text; what repeats itself is counted.
    pub(super) fn render(&self) -> String {
        let lines: Vec<_> = self.0.iter().map(|line| (line, shape(line))).collect();
        let width = self.0.iter().map(|line| line.who.chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        let mut at = 0;
        while at < lines.len() {
            let (length, times) = cycle(&lines[at..]);
            let shown = if times > SHOWN + 1 { SHOWN * length } else { 1 };
            for (line, _) in &lines[at..at + shown] {
                out.push_str(&format!("{:>9}  {:<width$}  {}\n", stamp(line.at), line.who, line.text));
            }
            at += shown;
            if times > SHOWN + 1 {
                at += (times - SHOWN) * length;
                let last = lines[at - 1].0.at;
                let what = if length == 1 { "line".into() } else { format!("{length} lines") };
                out.push_str(&format!("{:>9}  the last {what} {} times more, until {}\n", "…", times - SHOWN, stamp(last)));
            }
        }
        out
    }
}

/// A point in virtual time: `12.345s`.
pub(super) fn stamp(at: Mono) -> String {
    stamp_ms(at.since(Mono(0)).as_millis().try_into().unwrap_or(u64::MAX))
}

/// A duration with a tenth of a second: `17.3s`.
pub(super) fn tenths(time: Duration) -> String {
    format!("{}.{}s", time.as_secs(), time.subsec_millis() / 100)
}

/// A line without its numbers: what makes it like another one.
fn shape(line: &Line) -> String {
    let mut shape = format!("{} ", line.who);
    let mut name = false;
    for c in line.text.chars() {
        name = c == '@' || (name && c.is_ascii_digit());
        match c {
            '0'..='9' | '.' if !name => {}
            // Units of time come and go with the numbers.
            'm' | 's' if shape.ends_with('#') => {}
            c => shape.push(c),
        }
        if c.is_ascii_digit() && !name && !shape.ends_with('#') {
            shape.push('#');
        }
    }
    shape
}

/// The shortest cycle the lines begin with, and how often it follows itself.
fn cycle<T>(lines: &[(T, String)]) -> (usize, usize) {
    for length in 1..=CYCLE.min(lines.len() / 2) {
        let like = |times: &usize| {
            let next = times * length..(times + 1) * length;
            lines.get(next).is_some_and(|next| next.iter().zip(&lines[..length]).all(|(one, other)| one.1 == other.1))
        };
        let times = (1..).take_while(like).count() + 1;
        if times > SHOWN + 1 {
            return (length, times);
        }
    }
    (1, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_itself_is_counted() {
        let mut timeline = Timeline::default();
        timeline.add(Mono(0), "a", "active");
        for n in 1..=5_u64 {
            timeline.add(Mono(n * 1_000_000_000), "a", "exit code 1");
            timeline.add(Mono(n * 1_000_000_000 + 5_000_000), "a", format!("held back for {n}00ms"));
        }
        assert_eq!(
            timeline.render(),
            "   0.000s  a  active\n   1.000s  a  exit code 1\n   1.005s  a  held back for 100ms\n   2.000s  a  exit code 1\n   \
             2.005s  a  held back for 200ms\n        …  the last 2 lines 3 times more, until 5.005s\n"
        );
    }
}
