//! I17: idempotency keys and the answers stored under them.

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::invariant::Invariant;
use super::report::{Finding, Violation};
use super::rules;
use crate::domain::ids::{Kind, PublicId};

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
            Some(kind) => names(&row.reply_type, &row.reply_body, kind, row.transaction_id).err(),
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

/// The stored answer can be read, and is about this payment.
fn names(media_type: &str, body: &[u8], kind: Kind, id: Uuid) -> Result<(), String> {
    let named = if media_type.contains("xml") { id_in_xml(body) } else { id_in_json(body) };
    let named = named.ok_or_else(|| "the stored answer cannot be read, or names no payment".to_owned())?;
    if named == (PublicId { kind, id }).to_string() { Ok(()) } else { Err(format!("the stored answer names {named}")) }
}

fn id_in_json(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(body.get("id")?.as_str()?.to_owned())
}

/// `<transaction>…<id>dep_…</id>`
fn id_in_xml(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        id: String,
    }
    let text = std::str::from_utf8(body).ok()?;
    quick_xml::de::from_str::<Named>(text).ok().map(|named| named.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_payment_in_either_format() {
        let id = Uuid::now_v7();
        let public = PublicId { kind: Kind::Deposit, id };
        let json = format!(r#"{{"id":"{public}","type":"deposit"}}"#);
        let xml = format!("<?xml version=\"1.0\"?><transaction><type>deposit</type><id>{public}</id></transaction>");
        assert_eq!(names("application/json", json.as_bytes(), Kind::Deposit, id), Ok(()));
        assert_eq!(names("application/xml", xml.as_bytes(), Kind::Deposit, id), Ok(()));
        assert!(names("application/json", json.as_bytes(), Kind::Withdrawal, id).is_err());
        assert!(names("application/json", json.as_bytes(), Kind::Deposit, Uuid::now_v7()).is_err());
        assert!(names("application/json", b"{", Kind::Deposit, id).is_err());
    }
}
