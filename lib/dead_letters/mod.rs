//! Consumed records that could not be processed.
