//! I13: what workers have consumed, they have done something about.
//!
//! The committed offsets are read first, the books after the records: what a worker did was then committed before its offset, and can
//! be seen. A worker may also find that nothing can be done now (its gateway is paused, or rests): the payment then waits at the command's
//! version until it is looked at again, which counts as under way.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::Rest;
use super::invariant::Invariant;
use super::records::{COMMANDS, Consumed, Extent, Record};
use super::report::Finding;
use crate::domain::event::{Act, Command};
use crate::domain::transaction::Status;
use crate::kafka::Settings;

/// Of a record: topic (without prefix), partition, offset.
type Place = (String, i32, i64);

/// The latest consumed command of a payment.
#[derive(Debug)]
struct Latest {
    version: i64,
    place: Place,
    incarnation: i32,
}

#[derive(Debug)]
pub struct Commands {
    consumed: Consumed,
    latest: HashMap<Uuid, Latest>,
    /// Consumed records that are no commands.
    unreadable: Vec<Place>,
    finding: Finding,
}

impl Commands {
    pub fn new(consumed: Consumed, extents: &[Extent]) -> Self {
        let mut finding = Finding::new(Invariant::I13);
        let cut = extents.iter().filter(|extent| extent.low > 0 && extent.topic.starts_with(COMMANDS)).count();
        if cut > 0 {
            finding.gap(format!("the oldest commands are gone from {cut} partitions"));
        }
        Self { consumed, latest: HashMap::new(), unreadable: Vec::new(), finding }
    }

    pub fn take(&mut self, record: &Record, payload: Option<&[u8]>) {
        let end = self.consumed.get(&(record.topic.clone(), record.partition));
        if end.is_none_or(|end| record.offset >= *end) {
            return;
        }
        self.finding.checked += 1;
        let place = (record.topic.clone(), record.partition, record.offset);
        let command = payload.and_then(|payload| serde_json::from_slice::<Command>(payload).ok());
        let (Some(command), Ok(claim)) = (command, &record.claim) else {
            self.unreadable.push(place);
            return;
        };
        // A question moves no money, and where the answer is no news nothing is written.
        if command.act == Act::Ask {
            return;
        }
        let known = self.latest.get(&command.transaction_id).map_or(0, |latest| latest.version);
        if command.version > known {
            let latest = Latest { version: command.version, place, incarnation: claim.incarnation };
            self.latest.insert(command.transaction_id, latest);
        }
    }

    /// In books that are younger than the offsets.
    pub async fn judge(
        mut self,
        books: &mut PgConnection,
        brokers: &Settings,
        rest: Rest,
    ) -> Result<Finding, sqlx::Error> {
        let incarnation = sqlx::query_file_scalar!("lib/ops/sql/incarnation.sql").fetch_optional(&mut *books).await?;
        let mut buried: HashSet<Place> = HashSet::new();
        for row in sqlx::query_file!("lib/ops/sql/buried.sql").fetch_all(&mut *books).await? {
            let topic = row.topic.strip_prefix(&brokers.topic_prefix).unwrap_or(&row.topic).to_owned();
            buried.insert((topic, row.partition, row.offset));
        }
        for place in self.unreadable.iter().filter(|place| !buried.contains(*place)) {
            self.finding.violation(|| format!("{} was consumed, is no command, and left no dead letter", named(place)));
        }
        self.latest.retain(|_, latest| !buried.contains(&latest.place));
        let mut rows = sqlx::query_file!("lib/ops/sql/commanded.sql").fetch(books);
        while let Some(row) = rows.try_next().await? {
            let Some(latest) = self.latest.remove(&row.id) else { continue };
            if row.version > latest.version {
                continue;
            }
            let untouched = row.status == Status::Created.as_str() && row.asks == 0;
            if rest == Rest::AtRest || untouched || row.version < latest.version {
                let (id, at, meant) = (row.id, row.version, latest.version);
                self.finding.violation(|| {
                    format!("{} was consumed for {id} at version {meant}, which stands at {at}", named(&latest.place))
                });
            } else {
                self.finding.under_way += 1;
            }
        }
        drop(rows);
        // Commands of before a restore may be of payments that it has undone.
        let strangers = self.latest.iter().filter(|(_, latest)| latest.incarnation >= incarnation.unwrap_or(1));
        for (id, Latest { place, .. }) in strangers {
            self.finding.violation(|| format!("{} was consumed, and there is no payment {id}", named(place)));
        }
        Ok(self.finding)
    }
}

fn named((topic, partition, offset): &Place) -> String {
    format!("{topic}/{partition}@{offset}")
}
