//! The other side of the wire: a socket that says exactly what a test tells it to, and sees every byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use payfleet::domain::destination::Destination;
use payfleet::domain::ids::Kind;
use payfleet::domain::money::Money;
use payfleet::domain::outcome::Outcome;
use payfleet::gateway::{Deadline, Gateway, Gateways, Payment, Settings, registry};
use payfleet::service::secret::Secret;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

pub const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Settings with which all three gateways are to be found at `base_url`.
pub fn settings(base_url: &str) -> Settings {
    let mut settings = Settings::default();
    settings.stripe.base_url = base_url.into();
    settings.stripe.secret_key = Secret::new("sk_test_wire");
    settings.stripe.callback_key = Secret::new("whsec_wire");
    settings.paypal.base_url = base_url.into();
    settings.paypal.client_id = "client".into();
    settings.paypal.client_secret = Secret::new("secret");
    settings.paypal.webhook_id = "webhook".into();
    settings.paypal.callback_certificate = include_str!("../../gateway/paypal/fixtures/certificate.pem").into();
    settings.bank.base_url = base_url.into();
    settings.bank.username = "payfleet".into();
    settings.bank.password = Secret::new("secret");
    settings.bank.callback_key = Secret::new(WHSEC);
    settings.bank.account_iban = "DE02120300000000202051".into();
    settings.bank.account_owner = "Payfleet & Co".into();
    settings.bank.account_bic = "BYLADEM1001".into();
    settings
}

pub fn gateway(base_url: &str, name: &str) -> Arc<dyn Gateway> {
    let gateways: Gateways = registry(&settings(base_url)).unwrap();
    gateways.get(name).unwrap().clone()
}

/// The attempt of every fixture, so that their answers are about these payments.
pub fn deposit() -> Payment {
    Payment {
        transaction_id: Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_000a),
        attempt_id: Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001),
        kind: Kind::Deposit,
        money: Money::new(1250, "EUR".parse().unwrap()),
        country: "DE".into(),
        destination: None,
        return_url: Some("https://shop.example/back".into()),
        reference: None,
        candidate: None,
        attempted_at: OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap(),
        last_send_by: OffsetDateTime::from_unix_timestamp(1_767_225_605).unwrap(),
    }
}

pub fn withdrawal(destination: Destination) -> Payment {
    Payment { kind: Kind::Withdrawal, destination: Some(destination), return_url: None, ..deposit() }
}

pub const KEY: &str = "01920000000070008000000000000001c";
pub const CAPTURE_KEY: &str = "01920000000070008000000000000001k";

/// Long enough for anything that is meant to happen.
pub fn patient() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// A deadline for calls that are meant to run into it; the call is sent at once.
pub fn brief() -> Deadline {
    let now = Instant::now();
    Deadline { send_by: now + Duration::from_secs(30), answer_by: now + Duration::from_millis(300) }
}

pub fn is_unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unknown { .. })
}

pub fn is_unreachable(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unreachable { .. })
}

pub struct Wire {
    listener: TcpListener,
    /// The same socket, to look at without waiting.
    same: std::net::TcpListener,
}

impl Wire {
    pub async fn open() -> Self {
        let same = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        same.set_nonblocking(true).unwrap();
        Self { listener: TcpListener::from_std(same.try_clone().unwrap()).unwrap(), same }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.same.local_addr().unwrap())
    }

    pub async fn accept(&self) -> Peer {
        Peer(self.listener.accept().await.unwrap().0)
    }

    /// Whether somebody else has connected by now.
    pub fn is_called_again(&self) -> bool {
        self.same.accept().is_ok()
    }
}

/// One connection, seen from the gateway's side.
pub struct Peer(pub TcpStream);

#[derive(Debug)]
pub struct Request {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let (_, value) = values.next()?;
        assert!(values.next().is_none(), "{name} stands there twice");
        Some(value)
    }
}

impl Peer {
    /// The next whole request; None when the connection ends without a byte of one.
    pub async fn request(&mut self) -> Option<Request> {
        let mut bytes = Vec::new();
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if self.0.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                assert!(bytes.is_empty(), "half a request: {}", String::from_utf8_lossy(&bytes));
                return None;
            }
        };
        let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
        let (line, rest) = text.split_once("\r\n").unwrap();
        let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers: Vec<(String, String)> = rest.lines().filter_map(pair).collect();
        let mut request = Request { line: line.to_owned(), headers, body: String::new() };
        let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = bytes.split_off(head + 4);
        while body.len() < length {
            assert_ne!(self.0.read_buf(&mut body).await.unwrap(), 0, "half a body");
        }
        assert_eq!(body.len(), length, "more than one request");
        request.body = String::from_utf8(body).unwrap();
        Some(request)
    }

    pub async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// A whole answer, after which the connection stays.
    pub async fn answer(&mut self, status: u16, body: &str) {
        self.send(&format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    }

    /// One request and its answer.
    pub async fn exchange(&mut self, status: u16, body: &str) -> Request {
        let request = self.request().await.expect("a request");
        self.answer(status, body).await;
        request
    }

    /// The connection ends without another byte.
    pub async fn ends(&mut self) -> bool {
        self.0.read(&mut [0; 1]).await.unwrap_or(0) == 0
    }

    /// Ends the connection with a reset instead of a farewell.
    pub fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }
}
