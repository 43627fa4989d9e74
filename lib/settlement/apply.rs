//! The one statement that takes steps, for many payments at once.

use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::change::{Available, Change, OperationChange};
use crate::domain::lane::lane_of;
use crate::domain::posting;
use crate::postgres::combiner::Batch;
use crate::service::planted::{self, Bug};

/// What became of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// Committed, by this statement or by an earlier run of it.
    Taken,
    /// The payment no longer stands where the step assumed.
    Missed,
    /// Another session has the payment or its account: not looked at, to be submitted again.
    Busy,
}

#[derive(Clone)]
pub struct Applying;

impl Batch for Applying {
    type Request = std::sync::Arc<Change>;
    type Reply = Applied;
    type Key = Uuid;
    const NAME: &'static str = "payfleet-settle";

    fn key(change: &Self::Request) -> Option<Uuid> {
        Some(change.transaction_id)
    }

    async fn run(&self, connection: &mut PgConnection, changes: &[Self::Request]) -> Result<Vec<Applied>, sqlx::Error> {
        let columns = Columns::of(changes);
        columns.run(connection).await
    }
}

/// The changes, turned by 90 degrees: one array per column, as UNNEST wants them.
#[derive(Default)]
struct Columns {
    transaction: Vec<Uuid>,
    expected_version: Vec<i64>,
    cause: Vec<String>,
    actor: Vec<String>,
    from: Vec<String>,
    to: Vec<String>,
    substatus: Vec<Option<String>>,
    reason_code: Vec<Option<String>>,
    reason_message: Vec<Option<String>>,
    reason_gateway_code: Vec<Option<String>>,
    gateway: Vec<String>,
    attempt: Vec<i16>,
    round: Vec<i16>,
    action_url: Vec<Option<String>>,
    action_expires_at: Vec<Option<OffsetDateTime>>,
    asks: Vec<i16>,
    due_ms: Vec<Option<i64>>,
    event: Vec<Vec<u8>>,
    event_hash: Vec<Vec<u8>>,
    command_topic: Vec<Option<String>>,
    command: Vec<Option<Vec<u8>>>,
    command_hash: Vec<Option<Vec<u8>>>,
    callback: Vec<Option<Uuid>>,
    expected_owed: Vec<Option<i64>>,
    lane: Vec<i16>,
    available_from: Vec<Option<i64>>,
    available_to: Vec<Option<i64>>,
    operator: Vec<Option<String>>,
    operator_says: Vec<Option<String>>,
    suspended_at: Vec<Option<String>>,
    news: News,
    operating: Operating,
    posting: Posting,
}

#[derive(Default)]
struct News {
    n: Vec<i64>,
    id: Vec<Uuid>,
    number: Vec<i16>,
    round: Vec<i16>,
    gateway: Vec<String>,
    state: Vec<String>,
    reference: Vec<Option<String>>,
    gateway_code: Vec<Option<String>>,
    gateway_text: Vec<Option<String>>,
    not_found: Vec<Option<i16>>,
}

#[derive(Default)]
struct Operating {
    n: Vec<i64>,
    attempt: Vec<Uuid>,
    kind: Vec<String>,
    key: Vec<String>,
    act: Vec<String>,
    for_ms: Vec<Option<i64>>,
    outcome: Vec<Option<String>>,
}

#[derive(Default)]
struct Posting {
    n: Vec<i64>,
    effect: Vec<String>,
    account: Vec<String>,
    side: Vec<String>,
    amount: Vec<i64>,
}

impl Columns {
    fn of(changes: &[std::sync::Arc<Change>]) -> Self {
        let mut columns = Self::default();
        for (index, change) in changes.iter().enumerate() {
            let n = index as i64 + 1;
            columns.add(change);
            columns.news.add(n, change);
            columns.operating.add(n, change);
            columns.posting.add(n, change);
        }
        columns
    }

    fn add(&mut self, change: &Change) {
        let reason = change.reason.as_ref();
        let action = change.next_action.as_ref();
        let command = change.command.as_ref();
        self.transaction.push(change.transaction_id);
        self.expected_version.push(change.expected_version);
        self.cause.push(change.cause.clone());
        self.actor.push(change.actor.as_str().into());
        self.from.push(change.from.as_str().into());
        self.to.push(change.to.as_str().into());
        self.substatus.push(change.substatus.map(|substatus| substatus.as_str().into()));
        self.reason_code.push(reason.map(|reason| reason.code.clone()));
        self.reason_message.push(reason.map(|reason| reason.message.clone()));
        self.reason_gateway_code.push(reason.and_then(|reason| reason.gateway_code.clone()));
        self.gateway.push(change.gateway.clone());
        self.attempt.push(change.attempt);
        self.round.push(change.round);
        self.action_url.push(action.map(|action| action.redirect_url.clone()));
        self.action_expires_at.push(action.and_then(|action| action.expires_at));
        self.asks.push(change.asks);
        self.due_ms.push(change.due_in.map(|wait| wait.as_millis() as i64));
        self.event.push(change.event.payload.clone());
        self.event_hash.push(change.event.hash());
        self.command_topic.push(command.map(|command| command.topic.clone()));
        self.command.push(command.map(|command| command.payload.clone()));
        self.command_hash.push(command.map(crate::domain::event::Emission::hash));
        self.callback.push(change.callback);
        self.expected_owed.push(change.expected_owed);
        self.lane.push(lane_of(change.transaction_id));
        let (from, to) = match change.expected_available {
            None => (None, None),
            Some(Available::AtLeast(least)) => (Some(least), None),
            Some(Available::Exactly(all)) => (Some(all), Some(all)),
        };
        self.available_from.push(from);
        self.available_to.push(to);
        self.operator.push(change.word.as_ref().map(|word| word.operator.clone()));
        self.operator_says.push(change.word.as_ref().map(|word| word.says.clone()));
        self.suspended_at.push(change.suspended_at.clone());
    }

    async fn run(&self, connection: &mut PgConnection) -> Result<Vec<Applied>, sqlx::Error> {
        let (news, operating, posting) = (&self.news, &self.operating, &self.posting);
        let rows = sqlx::query_file!(
            "lib/settlement/sql/apply.sql",
            &self.transaction,
            &self.expected_version,
            &self.cause,
            &self.actor,
            &self.from,
            &self.to,
            &self.substatus as &[Option<String>],
            &self.reason_code as &[Option<String>],
            &self.reason_message as &[Option<String>],
            &self.reason_gateway_code as &[Option<String>],
            &self.gateway,
            &self.attempt,
            &self.round,
            &self.action_url as &[Option<String>],
            &self.action_expires_at as &[Option<OffsetDateTime>],
            &self.asks,
            &self.due_ms as &[Option<i64>],
            &self.event,
            &self.event_hash,
            &self.command_topic as &[Option<String>],
            &self.command as &[Option<Vec<u8>>],
            &self.command_hash as &[Option<Vec<u8>>],
            &self.callback as &[Option<Uuid>],
            &self.expected_owed as &[Option<i64>],
            &self.lane,
            &news.n,
            &news.id,
            &news.number,
            &news.round,
            &news.gateway,
            &news.state,
            &news.reference as &[Option<String>],
            &news.gateway_code as &[Option<String>],
            &news.gateway_text as &[Option<String>],
            &news.not_found as &[Option<i16>],
            &operating.n,
            &operating.attempt,
            &operating.kind,
            &operating.key,
            &operating.act,
            &operating.for_ms as &[Option<i64>],
            &operating.outcome as &[Option<String>],
            &posting.n,
            &posting.effect,
            &posting.account,
            &posting.side,
            &posting.amount,
            &self.available_from as &[Option<i64>],
            &self.available_to as &[Option<i64>],
            &self.operator as &[Option<String>],
            &self.operator_says as &[Option<String>],
            &self.suspended_at as &[Option<String>]
        )
        .fetch_all(connection)
        .await?;
        let applied = |word: String| match word.as_str() {
            "taken" => Applied::Taken,
            "busy" => Applied::Busy,
            _ => Applied::Missed,
        };
        Ok(rows.into_iter().map(|row| applied(row.applied)).collect())
    }
}

impl News {
    fn add(&mut self, n: i64, change: &Change) {
        let Some(news) = &change.attempt_change else { return };
        self.n.push(n);
        self.id.push(news.id);
        self.number.push(news.number);
        self.round.push(news.round);
        self.gateway.push(news.gateway.clone());
        self.state.push(news.state.as_str().into());
        self.reference.push(news.reference.clone());
        self.gateway_code.push(news.gateway_code.clone());
        self.gateway_text.push(news.gateway_text.clone());
        self.not_found.push(news.not_found);
    }
}

impl Operating {
    fn add(&mut self, n: i64, change: &Change) {
        let (Some(operation), Some(attempt)) = (&change.operation_change, &change.attempt_change) else { return };
        let (kind, act, for_ms, outcome) = match operation {
            OperationChange::MayBeSent { kind, for_at_most } => {
                (kind, "may_be_sent", Some(for_at_most.as_millis() as i64), None)
            }
            OperationChange::TakenOver { kind } => (kind, "taken_over", None, None),
            OperationChange::Answered { kind, outcome } => (kind, "answered", None, Some((*outcome).to_owned())),
        };
        self.n.push(n);
        self.attempt.push(attempt.id);
        self.kind.push(kind.as_str().into());
        self.key.push(kind.key(attempt.id));
        self.act.push(act.into());
        self.for_ms.push(for_ms);
        self.outcome.push(outcome);
    }
}

impl Posting {
    fn add(&mut self, n: i64, change: &Change) {
        for posting in &change.postings {
            self.push(n, posting);
            if planted::is(Bug::HoldPostedAndReleased) && posting.effect == posting::Effect::Post {
                let is_held = posting.account == posting::Account::Held;
                let account = if is_held { posting.account } else { posting::Account::Available };
                self.push(n, &posting::Posting { effect: posting::Effect::Release, account, ..*posting });
            }
        }
    }

    fn push(&mut self, n: i64, posting: &posting::Posting) {
        self.n.push(n);
        self.effect.push(posting.effect.as_str().into());
        self.account.push(posting.account.as_str().into());
        self.side.push(posting.side.as_str().into());
        self.amount.push(posting.amount);
    }
}
