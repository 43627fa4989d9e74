//! I20, I21 and I24: what must not be seen of a fleet.

use std::path::PathBuf;
use std::time::Duration;

use payfleet::ops::verify::{Cap, Finding, Hunt, Invariant, Rest, Samples, Sessions, Sightings, Verdict};
use payfleet::redis;
use payfleet::service::secret::Secret;

use super::books::World;
use super::topics::{EVENTS, Record};
use crate::redis::server::Server;

async fn sessions_of(world: &World, most: Option<u64>) -> Finding {
    let sessions = Some(Sessions { over: Duration::from_millis(1_500), most });
    world.judge_seen(Invariant::I20, Rest::Live, &Sightings { sessions, ..Sightings::default() }).await
}

#[tokio::test]
async fn a_session_that_was_left_in_a_transaction_is_found() {
    let world = World::empty().await;
    let mut session = world.database.app.acquire().await.unwrap();
    let finding = sessions_of(&world, Some(9)).await;
    assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
    sqlx::raw_sql("BEGIN; SELECT 1").execute(&mut *session).await.unwrap();
    let finding = sessions_of(&world, Some(9)).await;
    assert_eq!(finding.violations, 1, "{finding:?}");
    assert!(finding.examples[0].contains("has idled in a transaction for"), "{finding:?}");
}

#[tokio::test]
async fn more_sessions_than_the_pools_have_are_found() {
    let world = World::empty().await;
    let _sessions = [world.database.app.acquire().await.unwrap(), world.database.app.acquire().await.unwrap()];
    assert_eq!(sessions_of(&world, Some(2)).await.verdict(), Verdict::Held);
    assert_eq!(sessions_of(&world, Some(1)).await.examples, ["2 sessions at once; the pools have 1"]);
    assert_eq!(sessions_of(&world, None).await.verdict(), Verdict::NotCheckable);
}

const CANARY: &str = "DE02100100109307118603";

/// A lawful world with its records published, its Redis and its logs, and nothing that sings.
struct Aviary {
    world: World,
    redis: Server,
    logs: PathBuf,
}

impl Aviary {
    async fn quiet() -> Self {
        let mut world = World::lawful().await;
        world.publish().await;
        let redis = Server::start().await;
        let mut values = redis.connection().await;
        ::redis::cmd("SET").arg("claim:1").arg("reply").query_async::<()>(&mut values).await.unwrap();
        let log = world.file("logs/relay/1.log", "delivered 17 rows\n");
        let aviary = Self { world, redis, logs: log.parent().unwrap().parent().unwrap().to_owned() };
        let finding = aviary.judge().await;
        assert_eq!(finding.verdict(), Verdict::Held, "{finding:?}");
        aviary
    }

    fn hunt(&self) -> Hunt {
        let canaries = self.world.file("canaries", &format!("pf_live_4eC39HqLyjWDarjtT1\n{CANARY}\n"));
        let redis = redis::Settings { url: Secret::new(self.redis.url()), ..redis::Settings::default() };
        Hunt { canaries, redis: Some(redis), logs: vec![self.logs.clone()] }
    }

    async fn judge(&self) -> Finding {
        self.judge_by(self.hunt()).await
    }

    async fn judge_by(&self, hunt: Hunt) -> Finding {
        let sightings = Sightings { hunt: Some(hunt), ..Sightings::default() };
        self.world.judge_seen(Invariant::I21, Rest::Live, &sightings).await
    }

    async fn sings(&self, saying: &str) {
        let finding = self.judge().await;
        assert_eq!(finding.violations, 1, "{saying}: {finding:?}");
        assert!(finding.examples[0].contains(saying), "{saying}: {finding:?}");
        assert!(!finding.examples[0].contains(CANARY), "the report must not tell it either: {finding:?}");
    }
}

#[tokio::test]
async fn a_canary_in_a_topic_is_found() {
    let mut aviary = Aviary::quiet().await;
    let payload = format!(r#"{{"destination":"{CANARY}"}}"#);
    aviary.world.records.push(Record::of(EVENTS, uuid::Uuid::now_v7(), 1, payload.as_bytes()));
    aviary.world.publish().await;
    aviary.sings("DE02… is in payments.events/").await;
}

#[tokio::test]
async fn a_canary_in_a_table_is_found_in_texts_and_in_bytes() {
    let aviary = Aviary::quiet().await;
    aviary.world.sql(&format!("UPDATE dead_letters SET reason = 'no such account {CANARY}'")).await;
    aviary.sings("1 rows of dead_letters hold a canary").await;
    aviary.world.sql(&format!("UPDATE dead_letters SET reason = '', record_value = 'x{CANARY}'::bytea")).await;
    aviary.sings("1 rows of dead_letters hold a canary").await;
}

#[tokio::test]
async fn a_canary_in_redis_is_found() {
    let aviary = Aviary::quiet().await;
    let mut values = aviary.redis.connection().await;
    ::redis::cmd("SET").arg("claim:2").arg(format!("to {CANARY}")).query_async::<()>(&mut values).await.unwrap();
    aviary.sings("DE02… is in Redis, at claim:2").await;
}

#[tokio::test]
async fn a_canary_in_a_log_is_found() {
    let aviary = Aviary::quiet().await;
    aviary.world.file("logs/worker/2.log", &format!("{}\npaying to {CANARY}\n", "calm\n".repeat(100_000)));
    aviary.sings("worker/2.log").await;
}

#[tokio::test]
async fn canaries_that_were_not_looked_for_everywhere_are_not_checkable() {
    let aviary = Aviary::quiet().await;
    let without = [
        (Hunt { redis: None, ..aviary.hunt() }, "no Redis was given"),
        (Hunt { logs: Vec::new(), ..aviary.hunt() }, "no logs were given"),
        (Hunt { canaries: aviary.world.file("few", "short\n"), ..aviary.hunt() }, "would be found by chance"),
        (Hunt { logs: vec!["/nowhere".into()], ..aviary.hunt() }, "/nowhere cannot be read"),
    ];
    for (hunt, saying) in without {
        let finding = aviary.judge_by(hunt).await;
        assert_eq!(finding.verdict(), Verdict::NotCheckable, "{saying}: {finding:?}");
        assert!(finding.gaps.iter().any(|gap| gap.contains(saying)), "{saying}: {finding:?}");
    }
}

#[tokio::test]
async fn a_process_above_its_cap_is_found_among_the_samples() {
    let world = World::empty().await;
    let calm =
        world.file("samples/relay-1.prom", "# TYPE process_open_fds gauge\nprocess_open_fds 10\nprocess_max_fds 64\n");
    let samples = Samples {
        path: calm.parent().unwrap().to_owned(),
        caps: vec![Cap { metric: "process_resident_memory_bytes".into(), most: 1e9 }],
    };
    let sightings = Sightings { samples: Some(samples), ..Sightings::default() };
    let judge = async || world.judge_seen(Invariant::I24, Rest::Live, &sightings).await;
    assert_eq!(judge().await.verdict(), Verdict::Held);
    world.file("samples/worker-1.prom", "process_resident_memory_bytes 2e9\n");
    let finding = judge().await;
    assert_eq!(finding.violations, 1);
    assert!(
        finding.examples[0]
            .ends_with("worker-1.prom, line 1: process_resident_memory_bytes is 2000000000, 1000000000 at most")
    );
    std::fs::remove_dir_all(calm.parent().unwrap()).unwrap();
    assert_eq!(judge().await.verdict(), Verdict::NotCheckable);
}

#[tokio::test]
async fn what_is_asked_for_by_name_without_anything_to_judge_by_is_not_checkable() {
    let mut world = World::lawful().await;
    world.publish().await;
    for (invariant, saying) in [
        (Invariant::I20, "nobody said how long to watch the sessions"),
        (Invariant::I21, "no canaries were given"),
        (Invariant::I24, "no samples were given"),
    ] {
        let finding = world.judge_only(invariant, Rest::AtRest).await;
        assert_eq!(finding.verdict(), Verdict::NotCheckable, "{finding:?}");
        assert!(finding.gaps.iter().any(|gap| gap == saying), "{finding:?}");
    }
}
