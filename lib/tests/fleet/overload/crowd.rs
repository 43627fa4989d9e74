//! Those who hang on and pay nothing: connections that say nothing, headers that never end, bodies that never end. Whoever is shaken
//! off comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Idle connections of each address; one may have 1,024.
const PER_ADDRESS: usize = 1_000;
/// Of each kind of slow ones.
pub const SLOW: usize = 200;

/// Between two bytes, or two headers.
const DRIP: Duration = Duration::from_millis(400);

/// Before whoever was turned away comes back.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slow {
    Headers,
    /// Of a payment.
    Order,
    Callback,
}

impl Slow {
    const ALL: [Self; 3] = [Self::Headers, Self::Order, Self::Callback];

    fn beginning(self, bearer: &str, n: usize) -> String {
        let body = "content-length: 1000\r\n\r\n";
        match self {
            Self::Headers => "GET /v1/balance HTTP/1.1\r\nhost: test\r\n".to_owned(),
            Self::Order => format!(
                "POST /v1/deposits HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {bearer}\r\nidempotency-key: slow-{n}\r\n\
                 content-type: application/json\r\n{body}"
            ),
            Self::Callback => {
                format!("POST /v1/callbacks/bank HTTP/1.1\r\nhost: test\r\ncontent-type: text/xml\r\n{body}")
            }
        }
    }

    fn piece(self) -> &'static [u8] {
        if self == Self::Headers { b"x: y\r\n" } else { b" " }
    }
}

pub struct Crowd {
    ingress: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    idle: AtomicUsize,
    /// Connections that were answered although they had said nothing: the house was full.
    pub refused: AtomicUsize,
    /// The longest that a slow one of each kind was borne, in milliseconds, and how many were shaken off.
    borne_ms: [AtomicU64; 3],
    shaken: [AtomicU64; 3],
}

impl Crowd {
    /// `bearer` is whose payments never end.
    pub fn gather(ingress: SocketAddr, idle: usize, bearer: &'static str) -> Arc<Self> {
        let crowd = Arc::new(Self {
            ingress,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            idle: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            borne_ms: Default::default(),
            shaken: Default::default(),
        });
        let at_once = Arc::new(tokio::sync::Semaphore::new(64));
        for n in 0..idle {
            crowd.tasks.spawn(Arc::clone(&crowd).idles(n, Arc::clone(&at_once)));
        }
        for (n, kind) in Slow::ALL.into_iter().cycle().take(SLOW * Slow::ALL.len()).enumerate() {
            crowd.tasks.spawn(Arc::clone(&crowd).drips(n, kind, bearer));
        }
        crowd
    }

    /// Idle connections now.
    pub fn idle(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }

    /// How long one of these was borne at most, and how many were shaken off.
    pub fn slow(&self, kind: Slow) -> (Duration, u64) {
        let borne = Duration::from_millis(self.borne_ms[kind as usize].load(Ordering::Relaxed));
        (borne, self.shaken[kind as usize].load(Ordering::Relaxed))
    }

    pub async fn leave(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn connect(&self, from: &str) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).ok()?;
        socket.connect(self.ingress).await.ok()
    }

    async fn idles(self: Arc<Self>, n: usize, at_once: Arc<tokio::sync::Semaphore>) {
        let from = format!("127.0.1.{}", 1 + n / PER_ADDRESS);
        while !self.stop.is_cancelled() {
            let connected = {
                // All at once they would only overflow the queue of the listener.
                let _turn = at_once.acquire().await.unwrap();
                self.connect(&from).await
            };
            let Some(mut stream) = connected else {
                self.stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                continue;
            };
            self.idle.fetch_add(1, Ordering::Relaxed);
            let told = self.stop.run_until_cancelled(stream.read(&mut [0; 64])).await;
            self.idle.fetch_sub(1, Ordering::Relaxed);
            if let Some(Ok(1..)) = told {
                self.refused.fetch_add(1, Ordering::Relaxed);
                self.stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
    }

    async fn drips(self: Arc<Self>, n: usize, kind: Slow, bearer: &'static str) {
        let from = format!("127.0.2.{}", 1 + kind as usize);
        while !self.stop.is_cancelled() {
            let Some(mut stream) = self.connect(&from).await else {
                self.stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                continue;
            };
            let begun = Instant::now();
            if self.stop.run_until_cancelled(dripping(&mut stream, kind, &kind.beginning(bearer, n))).await.is_some() {
                let borne = u64::try_from(begun.elapsed().as_millis()).unwrap();
                self.borne_ms[kind as usize].fetch_max(borne, Ordering::Relaxed);
                self.shaken[kind as usize].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Until it is answered or closed.
async fn dripping(stream: &mut TcpStream, kind: Slow, beginning: &str) {
    let (mut reading, mut writing) = stream.split();
    writing.write_all(beginning.as_bytes()).await.ok();
    let mut due = tokio::time::interval(DRIP);
    let mut told = [0; 64];
    loop {
        tokio::select! {
            _ = reading.read(&mut told) => return,
            _ = due.tick() => { writing.write_all(kind.piece()).await.ok(); }
        }
    }
}
