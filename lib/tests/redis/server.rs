//! A Redis of a test's own, that can be flushed and killed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::eventually;

pub struct Server {
    port: u16,
    process: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    pub async fn start() -> Self {
        let port = payfleet::dev::servers::free_port().unwrap();
        let mut server = Self { port, process: None };
        server.start_again().await;
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// On the same port, empty.
    pub async fn start_again(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server");
        self.process = Some(process);
        eventually("Redis to answer", Duration::from_secs(20), || async {
            let client = redis::Client::open(self.url()).unwrap();
            client.get_multiplexed_async_connection().await.ok()
        })
        .await;
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }

    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}
