//! I17: idempotency keys and the answers stored under them.

use futures_util::TryStreamExt;
use serde::Deserialize;
use sqlx::postgres::PgConnection;

use super::invariant::Invariant;
use super::report::{Finding, Violation};
use super::rules;
use crate::domain::ids::{Kind, PublicId};
use crate::domain::transaction::Status;

pub async fn judge(books: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let mut finding = Finding::new(Invariant::I17);
    rules::judge(books, rules::KEYS, &mut finding).await?;
    let keyless = sqlx::query_file_as!(Violation, "lib/ops/sql/keyless_payments.sql").fetch_all(&mut *books).await?;
    finding.violations_of(keyless);
    let repeated = sqlx::query_file_as!(Violation, "lib/ops/sql/repeated_keys.sql").fetch_all(&mut *books).await?;
    finding.violations_of(repeated);
    let mut rows = sqlx::query_file!("lib/ops/sql/keys.sql").fetch(books);
    while let Some(row) = rows.try_next().await? {
        finding.checked += 1;
        let kind = row.kind.as_deref().and_then(|kind| kind.parse().ok());
        let wrong = match kind {
            None => Some("no payment was made".to_owned()),
            Some(_) if row.owner != Some(row.user_id) => {
                Some(format!("payment {} is another user's", row.transaction_id))
            }
            Some(kind) if row.endpoint != endpoint_of(kind) => {
                Some(format!("payment {} is a {}", row.transaction_id, kind.as_str()))
            }
            Some(_) if row.reply_status != 202 => Some(format!("the stored status is {}", row.reply_status)),
            Some(kind) => {
                let id = PublicId { kind, id: row.transaction_id }.to_string();
                let currency = row.currency.unwrap_or_default();
                // Whatever became of it later: when it was accepted nothing had been done yet.
                let status = Status::Created.public().0.to_owned();
                let stands = Answer { id, amount: row.amount.unwrap_or_default(), currency, status };
                differs(&row.reply_type, &row.reply_body, &stands)
            }
        };
        if let Some(wrong) = wrong {
            finding.violation(|| format!("{} of user {}, key {}: {wrong}", row.endpoint, row.user_id, row.key));
        }
    }
    Ok(finding)
}

fn endpoint_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Deposit => "POST /v1/deposits",
        Kind::Withdrawal => "POST /v1/withdrawals",
    }
}

/// What an answer says of its payment, in either format; in XML `<transaction>…<id>dep_…</id>…</transaction>`.
#[derive(PartialEq, Eq, Debug, Deserialize)]
struct Answer {
    id: String,
    amount: i64,
    currency: String,
    status: String,
}

/// The stored answer can be read, and tells of the payment as it was accepted; otherwise why not.
fn differs(media_type: &str, body: &[u8], stands: &Answer) -> Option<String> {
    let answer = match std::str::from_utf8(body) {
        Ok(text) if media_type.contains("xml") => quick_xml::de::from_str(text).ok(),
        Ok(text) => serde_json::from_str(text).ok(),
        Err(_) => None,
    };
    let Some(Answer { id, amount, currency, status }) = answer else {
        return Some("the stored answer cannot be read, or does not tell of a payment".to_owned());
    };
    if id != stands.id {
        Some(format!("the stored answer names {id}"))
    } else if (amount, &currency) != (stands.amount, &stands.currency) {
        let Answer { id, amount: due, currency: of, .. } = stands;
        Some(format!("the stored answer says {amount} {currency}, and {id} is over {due} {of}"))
    } else if status != stands.status {
        Some(format!("the stored answer says {status}"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_answer_tells_of_its_payment_in_either_format() {
        let id = PublicId { kind: Kind::Deposit, id: Uuid::now_v7() }.to_string();
        let stands = Answer { id: id.clone(), amount: 1250, currency: "EUR".into(), status: "created".into() };
        let json = format!(r#"{{"id":"{id}","type":"deposit","status":"created","amount":1250,"currency":"EUR"}}"#);
        let xml = format!(
            "<?xml version=\"1.0\"?><transaction><type>deposit</type><id>{id}</id><status>created</status>
             <amount>1250</amount><currency>EUR</currency></transaction>"
        );
        for (media_type, body) in [("application/json", json), ("application/xml", xml)] {
            assert_eq!(differs(media_type, body.as_bytes(), &stands), None, "{body}");
            for (from, to) in [(&id[..8], "dep_ffff"), ("1250", "1251"), ("EUR", "USD"), ("created", "succeeded")] {
                let other = body.replace(from, to);
                assert!(differs(media_type, other.as_bytes(), &stands).is_some(), "{other}");
            }
        }
        assert!(differs("application/json", b"{", &stands).is_some());
    }
}
