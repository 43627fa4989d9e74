//! What a consumer makes of an error of settlement: a bug, a stray record or a row that nobody can read is set aside, everything else
//! passes.

use super::Error;
use crate::kafka::consumer::HandleError;
use crate::postgres::combiner::Refused;
use crate::service::retry::policy;

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

    /// A row that this program cannot read: a newer one wrote it, or somebody by hand. Reading it again does not help, yet whoever holds an
    /// answer keeps it until there is somebody who can.
    fn is_unreadable(&self) -> bool {
        let unreadable =
            |error: &sqlx::Error| matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. });
        match self {
            Self::Database(error) | Self::Refused(Refused::Failed(error)) => unreadable(error),
            _ => false,
        }
    }
}

fn breaks_a_rule(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|database| database.code());
    code.is_some_and(|code| policy::is_of(&code, &policy::BREAKS_A_RULE))
}

impl From<Error> for HandleError {
    fn from(error: Error) -> Self {
        if error.is_unreadable() {
            // What could not be read may be quoted in it, and dead letters are kept.
            tracing::error!(%error, "a record leads to a row that cannot be read");
            return Self::Dead("it leads to a row that this program cannot read".into());
        }
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

    #[test]
    fn a_row_that_cannot_be_read_holds_up_no_topic_and_loses_no_answer() {
        let word = || sqlx::Error::Decode("no such status".into());
        let column = || sqlx::Error::ColumnDecode { index: "status".into(), source: "not a text".into() };
        let unreadable: [Error; 3] = [word().into(), column().into(), Refused::Failed(word()).into()];
        for unreadable in unreadable {
            assert!(!unreadable.is_lasting(), "an answer is kept");
            assert!(matches!(HandleError::from(unreadable), HandleError::Dead(_)));
        }
        let passing = Error::Database(sqlx::Error::PoolTimedOut);
        assert!(!matches!(HandleError::from(passing), HandleError::Dead(_)));
    }
}
