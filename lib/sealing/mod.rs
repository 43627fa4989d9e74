//! Account data at rest: AES-256-GCM, key id beside it.
