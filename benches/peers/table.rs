//! Medians, side by side.

use std::collections::BTreeMap;
use std::fmt;

/// Every row, in order.
pub(crate) const ROWS: [&str; 10] = ["alone", "among", "up", "killed", "status", "stop", "memory", "idle", "log", "flooded"];

/// Results by row and column.
pub(crate) struct Table {
    columns: Vec<&'static str>,
    results: BTreeMap<(&'static str, &'static str), Vec<f64>>,
}

impl Table {
    pub(crate) const fn new(columns: Vec<&'static str>) -> Self {
        Self { columns, results: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, row: &'static str, column: &'static str, result: f64) {
        self.results.entry((row, column)).or_default().push(result);
    }

    fn cell(&self, row: &'static str, column: &'static str) -> String {
        let Some(results) = self.results.get(&(row, column)) else { return "–".into() };
        let value = median(results);
        let (text, has_ratio) = match row {
            "memory" => (format!("{:.1}", value / f64::from(1 << 20)), true),
            "idle" => return format!("{value:.3}"),
            _ => (milliseconds(value), true),
        };
        match self.results.get(&(row, "reference")) {
            Some(reference) if has_ratio && column != "reference" => format!("{text} ({:.1})", value / median(reference)),
            _ => text,
        }
    }
}

fn milliseconds(nanoseconds: f64) -> String {
    let value = nanoseconds / 1e6;
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:12}", "")?;
        for column in &self.columns {
            write!(out, "{column:>16}")?;
        }
        writeln!(out)?;
        for row in ROWS {
            if !self.results.keys().any(|(known, _)| *known == row) {
                continue;
            }
            let unit = match row {
                "memory" => "MiB",
                "idle" => "%",
                _ => "ms",
            };
            write!(out, "{:12}", format!("{row}, {unit}"))?;
            for column in &self.columns {
                write!(out, "{:>16}", self.cell(row, column))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// The middle one; of two, the larger.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
