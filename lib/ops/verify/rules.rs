//! The database's own rules stand: an invariant that a constraint guards is not believed from the rows alone.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;

use super::report::Finding;

/// A constraint or unique index of a table, and its whole definition as PostgreSQL prints it, whatever the white space.
pub struct Rule {
    pub table: &'static str,
    pub name: &'static str,
    pub says: &'static str,
}

pub const BALANCES: &[Rule] = &[
    Rule { table: "accounts", name: "accounts_available_not_negative", says: "CHECK ((available >= 0))" },
    Rule { table: "accounts", name: "accounts_held_not_negative", says: "CHECK ((held >= 0))" },
    Rule { table: "accounts", name: "accounts_owed_not_negative", says: "CHECK ((owed >= 0))" },
];

pub const EFFECTS: &[Rule] = &[
    Rule {
        table: "ledger_entries",
        name: "ledger_entries_no_effect_twice",
        says: "UNIQUE (transaction_id, effect, account, side)",
    },
    Rule {
        table: "ledger_entries",
        name: "ledger_entries_hold_ends_once",
        says: "CREATE UNIQUE INDEX ledger_entries_hold_ends_once ON public.ledger_entries USING btree (transaction_id)
               WHERE ((account = 'held'::text) AND (effect = ANY (ARRAY['post'::text, 'release'::text])))",
    },
];

pub const CAUSES: &[Rule] =
    &[Rule { table: "transitions", name: "transitions_effect_once_per_cause", says: "UNIQUE (transaction_id, cause)" }];

pub const STEPS: &[Rule] = &[
    Rule { table: "transitions", name: "transitions_pkey", says: "PRIMARY KEY (transaction_id, version)" },
    Rule { table: "transitions", name: "transitions_legal", says: LEGAL },
];

/// What [`crate::domain::transaction::Status::may_become`] allows.
const LEGAL: &str = "CHECK (
CASE from_status
    WHEN 'created'::text THEN (to_status = ANY (ARRAY['created'::text, 'submitting'::text, 'unknown'::text, 'cancelled'::text,
        'failed'::text, 'review'::text]))
    WHEN 'submitting'::text THEN (to_status = ANY (ARRAY['created'::text, 'submitting'::text, 'awaiting_gateway'::text,
        'requires_action'::text, 'unknown'::text, 'succeeded'::text, 'failed'::text, 'review'::text]))
    WHEN 'awaiting_gateway'::text THEN (to_status = ANY (ARRAY['awaiting_gateway'::text, 'requires_action'::text, 'unknown'::text,
        'succeeded'::text, 'failed'::text, 'review'::text]))
    WHEN 'requires_action'::text THEN (to_status = ANY (ARRAY['requires_action'::text, 'submitting'::text, 'awaiting_gateway'::text,
        'unknown'::text, 'succeeded'::text, 'failed'::text, 'expired'::text, 'review'::text]))
    WHEN 'unknown'::text THEN (to_status = ANY (ARRAY['unknown'::text, 'submitting'::text, 'awaiting_gateway'::text,
        'requires_action'::text, 'succeeded'::text, 'failed'::text, 'review'::text]))
    WHEN 'succeeded'::text THEN (to_status = ANY (ARRAY['succeeded'::text, 'reversed'::text, 'review'::text]))
    WHEN 'failed'::text THEN (to_status = ANY (ARRAY['failed'::text, 'succeeded'::text, 'review'::text]))
    WHEN 'expired'::text THEN (to_status = ANY (ARRAY['expired'::text, 'succeeded'::text, 'review'::text]))
    WHEN 'review'::text THEN (to_status = ANY (ARRAY['review'::text, 'succeeded'::text, 'failed'::text, 'reversed'::text]))
    ELSE ((from_status IS NULL) AND (to_status = 'created'::text))
END)";

pub const KEYS: &[Rule] = &[
    Rule { table: "idempotency_keys", name: "idempotency_keys_pkey", says: "PRIMARY KEY (user_id, endpoint, key)" },
    Rule { table: "idempotency_keys", name: "idempotency_keys_transaction_unique", says: "UNIQUE (transaction_id)" },
];

/// A rule that is gone, not valid or says something else is a violation of the invariant that it guards.
pub async fn judge(books: &mut PgConnection, rules: &[Rule], finding: &mut Finding) -> Result<(), sqlx::Error> {
    let (tables, names): (Vec<String>, Vec<String>) =
        rules.iter().map(|rule| (rule.table.to_owned(), rule.name.to_owned())).unzip();
    let rows = sqlx::query_file!("lib/ops/sql/rules.sql", &tables, &names).fetch_all(books).await?;
    let standing: HashMap<(&str, &str), &str> =
        rows.iter().map(|row| ((row.table.as_str(), row.name.as_str()), row.definition.as_str())).collect();
    for Rule { table, name, says } in rules {
        match standing.get(&(*table, *name)) {
            None => finding.violation(|| format!("the rule {name} of {table} is gone from the database, or not valid")),
            Some(definition) if !definition.split_whitespace().eq(says.split_whitespace()) => {
                finding.violation(|| format!("the rule {name} says `{definition}`, not `{says}`"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
