//! Account data and raw callbacks at rest: AES-256-GCM, the key's id beside the sealed bytes.
//!
//! What is sealed is bound to where it stands: the additional data is the entity's id and the field's name, so that sealed bytes
//! copied to another row do not open. Nonces are random (96 bits); a key is to be rotated well before it has sealed 2³² values
//! (NIST SP 800-38D, 8.3). Rotating is putting a new key in front: the first seals, all of them open.

use std::sync::Arc;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::service::secret::Secret;

/// Field names used as additional data.
pub mod field {
    pub const DESTINATION: &str = "destination";
    pub const RAW: &str = "raw";
}

const NONCE_BYTES: usize = 12;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `id:base64 of 32 bytes`, separated by commas. The first seals, all open.
    pub keys: Secret,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    #[error("sealing.keys is not set: expected `id:base64 of 32 bytes`, the first of several seals")]
    Missing,
    /// Names the place, never the text: it may hold most of a key.
    #[error("sealing.keys, entry {0}: expected `id:base64 of 32 bytes`, the id of 1-32 letters, digits, `-` or `_`")]
    Malformed(usize),
    #[error("sealing.keys names the key `{0}` twice")]
    Twice(String),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("the sealing key `{0}` is not among the configured ones")]
    UnknownKey(String),
    #[error("sealed bytes do not open: altered, or bound to another row")]
    NotGenuine,
}

/// Sealed bytes as they are stored: the nonce, the ciphertext and its tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    pub key_id: String,
    pub bytes: Vec<u8>,
}

struct Key {
    id: String,
    cipher: Aes256Gcm,
}

/// Seals and opens. Cheap to clone.
#[derive(Clone)]
pub struct Sealer {
    keys: Arc<[Key]>,
}

impl Sealer {
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let mut keys: Vec<Key> = Vec::new();
        let entries = settings.keys.expose().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        for (place, entry) in entries.enumerate() {
            let key = parse_key(entry).ok_or(SettingsError::Malformed(place + 1))?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(SettingsError::Twice(key.id));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(SettingsError::Missing) } else { Ok(Self { keys: keys.into() }) }
    }

    /// Seals with the first key. `aad` comes from [`aad`].
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Sealed {
        let key = &self.keys[0];
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let sealed = key
            .cipher
            .encrypt(&nonce.into(), Payload { msg: plain, aad })
            .expect("AES-GCM seals anything shorter than 64 GiB");
        metrics::counter!("payfleet_sealing_sealed_total", "key" => key.id.clone()).increment(1);
        Sealed { key_id: key.id.clone(), bytes: [nonce.as_slice(), &sealed].concat() }
    }

    pub fn open(&self, key_id: &str, aad: &[u8], bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let key = self.keys.iter().find(|key| key.id == key_id).ok_or_else(|| Error::UnknownKey(key_id.to_owned()))?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(Error::NotGenuine)?;
        key.cipher.decrypt(&(*nonce).into(), Payload { msg: sealed, aad }).map_err(|_| Error::NotGenuine)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

/// The additional data of a field of an entity.
pub fn aad(id: Uuid, field: &str) -> Vec<u8> {
    [id.as_bytes().as_slice(), field.as_bytes()].concat()
}

fn parse_key(entry: &str) -> Option<Key> {
    let (id, encoded) = entry.split_once(':')?;
    let id_is_plain = (1..=32).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let bytes: [u8; 32] = STANDARD.decode(encoded).ok()?.try_into().ok()?;
    id_is_plain.then(|| Key { id: id.to_owned(), cipher: Aes256Gcm::new(&bytes.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(keys: &[(&str, u8)]) -> Sealer {
        let keys: Vec<String> =
            keys.iter().map(|(id, byte)| format!("{id}:{}", STANDARD.encode([*byte; 32]))).collect();
        Sealer::new(&Settings { keys: Secret::new(keys.join(",")) }).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_only_where_it_belongs() {
        let sealer = sealer(&[("k1", 1)]);
        let (id, other) = (Uuid::now_v7(), Uuid::now_v7());
        let sealed = sealer.seal(&aad(id, field::DESTINATION), b"DE89");
        assert_eq!(sealer.open(&sealed.key_id, &aad(id, field::DESTINATION), &sealed.bytes).unwrap(), b"DE89");
        for elsewhere in [aad(other, field::DESTINATION), aad(id, field::RAW)] {
            assert_eq!(sealer.open(&sealed.key_id, &elsewhere, &sealed.bytes), Err(Error::NotGenuine));
        }
        let mut altered = sealed.bytes.clone();
        altered[NONCE_BYTES] ^= 1;
        assert_eq!(sealer.open("k1", &aad(id, field::DESTINATION), &altered), Err(Error::NotGenuine));
        assert_eq!(sealer.open("k1", &aad(id, field::DESTINATION), &[0; 5]), Err(Error::NotGenuine));
    }

    #[test]
    fn the_same_plain_text_never_seals_to_the_same_bytes() {
        let sealer = sealer(&[("k1", 1)]);
        assert_ne!(sealer.seal(b"", b"DE89").bytes, sealer.seal(b"", b"DE89").bytes);
    }

    #[test]
    fn a_rotated_key_still_opens_what_it_sealed() {
        let sealed = sealer(&[("k1", 1)]).seal(b"", b"DE89");
        let rotated = sealer(&[("k2", 2), ("k1", 1)]);
        assert_eq!(rotated.open(&sealed.key_id, b"", &sealed.bytes).unwrap(), b"DE89");
        assert_eq!(rotated.seal(b"", b"x").key_id, "k2");
        assert_eq!(sealer(&[("k2", 2)]).open("k1", b"", &sealed.bytes), Err(Error::UnknownKey("k1".into())));
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused_without_showing_them() {
        let refusal = |text: &str| Sealer::new(&Settings { keys: Secret::new(text) }).unwrap_err();
        assert_eq!(refusal(" "), SettingsError::Missing);
        assert_eq!(refusal("k1:c2hvcnQ="), SettingsError::Malformed(1));
        assert_eq!(refusal(&format!("k 1:{}", STANDARD.encode([1; 32]))), SettingsError::Malformed(1));
        let twice = format!("k1:{0},k1:{0}", STANDARD.encode([1; 32]));
        assert_eq!(refusal(&twice), SettingsError::Twice("k1".into()));
    }
}
