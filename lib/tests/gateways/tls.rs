//! TLS: before the handshake is over no byte of a request exists, whatever goes wrong in it.

use std::sync::Arc;

use payfleet::domain::outcome::Outcome;
use payfleet::gateway::{Gateway, registry};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::wire::{Wire, deposit, is_unreachable, patient, settings};

const SUCCEEDED: &str = include_str!("../../gateway/stripe/fixtures/payment_intent_succeeded.json");

/// A server's side of TLS for 127.0.0.1, and the certificate that vouches for it.
fn server() -> (TlsAcceptor, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), cert.pem())
}

fn stripe(wire: &Wire, authority: &str) -> Arc<dyn Gateway> {
    let mut settings = settings(&wire.url().replace("http:", "https:"));
    settings.stripe.authority_certificate = authority.into();
    settings.stripe.limits.connect_ms = 300;
    registry(&settings).unwrap().get("stripe").unwrap().clone()
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_configured() {
    let wire = Wire::open().await;
    let (acceptor, authority) = server();
    let mut settings = settings(&wire.url().replace("http:", "https:"));
    settings.stripe.authority_certificate = authority;
    let gateway = registry(&settings).unwrap().get("stripe").unwrap().clone();
    let payment = deposit();
    let answer = async {
        let mut stream = acceptor.accept(wire.accept().await.0).await.unwrap();
        let mut request = vec![0; 65_536];
        let length = stream.read(&mut request).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", SUCCEEDED.len());
        stream.write_all(format!("{head}{SUCCEEDED}").as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    };
    let (outcome, request) = tokio::join!(gateway.create(&payment, patient()), answer);
    assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    assert!(request.starts_with("POST /v1/payment_intents HTTP/1.1\r\n"), "{request}");
}

#[tokio::test]
async fn an_authority_that_nobody_trusts_gets_nothing() {
    let wire = Wire::open().await;
    let (acceptor, _) = server();
    let gateway = stripe(&wire, "");
    let payment = deposit();
    let handshake = async { acceptor.accept(wire.accept().await.0).await.is_ok() };
    let (outcome, shaken) = tokio::join!(gateway.create(&payment, patient()), handshake);
    assert!(is_unreachable(&outcome), "{outcome:?}");
    assert!(!shaken);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_unreachable() {
    let wire = Wire::open().await;
    let gateway = stripe(&wire, "");
    let payment = deposit();
    let silence = async {
        let mut peer = wire.accept().await;
        let mut hello = Vec::new();
        peer.0.read_to_end(&mut hello).await.unwrap_or(0)
    };
    let (outcome, hello) = tokio::join!(gateway.create(&payment, patient()), silence);
    assert!(is_unreachable(&outcome), "{outcome:?}");
    assert!(hello > 0, "a client hello came, and nothing after it");
}
