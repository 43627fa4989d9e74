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

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;
    use time::Duration;

    use super::*;
    use crate::gateway::fixture::{AT, ATTEMPT, WHSEC, headers, told};

    const SETTLED: &str = include_str!("fixtures/callback_pain002_settled.xml");
    const NEXT_KEY: &str = "whsec_Zm9ydHktdHdvIGJ5dGVzIG9mIHRoZSBuZXh0IGtleSEhISEhISE=";
    const OLD_KEY: &str = "whsec_Zm9ydHktdHdvIGJ5dGVzIG9mIHRoZSBvdGhlciBrZXkhISEhISE=";

    /// Signed by the reference implementation, not by ours.
    fn sign(key: &str, body: &str) -> String {
        Webhook::new(key).unwrap().sign("msg_1", AT.unix_timestamp(), body.as_bytes()).unwrap()
    }

    fn signed(signature: &str) -> HeaderMap {
        headers(&[(ID, "msg_1"), (TIMESTAMP, &AT.unix_timestamp().to_string()), (SIGNATURE, signature)])
    }

    fn read_at(headers: &HeaderMap, body: &str, now: OffsetDateTime) -> Result<Notice, CallbackRefusal> {
        let keys = HmacKeys::new([key(WHSEC).unwrap(), key(NEXT_KEY).unwrap()]);
        read(&keys, headers, &Bytes::copy_from_slice(body.as_bytes()), now)
    }

    fn read_signed(signature: &str, body: &str) -> Result<Notice, CallbackRefusal> {
        read_at(&signed(signature), body, AT)
    }

    #[test]
    fn a_genuine_report_is_read() {
        let cases = [
            (SETTLED, "pain.002", "succeeded BANKREF0001 12.50 EUR"),
            (include_str!("fixtures/callback_pain002_rejected.xml"), "pain.002", "declined BANKREF0001 AC04"),
            (include_str!("fixtures/callback_pain014_settled.xml"), "pain.014", "succeeded BANKREF0001 12.50 EUR"),
        ];
        for (body, event_type, claim) in cases {
            let notice = read_signed(&sign(WHSEC, body), body).unwrap();
            assert_eq!((notice.event_id.as_str(), notice.event_type.as_str()), ("msg_1", event_type));
            assert_eq!((notice.attempt, notice.reference.as_deref()), (Some(ATTEMPT), Some("BANKREF0001")));
            assert_eq!(notice.claim.as_ref().map(told).as_deref(), Some(claim));
        }
    }

    #[test]
    fn a_report_that_settles_nothing_is_only_a_doorbell() {
        for body in [SETTLED.replace("ACSC", "XXXX"), SETTLED.replace("12.50", ""), SETTLED.replace("ACSC", "")] {
            let notice = read_signed(&sign(WHSEC, &body), &body).unwrap();
            assert_eq!((notice.attempt, notice.claim), (Some(ATTEMPT), None));
        }
        let foreign = SETTLED.replace("01920000000070008000000000000001c", "SOMEBODY-ELSES");
        let notice = read_signed(&sign(WHSEC, &foreign), &foreign).unwrap();
        assert_eq!((notice.attempt, notice.claim), (None, None));
    }

    #[test]
    fn both_live_keys_are_taken_and_no_other() {
        assert!(read_signed(&sign(NEXT_KEY, SETTLED), SETTLED).is_ok());
        assert_eq!(read_signed(&sign(OLD_KEY, SETTLED), SETTLED), Err(CallbackRefusal::BadSignature));
        let several = format!("{} {}", sign(OLD_KEY, SETTLED), sign(WHSEC, SETTLED));
        assert!(read_signed(&several, SETTLED).is_ok());
    }

    #[test]
    fn at_most_five_signatures_are_tried() {
        let others = |count: usize| format!("{} ", sign(OLD_KEY, SETTLED)).repeat(count);
        let genuine = sign(WHSEC, SETTLED);
        assert!(read_signed(&format!("{}{genuine}", others(4)), SETTLED).is_ok());
        assert_eq!(read_signed(&format!("{}{genuine}", others(5)), SETTLED), Err(CallbackRefusal::BadSignature));
    }

    #[test]
    fn a_forged_or_altered_report_is_refused() {
        let genuine = signed(&sign(WHSEC, SETTLED));
        let altered = SETTLED.replace("12.50", "99.50");
        assert_eq!(read_at(&genuine, &altered, AT), Err(CallbackRefusal::BadSignature));
        for (header, value) in
            [(ID, "msg_2"), (TIMESTAMP, "1767225601"), (SIGNATURE, "v1,AAAA"), (SIGNATURE, "v1a,AAAA")]
        {
            let mut changed = genuine.clone();
            changed.insert(header, value.parse().unwrap());
            assert_eq!(read_at(&changed, SETTLED, AT), Err(CallbackRefusal::BadSignature), "{header} {value}");
        }
    }

    #[test]
    fn a_stale_or_future_report_is_refused() {
        let genuine = signed(&sign(WHSEC, SETTLED));
        for (seconds, taken) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let read = read_at(&genuine, SETTLED, AT + Duration::seconds(seconds));
            assert_eq!(read.is_ok(), taken, "{seconds}");
            assert!(taken || read == Err(CallbackRefusal::Stale { tolerance_s: 300 }));
        }
    }

    #[test]
    fn missing_or_malformed_headers_are_refused() {
        let genuine = signed(&sign(WHSEC, SETTLED));
        for header in [ID, TIMESTAMP, SIGNATURE] {
            let mut without = genuine.clone();
            without.remove(header);
            assert_eq!(read_at(&without, SETTLED, AT), Err(CallbackRefusal::Unsigned(header)));
        }
        // A dot would let the id and the timestamp trade places under the same signature.
        let mut dotted = genuine;
        dotted.insert(ID, "msg_1.2".parse().unwrap());
        assert_eq!(read_at(&dotted, SETTLED, AT), Err(CallbackRefusal::Unsigned(ID)));
    }

    #[test]
    fn what_is_genuine_but_unreadable_says_so() {
        let deep = "<a>".repeat(100);
        let large = format!("<a>{}</a>", "x".repeat(300_000));
        let bomb = format!("<!DOCTYPE a [<!ENTITY b 'b'>]>{SETTLED}");
        for body in ["", "<Document/>", "nonsense", &deep, &large, &bomb] {
            let read = read_signed(&sign(WHSEC, body), body);
            assert!(matches!(read, Err(CallbackRefusal::Unreadable(_))), "{:.40}", body);
        }
    }

    /// The body is verified as the bytes that came, whether they are text or not.
    #[test]
    fn bytes_that_are_not_text_are_verified_as_bytes() {
        use hmac::{Hmac, KeyInit, Mac};
        let body = Bytes::from_static(b"\xff\xfe");
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key(WHSEC).unwrap()).unwrap();
        mac.update(format!("msg_1.{}.", AT.unix_timestamp()).as_bytes());
        mac.update(&body);
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let keys = HmacKeys::new([key(WHSEC).unwrap()]);
        let read = read(&keys, &signed(&signature), &body, AT);
        assert!(matches!(read, Err(CallbackRefusal::Unreadable(_))), "{read:?}");
    }

    #[test]
    fn a_weak_or_malformed_key_is_refused_when_it_is_set() {
        assert_eq!(key("").unwrap(), b"");
        for secret in ["plain", "whsec_", "whsec_AAAA", "whsec_!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(key(secret).is_err(), "{secret}");
        }
    }
}
