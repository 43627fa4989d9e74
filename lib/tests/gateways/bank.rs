//! What the bank sees of us.

use payfleet::domain::destination::Destination;
use payfleet::domain::money::Money;
use payfleet::domain::outcome::Outcome;

use super::wire::{Wire, deposit, gateway, is_unknown, patient, withdrawal};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../gateway/bank/fixtures/", $name, ".xml"))
    };
}

fn succeeded() -> Outcome {
    Outcome::Succeeded { reference: "BANKREF0001".into(), money: Money::new(1250, "EUR".parse().unwrap()) }
}

#[tokio::test]
async fn payments_are_messages_in_an_envelope_to_the_one_endpoint() {
    let cases = [
        (deposit(), "pain.013.001.07", fixture!("request_pain013"), fixture!("pain014_settled")),
        (
            withdrawal(Destination::Iban("DE89370400440532013000".into())),
            "pain.001.001.09",
            fixture!("request_pain001"),
            fixture!("pain002_settled"),
        ),
    ];
    for (payment, definition, message, answer) in cases {
        let wire = Wire::open().await;
        let gateway = gateway(&format!("{}/services/payments", wire.url()), "bank");
        let server = async { wire.accept().await.exchange(200, answer).await };
        let (outcome, request) = tokio::join!(gateway.create(&payment, patient()), server);
        assert_eq!(outcome, succeeded());
        assert_eq!(request.line, "POST /services/payments HTTP/1.1");
        assert_eq!(request.header("content-type"), Some("text/xml; charset=utf-8"));
        let action = format!("\"urn:iso:std:iso:20022:tech:xsd:{definition}\"");
        assert_eq!(request.header("soapaction"), Some(action.as_str()));
        assert_eq!(request.header("authorization"), Some("Basic cGF5ZmxlZXQ6c2VjcmV0"));
        assert_eq!(request.body, message);
    }
}

#[tokio::test]
async fn a_payment_is_asked_for_by_its_message_whether_it_has_a_reference_or_not() {
    for reference in [None, Some("BANKREF0001".to_owned())] {
        let wire = Wire::open().await;
        let gateway = gateway(&wire.url(), "bank");
        let mut payment = deposit();
        payment.reference = reference;
        let server = async { wire.accept().await.exchange(200, fixture!("pain014_settled")).await };
        let (outcome, request) = tokio::join!(gateway.ask(&payment, patient()), server);
        assert_eq!(outcome, succeeded());
        assert_eq!(request.line, "POST / HTTP/1.1");
        let action = "\"urn:iso:std:iso:20022:tech:xsd:pacs.028.001.03\"";
        assert_eq!(request.header("soapaction"), Some(action));
        let original = "<OrgnlGrpInf><OrgnlMsgId>01920000000070008000000000000001c</OrgnlMsgId>\
                        <OrgnlMsgNmId>pain.013.001.07</OrgnlMsgNmId></OrgnlGrpInf>";
        assert!(request.body.contains(original), "{}", request.body);
    }
}

#[tokio::test]
async fn only_the_banks_own_word_is_not_found() {
    let answers = [
        (200, fixture!("pain014_never_received"), true),
        (404, fixture!("pain014_never_received"), false),
        (500, fixture!("fault_server"), false),
    ];
    for (status, body, not_found) in answers {
        let wire = Wire::open().await;
        let gateway = gateway(&wire.url(), "bank");
        let payment = deposit();
        let server = async { wire.accept().await.exchange(status, body).await };
        let (outcome, _) = tokio::join!(gateway.ask(&payment, patient()), server);
        assert_eq!(outcome == Outcome::NotFound, not_found, "{status}: {outcome:?}");
        assert_eq!(is_unknown(&outcome), !not_found, "{status}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_bank_has_nothing_to_capture() {
    let wire = Wire::open().await;
    assert!(is_unknown(&gateway(&wire.url(), "bank").capture(&deposit(), patient()).await));
    assert!(!wire.is_called_again());
}
