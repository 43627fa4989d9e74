//! Chance from a seed: the same seed and key give the same throw, whatever happened before.

use sha2::{Digest, Sha256};

/// 32 bytes that follow from the seed, what they are for, and whom they concern.
pub fn bytes(seed: u64, purpose: &str, key: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update((purpose.len() as u64).to_be_bytes());
    hash.update(purpose);
    hash.update(key);
    hash.finalize().into()
}

pub fn number(seed: u64, purpose: &str, key: &str) -> u64 {
    let bytes = bytes(seed, purpose, key);
    u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}

/// True in `share` of all throws.
pub fn happens(seed: u64, purpose: &str, key: &str, share: f64) -> bool {
    // 53 bits: as many as a double holds exactly.
    ((number(seed, purpose, key) >> 11) as f64) < share * (1_u64 << 53) as f64
}

/// A number from 0 to `limit`, both included.
pub fn up_to(seed: u64, purpose: &str, key: &str, limit: u64) -> u64 {
    number(seed, purpose, key) % limit.saturating_add(1)
}

/// A digest that cannot be undone without the seed.
pub fn digest(seed: u64, purpose: &str, text: &str) -> String {
    bytes(seed, purpose, text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

pub const BASE62: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
pub const CAPITALS: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Letters and digits from `alphabet`: how the vendors' ids look.
pub fn text(seed: u64, purpose: &str, key: &str, alphabet: &str, length: usize) -> String {
    let letters = alphabet.as_bytes();
    let bytes = bytes(seed, purpose, key);
    bytes.iter().cycle().take(length).map(|byte| char::from(letters[usize::from(*byte) % letters.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_follows_from_seed_and_key_alone() {
        assert_eq!(number(7, "decline", "k"), number(7, "decline", "k"));
        assert_ne!(number(7, "decline", "k"), number(8, "decline", "k"));
        assert_ne!(number(7, "decline", "k"), number(7, "latency", "k"));
    }

    #[test]
    fn a_share_of_throws_happens() {
        let hits = |share| (0..10_000).filter(|n| happens(1, "decline", &n.to_string(), share)).count();
        assert_eq!(hits(0.0), 0);
        assert_eq!(hits(1.0), 10_000);
        assert!((2_800..3_200).contains(&hits(0.3)), "{}", hits(0.3));
    }
}
