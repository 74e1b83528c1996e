//! What is to be measured.

use crate::Fault;
use crate::column::{Column, Job};
use crate::table::ROWS;

/// What is to be measured.
pub(crate) struct Options {
    pub(crate) children: usize,
    pub(crate) rounds: usize,
    /// Worker threads, and Erlang's schedulers.
    pub(crate) threads: usize,
    names: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Fault> {
        let threads = std::thread::available_parallelism()?.get();
        let mut options = Self { children: 100_000, rounds: 3, threads, names: Vec::new() };
        while let Some(word) = words.next() {
            let mut number = || -> Result<usize, Fault> { Ok(words.next().ok_or("a number is missing")?.parse::<usize>()?.max(1)) };
            match word.as_str() {
                // Said by cargo.
                "--bench" => {}
                "--quick" => (options.children, options.rounds) = (10_000, 1),
                "--children" => options.children = number()?,
                "--rounds" => options.rounds = number()?,
                "--threads" => options.threads = number()?,
                name if is_row(name) || Column::named(name).is_some() => options.names.push(word),
                _ => return Err(format!("`{word}` is no option, no column and no row").into()),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants_column(&self, name: &str) -> bool {
        let mut columns = self.names.iter().filter(|name| !is_row(name)).peekable();
        columns.peek().is_none() || columns.any(|wanted| wanted == name)
    }

    pub(crate) fn wants_row(&self, row: &str) -> bool {
        let mut rows = self.names.iter().filter(|name| is_row(name)).peekable();
        rows.peek().is_none() || rows.any(|wanted| wanted == row)
    }

    pub(crate) fn wants_any(&self, job: &Job) -> bool {
        job.rows().iter().any(|row| self.wants_row(row))
    }
}

fn is_row(word: &str) -> bool {
    ROWS.iter().any(|(row, _)| *row == word)
}
