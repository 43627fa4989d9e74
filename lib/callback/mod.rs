//! Gateways' messages: verified, stored, applied.
