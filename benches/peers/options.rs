//! What is to be measured.

use crate::Fault;
use crate::peer;
use crate::survival;
use crate::table::ROWS;

/// What is to be measured.
pub(crate) struct Options {
    pub(crate) units: usize,
    pub(crate) rounds: usize,
    /// How many single restarts are measured in each round.
    pub(crate) restarts: usize,
    /// How long the idle supervisor is watched, in seconds.
    pub(crate) idle: u64,
    /// What is left of a killed supervisor is to be seen, and nothing else.
    pub(crate) survival: bool,
    quick: bool,
    names: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Fault> {
        let mut options = Self { units: 1000, rounds: 3, restarts: 100, idle: 20, survival: false, quick: false, names: Vec::new() };
        while let Some(word) = words.next() {
            let mut number = || -> Result<usize, Fault> { Ok(words.next().ok_or("a number is missing")?.parse()?) };
            match word.as_str() {
                // Said by cargo.
                "--bench" => {}
                "--quick" => (options.quick, options.units, options.rounds, options.idle) = (true, 200, 1, 5),
                "survival" => options.survival = true,
                "--units" => options.units = number()?.max(1),
                "--rounds" => options.rounds = number()?.max(1),
                "--restarts" => options.restarts = number()?.max(1),
                "--idle" => options.idle = number()? as u64,
                name if is_name(name) => options.names.push(word),
                _ => return Err(format!("`{word}` is no option, no supervisor and no row").into()),
            }
        }
        Ok(options)
    }

    /// The reference is always wanted: everything is told as a ratio to it.
    pub(crate) fn wants_peer(&self, name: &str) -> bool {
        let named = |wanted: &String| peer::all().iter().any(|peer| peer.name() == wanted);
        if self.names.iter().any(named) {
            return name == "reference" || self.names.iter().any(|wanted| wanted == name);
        }
        !self.quick || !matches!(name, "s6" | "runit" | "supervisord")
    }

    /// The same for those that are killed: all, or those that are named.
    pub(crate) fn wants_subject(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }

    pub(crate) fn wants_row(&self, row: &str) -> bool {
        let mut rows = self.names.iter().filter(|name| ROWS.contains(&name.as_str())).peekable();
        rows.peek().is_none() || rows.any(|wanted| wanted == row)
    }
}

fn is_name(word: &str) -> bool {
    ROWS.contains(&word) || survival::NAMES.contains(&word) || peer::all().iter().any(|peer| peer.name() == word)
}
