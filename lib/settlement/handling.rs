//! What a consumer makes of an error of settlement: a bug or a stray record is set aside, everything else passes.

use super::Error;
use crate::kafka::consumer::HandleError;
use crate::postgres::combiner::Refused;

impl Error {
    /// The same record would fail in the same way for ever: what it names does not exist, the account that it pays to cannot be opened, or
    /// the step it leads to breaks a rule of the database. What is due of the payment stays due.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::NoSuchTransaction(_) | Self::NoSuchCallback(_) | Self::NoSuchGateway(_) | Self::Sealed(..) => true,
            Self::Database(error) | Self::Refused(Refused::Failed(error)) => breaks_a_rule(error),
            Self::Refused(_) | Self::Contended => false,
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_record_is_consumed_again_only_where_that_may_help() {
        for lasting in [Error::NoSuchTransaction(Uuid::nil()), Error::Sealed(Uuid::nil(), "no such key".into())] {
            assert!(matches!(HandleError::from(lasting), HandleError::Dead(_)));
        }
        assert!(!matches!(HandleError::from(Error::Contended), HandleError::Dead(_)));
    }
}
