//! The parameters of `accept.sql`: one array per column, one element per request.

use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::accept::{Entry, Row};
use crate::domain::destination::Destination;
use crate::domain::lane::lane_of;
use crate::domain::posting::{Account, Posting};

#[derive(Default)]
pub(super) struct Columns<'a> {
    id: Vec<Uuid>,
    kind: Vec<&'a str>,
    user: Vec<Uuid>,
    amount: Vec<i64>,
    currency: Vec<&'a str>,
    country: Vec<&'a str>,
    pinned_gateway: Vec<Option<&'a str>>,
    destination_kind: Vec<Option<&'a str>>,
    destination_last4: Vec<Option<String>>,
    destination_sealed: Vec<Option<&'a [u8]>>,
    destination_key_id: Vec<Option<&'a str>>,
    return_url: Vec<Option<&'a str>>,
    client_reference: Vec<Option<&'a str>>,
    metadata: Vec<Option<String>>,
    traceparent: Vec<Option<&'a str>>,
    gateway: Vec<&'a str>,
    created_at: Vec<OffsetDateTime>,
    due_at: Vec<OffsetDateTime>,
    submit_until: Vec<OffsetDateTime>,
    endpoint: Vec<&'a str>,
    key: Vec<&'a str>,
    order_hash: Vec<&'a [u8]>,
    reply_status: Vec<i16>,
    reply_type: Vec<&'a str>,
    reply_body: Vec<&'a [u8]>,
    event: Vec<&'a [u8]>,
    event_hash: Vec<Vec<u8>>,
    command_topic: Vec<&'a str>,
    command: Vec<&'a [u8]>,
    command_hash: Vec<Vec<u8>>,
    lane: Vec<i16>,
    available_delta: Vec<i64>,
    held_delta: Vec<i64>,
    posting: Postings,
}

#[derive(Default)]
struct Postings {
    n: Vec<i64>,
    effect: Vec<&'static str>,
    account: Vec<&'static str>,
    side: Vec<&'static str>,
    amount: Vec<i64>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(entries: &[&'a Entry]) -> Self {
        let mut columns = Self::default();
        for (index, entry) in entries.iter().enumerate() {
            columns.add_payment(entry);
            columns.add_order(entry);
            columns.add_answer(entry);
            columns.add_postings(index as i64 + 1, &entry.acceptance.postings);
        }
        columns
    }

    fn add_payment(&mut self, entry: &'a Entry) {
        let acceptance = &entry.acceptance;
        self.id.push(acceptance.id);
        self.user.push(acceptance.user_id);
        self.country.push(&acceptance.country);
        self.gateway.push(&acceptance.gateway);
        self.created_at.push(acceptance.created_at);
        self.due_at.push(acceptance.due_at);
        self.submit_until.push(acceptance.submit_until);
        self.event.push(&acceptance.event.payload);
        self.event_hash.push(acceptance.event.hash());
        self.command_topic.push(&acceptance.command.topic);
        self.command.push(&acceptance.command.payload);
        self.command_hash.push(acceptance.command.hash());
        self.lane.push(lane_of(acceptance.id));
        self.traceparent.push(entry.traceparent.as_deref());
    }

    fn add_order(&mut self, entry: &'a Entry) {
        let order = &entry.acceptance.order;
        self.kind.push(order.kind.as_str());
        self.amount.push(order.money.minor);
        self.currency.push(order.money.currency.code());
        self.pinned_gateway.push(order.pinned_gateway.as_deref());
        self.destination_kind.push(order.destination.as_ref().map(|destination| destination.kind().as_str()));
        self.destination_last4.push(order.destination.as_ref().map(Destination::last4));
        self.destination_sealed.push(entry.destination.as_ref().map(|sealed| sealed.bytes.as_slice()));
        self.destination_key_id.push(entry.destination.as_ref().map(|sealed| sealed.key_id.as_str()));
        self.return_url.push(order.return_url.as_deref());
        self.client_reference.push(order.client_reference.as_deref());
        self.metadata.push(order.metadata_json());
    }

    fn add_answer(&mut self, entry: &'a Entry) {
        self.endpoint.push(entry.endpoint().as_str());
        self.key.push(&entry.key);
        self.order_hash.push(&entry.order_hash);
        self.reply_status.push(entry.reply.status);
        self.reply_type.push(&entry.reply.content_type);
        self.reply_body.push(&entry.reply.body);
    }

    fn add_postings(&mut self, n: i64, postings: &[Posting]) {
        let delta = |account| postings.iter().filter(|p| p.account == account).map(Posting::delta).sum();
        self.available_delta.push(delta(Account::Available));
        self.held_delta.push(delta(Account::Held));
        for posting in postings {
            self.posting.n.push(n);
            self.posting.effect.push(posting.effect.as_str());
            self.posting.account.push(posting.account.as_str());
            self.posting.side.push(posting.side.as_str());
            self.posting.amount.push(posting.amount);
        }
    }

    /// One row per request, in order.
    pub(super) async fn run(&self, connection: &mut PgConnection) -> Result<Vec<Row>, sqlx::Error> {
        sqlx::query_file_as!(
            Row,
            "lib/transactions/sql/accept.sql",
            &self.id,
            &self.kind as _,
            &self.user,
            &self.amount,
            &self.currency as _,
            &self.country as _,
            &self.pinned_gateway as _,
            &self.destination_kind as _,
            &self.destination_last4 as _,
            &self.destination_sealed as _,
            &self.destination_key_id as _,
            &self.return_url as _,
            &self.client_reference as _,
            &self.metadata as _,
            &self.traceparent as _,
            &self.gateway as _,
            &self.created_at,
            &self.due_at,
            &self.submit_until,
            &self.endpoint as _,
            &self.key as _,
            &self.order_hash as _,
            &self.reply_status,
            &self.reply_type as _,
            &self.reply_body as _,
            &self.event as _,
            &self.event_hash,
            &self.command_topic as _,
            &self.command as _,
            &self.command_hash,
            &self.lane,
            &self.available_delta,
            &self.held_delta,
            &self.posting.n,
            &self.posting.effect as _,
            &self.posting.account as _,
            &self.posting.side as _,
            &self.posting.amount
        )
        .fetch_all(connection)
        .await
    }
}
