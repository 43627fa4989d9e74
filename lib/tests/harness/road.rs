//! A road to PostgreSQL that can fall silent, as when the server's host vanishes: what is connected stays connected, and nothing
//! arrives any more.

use payfleet::postgres::Settings;
use sqlx::postgres::PgConnectOptions;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Database, postgres_url};

pub struct Road {
    port: u16,
    silent: watch::Sender<Whom>,
}

/// Who hears nothing any more.
enum Whom {
    All,
    /// Those whom the server knows by these ports.
    These(Vec<u16>),
}

impl Road {
    pub async fn new() -> Self {
        let server: PgConnectOptions = postgres_url().parse().unwrap();
        let target = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = watch::Sender::new(Whom::All);
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
        self.silent.send_replace(Whom::All);
    }

    /// The same for the connections of this name alone. There must be one.
    pub async fn fall_silent_for(&self, database: &Database, application: &str) {
        let ports: Vec<i32> = sqlx::query_scalar(
            "SELECT client_port FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
        )
        .bind(application)
        .fetch_all(&database.owner)
        .await
        .unwrap();
        assert!(!ports.is_empty(), "nobody is connected as {application}");
        self.silent.send_replace(Whom::These(ports.into_iter().map(|port| u16::try_from(port).unwrap()).collect()));
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream, mut silent: watch::Receiver<Whom>) {
    let port = far.local_addr().unwrap().port();
    let silenced = async {
        while silent.changed().await.is_ok() {
            match &*silent.borrow_and_update() {
                Whom::These(ports) if !ports.contains(&port) => {}
                _ => return,
            }
        }
        // The road's owner is gone, and it stays as it is.
        std::future::pending().await
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        () = silenced => std::future::pending().await,
    }
}
