//! What a failed delivery means: wait and try again, or set the record aside.

use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::service::retry::policy;

/// A topic that is missing or closed to us may be put right by somebody; parked records find out by themselves.
pub const TOPIC_RETRY: Duration = policy::TOPIC.first();

/// Why a lane cannot go on as it did, and how many rows that concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    pub code: Code,
    pub rows: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// It lies with the brokers or the network: the same records again, later.
    Passing,
    /// It lies with a record, or with the topic it goes to: no waiting helps. `retry_in` says when to try by itself all the same.
    Permanent { retry_in: Option<Duration> },
}

/// A code that says nothing about the record is passing: setting aside what could have been sent is the worse mistake. So is one about
/// its time, which is our clock's: it passes when the clock is put right.
pub fn meaning(code: Code) -> Meaning {
    match code {
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        // Another record of its batch was at fault; sent singly, each shows whether it was.
        | Code::InvalidDifferentRecord
        | Code::UnsupportedForMessageFormat
        | Code::PolicyViolation => Meaning::Permanent { retry_in: None },
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::InvalidTopic
        | Code::TopicAuthorizationFailed => Meaning::Permanent { retry_in: Some(TOPIC_RETRY) },
        _ => Meaning::Passing,
    }
}

/// Whatever else goes to this topic is refused too. (A partition that is missing says nothing of the others.)
pub fn closes_the_topic(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::InvalidTopic | Code::TopicAuthorizationFailed
    )
}

/// The record came back only because another one ended the producer.
pub fn is_consequence(code: Code) -> bool {
    matches!(code, Code::PurgeQueue | Code::PurgeInflight | Code::GaplessGuarantee | Code::Fatal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_with_a_record_or_its_topic_is_set_aside() {
        assert_eq!(meaning(Code::MessageSizeTooLarge), Meaning::Permanent { retry_in: None });
        assert_eq!(meaning(Code::InvalidDifferentRecord), Meaning::Permanent { retry_in: None });
        assert_eq!(meaning(Code::UnknownTopic), Meaning::Permanent { retry_in: Some(TOPIC_RETRY) });
        for passing in [
            Code::BrokerTransportFailure,
            Code::NotEnoughReplicas,
            Code::OutOfOrderSequenceNumber,
            Code::InvalidTimestamp,
            Code::Fatal,
        ] {
            assert_eq!(meaning(passing), Meaning::Passing, "{passing}");
        }
    }
}
