//! Standard output: buffered, and coloured only on a terminal.
#![expect(clippy::disallowed_methods, reason = "whether colours are wanted stands in the environment")]

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write as _};

/// Standard output.
pub(super) struct Output {
    out: BufWriter<Stdout>,
    pub(super) look: Look,
}

/// How text for people looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// With colours.
    pub(super) color: bool,
    /// How many columns there are; none where nobody looks at lines as a whole.
    pub(super) width: Option<usize>,
}

impl Output {
    pub(super) fn new() -> Self {
        let out = io::stdout();
        let look = Look { color: wants_color(out.is_terminal()), width: out.is_terminal().then(columns) };
        Self { out: BufWriter::new(out), look }
    }

    /// Whether somebody looks at it at once.
    pub(super) const fn is_terminal(&self) -> bool {
        self.look.width.is_some()
    }

    /// Writes a line.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")
    }

    /// Writes text as it is.
    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Colours only on a terminal that has them, and never against the reader's wish (<https://no-color.org>).
pub(super) fn wants_color(is_terminal: bool) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn columns() -> usize {
    rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col)).max(40)
}

impl Look {
    /// `text` in the colour of the state `state`.
    pub(super) fn state(self, state: &str, text: &str) -> String {
        let color = match state {
            "active" | "running" => "32",
            "failed" | "degraded" | "ended" => "31",
            "stopped" => "2",
            _ => "33",
        };
        self.paint(color, text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
