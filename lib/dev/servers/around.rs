//! Servers around one command: `make test` is a run of the tests inside this.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::kafka::Kafka;
use super::postgres::{Durability, Postgres};
use super::redis::Redis;
use super::{Directory, Error};

/// Runs `command` with servers of its own, whose addresses it finds in `PAYFLEET_TEST_POSTGRES`, `_REDIS` and `_KAFKA`.
/// Several may run side by side. Files live under `home` and are thrown away by the next run.
pub async fn around(home: &Path, command: &[String]) -> Result<ExitStatus, Error> {
    let begin = Instant::now();
    let directory = Directory::take_any(&home.join("test"))?;
    eprintln!("starting PostgreSQL, Redis and Kafka under {} …", directory.path().display());
    let jars = home.join("kafka");
    // All three at once, and each to its end: one that fails must not leave the others behind.
    let (postgres, redis, kafka) = tokio::join!(
        Postgres::start(&directory, Durability::Waived),
        Redis::start(&directory),
        Kafka::start(&directory, &jars)
    );
    let done = match (&postgres, &redis, &kafka) {
        (Ok(postgres), Ok(redis), Ok(kafka)) => {
            eprintln!("ready after {:.1} s", begin.elapsed().as_secs_f32());
            let addresses = [
                ("PAYFLEET_TEST_POSTGRES", postgres.url()),
                ("PAYFLEET_TEST_REDIS", redis.url()),
                ("PAYFLEET_TEST_KAFKA", kafka.brokers()),
            ];
            Some(run(command, addresses).await)
        }
        _ => None,
    };
    let (postgres, redis, kafka) = tokio::join!(
        async {
            postgres?.stop().await;
            Ok::<_, Error>(())
        },
        async {
            redis?.stop().await;
            Ok::<_, Error>(())
        },
        async {
            kafka?.stop().await;
            Ok::<_, Error>(())
        }
    );
    postgres.and(redis).and(kafka)?;
    done.unwrap_or_else(|| unreachable!("the error of a server that did not start is returned above"))
}

/// The command is in our process group, so Ctrl-C reaches it as well: here it only must not end us before it ends.
async fn run(command: &[String], addresses: [(&str, String); 3]) -> Result<ExitStatus, Error> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt()).map_err(Error::io("SIGINT"))?,
        signal(SignalKind::terminate()).map_err(Error::io("SIGTERM"))?,
    );
    let mut child =
        Command::new(&command[0]).args(&command[1..]).envs(addresses).spawn().map_err(Error::io(&command[0]))?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(Error::io(&command[0])),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                    kill_process(pid, Signal::TERM).ok();
                }
            }
        }
    }
}
