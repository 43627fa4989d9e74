//! Answers to orders: given once, then given again to the byte.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response as HttpResponse, StatusCode};
use uuid::Uuid;
use warp::reply::Response;

use crate::domain::ids::PublicId;
use crate::transactions::accept::{Answered, Endpoint, Reply};

/// Whether an answer is the first or a repeated one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Given {
    First,
    Again,
}

/// The answer to an order, as it goes out.
pub(super) fn response(endpoint: Endpoint, transaction_id: Uuid, reply: Reply, given: Given) -> Response {
    let status = u16::try_from(reply.status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = HttpResponse::new(reply.body.into());
    *response.status_mut() = status.unwrap_or(StatusCode::ACCEPTED);
    let headers = response.headers_mut();
    let location = format!("/v1/transactions/{}", PublicId { kind: endpoint.0, id: transaction_id });
    for (name, text) in [(LOCATION, location), (CONTENT_TYPE, reply.content_type)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if given == Given::Again {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}

const VERSION: u8 = 1;

/// As it stands in Redis: version, transaction, order hash, status, length of the content type, content type, body.
pub(super) fn to_cache(answered: &Answered) -> Vec<u8> {
    let reply = &answered.reply;
    let mut bytes = Vec::with_capacity(64 + reply.content_type.len() + reply.body.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(answered.transaction_id.as_bytes());
    bytes.extend_from_slice(&answered.order_hash);
    bytes.extend_from_slice(&reply.status.to_be_bytes());
    bytes.push(reply.content_type.len() as u8);
    bytes.extend_from_slice(reply.content_type.as_bytes());
    bytes.extend_from_slice(&reply.body);
    bytes
}

/// None: not written by this version, or damaged. Then PostgreSQL tells.
pub(super) fn from_cache(bytes: &[u8]) -> Option<Answered> {
    let (&[version], rest) = bytes.split_first_chunk::<1>()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (order_hash, rest) = rest.split_first_chunk::<32>()?;
    let (status, rest) = rest.split_first_chunk::<2>()?;
    let (&[length], rest) = rest.split_first_chunk::<1>()?;
    let (content_type, body) = rest.split_at_checked(usize::from(length))?;
    let reply = Reply {
        status: i16::from_be_bytes(*status),
        content_type: std::str::from_utf8(content_type).ok()?.to_owned(),
        body: body.to_vec(),
    };
    let answered = Answered { transaction_id: Uuid::from_bytes(*id), order_hash: order_hash.to_vec(), reply };
    (version == VERSION).then_some(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_answer_reads_back_and_a_damaged_one_counts_as_none() {
        let reply = Reply { status: 202, content_type: "application/json".into(), body: b"{}".to_vec() };
        let answered = Answered { transaction_id: Uuid::now_v7(), order_hash: vec![3; 32], reply };
        let bytes = to_cache(&answered);
        assert_eq!(from_cache(&bytes), Some(answered));
        assert_eq!(from_cache(&bytes[..60]), None);
        assert_eq!(from_cache(&[]), None);
        assert_eq!(from_cache(&[&[9], &bytes[1..]].concat()), None);
    }
}
