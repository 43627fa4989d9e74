//! What an operator asks of the books: are they right ([`verify`]), and what did a load's clients see ([`load_log`]).

pub mod load_log;
pub mod verify;
