//! A consumed record, owned: it outlives the poll that brought it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::HandleError;
use crate::domain::event::header;

/// Why a record says nothing that we understand. Quotes nothing of its payload: reasons are logged and sent on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unreadable {
    #[error("the record has no payload")]
    NoPayload,
    #[error("expected an event of type {expected}, found {found:?}")]
    Kind { expected: &'static str, found: Option<String> },
    #[error("the payload is not what its type says: {problem} error at line {line}, column {column}")]
    Json { problem: String, line: usize, column: usize },
}

impl From<Unreadable> for HandleError {
    fn from(why: Unreadable) -> Self {
        Self::Dead(why.to_string())
    }
}

#[derive(Clone)]
pub struct Record {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Bytes>,
    /// None is a tombstone: the record has no value at all.
    pub payload: Option<Bytes>,
    pub headers: Vec<(String, Bytes)>,
}

impl Record {
    pub(super) fn read(topic: Arc<str>, message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default())))
                .collect()
        });
        Self {
            topic,
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(Bytes::copy_from_slice),
            payload: message.payload().map(Bytes::copy_from_slice),
            headers,
        }
    }

    /// The value of the first header of this name, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        std::str::from_utf8(value).ok()
    }

    /// What kind of event this is (CloudEvents `type`).
    pub fn kind(&self) -> Option<&str> {
        self.header(header::TYPE)
    }

    /// W3C Trace Context of the step that emitted the record; None when it does not look like one.
    pub fn traceparent(&self) -> Option<&str> {
        let is_part_of_one = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        self.header(header::TRACEPARENT).filter(|text| text.len() == 55 && text.bytes().all(is_part_of_one))
    }

    /// Reads the payload as what its type says it is, strictly.
    pub fn parse<T: DeserializeOwned>(&self, kind: &'static str) -> Result<T, Unreadable> {
        match self.kind() {
            Some(found) if found == kind => {}
            found => return Err(Unreadable::Kind { expected: kind, found: found.map(str::to_owned) }),
        }
        let payload = self.payload.as_ref().ok_or(Unreadable::NoPayload)?;
        serde_json::from_slice(payload).map_err(|error| Unreadable::Json {
            problem: format!("{:?}", error.classify()),
            line: error.line(),
            column: error.column(),
        })
    }

    /// The key as the id of the aggregate that it stands for.
    pub fn aggregate(&self) -> Option<Uuid> {
        let text = std::str::from_utf8(self.key.as_ref()?).ok()?;
        Uuid::try_parse(text).ok()
    }

    /// What the record takes in memory, near enough to bound it.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let body = self.key.as_ref().map_or(0, Bytes::len) + self.payload.as_ref().map_or(0, Bytes::len);
        size_of::<Self>() + headers + body
    }
}

/// Where it lies, never what it says: bodies do not belong in logs.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]@{}", self.topic, self.partition, self.offset)
    }
}
