//! The keys that callbacks are signed with, one scheme per vendor.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use sha2::Sha256;

use crate::gateway_sim::settings::Settings;

pub struct Signers {
    stripe: Vec<u8>,
    paypal: RsaKeyPair,
    bank: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum BadKey {
    #[error("paypal.callback_private_key: is not an RSA private key in PEM (PKCS #8)")]
    Paypal,
    #[error("bank.callback_key: is not whsec_ and a key in base64")]
    Bank,
}

impl Signers {
    pub fn new(settings: &Settings) -> Result<Self, BadKey> {
        let pem = settings.paypal.callback_private_key.expose();
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadKey::Paypal)?;
        let paypal = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|_| BadKey::Paypal)?;
        let secret = settings.bank.callback_key.expose().strip_prefix("whsec_").ok_or(BadKey::Bank)?;
        let bank = BASE64_STANDARD.decode(secret).map_err(|_| BadKey::Bank)?;
        Ok(Self { stripe: settings.stripe.callback_key.expose().as_bytes().to_vec(), paypal, bank })
    }

    /// `t=…,v1=…` over `{time}.{body}` (docs.stripe.com/webhooks/signature).
    pub fn stripe(&self, unix_s: i64, body: &str) -> String {
        let signature = hmac(&self.stripe, format!("{unix_s}.{body}").as_bytes());
        let digits: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={unix_s},v1={digits}")
    }

    /// RSA-SHA256 over `{transmission id}|{time}|{webhook id}|{CRC-32 of the body}` (developer.paypal.com/api/rest/webhooks/rest).
    pub fn paypal(&self, transmission_id: &str, time: &str, webhook_id: &str, body: &str) -> String {
        let signed = format!("{transmission_id}|{time}|{webhook_id}|{}", crc32fast::hash(body.as_bytes()));
        let mut signature = vec![0; self.paypal.public().modulus_len()];
        self.paypal
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .expect("the buffer has the key's length");
        BASE64_STANDARD.encode(signature)
    }

    /// `v1,…` over `{message id}.{time}.{body}` (github.com/standard-webhooks/standard-webhooks).
    pub fn bank(&self, message_id: &str, unix_s: i64, body: &str) -> String {
        let signature = hmac(&self.bank, format!("{message_id}.{unix_s}.{body}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(signature))
    }
}

pub fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}
