//! The one table.

use std::fmt;

use serde::Serialize;

use super::Scale;
use super::machine::Machine;
use super::rounds::Rates;

/// A measure against its limit.
#[derive(Clone, Debug)]
pub struct Row {
    /// As in PERFORMANCE: `P1`. Several rows may share it.
    pub name: &'static str,
    pub measure: String,
    pub ours: Rates,
    pub limit: Rates,
    /// What the limit is.
    pub against: String,
    pub unit: &'static str,
    /// The ratio to reach; None: told beside the others.
    pub reach: Option<f64>,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours.median() / self.limit.median()
    }
}

pub struct Table {
    machine: Machine,
    scale: Scale,
    rows: Vec<Row>,
    notes: Vec<(&'static str, String)>,
}

/// What a part of the bench found.
#[derive(Default)]
pub struct Found {
    pub rows: Vec<Row>,
    /// (row's name, what is to be known beside it)
    pub notes: Vec<(&'static str, String)>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    measure: &'a str,
    ours: f64,
    limit: f64,
    against: &'a str,
    unit: &'a str,
    ratio: f64,
    reach: Option<f64>,
    judgement: Option<&'static str>,
    ours_rounds: &'a [f64],
    limit_rounds: &'a [f64],
}

impl Table {
    pub fn new(machine: Machine, scale: Scale) -> Self {
        Self { machine, scale, rows: Vec::new(), notes: Vec::new() }
    }

    pub fn extend(&mut self, found: Found) {
        self.rows.extend(found.rows);
        self.notes.extend(found.notes);
    }

    pub fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.rows.retain(|row| wanted(row.name));
        self.notes.retain(|(name, _)| wanted(name));
    }

    pub fn json(&self) -> String {
        let lines: Vec<Line<'_>> = self
            .rows
            .iter()
            .map(|row| Line {
                name: row.name,
                measure: &row.measure,
                ours: row.ours.median(),
                limit: row.limit.median(),
                against: &row.against,
                unit: row.unit,
                ratio: row.ratio(),
                reach: row.reach,
                judgement: row.reach.map(|reach| self.scale.judgement(row.ratio() >= reach)),
                ours_rounds: &row.ours.0,
                limit_rounds: &row.limit.0,
            })
            .collect();
        let notes: Vec<&str> = self.notes.iter().map(|(_, note)| note.as_str()).collect();
        serde_json::json!({ "machine": self.machine, "rounds": self.scale.rounds, "rows": lines, "notes": notes })
            .to_string()
    }
}

/// 12,345.
fn grouped(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cores, processor, memory_gib, kernel } = &self.machine;
        writeln!(
            f,
            "{cores} cores ({processor}), {memory_gib} GiB, Linux {kernel}; medians of {} alternating rounds\n",
            self.scale.rounds
        )?;
        writeln!(f, "| # | measure | ours | limit | held against | ratio | reach | spread |")?;
        writeln!(f, "|---|---|---:|---:|---|---:|---:|---:|")?;
        for row in &self.rows {
            let reach = row.reach.map_or("–".to_owned(), |reach| {
                format!("≥ {reach:.2}× {}", self.scale.judgement(row.ratio() >= reach))
            });
            let spread = row.ours.spread().max(row.limit.spread()) * 100.0;
            writeln!(
                f,
                "| {} | {} | {} {} | {} {} | {} | {:.2}× | {reach} | ±{spread:.0} % |",
                row.name,
                row.measure,
                grouped(row.ours.median()),
                row.unit,
                grouped(row.limit.median()),
                row.unit,
                row.against,
                row.ratio(),
            )?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        for (name, note) in &self.notes {
            writeln!(f, "- {name}: {note}")?;
        }
        Ok(())
    }
}
