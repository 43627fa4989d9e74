//! Every way to fail on the wire, and what it comes to.

use std::time::Duration;

use payfleet::domain::destination::Destination;
use payfleet::domain::outcome::Outcome;
use tokio::io::AsyncWriteExt;

use super::wire::{Wire, brief, deposit, gateway, is_unknown, is_unreachable, patient, settings, withdrawal};

const SUCCEEDED: &str = include_str!("../../gateway/stripe/fixtures/payment_intent_succeeded.json");

#[tokio::test]
async fn a_refused_connection_is_unreachable_at_every_gateway() {
    let url = Wire::open().await.url();
    for name in ["stripe", "paypal", "bank"] {
        let gateway = gateway(&url, name);
        let created = gateway.create(&deposit(), patient()).await;
        assert!(is_unreachable(&created), "{name}: {created:?}");
        let asked = gateway.ask(&deposit(), patient()).await;
        assert!(is_unreachable(&asked), "{name}: {asked:?}");
    }
}

#[tokio::test]
async fn a_name_without_an_address_is_unreachable() {
    let outcome = gateway("http://gateway.invalid", "stripe").create(&deposit(), patient()).await;
    assert!(is_unreachable(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn no_answer_in_time_is_unknown() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let (payment, deadline) = (deposit(), brief());
    let server = async {
        let mut peer = wire.accept().await;
        let request = peer.request().await.unwrap();
        (request, peer.ends().await)
    };
    let (outcome, (request, ended)) = tokio::join!(gateway.create(&payment, deadline), server);
    assert!(is_unknown(&outcome), "{outcome:?}");
    assert_eq!(request.line, "POST /v1/payment_intents HTTP/1.1");
    assert!(ended, "the connection is closed, not kept");
}

#[tokio::test]
async fn an_answer_that_never_ends_is_unknown() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let (payment, deadline) = (deposit(), brief());
    let server = async {
        let mut peer = wire.accept().await;
        peer.request().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{").await;
        peer.ends().await
    };
    let (outcome, _) = tokio::join!(gateway.create(&payment, deadline), server);
    assert!(is_unknown(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn a_reset_in_mid_answer_is_unknown() {
    for head in ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"id\":"] {
        let wire = Wire::open().await;
        let gateway = gateway(&wire.url(), "stripe");
        let payment = deposit();
        let server = async {
            let mut peer = wire.accept().await;
            peer.request().await.unwrap();
            peer.send(head).await;
            peer.reset();
        };
        let (outcome, ()) = tokio::join!(gateway.create(&payment, patient()), server);
        assert!(is_unknown(&outcome), "{head}: {outcome:?}");
        assert!(!wire.is_called_again(), "nothing is sent a second time");
    }
}

#[tokio::test]
async fn garbage_instead_of_http_is_unknown() {
    for garbage in ["nonsense\r\n\r\n", "HTTP/1.1 999999 x\r\n\r\n", "SSH-2.0-OpenSSH\r\n"] {
        let wire = Wire::open().await;
        let gateway = gateway(&wire.url(), "bank");
        let payment = withdrawal(Destination::Iban("DE89370400440532013000".into()));
        let server = async {
            let mut peer = wire.accept().await;
            peer.request().await.unwrap();
            peer.send(garbage).await;
        };
        let (outcome, ()) = tokio::join!(gateway.create(&payment, patient()), server);
        assert!(is_unknown(&outcome), "{garbage}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (wire, elsewhere) = (Wire::open().await, Wire::open().await);
    let gateway = gateway(&wire.url(), "stripe");
    for status in [301, 302, 303, 307, 308] {
        let payment = deposit();
        let server = async {
            let mut peer = wire.accept().await;
            peer.request().await.unwrap();
            let target = elsewhere.url();
            peer.send(&format!("HTTP/1.1 {status} Moved\r\nLocation: {target}/v1/payment_intents\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
                .await;
        };
        let (outcome, ()) = tokio::join!(gateway.create(&payment, patient()), server);
        assert!(is_unknown(&outcome), "{status}: {outcome:?}");
    }
    assert!(!elsewhere.is_called_again());
}

/// However long the answer says it is, and whether it says so or not.
#[tokio::test]
async fn an_endless_answer_is_not_read_on() {
    for head in ["Content-Length: 1073741824\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n40000000\r\n"] {
        let wire = Wire::open().await;
        let gateway = gateway(&wire.url(), "stripe");
        let payment = deposit();
        let server = async {
            let mut peer = wire.accept().await;
            peer.request().await.unwrap();
            peer.send(&format!("HTTP/1.1 200 OK\r\n{head}")).await;
            let mut taken: usize = 0;
            while taken < 1 << 30 && peer.0.write_all(&[b' '; 65_536]).await.is_ok() {
                taken += 65_536;
            }
            taken
        };
        let (outcome, taken) = tokio::join!(gateway.create(&payment, patient()), server);
        assert!(is_unknown(&outcome), "{outcome:?}");
        assert!(taken < 1 << 26, "{taken} bytes went into the sockets before they were closed");
    }
}

#[tokio::test]
async fn headers_without_end_are_not_read_on() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    let server = async {
        let mut peer = wire.accept().await;
        peer.request().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\n").await;
        let (line, mut taken) = (format!("x-more: {}\r\n", "x".repeat(1_000)), 0);
        while taken < 1 << 30 && peer.0.write_all(line.as_bytes()).await.is_ok() {
            taken += line.len();
        }
        taken
    };
    let (outcome, taken) = tokio::join!(gateway.create(&payment, patient()), server);
    assert!(is_unknown(&outcome), "{outcome:?}");
    assert!(taken < 1 << 26, "{taken} bytes went into the sockets before they were closed");
}

/// Each byte comes soon after the one before: only the whole is late.
#[tokio::test]
async fn an_answer_that_drips_is_given_up_at_the_deadline() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let (payment, deadline) = (deposit(), brief());
    let server = async {
        let mut peer = wire.accept().await;
        peer.request().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
        let mut drip = tokio::time::interval(Duration::from_millis(5));
        while peer.0.write_all(b" ").await.is_ok() {
            drip.tick().await;
        }
    };
    let (outcome, ()) = tokio::join!(gateway.create(&payment, deadline), server);
    assert!(is_unknown(&outcome), "{outcome:?}");
    assert!(deadline.answer_by.elapsed() < Duration::from_secs(5), "long after its deadline");
}

#[tokio::test]
async fn a_compressed_answer_is_not_asked_for_and_not_taken() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    let server = async {
        let mut peer = wire.accept().await;
        let request = peer.request().await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", SUCCEEDED.len());
        peer.send(&format!("{head}{SUCCEEDED}")).await;
        request
    };
    let (outcome, request) = tokio::join!(gateway.create(&payment, patient()), server);
    assert!(is_unknown(&outcome), "{outcome:?}");
    assert_eq!(request.header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn the_base_urls_path_is_kept() {
    let wire = Wire::open().await;
    let mut settings = settings(&format!("{}/stripe/", wire.url()));
    settings.stripe.limits.call_ms = 7_000;
    let gateways = payfleet::gateway::registry(&settings).unwrap();
    let gateway = gateways.get("stripe").unwrap();
    assert_eq!(gateway.call_limit().as_secs(), 7);
    let payment = deposit();
    let server = async { wire.accept().await.exchange(200, SUCCEEDED).await };
    let (outcome, request) = tokio::join!(gateway.create(&payment, patient()), server);
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert_eq!(request.line, "POST /stripe/v1/payment_intents HTTP/1.1");
    assert_eq!(request.header("host").map(str::to_owned), wire.url().strip_prefix("http://").map(str::to_owned));
}
