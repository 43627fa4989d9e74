//! The transactions table and what belongs to it: transitions, attempts, operations, idempotency keys.
