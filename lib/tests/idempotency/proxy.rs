//! Stands between an ingress and PostgreSQL, and can swallow the answer to a statement that was carried out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use payfleet::postgres::Settings;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::Database;

/// "May we speak TLS?"
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// The end of every answer of PostgreSQL: ready for the next query, in no transaction.
const READY: &[u8] = b"Z\x00\x00\x00\x05I";

#[derive(Clone)]
pub struct Proxy {
    address: SocketAddr,
    /// The next answer on the connection that accepts payments is swallowed, and the connection cut.
    swallow: Arc<AtomicBool>,
    swallowed: Arc<AtomicUsize>,
    /// No connection is let through.
    closed: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    /// Of the first so many connections nothing that the client says arrives, and nothing that the server says. They stay open.
    unheard: Arc<[AtomicUsize; 2]>,
}

/// What gets lost of a conversation.
#[derive(Clone, Copy)]
pub enum Lost {
    Everything,
    Answers,
}

impl Proxy {
    pub async fn start(database: &Database) -> Self {
        let options: PgConnectOptions = database.url.parse().unwrap();
        let server = format!("{}:{}", options.get_host(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            swallow: Arc::default(),
            swallowed: Arc::default(),
            closed: Arc::default(),
            opened: Arc::default(),
            unheard: Arc::default(),
        };
        let passing = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !passing.closed.load(Ordering::SeqCst) {
                    tokio::spawn(passing.clone().pass(client, server.clone()));
                }
            }
        });
        proxy
    }

    /// The database by way of the proxy.
    pub fn settings(&self, database: &Database) -> Settings {
        let options: PgConnectOptions = database.url.parse().unwrap();
        let url = database.url.replace(&format!(":{}/", options.get_port()), &format!(":{}/", self.address.port()));
        Settings { url, ..database.settings() }
    }

    pub fn swallow_next(&self) {
        self.swallow.store(true, Ordering::SeqCst);
    }

    pub fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::SeqCst)
    }

    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }

    /// The connections that there are stay open, and nothing comes through them any more. New ones are as ever.
    pub fn silence_present(&self, lost: Lost) {
        let present = self.opened.load(Ordering::SeqCst);
        let asked = if matches!(lost, Lost::Everything) { present } else { 0 };
        self.silence([asked, present]);
    }

    /// Nothing comes through any connection, those that are still to be opened included.
    pub fn silence_all(&self) {
        self.silence([usize::MAX; 2]);
    }

    fn silence(&self, first: [usize; 2]) {
        for (unheard, first) in self.unheard.iter().zip(first) {
            unheard.store(first, Ordering::SeqCst);
        }
    }

    async fn pass(self, client: TcpStream, server: String) -> Option<()> {
        let number = self.opened.fetch_add(1, Ordering::SeqCst);
        let server = TcpStream::connect(server).await.ok()?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let mut first = vec![0; 4096];
        let mut length = from_client.read(&mut first).await.ok()?;
        if first[..length] == TLS_REQUEST {
            to_client.write_all(b"N").await.ok()?;
            length = from_client.read(&mut first).await.ok()?;
        }
        // The startup message names the application.
        let accepts = first[..length].windows(7).any(|window| window == b"\0accept");
        to_server.write_all(&first[..length]).await.ok()?;
        let unheard = Arc::clone(&self.unheard);
        let up = tokio::spawn(async move {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
                if number >= unheard[0].load(Ordering::SeqCst) {
                    to_server.write_all(&chunk[..length]).await.ok()?;
                }
            }
            Some(())
        });
        let mut chunk = vec![0; 64 * 1024];
        let (mut begun, mut kept) = (false, Vec::new());
        while let Ok(length @ 1..) = from_server.read(&mut chunk).await {
            if self.closed.load(Ordering::SeqCst) {
                break;
            }
            if number < self.unheard[1].load(Ordering::SeqCst) {
                continue;
            }
            if begun && accepts && self.swallow.load(Ordering::SeqCst) {
                kept.extend_from_slice(&chunk[..length]);
                // Only once the whole answer is here the commit is certain.
                if kept.ends_with(READY) {
                    self.swallow.store(false, Ordering::SeqCst);
                    self.swallowed.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                continue;
            }
            // Until then it is the conversation that opens the session, which no answer belongs to.
            begun |= chunk[..length].ends_with(READY);
            to_client.write_all(&chunk[..length]).await.ok()?;
        }
        up.abort();
        Some(())
    }
}
