//! Gateways that are told to lie, and what a plain socket sees of it.

use std::time::Duration;

use payfleet::gateway_sim::charge_log::{Entry, LiedEntry};
use payfleet::gateway_sim::lies::Lie;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::running::{Running, Told, Way, told};

pub fn vendor(way: Way) -> &'static str {
    match way {
        Way::StripeIn | Way::StripeOut => "stripe",
        Way::PaypalIn | Way::PaypalOut => "paypal",
        Way::BankIn | Way::BankOut => "bank",
    }
}

/// The same chances at every gateway.
pub fn everywhere(lies: &Value) -> Value {
    json!({ "stripe": lies, "paypal": lies, "bank": lies })
}

impl Running {
    pub async fn put(&self, what: &str, body: &Value) -> Told {
        told(self.http.put(format!("{}/_sim/{what}", self.base)).json(body)).await
    }

    pub async fn lies(&self, body: &Value) {
        let answer = self.put("lies", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// What the next requests to a gateway meet.
    pub async fn script(&self, vendor: &str, lies: &[&str]) {
        let lines: Vec<Value> = lies.iter().map(|lie| json!({ "lie": lie })).collect();
        let answer = self.put("script", &json!({ vendor: lines })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    pub fn lied(&self) -> Vec<LiedEntry> {
        let lied = |entry| if let Entry::Lied(lied) = entry { Some(lied) } else { None };
        self.log().into_iter().filter_map(lied).collect()
    }

    /// The lies that were told to whoever came with this key.
    pub fn lied_to(&self, key: &str) -> Vec<Lie> {
        self.lied().into_iter().filter(|lied| lied.key.as_deref() == Some(key)).map(|lied| lied.kind).collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Closed,
    Reset,
    /// There would have been more, or nothing came for a while.
    Open,
}

/// What came over the wire.
pub struct Wire {
    pub head: String,
    pub body: Vec<u8>,
    pub end: End,
}

impl Wire {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn length(&self) -> usize {
        self.header("content-length").unwrap().parse().unwrap()
    }
}

/// Sends a request over a socket of its own and reads until the end, `most` bytes, or a silence.
pub async fn wire(request: RequestBuilder, most: usize, silence: Duration) -> Wire {
    let request = request.build().unwrap();
    let url = request.url();
    let mut target = url.path().to_owned();
    if let Some(query) = url.query() {
        target = format!("{target}?{query}");
    }
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let mut text = format!("{} {target} HTTP/1.1\r\nhost: sim\r\ncontent-length: {}\r\n", request.method(), body.len());
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let mut stream = TcpStream::connect(url.socket_addrs(|| None).unwrap()[0]).await.unwrap();
    stream.write_all(&[text.as_bytes(), b"\r\n", body].concat()).await.unwrap();
    let mut bytes = Vec::new();
    let end = loop {
        if bytes.len() >= most {
            break End::Open;
        }
        match tokio::time::timeout(silence, stream.read_buf(&mut bytes)).await {
            Err(_) => break End::Open,
            Ok(Ok(0)) => break End::Closed,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                break End::Reset;
            }
        }
    };
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |end| end + 4);
    let body = bytes.split_off(head);
    Wire { head: String::from_utf8(bytes).unwrap(), body, end }
}
