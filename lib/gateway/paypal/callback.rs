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

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
    use time::Duration;

    use super::*;
    use crate::gateway::fixture::{AT, ATTEMPT, headers};

    const WEBHOOK: &str = "1JE4291016473214C";
    const APPROVED: &str = include_str!("fixtures/event_order_approved.json");
    const CERTIFICATE: &str = include_str!("fixtures/certificate.pem");
    const OTHER_CERTIFICATE: &str = include_str!("fixtures/other_certificate.pem");
    const KEY: &[u8] = include_bytes!("fixtures/key.pk8");
    const OTHER_KEY: &[u8] = include_bytes!("fixtures/other_key.pk8");

    fn sign(key: &[u8], webhook: &str, body: &str) -> HeaderMap {
        let pair = RsaKeyPair::from_pkcs8(key).unwrap();
        let time = AT.format(&Rfc3339).unwrap();
        let message = format!("b2f1-id|{time}|{webhook}|{}", crc32fast::hash(body.as_bytes()));
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        headers(&[
            (ID, "b2f1-id"),
            (TIME, &time),
            (SIGNATURE, &STANDARD.encode(signature)),
            (ALGORITHM, "SHA256withRSA"),
            ("paypal-cert-url", "http://169.254.169.254/never-fetched"),
        ])
    }

    fn read_with(
        pems: [&str; 2],
        headers: &HeaderMap,
        body: &str,
        now: OffsetDateTime,
    ) -> Result<Notice, CallbackRefusal> {
        let certificates = Certificates::new(pems).unwrap();
        read(&certificates, WEBHOOK, headers, &Bytes::copy_from_slice(body.as_bytes()), now)
    }

    fn read_signed(headers: &HeaderMap, body: &str) -> Result<Notice, CallbackRefusal> {
        read_with([CERTIFICATE, ""], headers, body, AT)
    }

    #[test]
    fn a_genuine_event_names_its_payment_and_claims_nothing() {
        let order = Some("5O190127TN364715T");
        let batch = Some("5UXD2E8A7EBQJ");
        let cases = [
            (APPROVED, "CHECKOUT.ORDER.APPROVED", order),
            (include_str!("fixtures/event_capture_completed.json"), "PAYMENT.CAPTURE.COMPLETED", order),
            (include_str!("fixtures/event_payout_item_succeeded.json"), "PAYMENT.PAYOUTS-ITEM.SUCCEEDED", batch),
            (include_str!("fixtures/event_payout_batch_denied.json"), "PAYMENT.PAYOUTSBATCH.DENIED", batch),
        ];
        for (body, event_type, reference) in cases {
            let notice = read_signed(&sign(KEY, WEBHOOK, body), body).unwrap();
            assert_eq!((notice.event_type.as_str(), notice.attempt), (event_type, Some(ATTEMPT)));
            assert_eq!((notice.reference.as_deref(), notice.claim), (reference, None));
            assert!(notice.event_id.starts_with("WH-2WR32451HC0233532-"));
        }
    }

    #[test]
    fn both_live_certificates_are_taken_and_no_other() {
        let both = [CERTIFICATE, OTHER_CERTIFICATE];
        assert!(read_with(both, &sign(OTHER_KEY, WEBHOOK, APPROVED), APPROVED, AT).is_ok());
        let by_other = read_signed(&sign(OTHER_KEY, WEBHOOK, APPROVED), APPROVED);
        assert_eq!(by_other, Err(CallbackRefusal::BadSignature));
        let none = read_with(["", " "], &sign(KEY, WEBHOOK, APPROVED), APPROVED, AT);
        assert_eq!(none, Err(CallbackRefusal::BadSignature));
        assert!(Certificates::new(["nonsense", ""]).is_err());
    }

    #[test]
    fn a_forged_or_altered_event_is_refused() {
        let genuine = sign(KEY, WEBHOOK, APPROVED);
        let altered = APPROVED.replace("12.50", "99.50");
        assert_eq!(read_signed(&genuine, &altered), Err(CallbackRefusal::BadSignature));
        let of_another_webhook = sign(KEY, "another", APPROVED);
        assert_eq!(read_signed(&of_another_webhook, APPROVED), Err(CallbackRefusal::BadSignature));
        for (header, value) in [(ID, "another"), (TIME, "2026-01-01T00:00:01Z"), (SIGNATURE, "AAAA")] {
            let mut changed = genuine.clone();
            changed.insert(header, value.parse().unwrap());
            assert_eq!(read_signed(&changed, APPROVED), Err(CallbackRefusal::BadSignature), "{header}");
        }
    }

    #[test]
    fn a_stale_or_future_event_is_refused() {
        let genuine = sign(KEY, WEBHOOK, APPROVED);
        for (seconds, taken) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let read = read_with([CERTIFICATE, ""], &genuine, APPROVED, AT + Duration::seconds(seconds));
            assert_eq!(read.is_ok(), taken, "{seconds}");
            assert!(taken || read == Err(CallbackRefusal::Stale { tolerance_s: 300 }));
        }
    }

    #[test]
    fn missing_or_malformed_headers_are_refused() {
        let genuine = sign(KEY, WEBHOOK, APPROVED);
        for header in [ID, TIME, SIGNATURE, ALGORITHM] {
            let mut without = genuine.clone();
            without.remove(header);
            assert_eq!(read_signed(&without, APPROVED), Err(CallbackRefusal::Unsigned(header)));
        }
        for (header, value) in [(SIGNATURE, "not base64!"), (ALGORITHM, "SHA1withRSA")] {
            let mut changed = genuine.clone();
            changed.insert(header, value.parse().unwrap());
            assert_eq!(read_signed(&changed, APPROVED), Err(CallbackRefusal::Unsigned(header)));
        }
    }

    #[test]
    fn what_is_genuine_but_unreadable_says_so() {
        let large = format!("\"{}\"", "x".repeat(300_000));
        let deep = "[".repeat(1_000);
        for body in ["", "{}", "nonsense", &large, &deep] {
            let read = read_signed(&sign(KEY, WEBHOOK, body), body);
            assert!(matches!(read, Err(CallbackRefusal::Unreadable(_))), "{:.40}", body);
        }
    }
}
