//! API keys: 256 random bits with a typed prefix, of which only a keyed hash is kept.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rand::RngCore;
use sha2::Sha256;

use crate::service::secret::Secret;

/// HMAC-SHA256 of a key under the pepper: what the table holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As part of the names of cache entries.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

/// The secret under which keys are hashed: a stolen table alone lets nobody guess or check a key.
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

impl Pepper {
    /// Bytes that a pepper has at least.
    pub const MIN_BYTES: usize = 32;

    /// None when it is too short to be a secret.
    pub fn new(secret: &Secret) -> Option<Self> {
        let bytes = secret.expose().as_bytes();
        (bytes.len() >= Self::MIN_BYTES)
            .then(|| Self(Hmac::new_from_slice(bytes).expect("HMAC takes a key of any length")))
    }

    pub fn hash(&self, key: &str) -> KeyHash {
        self.keyed(key.as_bytes())
    }

    /// A secret of its own for another purpose, so that no two uses share a key.
    pub fn derive(&self, purpose: &'static str) -> Self {
        let derived = self.keyed(&[b"payfleet derived key: ".as_slice(), purpose.as_bytes()].concat());
        Self(Hmac::new_from_slice(&derived.0).expect("HMAC takes a key of any length"))
    }

    /// HMAC-SHA256 of `bytes`.
    pub fn keyed(&self, bytes: &[u8]) -> KeyHash {
        let mut mac = self.0.clone();
        mac.update(bytes);
        KeyHash(mac.finalize().into_bytes().into())
    }
}

/// A key as its owner holds it; shown once, when it is made.
#[derive(Clone)]
pub struct ApiKey(Secret);

impl ApiKey {
    /// A new key: `pf_live_` or `pf_test_` and 256 random bits.
    pub fn generate(prefix: &'static str) -> Self {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        Self(Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// A key that is already known, such as those of the demo users.
    pub fn known(key: &str) -> Self {
        Self(Secret::new(key))
    }

    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The prefix and the last four characters: enough to tell keys apart, too little to guess one.
    pub fn shown_as(&self) -> String {
        let length = self.expose().chars().count();
        if length < 12 {
            return "…".to_owned();
        }
        let prefix: String = self.expose().chars().take(8).collect();
        let last: String = self.expose().chars().skip(length - 4).collect();
        format!("{prefix}…{last}")
    }
}

/// The prefix of the fixed keys of the demo users, refused wherever the environment is production.
pub const DEMO_PREFIX: &str = "pf_test_demo_";

#[cfg(test)]
mod tests {
    use super::*;

    fn pepper() -> Pepper {
        Pepper::new(&Secret::new("a pepper of the tests, 32 bytes or more")).unwrap()
    }

    #[test]
    fn a_key_is_recognised_only_under_the_same_pepper() {
        let key = ApiKey::generate("pf_live_");
        let other = Pepper::new(&Secret::new("another pepper of the tests, 32 bytes or more")).unwrap();
        assert_eq!(pepper().hash(key.expose()), pepper().hash(key.expose()));
        assert_ne!(pepper().hash(key.expose()), other.hash(key.expose()));
        assert_ne!(pepper().hash("x"), pepper().derive("commands").hash("x"));
        assert!(Pepper::new(&Secret::new("short")).is_none());
    }

    #[test]
    fn a_shown_key_gives_nothing_away() {
        let key = ApiKey::generate("pf_live_");
        assert_eq!(key.expose().len(), "pf_live_".len() + 43);
        assert_eq!(key.shown_as().chars().count(), 13);
        assert_eq!(ApiKey::known("pf_test_demo_de").shown_as(), "pf_test_…o_de");
        assert_eq!(ApiKey::known("short").shown_as(), "…");
    }
}
