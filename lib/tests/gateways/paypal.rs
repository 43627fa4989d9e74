//! What PayPal sees of us: tokens, orders, captures, payouts.

use payfleet::domain::destination::Destination;
use payfleet::domain::money::Money;
use payfleet::domain::outcome::Outcome;
use payfleet::gateway::Payment;
use serde_json::Value;

use super::wire::{
    CAPTURE_KEY, KEY, Peer, Request, Wire, deposit, gateway, is_unknown, is_unreachable, patient, withdrawal,
};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../gateway/paypal/fixtures/", $name, ".json"))
    };
}

const TOKEN: &str = fixture!("token");
const ORDER: &str = "5O190127TN364715T";

fn payout() -> Payment {
    withdrawal(Destination::Email("payee@example.com".into()))
}

fn known(payment: Payment, reference: &str) -> Payment {
    Payment { reference: Some(reference.into()), ..payment }
}

fn succeeded(reference: &str) -> Outcome {
    Outcome::Succeeded { reference: reference.into(), money: Money::new(1250, "EUR".parse().unwrap()) }
}

/// Gives a token, then these answers; returns the requests after the token's.
async fn serve(wire: &Wire, answers: &[(u16, &str)]) -> Vec<Request> {
    let mut peer: Peer = wire.accept().await;
    let asked = peer.exchange(200, TOKEN).await;
    assert_eq!(asked.line, "POST /v1/oauth2/token HTTP/1.1");
    assert_eq!(asked.header("authorization"), Some("Basic Y2xpZW50OnNlY3JldA=="));
    assert_eq!(asked.body, "grant_type=client_credentials");
    let mut requests = Vec::new();
    for (status, body) in answers {
        requests.push(peer.exchange(*status, body).await);
    }
    requests
}

#[tokio::test]
async fn a_deposit_is_an_order_under_its_key() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    let payment = deposit();
    let answers = [(200, fixture!("order_payer_action"))];
    let (outcome, requests) = tokio::join!(gateway.create(&payment, patient()), serve(&wire, &answers));
    assert!(matches!(outcome, Outcome::NeedsCustomer { .. }), "{outcome:?}");
    let request = &requests[0];
    assert_eq!(request.line, "POST /v2/checkout/orders HTTP/1.1");
    assert_eq!(request.header("paypal-request-id"), Some(KEY));
    assert_eq!(request.header("authorization"), Some("Bearer A21AAFixtureToken"));
    assert_eq!(request.header("prefer"), Some("return=representation"));
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parsed(&request.body), parsed(fixture!("request_order")));
}

#[tokio::test]
async fn an_approved_order_is_captured_under_a_key_of_its_own() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    let payment = known(deposit(), ORDER);
    let answers = [(201, fixture!("order_completed"))];
    let (outcome, requests) = tokio::join!(gateway.capture(&payment, patient()), serve(&wire, &answers));
    assert_eq!(outcome, succeeded(ORDER));
    assert_eq!(requests[0].line, format!("POST /v2/checkout/orders/{ORDER}/capture HTTP/1.1"));
    assert_eq!(requests[0].header("paypal-request-id"), Some(CAPTURE_KEY));
    assert_eq!(requests[0].body, "{}");
}

#[tokio::test]
async fn an_order_captured_before_is_looked_at() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    let payment = known(deposit(), ORDER);
    let answers = [(422, fixture!("error_already_captured")), (200, fixture!("order_completed"))];
    let (outcome, requests) = tokio::join!(gateway.capture(&payment, patient()), serve(&wire, &answers));
    assert_eq!(outcome, succeeded(ORDER));
    assert_eq!(requests[1].line, format!("GET /v2/checkout/orders/{ORDER} HTTP/1.1"));
    assert_eq!(requests[1].header("paypal-request-id"), None);
}

/// The look comes after a request that did leave: failing, it must not read as "nothing was sent" or "not now".
#[tokio::test]
async fn a_look_that_fails_after_a_capture_is_unknown() {
    for status in [429, 401, 500] {
        let wire = Wire::open().await;
        let gateway = gateway(&wire.url(), "paypal");
        let payment = known(deposit(), ORDER);
        let answers = [(422, fixture!("error_already_captured")), (status, "{}")];
        let (outcome, _) = tokio::join!(gateway.capture(&payment, patient()), serve(&wire, &answers));
        assert!(is_unknown(&outcome), "{status}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_withdrawal_is_a_batch_of_one_and_its_key_names_it() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    let payment = payout();
    let answers = [(201, fixture!("payout_created"))];
    let (outcome, requests) = tokio::join!(gateway.create(&payment, patient()), serve(&wire, &answers));
    assert_eq!(outcome, Outcome::Accepted { reference: "5UXD2E8A7EBQJ".into() });
    assert_eq!(requests[0].line, "POST /v1/payments/payouts HTTP/1.1");
    assert_eq!(requests[0].header("paypal-request-id"), Some(KEY));
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parsed(&requests[0].body), parsed(fixture!("request_payout")));
}

#[tokio::test]
async fn a_payout_sent_before_is_looked_up() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    let payment = payout();
    let answers = [(400, fixture!("error_payout_duplicate")), (200, fixture!("payout_success"))];
    let (outcome, requests) = tokio::join!(gateway.create(&payment, patient()), serve(&wire, &answers));
    assert_eq!(outcome, succeeded("5UXD2E8A7EBQJ"));
    assert_eq!(requests[0].line, "POST /v1/payments/payouts HTTP/1.1");
    assert_eq!(requests[1].line, "GET /v1/payments/payouts/5UXD2E8A7EBQJ HTTP/1.1");
}

/// Sending it *is* paying it, and a question is asked of payments whose money may have gone back to the user since.
#[tokio::test]
async fn a_question_never_sends_a_payout() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    let named = |candidate: Option<&str>| Payment { candidate: candidate.map(Into::into), ..payout() };
    for candidate in [None, Some("../../v1/balance"), Some("")] {
        assert_eq!(gateway.ask(&named(candidate), patient()).await, Outcome::Unseen, "{candidate:?}");
    }
    assert!(!wire.is_called_again());
}

#[tokio::test]
async fn a_payout_whose_answer_was_lost_is_asked_for_by_the_id_that_a_callback_named() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    let payment = Payment { candidate: Some("5UXD2E8A7EBQJ".into()), ..payout() };
    let answers = [(200, fixture!("payout_success"))];
    let (outcome, requests) = tokio::join!(gateway.ask(&payment, patient()), serve(&wire, &answers));
    assert_eq!(outcome, succeeded("5UXD2E8A7EBQJ"));
    assert_eq!(requests[0].line, "GET /v1/payments/payouts/5UXD2E8A7EBQJ HTTP/1.1");
}

#[tokio::test]
async fn a_known_payment_is_asked_for_by_its_id() {
    let cases = [
        (known(deposit(), ORDER), fixture!("order_completed"), "GET /v2/checkout/orders/5O190127TN364715T HTTP/1.1"),
        (
            known(payout(), "5UXD2E8A7EBQJ"),
            fixture!("payout_success"),
            "GET /v1/payments/payouts/5UXD2E8A7EBQJ HTTP/1.1",
        ),
    ];
    for (payment, answer, line) in cases {
        let wire = Wire::open().await;
        let gateway = gateway(&wire.url(), "paypal");
        let answers = [(200, answer)];
        let (outcome, requests) = tokio::join!(gateway.ask(&payment, patient()), serve(&wire, &answers));
        assert_eq!(outcome, succeeded(payment.reference.as_ref().unwrap()));
        assert_eq!(requests[0].line, line);
    }
}

#[tokio::test]
async fn an_unknown_order_is_asked_for_by_the_same_create() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    let payment = deposit();
    let answers = [(200, fixture!("order_approved"))];
    let (outcome, requests) = tokio::join!(gateway.ask(&payment, patient()), serve(&wire, &answers));
    assert_eq!(outcome, Outcome::Approved { reference: ORDER.into() });
    assert_eq!(requests[0].header("paypal-request-id"), Some(KEY));
}

#[tokio::test]
async fn many_callers_share_one_token() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    let payment = known(deposit(), ORDER);
    let asked = async { futures_util::future::join_all((0..8).map(|_| gateway.ask(&payment, patient()))).await };
    let server = async {
        let mut first = wire.accept().await;
        let mut tokens = 0;
        let mut request = first.request().await.unwrap();
        if request.line.contains("token") {
            tokens += 1;
            first.answer(200, TOKEN).await;
            request = first.request().await.unwrap();
        }
        assert!(request.line.contains(ORDER));
        first.answer(200, fixture!("order_completed")).await;
        let mut peers = vec![tokio::spawn(serve_orders(first))];
        for _ in 0..7 {
            peers.push(tokio::spawn(serve_orders(wire.accept().await)));
        }
        (tokens, peers)
    };
    let (outcomes, (tokens, peers)) = tokio::join!(asked, server);
    assert!(outcomes.iter().all(|outcome| *outcome == succeeded(ORDER)), "{outcomes:?}");
    drop(gateway);
    let mut others = 0;
    for peer in peers {
        others += peer.await.unwrap();
    }
    assert_eq!((tokens, others), (1, 0));
}

/// Answers questions until the connection ends; returns how many tokens were asked for.
async fn serve_orders(mut peer: Peer) -> usize {
    let mut tokens = 0;
    while let Some(request) = peer.request().await {
        tokens += usize::from(request.line.contains("token"));
        peer.answer(200, fixture!("order_completed")).await;
    }
    tokens
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_call_is_not_repeated() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    let payment = deposit();
    let server = async {
        let mut peer = wire.accept().await;
        let mut lines = Vec::new();
        let answers =
            [(200, TOKEN), (401, fixture!("error_invalid_token")), (200, TOKEN), (200, fixture!("order_payer_action"))];
        for (status, body) in answers {
            lines.push(peer.exchange(status, body).await.line);
        }
        lines
    };
    let calls = async { (gateway.create(&payment, patient()).await, gateway.create(&payment, patient()).await) };
    let ((first, second), lines) = tokio::join!(calls, server);
    assert!(matches!(first, Outcome::Later { .. }), "{first:?}");
    assert!(matches!(second, Outcome::NeedsCustomer { .. }), "{second:?}");
    let (token, order) = ("POST /v1/oauth2/token HTTP/1.1", "POST /v2/checkout/orders HTTP/1.1");
    assert_eq!(lines, [token, order, token, order]);
}

#[tokio::test]
async fn without_a_token_nothing_of_the_payment_leaves() {
    let cases = [
        (401, fixture!("error_token"), false),
        (429, "", false),
        (500, "", true),
        (302, "", true),
        (200, "{}", true),
        (200, "<html>", true),
        (400, "", true),
    ];
    for (status, body, unreachable) in cases {
        let wire = Wire::open().await;
        let gateway = gateway(&wire.url(), "paypal");
        let payment = deposit();
        let server = async {
            let mut peer = wire.accept().await;
            peer.exchange(status, body).await;
            peer
        };
        let (outcome, mut peer) = tokio::join!(gateway.create(&payment, patient()), server);
        assert_eq!(is_unreachable(&outcome), unreachable, "{status} {body}: {outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Later { .. }), !unreachable, "{status} {body}: {outcome:?}");
        drop(gateway);
        assert!(peer.ends().await, "nothing but the question for a token was sent");
    }
}

#[tokio::test]
async fn a_reference_is_never_a_path() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "paypal");
    for reference in ["../../v1/balance", "A?x", ""] {
        assert!(is_unknown(&gateway.ask(&known(deposit(), reference), patient()).await), "{reference}");
        assert!(is_unknown(&gateway.capture(&known(deposit(), reference), patient()).await), "{reference}");
    }
    assert!(is_unknown(&gateway.capture(&deposit(), patient()).await));
    assert!(!wire.is_called_again());
}
