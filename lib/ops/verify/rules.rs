//! The database's own rules stand: an invariant that a constraint guards is not believed from the rows alone.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;

use super::report::Finding;

/// A constraint or unique index by name, and what its definition must say.
pub struct Rule {
    pub name: &'static str,
    pub says: &'static str,
}

pub const BALANCES: &[Rule] = &[
    Rule { name: "accounts_available_not_negative", says: "CHECK ((available >= 0))" },
    Rule { name: "accounts_held_not_negative", says: "CHECK ((held >= 0))" },
    Rule { name: "accounts_owed_not_negative", says: "CHECK ((owed >= 0))" },
];

pub const EFFECTS: &[Rule] = &[
    Rule { name: "ledger_entries_no_effect_twice", says: "UNIQUE (transaction_id, effect, account, side)" },
    Rule { name: "ledger_entries_hold_ends_once", says: "(transaction_id) WHERE" },
];

pub const CAUSES: &[Rule] =
    &[Rule { name: "transitions_effect_once_per_cause", says: "UNIQUE (transaction_id, cause)" }];

pub const STEPS: &[Rule] = &[
    Rule { name: "transitions_pkey", says: "PRIMARY KEY (transaction_id, version)" },
    Rule { name: "transitions_legal", says: "CHECK (" },
];

pub const KEYS: &[Rule] = &[
    Rule { name: "idempotency_keys_pkey", says: "PRIMARY KEY (user_id, endpoint, key)" },
    Rule { name: "idempotency_keys_transaction_unique", says: "UNIQUE (transaction_id)" },
];

/// A rule that is gone, not valid or says something else is a violation of the invariant that it guards.
pub async fn judge(books: &mut PgConnection, rules: &[Rule], finding: &mut Finding) -> Result<(), sqlx::Error> {
    let names: Vec<String> = rules.iter().map(|rule| rule.name.to_owned()).collect();
    let rows = sqlx::query_file!("lib/ops/sql/rules.sql", &names).fetch_all(books).await?;
    let standing: HashMap<&str, &str> = rows.iter().map(|row| (row.name.as_str(), row.definition.as_str())).collect();
    for rule in rules {
        match standing.get(rule.name) {
            None => finding.violation(|| format!("the rule {} is gone from the database, or not valid", rule.name)),
            Some(definition) if !definition.contains(rule.says) => {
                finding.violation(|| format!("the rule {} says `{definition}`, not `{}`", rule.name, rule.says));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
