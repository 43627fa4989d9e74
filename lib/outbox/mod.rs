//! The outbox table's acts: append, read, checkpoint, rotate; and the doorbell.
