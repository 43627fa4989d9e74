//! An outbox row as a Kafka record: CloudEvents 1.0 in binary mode, the attributes as headers.

use std::fmt::Write;

use rdkafka::message::{Header, OwnedHeaders};
use time::format_description::well_known::Rfc3339;
use uuid::fmt::Hyphenated;

use crate::domain::event::header;
use crate::outbox::delta::Row;

/// `ce_source`: whose events these are.
pub const SOURCE: &str = "payfleet";

/// What Kafka adds to a record and its batch, generously.
const FRAMING_BYTES: usize = 256;

/// Writes records; keeps its buffers from one to the next.
#[derive(Debug)]
pub struct Writer {
    incarnation: String,
    id: String,
    seq_from: usize,
    time: Vec<u8>,
    key: [u8; Hyphenated::LENGTH],
}

impl Writer {
    pub fn new(incarnation: i32) -> Self {
        let incarnation = incarnation.to_string();
        Self { incarnation, id: String::new(), seq_from: 0, time: Vec::new(), key: [0; Hyphenated::LENGTH] }
    }

    /// The key: the aggregate, in hyphenated text. Good until the next record.
    pub fn key(&mut self, row: &Row) -> &[u8] {
        row.aggregate.hyphenated().encode_lower(&mut self.key).as_bytes()
    }

    pub fn headers(&mut self, row: &Row) -> OwnedHeaders {
        self.id.clear();
        self.id.push_str(row.aggregate.hyphenated().encode_lower(&mut self.key));
        self.id.push('/');
        self.seq_from = self.id.len();
        // Writing to memory does not fail.
        write!(self.id, "{}", row.seq).ok();
        self.time.clear();
        row.at.format_into(&mut self.time, &Rfc3339).ok();
        let headers = OwnedHeaders::new_with_capacity(10);
        let headers = with(headers, header::ID, self.id.as_bytes());
        let headers = with(headers, header::SOURCE, SOURCE.as_bytes());
        let headers = with(headers, header::SPEC_VERSION, b"1.0");
        let headers = with(headers, header::TYPE, row.kind.as_bytes());
        let headers = with(headers, header::SUBJECT, &self.id.as_bytes()[..self.seq_from - 1]);
        let headers = with(headers, header::TIME, &self.time);
        let headers = with(headers, header::CONTENT_TYPE, b"application/json");
        let headers = with(headers, header::SEQ, &self.id.as_bytes()[self.seq_from..]);
        let headers = with(headers, header::INCARNATION, self.incarnation.as_bytes());
        match &row.traceparent {
            Some(traceparent) => with(headers, header::TRACEPARENT, traceparent.as_bytes()),
            None => headers,
        }
    }
}

fn with(headers: OwnedHeaders, key: &str, value: &[u8]) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

/// How large the record is for the topic's limit, at most.
pub fn size(row: &Row) -> usize {
    // Names and values of the headers that are always there come to less than the framing allows for.
    let varying = row.kind.len() + row.traceparent.as_ref().map_or(0, String::len);
    row.payload.len() + varying + 3 * Hyphenated::LENGTH + 2 * FRAMING_BYTES
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;

    fn row() -> Row {
        Row {
            id: 5,
            aggregate: Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001),
            seq: i64::MAX,
            topic: "payments.events".into(),
            kind: "payfleet.transaction.status_changed.v1".into(),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            payload: b"{}".to_vec(),
            at: OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap(),
        }
    }

    #[test]
    fn a_record_carries_the_attributes_of_a_cloud_event() {
        let (row, mut writer) = (row(), Writer::new(3));
        let headers = writer.headers(&row);
        let text = |key: &str| {
            let found = headers.iter().find(|header| header.key == key);
            found.map(|header| String::from_utf8(header.value.unwrap().to_vec()).unwrap()).unwrap_or_default()
        };
        assert_eq!(text("ce_id"), "01920000-0000-7000-8000-000000000001/9223372036854775807");
        assert_eq!(text("ce_source"), "payfleet");
        assert_eq!(text("ce_specversion"), "1.0");
        assert_eq!(text("ce_type"), row.kind);
        assert_eq!(text("ce_subject"), "01920000-0000-7000-8000-000000000001");
        assert_eq!(text("ce_time"), "2023-11-14T22:13:20Z");
        assert_eq!(text("content-type"), "application/json");
        assert_eq!(text("payfleet-seq"), "9223372036854775807");
        assert_eq!(text("payfleet-incarnation"), "3");
        assert_eq!(text("traceparent"), row.traceparent.clone().unwrap());
        assert_eq!(writer.key(&row), b"01920000-0000-7000-8000-000000000001");
    }

    #[test]
    fn the_size_is_never_underrated() {
        let row = row();
        let headers: usize = Writer::new(i32::MAX)
            .headers(&row)
            .iter()
            .map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len) + 10)
            .sum();
        let batch_and_record = 61 + 21 + 36 + 10;
        assert!(headers + row.payload.len() + batch_and_record <= size(&row));
    }
}
