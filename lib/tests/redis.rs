//! Guarantees of redis.
