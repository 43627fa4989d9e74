//! The only way an outcome is recorded.
