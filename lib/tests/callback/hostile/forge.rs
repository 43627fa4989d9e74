//! Callbacks as the three gateways sign them, and by keys that are not theirs.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use sha2::Sha256;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::gateways::wire::WHSEC;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    Stripe,
    Paypal,
    Bank,
}

impl Dialect {
    pub const ALL: [Self; 3] = [Self::Stripe, Self::Paypal, Self::Bank];

    pub fn path(self) -> &'static str {
        match self {
            Self::Stripe => "/v1/callbacks/stripe",
            Self::Paypal => "/v1/callbacks/paypal",
            Self::Bank => "/v1/callbacks/bank",
        }
    }

    pub fn content_type(self) -> &'static str {
        if self == Self::Bank { "text/xml; charset=utf-8" } else { "application/json" }
    }

    /// The header that holds the signature.
    pub fn signature(self) -> &'static str {
        match self {
            Self::Stripe => "stripe-signature",
            Self::Paypal => "paypal-transmission-sig",
            Self::Bank => "webhook-signature",
        }
    }

    /// A message that says that money has moved.
    pub fn body(self) -> &'static str {
        match self {
            Self::Stripe => include_str!("../../../gateway/stripe/fixtures/event_payment_succeeded.json"),
            Self::Paypal => include_str!("../../../gateway/paypal/fixtures/event_capture_completed.json"),
            Self::Bank => include_str!("../../../gateway/bank/fixtures/callback_pain002_settled.xml"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Message {
    pub fn header_mut(&mut self, wanted: &str) -> &mut String {
        &mut self.headers.iter_mut().find(|(name, _)| *name == wanted).unwrap().1
    }
}

/// The keys of one side: the gateways', or somebody else's.
pub struct Keys {
    stripe: Vec<u8>,
    paypal: RsaKeyPair,
    bank: Vec<u8>,
}

impl Keys {
    /// What the ingress has been told are the gateways'.
    pub fn genuine() -> Self {
        let paypal = RsaKeyPair::from_pkcs8(include_bytes!("../../../gateway/paypal/fixtures/key.pk8")).unwrap();
        let bank = BASE64_STANDARD.decode(WHSEC.strip_prefix("whsec_").unwrap()).unwrap();
        Self { stripe: b"whsec_wire".to_vec(), paypal, bank }
    }

    pub fn guessed() -> Self {
        let paypal = RsaKeyPair::from_pkcs8(include_bytes!("../../../gateway/paypal/fixtures/other_key.pk8")).unwrap();
        Self { stripe: b"whsec_guessed".to_vec(), paypal, bank: vec![7; 32] }
    }

    /// One gateway's genuine key in the other's place: both schemes are HMACs.
    pub fn exchanged() -> Self {
        let Self { stripe, bank, .. } = Self::genuine();
        Self { stripe: bank, bank: stripe, ..Self::guessed() }
    }

    pub fn sign(&self, dialect: Dialect, id: &str, at: OffsetDateTime, body: &[u8]) -> Message {
        let unix = at.unix_timestamp();
        let mut headers = vec![("content-type", dialect.content_type().to_owned())];
        match dialect {
            Dialect::Stripe => {
                let digits: String = hmac(&self.stripe, &[unix.to_string().as_bytes(), b".", body])
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
                headers.push((dialect.signature(), format!("t={unix},v1={digits}")));
            }
            Dialect::Paypal => {
                let time = at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
                let signed = format!("{id}|{time}|webhook|{}", crc32fast::hash(body));
                let mut signature = vec![0; self.paypal.public().modulus_len()];
                self.paypal.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
                headers.push(("paypal-transmission-id", id.to_owned()));
                headers.push(("paypal-transmission-time", time));
                headers.push(("paypal-auth-algo", "SHA256withRSA".to_owned()));
                headers.push((dialect.signature(), BASE64_STANDARD.encode(signature)));
            }
            Dialect::Bank => {
                let signature = hmac(&self.bank, &[id.as_bytes(), b".", unix.to_string().as_bytes(), b".", body]);
                headers.push(("webhook-id", id.to_owned()));
                headers.push(("webhook-timestamp", unix.to_string()));
                headers.push((dialect.signature(), format!("v1,{}", BASE64_STANDARD.encode(signature))));
            }
        }
        Message { headers, body: body.to_vec() }
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}
