//! No migration reads a standing table from end to end while its lock keeps payments out.

use super::{Source, assert_none, files};

/// Without comments, and with single spaces.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let code = code.join(" ");
    code.split(';').map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Rules that PostgreSQL would hold every standing row against. A table that the same migration makes has none.
fn whole_readings(source: &Source) -> Vec<String> {
    let statements = statements(&source.text);
    let is_new = |table: &str| statements.iter().any(|other| other.starts_with(&format!("CREATE TABLE {table} ")));
    let altered = statements.iter().filter_map(|statement| statement.strip_prefix("ALTER TABLE "));
    let standing = altered.filter(|altered| !altered.split(' ').next().is_some_and(is_new));
    let added = standing.flat_map(|altered| altered.split(" ADD ").skip(1));
    let reads = |added: &&str| {
        ["CHECK (", "REFERENCES "].iter().any(|rule| added.contains(rule)) && !added.contains("NOT VALID")
    };
    added.filter(reads).map(|added| format!("{}: not NOT VALID: {added}", source.path)).collect()
}

#[test]
fn no_migration_holds_every_row_of_a_standing_table_against_a_new_rule() {
    assert_none(files("migrations", ".sql").iter().flat_map(whole_readings).collect());
}

#[test]
fn a_rule_that_reads_a_whole_table_is_found() {
    let found = |text: &str| whole_readings(&Source::made_up("migrations/0099_made_up.sql", text)).len();
    assert_eq!(
        found("ALTER TABLE payments\n    ADD COLUMN a text,\n    ADD CONSTRAINT b\n        CHECK (a <> '');"),
        1
    );
    assert_eq!(
        found("ALTER TABLE payments ADD CONSTRAINT b CHECK (a <> ''), ADD CONSTRAINT c CHECK (a <> 'c') NOT VALID;"),
        1
    );
    assert_eq!(found("ALTER TABLE payments ADD COLUMN a bigint REFERENCES accounts; -- NOT VALID"), 1);
    assert_eq!(found("ALTER TABLE payments DROP CONSTRAINT b, ADD CONSTRAINT b CHECK (a <> '') NOT VALID;"), 0);
    assert_eq!(found("CREATE TABLE payments (a text); ALTER TABLE payments ADD CONSTRAINT b CHECK (a <> '');"), 0);
}
