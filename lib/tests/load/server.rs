//! A stand-in for an ingress that answers as the test says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use payfleet::load::Base;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What becomes of one POST.
#[derive(Clone, Copy, Debug)]
pub enum Says {
    Accept,
    /// Accepted, and the connection is not kept.
    AcceptAndClose,
    /// Accepted after a while.
    AcceptAfter(Duration),
    /// Carried out, and the connection is cut instead of an answer.
    LoseAnswer,
    Status(u16),
    /// 429 with Retry-After in seconds.
    ComeBackIn(u64),
}

#[derive(Clone, Debug)]
pub struct Post {
    pub key: String,
    pub body: Value,
}

#[derive(Default)]
struct Seen {
    script: VecDeque<Says>,
    posts: Vec<Post>,
    gets: usize,
    /// Looks at a payment that find it under way, before it is final.
    open_looks: usize,
}

pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
}

impl Server {
    /// Follows the script, then accepts everything.
    pub async fn start(script: impl IntoIterator<Item = Says>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen { script: script.into_iter().collect(), ..Seen::default() }));
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::clone(&seen), stop.clone()));
        Self { address, seen, stop }
    }

    pub fn base(&self) -> Base {
        format!("http://{}", self.address).parse().unwrap()
    }

    pub fn posts(&self) -> Vec<Post> {
        self.seen.lock().unwrap().posts.clone()
    }

    pub fn gets(&self) -> usize {
        self.seen.lock().unwrap().gets
    }

    pub fn keep_open_for(&self, looks: usize) {
        self.seen.lock().unwrap().open_looks = looks;
    }

    /// Gone, with all connections.
    pub fn kill(&self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (seen, stop) = (Arc::clone(&seen), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&seen), request));
            let serving =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(accepted.unwrap().0), service);
            tokio::select! {
                _ = serving => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the answer is lost on purpose")]
struct OnPurpose;

async fn answer(seen: Arc<Mutex<Seen>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, OnPurpose> {
    if request.method() == http::Method::GET {
        return Ok(get(&seen, request.uri().path()));
    }
    let key = request.headers()["idempotency-key"].to_str().unwrap().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let post = Post { key, body: serde_json::from_slice(&body).unwrap() };
    let says = {
        let mut seen = seen.lock().unwrap();
        seen.posts.push(post);
        seen.script.pop_front().unwrap_or(Says::Accept)
    };
    let reply =
        |status: u16, body: Value| Response::builder().status(status).body(Full::from(body.to_string())).unwrap();
    let accepted = || reply(202, json!({ "id": format!("dep_{}", Uuid::now_v7().simple()), "status": "created" }));
    match says {
        Says::Accept => Ok(accepted()),
        Says::AcceptAndClose => {
            let mut last = accepted();
            last.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
            Ok(last)
        }
        Says::AcceptAfter(time) => {
            tokio::time::timeout(time, std::future::pending::<()>()).await.ok();
            Ok(accepted())
        }
        Says::LoseAnswer => Err(OnPurpose),
        Says::Status(status) => Ok(reply(status, json!({ "status": status }))),
        Says::ComeBackIn(seconds) => {
            let mut put_off = reply(429, json!({ "status": 429 }));
            put_off.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
            Ok(put_off)
        }
    }
}

fn get(seen: &Mutex<Seen>, path: &str) -> Response<Full<Bytes>> {
    let body = if path == "/v1/balance" {
        json!({ "balances": [{ "currency": "EUR", "available": 0, "held": 0 }] })
    } else {
        let mut seen = seen.lock().unwrap();
        seen.gets += 1;
        let open = seen.gets <= seen.open_looks;
        let (status, at) = (if open { "processing" } else { "succeeded" }, "2026-11-22T20:00:00.250Z");
        json!({ "status": status, "created_at": "2026-11-22T20:00:00Z", "updated_at": at })
    };
    Response::new(Full::from(body.to_string()))
}
