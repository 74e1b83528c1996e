//! Medians, side by side.

use std::collections::BTreeMap;
use std::fmt;

use crate::column::Column;
use crate::options::Options;

/// Every row in order, with its unit.
pub(crate) const ROWS: [(&str, &str); 9] = [
    ("one-1k", "1/s"),
    ("one-20k", "1/s"),
    ("all-1k", "1/s"),
    ("all-20k", "1/s"),
    ("start", "ms"),
    ("memory", "bytes"),
    ("stop", "ms"),
    ("call", "ns"),
    ("ref", "ns"),
];

/// Results by row and column.
pub(crate) struct Table {
    columns: Vec<Column>,
    results: BTreeMap<(&'static str, Column), Vec<f64>>,
}

impl Table {
    pub(crate) const fn new(columns: Vec<Column>) -> Self {
        Self { columns, results: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, row: &'static str, column: Column, value: f64) {
        self.results.entry((row, column)).or_default().push(value);
    }

    /// Without the rows that were measured only because they come with others.
    pub(crate) fn only(mut self, options: &Options) -> Self {
        self.results.retain(|(row, _), _| options.wants_row(row));
        self
    }

    fn cell(&self, row: &'static str, column: Column) -> String {
        let Some(value) = self.results.get(&(row, column)).map(|values| median(values)) else { return "–".into() };
        let text = if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") };
        match column.like().and_then(|like| self.results.get(&(row, like))) {
            Some(like) => format!("{text} ({:.2})", value / median(like)),
            None => text,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:14}", "")?;
        for column in &self.columns {
            write!(out, "{:>16}", column.name())?;
        }
        writeln!(out)?;
        for (row, unit) in ROWS {
            if !self.results.keys().any(|(known, _)| *known == row) {
                continue;
            }
            write!(out, "{:14}", format!("{row}, {unit}"))?;
            for column in &self.columns {
                write!(out, "{:>16}", self.cell(row, *column))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// The middle one; of two, the larger.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
