//! Stripe's webhooks: HMAC-SHA256 over `t.body` in `Stripe-Signature` (docs.stripe.com/webhooks/signatures).

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::object::{Booked, PaymentIntent, Payout};
use crate::domain::outcome::{Notice, Outcome};
use crate::gateway::signature::{HmacKeys, fresh, single, unix_seconds};
use crate::gateway::{CallbackRefusal, json};

const HEADER: &str = "stripe-signature";

/// docs.stripe.com/api/events/object
#[derive(Deserialize)]
struct Event<T> {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data<T>,
}

#[derive(Deserialize)]
struct Data<T> {
    object: T,
}

pub(super) fn read(
    keys: &HmacKeys,
    customer: Duration,
    headers: &HeaderMap,
    body: &Bytes,
    now: OffsetDateTime,
) -> Result<Notice, CallbackRefusal> {
    let header = single(headers, HEADER)?;
    let part = |wanted: &'static str| {
        header.split(',').filter_map(move |part| part.trim().split_once('=').filter(|(name, _)| *name == wanted))
    };
    let mut times = part("t").map(|(_, value)| value);
    let (Some(signed_at), None) = (times.next(), times.next()) else { return Err(CallbackRefusal::Unsigned(HEADER)) };
    let signatures = part("v1").filter_map(|(_, value)| bytes_of_hex(value));
    if !keys.have_signed(&[signed_at.as_bytes(), b".", body], signatures) {
        return Err(CallbackRefusal::BadSignature);
    }
    fresh(unix_seconds(signed_at, HEADER)?, now)?;
    notice(body, customer)
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| <[u8; 2]>::try_from(pair).ok().map(|[high, low]| high << 4 | low)).collect()
}

/// Read from the text each time, so that what cannot be read is told by its place and never quoted.
fn event<T: DeserializeOwned>(body: &Bytes) -> Result<Event<T>, CallbackRefusal> {
    json::read(body).map_err(|error| CallbackRefusal::Unreadable(error.to_string()))
}

fn notice(body: &Bytes, customer: Duration) -> Result<Notice, CallbackRefusal> {
    let Event { id, kind, data: Data { object } } = event::<Value>(body)?;
    let (attempt, reference, claim) = match object["object"].as_str() {
        Some("payment_intent") => claimed(&event::<PaymentIntent>(body)?.data.object, customer),
        Some("payout") => claimed(&event::<Payout>(body)?.data.object, customer),
        // A charge, a dispute, …: it tells which payment to look at, no more.
        _ => {
            let attempt = object["metadata"]["attempt_id"].as_str().and_then(|id| Uuid::try_parse(id).ok());
            (attempt, object["payment_intent"].as_str().map(str::to_owned), None)
        }
    };
    Ok(Notice { event_id: id, event_type: kind, attempt, reference, claim })
}

fn claimed(object: &impl Booked, customer: Duration) -> (Option<Uuid>, Option<String>, Option<Outcome>) {
    let claim = Some(object.outcome(customer)).filter(|outcome| !matches!(outcome, Outcome::Unknown { .. }));
    (object.attempt(), Some(object.id().to_owned()), claim)
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::*;
    use crate::gateway::fixture::{AT, ATTEMPT, headers, told};

    const SUCCEEDED: &str = include_str!("fixtures/event_payment_succeeded.json");

    fn sign(key: &str, at: OffsetDateTime, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(format!("{}.{body}", at.unix_timestamp()).as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn read_signed(signature: &str, body: &str, now: OffsetDateTime) -> Result<Notice, CallbackRefusal> {
        let keys = HmacKeys::new(["whsec_now", "whsec_next"]);
        let body = Bytes::copy_from_slice(body.as_bytes());
        read(&keys, Duration::minutes(60), &headers(&[(HEADER, signature)]), &body, now)
    }

    fn signed(key: &str, at: OffsetDateTime, body: &str) -> String {
        format!("t={},v1={},v0=00", at.unix_timestamp(), sign(key, at, body))
    }

    #[test]
    fn a_genuine_event_is_read() {
        let cases = [
            (SUCCEEDED, "payment_intent.succeeded", "succeeded pi_3PayfleetFixture0001 12.50 EUR"),
            (
                include_str!("fixtures/event_payment_failed.json"),
                "payment_intent.payment_failed",
                "declined pi_3PayfleetFixture0001 insufficient_funds",
            ),
            (
                include_str!("fixtures/event_payout_paid.json"),
                "payout.paid",
                "succeeded po_1PayfleetFixture0001 12.50 EUR",
            ),
            (
                include_str!("fixtures/event_payout_failed.json"),
                "payout.failed",
                "declined po_1PayfleetFixture0001 account_closed",
            ),
        ];
        for (body, event_type, claim) in cases {
            let notice = read_signed(&signed("whsec_now", AT, body), body, AT).unwrap();
            assert_eq!((notice.event_type.as_str(), notice.attempt), (event_type, Some(ATTEMPT)));
            assert_eq!(notice.claim.as_ref().map(told).as_deref(), Some(claim));
            assert!(notice.event_id.starts_with("evt_1PayfleetFixture"), "{}", notice.event_id);
        }
    }

    #[test]
    fn an_event_about_something_else_is_only_a_doorbell() {
        let body = include_str!("fixtures/event_charge_updated.json");
        let notice = read_signed(&signed("whsec_now", AT, body), body, AT).unwrap();
        assert_eq!((notice.attempt, notice.claim), (Some(ATTEMPT), None));
        assert_eq!(notice.reference.as_deref(), Some("pi_3PayfleetFixture0001"));
    }

    #[test]
    fn both_live_keys_are_taken_and_no_other() {
        assert!(read_signed(&signed("whsec_next", AT, SUCCEEDED), SUCCEEDED, AT).is_ok());
        for key in ["whsec_old", ""] {
            let refused = read_signed(&signed(key, AT, SUCCEEDED), SUCCEEDED, AT).unwrap_err();
            assert_eq!(refused, CallbackRefusal::BadSignature, "{key}");
        }
        let no_key = HmacKeys::new(["", ""]);
        let body = Bytes::from_static(SUCCEEDED.as_bytes());
        let headers = headers(&[(HEADER, &signed("", AT, SUCCEEDED))]);
        assert_eq!(read(&no_key, Duration::HOUR, &headers, &body, AT), Err(CallbackRefusal::BadSignature));
    }

    #[test]
    fn a_forged_or_altered_event_is_refused() {
        let genuine = signed("whsec_now", AT, SUCCEEDED);
        let altered = SUCCEEDED.replace("\"amount_received\": 1250", "\"amount_received\": 9999");
        assert_eq!(read_signed(&genuine, &altered, AT), Err(CallbackRefusal::BadSignature));
        let moved = genuine.replace(&AT.unix_timestamp().to_string(), &(AT.unix_timestamp() + 1).to_string());
        assert_eq!(read_signed(&moved, SUCCEEDED, AT), Err(CallbackRefusal::BadSignature));
        let only_v0 = genuine.replace("v1=", "v2=");
        assert_eq!(read_signed(&only_v0, SUCCEEDED, AT), Err(CallbackRefusal::BadSignature));
    }

    #[test]
    fn a_stale_or_future_event_is_refused() {
        let genuine = signed("whsec_now", AT, SUCCEEDED);
        for (seconds, taken) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let read = read_signed(&genuine, SUCCEEDED, AT + Duration::seconds(seconds));
            assert_eq!(read.is_ok(), taken, "{seconds}");
            assert!(taken || read == Err(CallbackRefusal::Stale { tolerance_s: 300 }));
        }
    }

    #[test]
    fn at_most_five_signatures_are_tried() {
        let genuine = sign("whsec_now", AT, SUCCEEDED);
        let among = |before: usize| {
            let others = format!("v1={},", "0".repeat(64)).repeat(before);
            read_signed(&format!("t={},{others}v1={genuine}", AT.unix_timestamp()), SUCCEEDED, AT)
        };
        assert!(among(4).is_ok());
        assert_eq!(among(5), Err(CallbackRefusal::BadSignature));
    }

    #[test]
    fn a_malformed_header_is_refused() {
        for header in ["", "t", "t=,v1=", "v1=00", "t=1,t=2,v1=00", "nonsense"] {
            let refused = read_signed(header, SUCCEEDED, AT).unwrap_err();
            assert!(matches!(refused, CallbackRefusal::Unsigned(_) | CallbackRefusal::BadSignature), "{header}");
        }
        let body = Bytes::from_static(SUCCEEDED.as_bytes());
        let keys = HmacKeys::new(["whsec_now"]);
        let unsigned = read(&keys, Duration::HOUR, &HeaderMap::new(), &body, AT);
        assert_eq!(unsigned, Err(CallbackRefusal::Unsigned(HEADER)));
        let mut twice = headers(&[(HEADER, &signed("whsec_now", AT, SUCCEEDED))]);
        twice.append(HEADER, "t=1,v1=00".parse().unwrap());
        assert_eq!(read(&keys, Duration::HOUR, &twice, &body, AT), Err(CallbackRefusal::Unsigned(HEADER)));
    }

    #[test]
    fn what_is_genuine_but_unreadable_says_so() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let large = format!("\"{}\"", "x".repeat(300_000));
        let no_status = SUCCEEDED.replace("\"status\"", "\"state\"");
        for body in ["", "{}", "nonsense", &deep, &large, &no_status] {
            let read = read_signed(&signed("whsec_now", AT, body), body, AT);
            assert!(matches!(read, Err(CallbackRefusal::Unreadable(_))), "{:.40}", body);
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_place_and_never_quoted() {
        let canary = "\"DE89370400440532013000\"";
        for (of, field) in [(SUCCEEDED, "\"amount_received\": 1250"), (SUCCEEDED, "\"created\": 1767225600")] {
            let name = field.split_once(' ').unwrap().0;
            let body = of.replace(field, &format!("{name} {canary}"));
            assert_ne!(body, of);
            let Err(CallbackRefusal::Unreadable(why)) = read_signed(&signed("whsec_now", AT, &body), &body, AT) else {
                panic!("it was read");
            };
            assert!(!why.contains("DE89") && why.contains("line "), "{why}");
        }
    }
}
