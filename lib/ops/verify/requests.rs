//! I6, and the replays of I17: what a load's clients saw, against the books.
//!
//! The log is read before the books: what it says was accepted must then be there.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::invariant::Invariant;
use super::report::Finding;
use crate::domain::ids::{Kind, PublicId};
use crate::ops::load_log::{Event, Line, is_undecided};

/// One payment as its client saw it.
#[derive(Default, Debug)]
struct Seen {
    meant: Option<(Kind, i64, String)>,
    /// (payment, hash of the body) of each 202.
    accepted: HashSet<(Option<String>, String)>,
    /// An answer that decided against it.
    refused: Option<u16>,
}

#[derive(Debug)]
struct Row {
    id: Uuid,
    kind: Option<Kind>,
    amount: Option<i64>,
    currency: Option<String>,
    reply_hash: String,
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// I6; replays that differ are violations of `replies` (I17).
pub async fn judge(books: &mut PgConnection, log: Vec<Line>, replies: &mut Finding) -> Result<Finding, sqlx::Error> {
    let mut seen: HashMap<String, Seen> = HashMap::new();
    for Line { key, event, .. } in log {
        let request = seen.entry(key).or_default();
        match event {
            Event::Intent { kind, amount, currency } => request.meant = Some((kind, amount, currency)),
            Event::Answer { status: 200..=299, sha256, transaction } => {
                request.accepted.insert((transaction, sha256));
            }
            Event::Answer { status, .. } if is_undecided(status) => {}
            Event::Answer { status, .. } => request.refused = Some(status),
            Event::Lost { .. } => {}
        }
    }
    let mut rows: HashMap<String, Vec<Row>> = HashMap::new();
    let keys: Vec<String> = seen.keys().cloned().collect();
    let mut found = sqlx::query_file!("lib/ops/sql/requests.sql", &keys).fetch(books);
    while let Some(row) = found.try_next().await? {
        rows.entry(row.key).or_default().push(Row {
            id: row.transaction_id,
            kind: row.kind.and_then(|kind| kind.parse().ok()),
            amount: row.amount,
            currency: row.currency,
            reply_hash: hexadecimal(&row.reply_hash),
        });
    }
    let mut finding = Finding { checked: seen.len() as u64, ..Finding::new(Invariant::I6) };
    for (key, request) in &seen {
        let made = rows.get(key).map_or(&[][..], Vec::as_slice);
        if let Some(wrong) = differs(request, made) {
            finding.violation(|| format!("key {key}: {wrong}"));
        }
        if let Some(wrong) = replays_differ(request, made) {
            replies.violation(|| format!("key {key}: {wrong}"));
        }
    }
    Ok(finding)
}

fn differs(request: &Seen, made: &[Row]) -> Option<String> {
    match (request.accepted.is_empty(), request.refused, made) {
        (_, _, [_, _, ..]) => Some(format!("made {} payments", made.len())),
        (false, _, []) => Some("was accepted, and there is no payment".to_owned()),
        (true, Some(status), [row]) => Some(format!("was refused with {status}, and there is payment {}", row.id)),
        (_, _, [row]) => {
            let stands = (row.kind, row.amount, row.currency.as_deref());
            let meant = request
                .meant
                .as_ref()
                .map(|(kind, amount, currency)| (Some(*kind), Some(*amount), Some(currency.as_str())));
            let named = row.kind.map(|kind| PublicId { kind, id: row.id }.to_string());
            let stranger = request.accepted.iter().find(|(answered, _)| *answered != named);
            match (meant, stranger) {
                (Some(meant), _) if meant != stands => {
                    Some(format!("meant {meant:?}, and payment {} is {stands:?}", row.id))
                }
                (_, Some((answered, _))) => Some(format!("was answered with {answered:?}, and made {named:?}")),
                _ => None,
            }
        }
        (true, _, []) => None,
    }
}

fn replays_differ(request: &Seen, made: &[Row]) -> Option<String> {
    let row = made.first()?;
    if let (false, Some(status)) = (request.accepted.is_empty(), request.refused) {
        return Some(format!("was accepted as payment {}, and refused with {status} as well", row.id));
    }
    let differing = request.accepted.iter().filter(|(_, hash)| *hash != row.reply_hash).count();
    (differing > 0).then(|| format!("{differing} answers differ from the one that is stored with payment {}", row.id))
}
