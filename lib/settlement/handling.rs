//! What a consumer makes of an error of settlement: a bug or a stray record is set aside, everything else passes.

use super::Error;
use crate::kafka::consumer::HandleError;
use crate::postgres::combiner::Refused;

impl Error {
    /// The same record would fail in the same way for ever: what it names does not exist, or the step it leads to breaks a rule of
    /// the database.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::NoSuchTransaction(_) | Self::NoSuchCallback(_) | Self::NoSuchGateway(_) => true,
            Self::Database(error) | Self::Refused(Refused::Failed(error)) => breaks_a_rule(error),
            Self::Refused(_) | Self::Contended | Self::Sealed(..) => false,
        }
    }
}

/// SQLSTATE classes 22 (data exception) and 23 (integrity constraint violation).
fn breaks_a_rule(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|database| database.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

impl From<Error> for HandleError {
    fn from(error: Error) -> Self {
        if error.is_lasting() { Self::Dead(error.to_string()) } else { Self::retry(error) }
    }
}
