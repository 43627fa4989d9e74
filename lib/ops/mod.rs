//! What an operator asks of the books: verify.
