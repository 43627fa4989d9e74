//! The only way an outcome is recorded.
pub mod apply;
