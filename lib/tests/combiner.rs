//! What goes out together: requests that arrive while a statement is in flight, up to a limit.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use payfleet::postgres::Settings;
use payfleet::postgres::combiner::{Batch, Combiner, Layout, Refused};
use payfleet::postgres::schema::{self, SchemaError};
use sqlx::postgres::PgConnection;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::harness::{Database, eventually};

/// Notes how many requests each statement is for; one is done for every permit.
#[derive(Clone)]
struct Counted {
    sizes: Arc<Mutex<Vec<usize>>>,
    done: Arc<Semaphore>,
}

impl Batch for Counted {
    type Request = usize;
    type Reply = usize;
    type Key = usize;

    const NAME: &'static str = "counted";

    fn key(_: &usize) -> Option<usize> {
        None
    }

    async fn run(&self, connection: &mut PgConnection, requests: &[usize]) -> Result<Vec<usize>, sqlx::Error> {
        self.sizes.lock().unwrap().push(requests.len());
        self.done.acquire().await.unwrap().forget();
        sqlx::query("SELECT").execute(connection).await?;
        Ok(requests.to_vec())
    }
}

/// The sizes of the statements that 150 requests go out in, all but the first having waited for the first.
async fn sizes_with(batch: usize) -> Vec<usize> {
    let database = Database::new().await;
    let counted = Counted { sizes: Arc::default(), done: Arc::new(Semaphore::new(0)) };
    let layout = Layout { connections: 1, batch, ..Layout::default() };
    let combiner = Combiner::start(counted.clone(), &database.settings(), layout, &TaskTracker::new());
    let first = tokio::spawn({
        let combiner = combiner.clone();
        async move { combiner.submit(0).await.unwrap() }
    });
    eventually("the first statement", Duration::from_secs(20), || async {
        (counted.sizes.lock().unwrap().len() == 1).then_some(())
    })
    .await;
    let others = join_all((1..150).map(|request| combiner.submit(request)));
    let release = async { counted.done.add_permits(150) };
    let (others, ()) = tokio::join!(others, release);
    assert_eq!(first.await.unwrap(), 0);
    assert_eq!(others.into_iter().map(Result::unwrap).collect::<Vec<_>>(), (1..150).collect::<Vec<_>>());
    counted.sizes.lock().unwrap().clone()
}

#[tokio::test]
async fn requests_that_wait_go_out_together_and_singly_where_that_is_asked_for() {
    assert_eq!(sizes_with(usize::MAX).await, [1, 64, 64, 21]);
    assert_eq!(sizes_with(1).await, [1; 150]);
}

/// Writes.
#[derive(Clone)]
struct Writing;

impl Batch for Writing {
    type Request = ();
    type Reply = ();
    type Key = ();

    const NAME: &'static str = "writing";

    fn key(_: &()) -> Option<()> {
        None
    }

    async fn run(&self, connection: &mut PgConnection, requests: &[()]) -> Result<Vec<()>, sqlx::Error> {
        sqlx::query("UPDATE outbox_ring SET slot = slot").execute(connection).await?;
        Ok(vec![(); requests.len()])
    }
}

async fn read_only(database: &Database, on: &str) {
    let set = format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {on}', current_database()); END $$"
    );
    let mut owner = database.owner.begin().await.unwrap();
    sqlx::query("SET TRANSACTION READ WRITE").execute(&mut *owner).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *owner).await.unwrap();
    owner.commit().await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_left_for_one_that_does_and_nothing_is_in_doubt() {
    let database = Database::new().await;
    read_only(&database, "on").await;
    let layout = Layout { connections: 1, patience: Duration::from_secs(2), ..Layout::default() };
    let combiner = Combiner::start(Writing, &database.settings(), layout, &TaskTracker::new());
    let refused = combiner.submit(()).await;
    assert!(matches!(refused, Err(Refused::Unavailable)), "{refused:?}");
    let mut reader = database.settings().connect("test").await.unwrap();
    let ready = schema::check(&mut reader).await;
    assert!(matches!(ready, Err(SchemaError::ReadOnly)), "{ready:?}");
    // Sessions that are there stay as they are; only one made from now on can write.
    read_only(&database, "off").await;
    combiner.submit(()).await.unwrap();
    schema::check(&mut database.settings().connect("test").await.unwrap()).await.unwrap();
}

/// Only reads.
#[derive(Clone)]
struct Reading;

impl Batch for Reading {
    type Request = ();
    type Reply = ();
    type Key = ();

    const NAME: &'static str = "reading";

    fn key(_: &()) -> Option<()> {
        None
    }

    async fn run(&self, connection: &mut PgConnection, requests: &[()]) -> Result<Vec<()>, sqlx::Error> {
        sqlx::query("SELECT slot FROM outbox_ring").execute(connection).await?;
        Ok(vec![(); requests.len()])
    }
}

#[tokio::test]
async fn whoever_only_reads_does_not_read_of_a_server_that_takes_no_writes() {
    let database = Database::new().await;
    read_only(&database, "on").await;
    let layout = Layout { connections: 1, patience: Duration::from_secs(2), ..Layout::default() };
    let combiner = Combiner::start(Reading, &database.settings(), layout, &TaskTracker::new());
    let pool = database.settings().lazy_pool("test").unwrap();
    let refused = combiner.submit(()).await;
    assert!(matches!(refused, Err(Refused::Unavailable)), "{refused:?}");
    let refused = pool.acquire().await;
    assert!(matches!(refused, Err(sqlx::Error::PoolTimedOut)), "{refused:?}");
    read_only(&database, "off").await;
    combiner.submit(()).await.unwrap();
    sqlx::query("SELECT slot FROM outbox_ring").execute(&pool).await.unwrap();
}

#[tokio::test]
async fn a_connection_in_steady_use_whose_server_takes_no_writes_any_more_loses_its_place_in_the_pool() {
    let database = Database::new().await;
    let pool = Settings { pool: 1, ..database.settings() }.lazy_pool("test").unwrap();
    let mut connection = pool.acquire().await.unwrap();
    sqlx::query("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").execute(&mut *connection).await.unwrap();
    drop(connection);
    let takes_writes = "SELECT NOT current_setting('transaction_read_only')::boolean";
    let takes_writes: bool = sqlx::query_scalar(takes_writes).fetch_one(&pool).await.unwrap();
    assert!(takes_writes);
}
