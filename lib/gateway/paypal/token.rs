//! The OAuth2 access token: fetched by one caller at a time, kept, and renewed while the old one still works.
//!
//! Source: developer.paypal.com/api/rest/authentication (client credentials; `expires_in` in seconds).
//!
//! If it dies here: no token is stored anywhere; the next process fetches its own. Nothing of a payment has left before a token is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use crate::domain::outcome::Outcome;
use crate::gateway::Deadline;
use crate::gateway::client::{Call, Client, Failure};

/// A token is renewed when a tenth of its life is left, but no earlier than this before its end.
const EARLY_LIMIT: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    expires_in: u64,
}

pub(super) struct Token {
    /// `Bearer …`, never shown.
    pub(super) authorization: HeaderValue,
    renew_at: Instant,
    ends_at: Instant,
}

impl Token {
    fn of(granted: Granted, asked_at: Instant) -> Option<Self> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", granted.access_token)).ok()?;
        authorization.set_sensitive(true);
        let life = Duration::from_secs(granted.expires_in.min(24 * 3_600));
        let early = (life / 10).min(EARLY_LIMIT);
        let is_bearer = granted.token_type.eq_ignore_ascii_case("bearer");
        is_bearer.then_some(Self { authorization, renew_at: asked_at + life - early, ends_at: asked_at + life })
    }
}

pub(super) struct Tokens {
    /// `Basic …` of client id and secret.
    credentials: HeaderValue,
    current: ArcSwapOption<Token>,
    renewing: Mutex<()>,
}

impl Tokens {
    pub(super) fn new(credentials: HeaderValue) -> Self {
        Self { credentials, current: ArcSwapOption::empty(), renewing: Mutex::new(()) }
    }

    /// A token that works now. Without one nothing was sent, and that is what the outcome says.
    pub(super) async fn get(&self, client: &Client, deadline: Deadline) -> Result<Arc<Token>, Outcome> {
        match self.current.load_full() {
            Some(token) if Instant::now() < token.renew_at => Ok(token),
            Some(token) if Instant::now() < token.ends_at => match self.renewing.try_lock() {
                // The old one still works: a failure to renew it early is for the next caller to try again.
                Ok(_turn) => Ok(self.fetch(client, deadline).await.unwrap_or(token)),
                Err(_) => Ok(token),
            },
            _ => {
                let begun = Instant::now();
                let turn = timeout_at(deadline.send_by.into(), self.renewing.lock()).await;
                let _turn = turn.map_err(|_| {
                    client.gave_up(begun, deadline);
                    Outcome::Unreachable { why: "no access token in time".into() }
                })?;
                match self.current.load_full() {
                    Some(token) if Instant::now() < token.renew_at => Ok(token),
                    _ => self.fetch(client, deadline).await,
                }
            }
        }
    }

    /// The gateway has refused this token: the next caller fetches another.
    pub(super) fn forget(&self, refused: &Arc<Token>) {
        self.current.compare_and_swap(refused, None);
    }

    async fn fetch(&self, client: &Client, deadline: Deadline) -> Result<Arc<Token>, Outcome> {
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, self.credentials.clone()),
            (CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
        ]);
        let call = Call {
            method: Method::POST,
            path: "/v1/oauth2/token".into(),
            headers,
            body: Bytes::from_static(b"grant_type=client_credentials"),
        };
        let asked_at = Instant::now();
        let deadline = Deadline { answer_by: deadline.send_by, ..deadline };
        let unreachable = |why: String| Outcome::Unreachable { why: format!("no access token: {why}") };
        let answer = client.call(call, deadline).await.map_err(|failure: Failure| unreachable(failure.to_string()))?;
        match (answer.status.as_u16(), answer.by_status()) {
            (200, _) => {
                let granted = answer.json::<Granted>().map_err(|error| unreachable(error.to_string()))?;
                let token = Token::of(granted, asked_at).ok_or_else(|| unreachable("not a bearer token".into()))?;
                let token = Arc::new(token);
                self.current.store(Some(token.clone()));
                Ok(token)
            }
            (_, Some(later @ Outcome::Later { .. })) => Err(later),
            (status, _) => Err(unreachable(format!("HTTP {status}"))),
        }
    }
}
