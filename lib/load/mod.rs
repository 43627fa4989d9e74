//! The open-loop load generator: no coordinated omission, resends with the same key when an answer is lost.
