//! What follows from what happened: the state machine.
