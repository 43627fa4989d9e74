//! The operator's command line, and how each process is put together from its parts.

pub mod settings;
