//! What a load's clients saw: the lines of its own log.
//!
//! One JSON object a line. A request is written down before it is sent for the first time, so that one whose answer was lost is
//! known to have been meant; the checker holds this against the books (I6, I17).

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::domain::ids::{Kind, PublicId};

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The Idempotency-Key: one per payment that is meant, the same on every resend.
    pub key: String,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// Meant, and about to be sent.
    Intent { kind: Kind, amount: i64, currency: String },
    Answer {
        status: u16,
        /// Of the body, in hexadecimal.
        sha256: String,
        /// The payment that the answer names.
        transaction: Option<String>,
    },
    /// No answer: the request may or may not have been carried out.
    Lost { why: String },
}

/// Statuses after which the same key is sent again: nothing was decided.
pub fn is_undecided(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..=599)
}

/// The id out of an answer's text.
pub fn transaction_of(text: &str) -> Option<PublicId> {
    text.parse().ok()
}

#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the load's log cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("line {line} of the load's log cannot be understood: {why}")]
    Line { line: usize, why: serde_json::Error },
}

/// All whole lines; one cut off by a crash of the load itself is the last.
pub fn read(path: &Path) -> Result<Vec<Line>, Unreadable> {
    let mut file = BufReader::new(std::fs::File::open(path)?);
    let mut lines = Vec::new();
    let mut text = Vec::new();
    loop {
        text.clear();
        if file.read_until(b'\n', &mut text)? == 0 || text.last() != Some(&b'\n') {
            return Ok(lines);
        }
        let line = serde_json::from_slice(&text);
        lines.push(line.map_err(|why| Unreadable::Line { line: lines.len() + 1, why })?);
    }
}
