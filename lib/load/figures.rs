//! What a load measured, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

/// Durations that were measured; sorted when they are asked for.
#[derive(Clone, Default, Debug)]
pub struct Durations(Vec<u32>);

impl Durations {
    pub fn push(&mut self, duration: Duration) {
        self.0.push(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub fn quantiles(&self) -> Quantiles {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        // The nearest rank: the smallest value that at least this share of all values does not exceed.
        let at = |per_mille: usize| {
            let rank = (sorted.len() * per_mille).div_ceil(1_000).max(1);
            sorted.get(rank - 1).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
        };
        Quantiles { count: sorted.len(), p50_ms: at(500), p99_ms: at(990), p999_ms: at(999), max_ms: at(1_000) }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    pub count: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

/// Counts while the load runs, and what the clients waited.
#[derive(Clone, Default, Debug)]
pub struct Figures {
    pub meant: u64,
    pub accepted: u64,
    /// Decided against, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Never decided within the patience.
    pub undecided: u64,
    pub resends: u64,
    pub lost: u64,
    /// Of them, those that were never sent, since nobody took the connection.
    pub not_connected: u64,
    /// Undecided answers, by status.
    pub put_off: BTreeMap<u16, u64>,
    /// Of them, those that did not say when to come again.
    pub put_off_vaguely: u64,
    /// From when a payment was meant to be sent to when it was decided, resends included.
    pub decided_after: Durations,
}

/// How the accepted payments ended.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Ends {
    /// By status, as the API last told it.
    pub by_status: BTreeMap<String, u64>,
    /// Not final within the bound.
    pub open: u64,
    pub bound_s: u64,
    /// From the end of sending until the last was final.
    pub waited_ms: u64,
}

/// The whole result.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub figures: Figures,
    pub sent_for: Duration,
    pub ends: Option<Ends>,
    /// From acceptance to the last change, by the fleet's own clock.
    pub settled_after: Durations,
}

impl Outcome {
    pub fn accepted_per_s(&self) -> f64 {
        self.figures.accepted as f64 / self.sent_for.as_secs_f64().max(1e-9)
    }

    /// Whether every payment was decided and, where it was waited for, became final.
    pub fn is_complete(&self) -> bool {
        self.figures.undecided == 0 && self.ends.as_ref().is_none_or(|ends| ends.open == 0)
    }

    pub fn json(&self) -> String {
        let figures = &self.figures;
        serde_json::json!({
            "meant": figures.meant, "accepted": figures.accepted, "refused": figures.refused, "undecided": figures.undecided,
            "resends": figures.resends, "lost": figures.lost, "not_connected": figures.not_connected,
            "put_off": figures.put_off, "put_off_vaguely": figures.put_off_vaguely,
            "sent_for_ms": self.sent_for.as_millis() as u64, "accepted_per_s": self.accepted_per_s(),
            "decided_after": figures.decided_after.quantiles(), "settled_after": self.settled_after.quantiles(),
            "ends": self.ends,
        })
        .to_string()
    }

    pub fn table(&self) -> String {
        let figures = &self.figures;
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            writeln!(text, "{name:<22} {value}").ok();
        };
        row("payments meant", figures.meant.to_string());
        row(
            "accepted",
            format!("{} ({:.0}/s over {:.1} s)", figures.accepted, self.accepted_per_s(), self.sent_for.as_secs_f64()),
        );
        for (status, count) in &figures.refused {
            row(&format!("refused with {status}"), count.to_string());
        }
        if figures.undecided > 0 {
            row("never decided", figures.undecided.to_string());
        }
        row("answers lost", format!("{} ({} found nobody to connect to)", figures.lost, figures.not_connected));
        for (status, count) in &figures.put_off {
            row(&format!("put off with {status}"), count.to_string());
        }
        row("sent again", figures.resends.to_string());
        row("decided after", quantiles(&figures.decided_after));
        if let Some(ends) = &self.ends {
            for (status, count) in &ends.by_status {
                row(status, count.to_string());
            }
            let open = if ends.open == 0 { "all final".to_owned() } else { format!("{} NOT FINAL", ends.open) };
            row(
                "end",
                format!("{open} {:.1} s after sending (bound {} s)", ends.waited_ms as f64 / 1_000.0, ends.bound_s),
            );
            row("settled after", quantiles(&self.settled_after));
        }
        text
    }
}

fn quantiles(durations: &Durations) -> String {
    let Quantiles { p50_ms, p99_ms, p999_ms, max_ms, .. } = durations.quantiles();
    format!("p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, p99.9 {p999_ms:.1} ms, longest {max_ms:.1} ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut durations = Durations::default();
        (1..=1_000).rev().for_each(|ms| durations.push(Duration::from_millis(ms)));
        let Quantiles { p50_ms, p99_ms, p999_ms, max_ms, count } = durations.quantiles();
        assert_eq!((p50_ms, p99_ms, p999_ms, max_ms, count), (500.0, 990.0, 999.0, 1_000.0, 1_000));
        assert_eq!(Durations::default().quantiles().p99_ms, 0.0);
    }
}
