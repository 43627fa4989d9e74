//! I21: strings that went in as account numbers and secrets, looked for wherever none may be: records, tables, Redis, files.
//!
//! Bodies of errors can be judged where somebody has kept them: give their directory as one of logs.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aho_corasick::AhoCorasick;
use redis::aio::MultiplexedConnection;
use sqlx::postgres::PgConnection;

use super::invariant::Invariant;
use super::report::Finding;

/// Anything shorter stands somewhere by chance.
const SHORTEST: usize = 8;
/// For each word of Redis.
const ANSWER: Duration = Duration::from_secs(5);
/// Keys asked for at once.
const PAGE: usize = 500;

#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the canaries cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("line {0} of the canaries is shorter than {SHORTEST} bytes: it would be found by chance")]
    Short(usize),
    #[error("there are no canaries")]
    None,
    #[error("the canaries are too many: {0}")]
    Many(#[from] aho_corasick::BuildError),
}

/// What is looked for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Canaries {
    finder: Arc<AhoCorasick>,
    words: Arc<[String]>,
}

impl Canaries {
    /// One a line.
    pub fn read(path: &Path) -> Result<Self, Unreadable> {
        Self::new(&std::fs::read_to_string(path)?)
    }

    pub fn new(text: &str) -> Result<Self, Unreadable> {
        let words: Vec<String> = text.lines().map(|line| line.trim().to_owned()).filter(|w| !w.is_empty()).collect();
        match words.iter().position(|word| word.len() < SHORTEST) {
            Some(line) => Err(Unreadable::Short(line + 1)),
            None if words.is_empty() => Err(Unreadable::None),
            None => Ok(Self { finder: Arc::new(AhoCorasick::new(&words)?), words: words.into() }),
        }
    }

    /// Which of them is in there. Of the canary itself the report shows no more than its beginning.
    pub fn look(&self, bytes: &[u8]) -> Option<String> {
        self.finder.find(bytes).map(|found| self.shown(found.pattern().as_usize()))
    }

    fn shown(&self, index: usize) -> String {
        let begin: String = self.words.get(index).map_or("", String::as_str).chars().take(4).collect();
        format!("{begin}…")
    }
}

/// All rows of all tables, in their text and in their bytes.
pub async fn look_in_tables(
    books: &mut PgConnection,
    canaries: &Canaries,
    finding: &mut Finding,
) -> Result<(), sqlx::Error> {
    for table in sqlx::query_file!("lib/ops/sql/tables.sql").fetch_all(&mut *books).await? {
        if !table.readable {
            continue;
        }
        let in_bytes =
            table.bytes.iter().map(|column| format!(" OR position(convert_to(canary, 'UTF8') IN {column}) > 0"));
        // The names are the catalogue's own, and quoted by it.
        let look = format!(
            "SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM unnest($1::text[]) AS word (canary)
                                                             WHERE strpos(line::text, canary) > 0{}))
             FROM ONLY {} AS line",
            in_bytes.collect::<String>(),
            table.name
        );
        let words: Vec<String> = canaries.words.to_vec();
        let (rows, found): (i64, i64) =
            sqlx::query_as(sqlx::AssertSqlSafe(look)).bind(words).fetch_one(&mut *books).await?;
        finding.checked += rows.unsigned_abs();
        if found > 0 {
            finding.violation(|| format!("{found} rows of {} hold a canary", table.name));
        }
    }
    Ok(())
}

/// All keys and their values.
pub async fn look_in_redis(url: &str, canaries: &Canaries, finding: &mut Finding) {
    if let Err(away) = look_through(url, canaries, finding).await {
        finding.gap(format!("Redis cannot be looked through: {away}"));
    }
}

async fn look_through(url: &str, canaries: &Canaries, finding: &mut Finding) -> redis::RedisResult<()> {
    let client = redis::Client::open(url)?;
    let config =
        redis::AsyncConnectionConfig::new().set_connection_timeout(Some(ANSWER)).set_response_timeout(Some(ANSWER));
    let mut redis = client.get_multiplexed_async_connection_with_config(&config).await?;
    let (mut cursor, mut others) = (0_u64, 0_u64);
    loop {
        let page = redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(PAGE).to_owned();
        let (next, keys): (u64, Vec<Vec<u8>>) = page.query_async(&mut redis).await?;
        for key in keys {
            finding.checked += 1;
            let value = value_of(&mut redis, &key).await?;
            others += u64::from(value.is_none());
            let found = canaries.look(&key).or_else(|| canaries.look(&value.unwrap_or_default()));
            if let Some(canary) = found {
                finding.violation(|| format!("{canary} is in Redis, at {}", String::from_utf8_lossy(&key)));
            }
        }
        if next == 0 {
            break;
        }
        cursor = next;
    }
    if others > 0 {
        finding.gap(format!("{others} values of Redis are of a kind that was not looked into"));
    }
    Ok(())
}

/// The bytes of a string, none of a key that has gone meanwhile; None of anything else.
async fn value_of(redis: &mut MultiplexedConnection, key: &[u8]) -> redis::RedisResult<Option<Vec<u8>>> {
    let kind: String = redis::cmd("TYPE").arg(key).query_async(redis).await?;
    match kind.as_str() {
        "string" => {
            let value: Option<Vec<u8>> = redis::cmd("GET").arg(key).query_async(redis).await?;
            Ok(Some(value.unwrap_or_default()))
        }
        "none" => Ok(Some(Vec::new())),
        _ => Ok(None),
    }
}

/// Every file below each directory. Blocks.
pub fn look_in_files(directories: &[PathBuf], canaries: &Canaries) -> Finding {
    let mut finding = Finding::new(Invariant::I21);
    let mut left: Vec<PathBuf> = directories.to_vec();
    while let Some(path) = left.pop() {
        let looked = match std::fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => std::fs::read_dir(&path)
                .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>())
                .map(|entries| left.extend(entries)),
            Ok(about) if about.is_file() => look_in_file(&path, canaries, &mut finding),
            // Sockets and links lead elsewhere.
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = looked {
            finding.gap(format!("{} cannot be read: {error}", path.display()));
        }
    }
    finding
}

fn look_in_file(path: &Path, canaries: &Canaries, finding: &mut Finding) -> std::io::Result<()> {
    finding.checked += 1;
    if let Some(found) = canaries.finder.stream_find_iter(BufReader::new(File::open(path)?)).next() {
        let canary = canaries.shown(found?.pattern().as_usize());
        finding.violation(|| format!("{canary} is in {}", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_and_not_shown() {
        let canaries = Canaries::new("DE02100100109307118603\n\n7731950286\n").unwrap();
        assert_eq!(canaries.look(b"iban=DE02100100109307118603;"), Some("DE02…".to_owned()));
        assert_eq!(canaries.look(b"DE0210010010930711860"), None);
    }

    #[test]
    fn what_would_be_found_by_chance_is_no_canary() {
        assert!(matches!(Canaries::new("7731950286\n1234567"), Err(Unreadable::Short(2))));
        assert!(matches!(Canaries::new("\n"), Err(Unreadable::None)));
    }
}
