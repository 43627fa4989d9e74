//! A consumed record, owned: it outlives the poll that brought it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Headers, Message};

use crate::domain::event::header;

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
