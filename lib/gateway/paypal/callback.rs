//! PayPal's webhooks: RSA-SHA256 over `transmission id|time|webhook id|CRC-32 of the body`
//! (developer.paypal.com/api/rest/webhooks/rest, "Verify webhook signature").
//!
//! The certificate is configured; the URL that a request names is never fetched. Anybody can make another body with the same CRC-32, so an
//! event is a doorbell only: it says which payment to ask about, and claims nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;
use webpki::EndEntityCert;
use webpki::ring::RSA_PKCS1_2048_8192_SHA256;

use crate::domain::ids::Operation;
use crate::domain::outcome::Notice;
use crate::gateway::signature::{fresh, single};
use crate::gateway::{CallbackRefusal, json};

const ID: &str = "paypal-transmission-id";
const TIME: &str = "paypal-transmission-time";
const SIGNATURE: &str = "paypal-transmission-sig";
const ALGORITHM: &str = "paypal-auth-algo";

#[derive(Debug, thiserror::Error)]
#[error("holds no readable RSA certificate in PEM")]
pub(super) struct BadCertificate;

/// The certificates that events may be signed with now. They are pinned: no chain, no dates, whoever configures them vouches for them.
pub(super) struct Certificates(Vec<CertificateDer<'static>>);

impl Certificates {
    /// Empty texts are none.
    pub(super) fn new(pems: [&str; 2]) -> Result<Self, BadCertificate> {
        let given = pems.into_iter().filter(|pem| !pem.trim().is_empty());
        let certificates = given.map(|pem| {
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadCertificate)?;
            EndEntityCert::try_from(&der).map_err(|_| BadCertificate)?;
            Ok(der)
        });
        certificates.collect::<Result<_, _>>().map(Self)
    }

    fn have_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0
            .iter()
            .filter_map(|der| EndEntityCert::try_from(der).ok())
            .any(|certificate| certificate.verify_signature(RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok())
    }
}

/// developer.paypal.com/docs/api/webhooks/v1: the event that is posted.
#[derive(Deserialize)]
struct Event {
    id: String,
    event_type: String,
    resource: Value,
}

pub(super) fn read(
    certificates: &Certificates,
    webhook_id: &str,
    headers: &HeaderMap,
    body: &Bytes,
    now: OffsetDateTime,
) -> Result<Notice, CallbackRefusal> {
    if !single(headers, ALGORITHM)?.eq_ignore_ascii_case("SHA256withRSA") {
        return Err(CallbackRefusal::Unsigned(ALGORITHM));
    }
    let (id, time) = (single(headers, ID)?, single(headers, TIME)?);
    let signature = STANDARD.decode(single(headers, SIGNATURE)?).map_err(|_| CallbackRefusal::Unsigned(SIGNATURE))?;
    let message = format!("{id}|{time}|{webhook_id}|{}", crc32fast::hash(body));
    if !certificates.have_signed(message.as_bytes(), &signature) {
        return Err(CallbackRefusal::BadSignature);
    }
    fresh(OffsetDateTime::parse(time, &Rfc3339).map_err(|_| CallbackRefusal::Unsigned(TIME))?, now)?;
    let event: Event = json::read(body).map_err(|error| CallbackRefusal::Unreadable(error.to_string()))?;
    Ok(notice(event))
}

/// Which payment an event is about: orders and captures name the attempt in `custom_id`, payouts in the key that we gave them.
fn notice(event: Event) -> Notice {
    let resource = &event.resource;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let by_key = |value: &Value| value.as_str().and_then(Operation::of_key).map(|(attempt, _)| attempt);
    let by_id = |value: &Value| value.as_str().and_then(|id| Uuid::try_parse(id).ok());
    let header = &resource["batch_header"];
    let attempt = by_id(&resource["custom_id"])
        .or_else(|| by_id(&resource["purchase_units"][0]["custom_id"]))
        .or_else(|| by_key(&resource["payout_item"]["sender_item_id"]))
        .or_else(|| by_key(&header["sender_batch_header"]["sender_batch_id"]));
    let order = if resource["purchase_units"].is_array() { text(&resource["id"]) } else { None };
    let reference = order
        .or_else(|| text(&resource["supplementary_data"]["related_ids"]["order_id"]))
        .or_else(|| text(&resource["payout_batch_id"]))
        .or_else(|| text(&header["payout_batch_id"]));
    Notice { event_id: event.id, event_type: event.event_type, attempt, reference, claim: None }
}
