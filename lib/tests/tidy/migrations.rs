//! No migration reads a standing table from end to end while its lock keeps payments out.

use super::{Source, assert_none, files};

/// Without comments, and with single spaces.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let code = code.join(" ");
    code.split(';').map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What is added that PostgreSQL holds every standing row against, or writes into each.
const RULES: [&str; 7] = ["CHECK", "REFERENCES ", "UNIQUE", "PRIMARY KEY", "EXCLUDE", "GENERATED", "serial"];
/// What makes that unnecessary: it is done later, or was done before, without a lock that keeps anybody out.
const SPARED: [&str; 2] = ["NOT VALID", "USING INDEX"];
const CHANGES: [&str; 2] = [" SET NOT NULL", " TYPE "];

fn altered_of<'a>(statements: &'a [String], table: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let altered = statements.iter().filter_map(|statement| statement.strip_prefix("ALTER TABLE "));
    altered.filter(move |altered| altered.split(' ').next() == table)
}

/// Statements that read a table from end to end under their lock. A table that the same migration makes has nothing to be read.
fn whole_readings(source: &Source) -> Vec<String> {
    let statements = statements(&source.text);
    let is_new = |table: &str| statements.iter().any(|other| other.starts_with(&format!("CREATE TABLE {table} ")));
    let standing = |table: Option<&str>| table.is_some_and(|table| !is_new(table));
    let altered = statements.iter().filter_map(|statement| statement.strip_prefix("ALTER TABLE "));
    let altered: Vec<&str> = altered.filter(|altered| standing(altered.split(' ').next())).collect();
    let added = altered.iter().flat_map(|altered| altered.split(" ADD ").skip(1));
    let any = |text: &str, of: &[&str]| of.iter().any(|word| text.contains(word));
    let rules = added.filter(|added| any(added, &RULES) && !any(added, &SPARED));
    // What is validated in the transaction that added it is read under the lock that adding took.
    let is_added_here = |altered: &str| {
        let table = altered.split(' ').next();
        altered.contains(" VALIDATE ") && altered_of(&statements, table).any(|other| other.contains(" ADD "))
    };
    let changes = altered.iter().copied().filter(|altered| any(altered, &CHANGES) || is_added_here(altered));
    let indexes = statements.iter().map(String::as_str).filter(|statement| {
        let table = statement.split_once(" ON ").and_then(|(_, on)| on.split([' ', '(']).next());
        let is_index = statement.starts_with("CREATE INDEX ") || statement.starts_with("CREATE UNIQUE INDEX ");
        is_index && !statement.contains(" CONCURRENTLY ") && standing(table)
    });
    let found = rules.chain(changes).chain(indexes);
    found.map(|statement| format!("{}: it reads a whole table under its lock: {statement}", source.path)).collect()
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
    assert_eq!(found("ALTER TABLE payments ADD CHECK(a <> ''), ADD CONSTRAINT c UNIQUE (a), ALTER a SET NOT NULL;"), 3);
    assert_eq!(found("ALTER TABLE payments ADD CONSTRAINT c UNIQUE USING INDEX c;"), 0);
    assert_eq!(found("ALTER TABLE payments ALTER COLUMN a TYPE bigint;"), 1);
    assert_eq!(found("ALTER TABLE p ADD CHECK (a > 0) NOT VALID; ALTER TABLE p VALIDATE CONSTRAINT p_a_check;"), 1);
    assert_eq!(found("ALTER TABLE p VALIDATE CONSTRAINT p_a_check;"), 0);
    assert_eq!(found("ALTER TABLE p ADD COLUMN a bigserial, ADD b text GENERATED ALWAYS AS ('') STORED;"), 2);
    assert_eq!(found("CREATE INDEX i ON payments (a); CREATE UNIQUE INDEX CONCURRENTLY j ON payments (a);"), 1);
    assert_eq!(found("CREATE TABLE payments (a text); CREATE INDEX i ON payments (a);"), 0);
    assert_eq!(found("ALTER TABLE payments DROP CONSTRAINT b, ADD CONSTRAINT b CHECK (a <> '') NOT VALID;"), 0);
    assert_eq!(found("CREATE TABLE payments (a text); ALTER TABLE payments ADD CONSTRAINT b CHECK (a <> '');"), 0);
}
