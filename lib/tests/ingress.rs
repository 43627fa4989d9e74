//! Guarantees of ingress.
