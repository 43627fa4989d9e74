//! What Stripe sees of us, and how a lost payment is found again.

use std::time::Duration;

use payfleet::domain::destination::Destination;
use payfleet::domain::money::Money;
use payfleet::domain::outcome::Outcome;
use payfleet::gateway::Deadline;
use serde_json::{Value, json};

use super::wire::{KEY, Wire, deposit, gateway, is_unknown, patient, withdrawal};

const SUCCEEDED: &str = include_str!("../../gateway/stripe/fixtures/payment_intent_succeeded.json");
const LIST: &str = include_str!("../../gateway/stripe/fixtures/payment_intent_list.json");
const PAID: &str = include_str!("../../gateway/stripe/fixtures/payout_paid.json");

fn succeeded(outcome: &Outcome, reference: &str) -> bool {
    let money = Money::new(1250, "EUR".parse().unwrap());
    *outcome == Outcome::Succeeded { reference: reference.into(), money }
}

#[tokio::test]
async fn a_deposit_carries_its_key_its_version_and_its_names() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    let server = async { wire.accept().await.exchange(200, SUCCEEDED).await };
    let (outcome, request) = tokio::join!(gateway.create(&payment, patient()), server);
    assert!(succeeded(&outcome, "pi_3PayfleetFixture0001"), "{outcome:?}");
    assert_eq!(request.line, "POST /v1/payment_intents HTTP/1.1");
    assert_eq!(request.header("idempotency-key"), Some(KEY));
    assert_eq!(request.header("authorization"), Some("Bearer sk_test_wire"));
    assert_eq!(request.header("stripe-version"), Some("2026-02-25.clover"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.body, include_str!("../../gateway/stripe/fixtures/request_payment_intent.form").trim());
}

#[tokio::test]
async fn a_withdrawal_is_a_payout_to_a_known_account() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = withdrawal(Destination::Token("ba_1PayfleetFixture".into()));
    let server = async { wire.accept().await.exchange(200, PAID).await };
    let (outcome, request) = tokio::join!(gateway.create(&payment, patient()), server);
    assert!(succeeded(&outcome, "po_1PayfleetFixture0001"), "{outcome:?}");
    assert_eq!(request.line, "POST /v1/payouts HTTP/1.1");
    assert_eq!(request.header("idempotency-key"), Some(KEY));
    assert_eq!(request.body, include_str!("../../gateway/stripe/fixtures/request_payout.form").trim());
}

#[tokio::test]
async fn an_account_that_stripe_quotes_does_not_leave_the_gateways() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = withdrawal(Destination::Token("ba_gone".into()));
    let refusal = include_str!("../../gateway/stripe/fixtures/error_no_such_destination.json");
    assert!(refusal.contains("ba_gone"));
    let server = async { wire.accept().await.exchange(400, refusal).await };
    let (outcome, _) = tokio::join!(gateway.create(&payment, patient()), server);
    let (code, message) = ("resource_missing".into(), "No such external account: '[account]'".into());
    assert_eq!(outcome, Outcome::Rejected { code, message });
}

#[tokio::test]
async fn a_payment_that_cannot_be_stripes_never_reaches_the_wire() {
    let wire = Wire::open().await;
    let payment = withdrawal(Destination::Iban("DE89370400440532013000".into()));
    let outcome = gateway(&wire.url(), "stripe").create(&payment, patient()).await;
    assert!(matches!(outcome, Outcome::Rejected { .. }), "{outcome:?}");
    assert!(!wire.is_called_again());
}

#[tokio::test]
async fn a_known_payment_is_asked_for_by_its_id() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let mut payment = deposit();
    payment.reference = Some("pi_3PayfleetFixture0001".into());
    let server = async { wire.accept().await.exchange(200, SUCCEEDED).await };
    let (outcome, request) = tokio::join!(gateway.ask(&payment, patient()), server);
    assert!(succeeded(&outcome, "pi_3PayfleetFixture0001"), "{outcome:?}");
    assert_eq!(request.line, "GET /v1/payment_intents/pi_3PayfleetFixture0001 HTTP/1.1");
    assert_eq!(request.header("idempotency-key"), None);
}

#[tokio::test]
async fn a_reference_is_never_a_path() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    for reference in ["../balance", "pi_1?expand[]=x", "pi 1", ""] {
        let mut payment = deposit();
        payment.reference = Some(reference.into());
        assert!(is_unknown(&gateway.ask(&payment, patient()).await), "{reference}");
    }
    assert!(!wire.is_called_again());
}

/// Pages of other people's payments, each with more to come.
fn busy_pages(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| {
        let mut page: Value = serde_json::from_str(LIST).unwrap();
        page["data"] = json!([page["data"][0]]);
        page["data"][0]["id"] = format!("pi_other{number}").into();
        page["has_more"] = true.into();
        page.to_string()
    })
}

/// Pages of other people's payments, newest first, and then `last`.
async fn pages(wire: &Wire, others: usize, last: Option<&str>) -> Vec<String> {
    let mut peer = wire.accept().await;
    let mut lines = Vec::new();
    for page in busy_pages(others) {
        lines.push(peer.exchange(200, &page).await.line);
    }
    if let Some(last) = last {
        lines.push(peer.exchange(200, last).await.line);
    }
    lines
}

#[tokio::test]
async fn a_lost_payment_is_found_by_its_attempt_in_the_created_window() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    let (outcome, lines) = tokio::join!(gateway.ask(&payment, patient()), pages(&wire, 2, Some(LIST)));
    assert!(succeeded(&outcome, "pi_3PayfleetFixture0001"), "{outcome:?}");
    let window = "/v1/payment_intents?created%5Bgte%5D=1767225300&created%5Blte%5D=1767225905&limit=100";
    let line = |after: &str| format!("GET {window}{after} HTTP/1.1");
    assert_eq!(lines, [line(""), line("&starting_after=pi_other0"), line("&starting_after=pi_other1")]);
}

#[tokio::test]
async fn an_id_that_a_callback_named_is_asked_by_first_and_believed_only_of_our_own_attempt() {
    let foreign = SUCCEEDED.replace("01920000-0000-7000-8000-000000000001", "01920000-0000-7000-8000-000000000002");
    assert_ne!(foreign, SUCCEEDED);
    let mut payment = deposit();
    payment.candidate = Some("pi_named".into());
    for (status, named, asked) in [(200, SUCCEEDED, 1), (200, foreign.as_str(), 2), (404, "{}", 2)] {
        let wire = Wire::open().await;
        let gateway = gateway(&wire.url(), "stripe");
        let server = async {
            let mut peer = wire.accept().await;
            let mut lines = vec![peer.exchange(status, named).await.line];
            if asked == 2 {
                lines.push(peer.exchange(200, LIST).await.line);
            }
            lines
        };
        let (outcome, lines) = tokio::join!(gateway.ask(&payment, patient()), server);
        assert!(succeeded(&outcome, "pi_3PayfleetFixture0001"), "{outcome:?}");
        assert_eq!(lines[0], "GET /v1/payment_intents/pi_named HTTP/1.1");
        assert_eq!(lines.len(), asked);
    }
}

#[tokio::test]
async fn not_found_needs_the_whole_window() {
    let empty = include_str!("../../gateway/stripe/fixtures/list_empty.json");
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    let (outcome, _) = tokio::join!(gateway.ask(&payment, patient()), pages(&wire, 3, Some(empty)));
    assert_eq!(outcome, Outcome::NotFound);
}

#[tokio::test]
async fn in_a_window_with_too_many_payments_only_sending_again_can_tell() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    let (outcome, lines) = tokio::join!(gateway.ask(&payment, patient()), pages(&wire, 40, None));
    assert_eq!(outcome, Outcome::Unseen);
    assert_eq!(lines.len(), 40);
}

#[tokio::test]
async fn in_a_window_that_takes_longer_than_a_question_may_only_sending_again_can_tell() {
    for (others, outcome) in [(1, "unseen"), (0, "unknown")] {
        let wire = Wire::open().await;
        let gateway = gateway(&wire.url(), "stripe");
        let payment = deposit();
        let server = async {
            let mut peer = wire.accept().await;
            for page in busy_pages(others) {
                peer.exchange(200, &page).await;
            }
            peer.request().await.expect("a request");
            peer
        };
        let (asked, _peer) = tokio::join!(gateway.ask(&payment, Deadline::after(Duration::from_secs(1))), server);
        assert_eq!(asked.name(), outcome, "after {others} pages");
    }
}

#[tokio::test]
async fn a_page_that_fails_proves_nothing() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    let server = async {
        let mut peer = wire.accept().await;
        let mut page: Value = serde_json::from_str(LIST).unwrap();
        page["data"] = json!([page["data"][0]]);
        page["has_more"] = true.into();
        peer.exchange(200, &page.to_string()).await;
        peer.exchange(500, "{}").await;
    };
    let (outcome, ()) = tokio::join!(gateway.ask(&payment, patient()), server);
    assert!(is_unknown(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn stripe_has_nothing_to_capture() {
    let wire = Wire::open().await;
    assert!(is_unknown(&gateway(&wire.url(), "stripe").capture(&deposit(), patient()).await));
    assert!(!wire.is_called_again());
}
