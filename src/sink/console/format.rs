//! Lines with time and unit in front, coloured on a terminal.

use crate::base::text::visible;
use crate::base::time::Wall;
use crate::event::{Envelope, UnitStatus, event_text};

/// The narrowest and the widest column of names.
const WIDTH: (usize, usize) = (8, 24);

/// Colours that can be told apart on dark and light ground: the six that are neither black nor white, and their bright kin.
const COLORS: [u8; 12] = [31, 32, 33, 34, 35, 36, 91, 92, 93, 94, 95, 96];

/// How lines look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    color: bool,
    width: usize,
}

impl Style {
    pub(super) fn new(color: bool, units: &[UnitStatus]) -> Self {
        let longest = units.iter().map(|unit| unit.unit.as_str().len()).max().unwrap_or(0);
        Self { color, width: longest.clamp(WIDTH.0, WIDTH.1) }
    }

    pub(super) fn event(&self, event: &Envelope, out: &mut String) {
        // What is about the daemon as a whole goes by its name.
        let subject = event.event.subject().filter(|subject| !subject.is_empty()).unwrap_or("daemon");
        self.line(event.time, subject, &event_text(&event.event), out);
    }

    /// What the console itself has to say.
    pub(super) fn note(&self, text: &str, out: &mut String) {
        self.line(crate::os::clock::wall(), "daemon", text, out);
    }

    pub(super) fn line(&self, time: Wall, name: &str, text: &str, out: &mut String) {
        let (time, width, text) = (clock_time(time), self.width, visible(text));
        if self.color {
            let color = color_of(name);
            out.push_str(&format!("\x1b[2m{time}\x1b[0m \x1b[{color}m{name:width$} |\x1b[0m {text}\n"));
        } else {
            out.push_str(&format!("{time} {name:width$} | {text}\n"));
        }
    }
}

/// `HH:MM:SS.mmm`, local.
fn clock_time(time: Wall) -> String {
    jiff::Timestamp::from_millisecond(time.0)
        .map_or_else(|_| "??:??:??.???".into(), |stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S.%3f").to_string())
}

/// The same name has the same colour every day.
fn color_of(name: &str) -> u8 {
    let sum = name.bytes().fold(5381_usize, |sum, byte| sum.wrapping_mul(33) ^ usize::from(byte));
    COLORS[sum % COLORS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals() {
        let line = |color| {
            let mut out = String::new();
            Style { color, width: 8 }.line(Wall(0), "web", "hello", &mut out);
            out
        };
        assert!(line(false).ends_with(".000 web      | hello\n") && !line(false).contains('\x1b'), "{}", line(false));
        assert!(line(true).starts_with("\x1b[2m") && line(true).ends_with("\x1b[0m hello\n"), "{}", line(true));
        let mut out = String::new();
        Style { color: false, width: 8 }.line(Wall(0), "web", "a\x1b]52;c;x\x07\r", &mut out);
        assert!(out.ends_with(" | a\u{fffd}]52;c;x\u{fffd}\u{fffd}\n"), "{out:?}");
        assert_eq!(clock_time(Wall(i64::MAX)), "??:??:??.???");
    }
}
