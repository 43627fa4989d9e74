//! What befalls PostgreSQL, Kafka, Redis, the lines between all of them, and what the gateways are told.

use std::time::Duration;

use payfleet::dev::servers::kafka::Kafka;
use payfleet::dev::servers::postgres::Postgres;
use payfleet::dev::servers::redis::Redis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ground::{Armed, Ground};
use super::keeper::Keeper;
use super::lies::{self, Lies};
use super::named;
use super::proxies::{Line, Proxies};
use super::schedule::{Act, Fault};
use super::tally::Tally;
use super::watch::Watch;

async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Runs the acts at their times; those that come too late are told, and those that could not be done with the reason.
async fn each(acts: Vec<Act>, tally: &Tally, mut act: impl AsyncFnMut(Fault) -> Result<(), &'static str>) {
    for Act { at_ms, hand, fault } in acts {
        let name = named::act(hand, &fault);
        if !tally.reach(at_ms).await {
            tally.not_done(&name, "no time left");
            continue;
        }
        match act(fault).await {
            Ok(()) => tally.done(&name),
            Err(why) => tally.not_done(&name, why),
        }
    }
}

pub async fn postgres(server: &mut Postgres, acts: Vec<Act>, tally: &Tally) {
    each(acts, tally, async |fault| {
        let Fault::Crash(down) = fault else { unreachable!("{fault:?} of PostgreSQL") };
        server.kill().await;
        pass(down).await;
        server.start_again().await.unwrap();
        Ok(())
    })
    .await;
}

pub async fn kafka(server: &mut Kafka, acts: Vec<Act>, tally: &Tally) {
    each(acts, tally, async |fault| {
        match fault {
            Fault::Crash(down) => {
                server.kill().await;
                pass(down).await;
                server.start_again().await.unwrap();
            }
            Fault::Restart => {
                server.end().await;
                server.start_again().await.unwrap();
            }
            Fault::Still(ms) => {
                server.freeze();
                pass(ms).await;
                server.thaw();
            }
            other => unreachable!("{other:?} of Kafka"),
        }
        Ok(())
    })
    .await;
}

pub async fn redis(server: &mut Redis, acts: Vec<Act>, tally: &Tally) {
    each(acts, tally, async |fault| {
        match fault {
            Fault::Crash(down) => {
                std::fs::remove_file(server.saved()).ok();
                server.kill().await;
                pass(down).await;
                server.start_again().await.unwrap();
            }
            Fault::Still(ms) => {
                server.freeze();
                pass(ms).await;
                server.thaw();
            }
            Fault::Flush => order(server, "FLUSHALL").await,
            Fault::Stale(old) => {
                order(server, "SAVE").await;
                pass(old).await;
                server.kill().await;
                server.start_again().await.unwrap();
            }
            other => unreachable!("{other:?} of Redis"),
        }
        Ok(())
    })
    .await;
}

/// Gives Redis an order, and waits until it has carried it out.
async fn order(server: &Redis, order: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    stream.write_all(format!("{order}\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"+OK\r\n", "Redis, {order}");
}

pub async fn line(line: Line, proxies: &Proxies, acts: Vec<Act>, tally: &Tally) {
    each(acts, tally, async |fault| {
        let Fault::Toxic { toxic, percent, ms } = fault else { unreachable!("{fault:?} of {line:?}") };
        const HUNG: &str = "a line's proxy hung, and was started anew";
        if !proxies.poison(line, toxic, percent).await {
            return Err(HUNG);
        }
        pass(ms).await;
        if !proxies.cure(line, toxic).await {
            tally.done(HUNG);
        }
        Ok(())
    })
    .await;
}

pub async fn gateways(http: &reqwest::Client, simulator: u16, acts: Vec<Act>, tally: &Tally) {
    let simulator = format!("http://127.0.0.1:{simulator}");
    for Act { at_ms, fault, .. } in acts {
        let Fault::Lie { lies, ms } = &fault else { unreachable!("{fault:?} of the gateways") };
        let name = named::this(&fault);
        if !tally.reach(at_ms).await {
            tally.not_done(name, "no time left");
            continue;
        }
        match lies::tell(http, &simulator, lies).await {
            Ok(()) => {
                pass(*ms).await;
                // From here on they tell the truth again, or the run's bound means nothing.
                lies::tell(http, &simulator, &Lies::default()).await.unwrap();
                tally.done(name);
            }
            Err(why) => tally.not_done(name, &why),
        }
    }
}

/// One process more of a role for a while.
pub async fn growth(ground: &Ground, watch: &Watch, tally: &Tally, acts: Vec<Act>) {
    each(acts, tally, async |fault| {
        let Fault::Grow { role, ms } = fault else { unreachable!("{fault:?} of the fleet") };
        let place = (role, 3);
        let process = ground.start(place, Armed::Not);
        let mut keeper = Keeper::new(ground, watch, tally, (place, process));
        let joined = keeper.joins_until(std::time::Instant::now() + Duration::from_millis(ms)).await;
        keeper.leave().await;
        if joined { Ok(()) } else { Err("it was never ready") }
    })
    .await;
}
