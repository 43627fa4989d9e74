//! Callbacks are signed as the vendors sign theirs: judged by code that shares nothing with the simulator.

use hmac::{Hmac, KeyInit, Mac};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::Sha256;
use uuid::Uuid;
use webpki::EndEntityCert;
use webpki::ring::RSA_PKCS1_2048_8192_SHA256;

use super::running::{BANK_KEY, PAYPAL_CERTIFICATE, Running, STRIPE_KEY, WEBHOOK_ID, Way};

#[tokio::test]
async fn stripe_signs_time_and_body_with_the_endpoints_secret() {
    let sim = Running::start().await;
    sim.pay(Way::StripeIn, Uuid::now_v7(), 1_250).await;
    let callback = sim.callback(&["payment_intent.succeeded"]).await;
    let header = callback.headers["stripe-signature"].to_str().unwrap();
    let part = |name: &str| header.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(STRIPE_KEY.as_bytes()).unwrap();
    mac.update(part("t=").as_bytes());
    mac.update(b".");
    mac.update(&callback.body);
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(part("v1="), expected);
    sim.end().await;
}

#[tokio::test]
async fn paypal_signs_id_time_webhook_and_checksum_with_its_certificates_key() {
    let sim = Running::start().await;
    sim.pay(Way::PaypalOut, Uuid::now_v7(), 1_250).await;
    let callback = sim.callback(&["PAYMENT.PAYOUTS-ITEM.SUCCEEDED"]).await;
    let header = |name: &str| callback.headers[name].to_str().unwrap();
    assert_eq!(header("paypal-auth-algo"), "SHA256withRSA");
    let (id, time) = (header("paypal-transmission-id"), header("paypal-transmission-time"));
    let message = format!("{id}|{time}|{WEBHOOK_ID}|{}", crc32fast::hash(&callback.body));
    let signature =
        base64::Engine::decode(&base64::prelude::BASE64_STANDARD, header("paypal-transmission-sig")).unwrap();
    let der = CertificateDer::from_pem_slice(PAYPAL_CERTIFICATE.as_bytes()).unwrap();
    let certificate = EndEntityCert::try_from(&der).unwrap();
    certificate.verify_signature(RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature).unwrap();
    assert!(certificate.verify_signature(RSA_PKCS1_2048_8192_SHA256, b"something else", &signature).is_err());
    sim.end().await;
}

#[tokio::test]
async fn the_bank_signs_as_standard_webhooks_says() {
    let sim = Running::start().await;
    sim.pay(Way::BankOut, Uuid::now_v7(), 1_250).await;
    let callback = sim.callback(&["ACSC"]).await;
    let judge = standardwebhooks::Webhook::new(BANK_KEY).unwrap();
    judge.verify(&callback.body, &callback.headers).unwrap();
    assert!(judge.verify(b"<Document/>", &callback.headers).is_err());
    sim.end().await;
}
