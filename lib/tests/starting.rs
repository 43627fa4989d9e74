//! Guarantees of a process that is starting: it waits for its stores, and always hears that it is to stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::fleet::process::Process;

const LIMIT: Duration = Duration::from_secs(60);

/// "May we speak TLS?"
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// You are who you say; ready for your queries.
const WELCOME: &[u8] = b"R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I";

/// A PostgreSQL that lets everybody in and never answers a query. Counts the sessions that have asked one.
async fn mute() -> (u16, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, asking) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(listen(client, asked.clone()));
        }
    });
    (port, asking)
}

async fn listen(mut client: TcpStream, asked: watch::Sender<usize>) -> std::io::Result<()> {
    let mut heard = vec![0; 4096];
    let length = client.read(&mut heard).await?;
    if heard[..length] == TLS_REQUEST {
        client.write_all(b"N").await?;
        let _startup = client.read(&mut heard).await?;
    }
    client.write_all(WELCOME).await?;
    if client.read(&mut heard).await? > 0 {
        asked.send_modify(|asked| *asked += 1);
    }
    while client.read(&mut heard).await? > 0 {}
    Ok(())
}

fn relay(name: &str, port: u16, statement_ms: u64) -> Process {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("starting").join(name);
    std::fs::create_dir_all(directory.join("run")).unwrap();
    let variables = BTreeMap::from([
        ("PAYFLEET_POSTGRES__URL".to_owned(), format!("postgres://payfleet_app@127.0.0.1:{port}/payfleet")),
        ("PAYFLEET_POSTGRES__STATEMENT_MS".to_owned(), statement_ms.to_string()),
        ("PAYFLEET_PROCESS__ADMIN_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
    ]);
    Process::start(env!("CARGO_BIN_EXE_relay"), name, &directory, &variables)
}

#[tokio::test]
async fn a_process_that_waits_for_a_database_that_says_nothing_stops_when_it_is_told() {
    let (port, mut asking) = mute().await;
    let relay = relay("stops", port, 600_000);
    tokio::time::timeout(LIMIT, asking.wait_for(|asked| *asked > 0)).await.expect("it asks").unwrap();
    assert_eq!(relay.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_process_that_starts_leaves_a_database_that_says_nothing_and_asks_again() {
    let (port, mut asking) = mute().await;
    let relay = relay("asks-again", port, 100);
    tokio::time::timeout(LIMIT, asking.wait_for(|asked| *asked > 1)).await.expect("it asks again").unwrap();
    assert_eq!(relay.stop().await.code(), Some(0));
}
