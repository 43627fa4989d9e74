//! Entries of the double-entry ledger.
