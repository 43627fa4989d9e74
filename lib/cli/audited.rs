//! `payfleet audit list`, and on whose word a command acts.

use serde::Serialize;

use super::arguments::{Output, Word};
use super::output::{self, Table, shown};
use crate::audit::{self, Entry};
use crate::postgres::Settings;

/// As PostgreSQL shows it to others.
const APPLICATION: &str = "payfleet-audit";

/// Rows that are asked for at once.
const PAGE: i64 = 1_000;

#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL cannot be used: {0}")]
pub struct Error(#[from] sqlx::Error);

/// Who acts: whoever they say they are, else the operating system's user.
pub fn actor(word: &Word) -> String {
    let number = rustix::process::getuid().as_raw();
    // In a container a user may have a number and no name.
    let user = || std::fs::read_to_string("/etc/passwd").ok().and_then(|users| name_of(number, &users));
    word.actor.clone().or_else(user).unwrap_or_else(|| format!("user {number}"))
}

/// passwd(5): name, password, number, and more, with colons between them.
fn name_of(number: u32, users: &str) -> Option<String> {
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let is = |fields: &Vec<&str>| fields.get(2).and_then(|field| field.parse().ok()) == Some(number);
    fields.into_iter().find(is).map(|fields| fields[0].to_owned()).filter(|name| !name.is_empty())
}

/// Everything that is on record, in its order.
#[derive(Debug, Serialize)]
pub struct List(Vec<Entry>);

pub async fn list(settings: &Settings) -> Result<List, Error> {
    let mut connection = settings.connect(APPLICATION).await?;
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let page = audit::list(&mut connection, all.last().map_or(0, |entry| entry.id), PAGE).await?;
        if page.is_empty() {
            return Ok(List(all));
        }
        all.extend(page);
    }
}

impl List {
    pub fn show(&self, output: Output) {
        if output.json {
            return output::json(self);
        }
        if self.0.is_empty() {
            return println!("nothing was done by hand");
        }
        let mut table = Table::new(&["number", "at", "actor", "act", "subject", "details", "reason"]);
        for entry in &self.0 {
            table.row([
                entry.id.to_string(),
                shown(entry.at),
                entry.actor.clone(),
                entry.act.clone(),
                entry.subject.clone(),
                entry.details.to_string(),
                entry.reason.clone(),
            ]);
        }
        table.print();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_name_where_there_is_one() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\nana:x:1000:1000::/home/ana:/bin/sh\n";
        assert_eq!(name_of(1000, users).as_deref(), Some("ana"));
        assert_eq!(name_of(7, users), None);
    }
}
