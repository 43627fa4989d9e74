//! What the gateways' callback signatures have in common: HMAC-SHA256 with two live keys, and a time window.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;
use time::OffsetDateTime;

use super::{CALLBACK_TOLERANCE, CallbackRefusal};
use crate::service::planted::{self, Bug};

/// Signatures of one message that are tried at most: more would be work for free.
pub(super) const SIGNATURE_LIMIT: usize = 5;

/// The keys that callbacks may be signed with now: one, or two while they are being rotated.
pub(super) struct HmacKeys(Vec<Hmac<Sha256>>);

impl HmacKeys {
    /// Empty keys are none: nothing is ever verified with them.
    pub(super) fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Self {
        let usable = keys.into_iter().filter(|key| !key.as_ref().is_empty());
        Self(usable.filter_map(|key| Hmac::new_from_slice(key.as_ref()).ok()).collect())
    }

    /// Whether one of the first signatures was made with one of the keys over the joined `parts`. Compared in constant time.
    pub(super) fn have_signed<S: AsRef<[u8]>>(&self, parts: &[&[u8]], signatures: impl Iterator<Item = S>) -> bool {
        let macs: Vec<Hmac<Sha256>> = self
            .0
            .iter()
            .map(|key| {
                let mut mac = key.clone();
                parts.iter().for_each(|part| mac.update(part));
                mac
            })
            .collect();
        signatures
            .take(SIGNATURE_LIMIT)
            .any(|signature| macs.iter().any(|mac| mac.clone().verify_slice(signature.as_ref()).is_ok()))
    }
}

/// The one value of a header. A header that stands there twice says nothing.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, CallbackRefusal> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(CallbackRefusal::Unsigned(name)) };
    value.to_str().map_err(|_| CallbackRefusal::Unsigned(name))
}

/// Refuses what was signed too long ago, or too far in the future, for `now`.
pub(super) fn fresh(signed_at: OffsetDateTime, now: OffsetDateTime) -> Result<(), CallbackRefusal> {
    let apart = (now - signed_at).unsigned_abs();
    if apart <= CALLBACK_TOLERANCE || planted::is(Bug::StaleCallbackTaken) {
        Ok(())
    } else {
        Err(CallbackRefusal::Stale { tolerance_s: CALLBACK_TOLERANCE.as_secs() })
    }
}

/// Unix seconds as a signature header writes them.
pub(super) fn unix_seconds(text: &str, header: &'static str) -> Result<OffsetDateTime, CallbackRefusal> {
    let seconds: i64 = text.parse().map_err(|_| CallbackRefusal::Unsigned(header))?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| CallbackRefusal::Unsigned(header))
}
