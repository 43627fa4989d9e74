//! The bank's callbacks: a bare pain.002 or pain.014, signed as Standard Webhooks over its raw bytes
//! (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md: HMAC-SHA256 over `id.timestamp.body`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use time::OffsetDateTime;

use super::report::Report;
use crate::domain::ids::Operation;
use crate::domain::outcome::{Notice, Outcome};
use crate::gateway::CallbackRefusal;
use crate::gateway::signature::{HmacKeys, fresh, single, unix_seconds};
use crate::gateway::xml::Element;

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// The spec wants between 24 and 64 bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

#[derive(Debug, thiserror::Error)]
#[error("is not whsec_ and 24 to 64 bytes in base64")]
pub(super) struct BadKey;

/// The bytes of `whsec_…`. An empty text is no key.
pub(super) fn key(secret: &str) -> Result<Vec<u8>, BadKey> {
    if secret.is_empty() {
        return Ok(Vec::new());
    }
    let text = secret.strip_prefix("whsec_").ok_or(BadKey)?;
    STANDARD.decode(text).ok().filter(|key| KEY_BYTES.contains(&key.len())).ok_or(BadKey)
}

pub(super) fn read(
    keys: &HmacKeys,
    headers: &HeaderMap,
    body: &Bytes,
    now: OffsetDateTime,
) -> Result<Notice, CallbackRefusal> {
    let (id, timestamp) = (single(headers, ID)?, single(headers, TIMESTAMP)?);
    let signatures = single(headers, SIGNATURE)?
        .split(' ')
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|signature| STANDARD.decode(signature).ok());
    if id.is_empty() || id.contains('.') {
        return Err(CallbackRefusal::Unsigned(ID));
    }
    if !keys.have_signed(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body], signatures) {
        return Err(CallbackRefusal::BadSignature);
    }
    fresh(unix_seconds(timestamp, TIMESTAMP)?, now)?;
    let document = Element::parse(body).map_err(|error| CallbackRefusal::Unreadable(error.to_string()))?;
    let report = Report::of(&document)
        .ok_or_else(|| CallbackRefusal::Unreadable("not a status report about one payment".into()))?;
    Ok(notice(id, &report))
}

fn notice(id: &str, report: &Report) -> Notice {
    let attempt = report.attempt();
    let claim = attempt.map(|attempt| report.outcome(&Operation::Create.key(attempt)));
    Notice {
        event_id: id.to_owned(),
        event_type: report.definition.clone(),
        attempt,
        reference: Some(report.reference()),
        // "Never received" answers a question; unasked it claims nothing.
        claim: claim.filter(|outcome| !matches!(outcome, Outcome::Unknown { .. } | Outcome::NotFound)),
    }
}
