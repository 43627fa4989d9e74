//! A road to PostgreSQL that can fall silent, as when the server's host vanishes: what is connected stays connected, and nothing
//! arrives any more.

use payfleet::postgres::Settings;
use sqlx::postgres::PgConnectOptions;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Database, postgres_url};

pub struct Road {
    port: u16,
    silent: watch::Sender<()>,
}

impl Road {
    pub async fn new() -> Self {
        let server: PgConnectOptions = postgres_url().parse().unwrap();
        let target = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = watch::Sender::new(());
        let falling_silent = silent.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut silent = falling_silent.clone();
                silent.mark_unchanged();
                let target = target.clone();
                tokio::spawn(async move { carry(near, TcpStream::connect(target).await.unwrap(), silent).await });
            }
        });
        Self { port, silent }
    }

    /// As the database's own, over this road.
    pub fn settings(&self, database: &Database) -> Settings {
        let server: PgConnectOptions = database.url.parse().unwrap();
        let address = format!("@{}:{}/", server.get_host(), server.get_port());
        let url = database.url.replace(&address, &format!("@127.0.0.1:{}/", self.port));
        assert_ne!(url, database.url);
        Settings { url, ..database.settings() }
    }

    /// Whoever is connected hears nothing any more, not even an end. Whoever connects from here on is served.
    pub fn fall_silent(&self) {
        self.silent.send_replace(());
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream, mut silent: watch::Receiver<()>) {
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        Ok(()) = silent.changed() => std::future::pending().await,
    }
}
