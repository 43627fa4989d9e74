//! A bank: ISO 20022 messages in SOAP 1.1 envelopes.
//!
//! | what | how |
//! |---|---|
//! | deposit | pain.013.001.07 (request to pay), answered by pain.014.001.07 |
//! | withdrawal | pain.001.001.09 (credit transfer), answered by pain.002.001.10 |
//! | ask | pacs.028.001.03 (payment status request) on the MsgId, answered by pain.002 or pain.014; never received: RJCT with AG09 or IRNR |
//! | transport | `POST` to the one endpoint, HTTP Basic, `Content-Type: text/xml; charset=utf-8`, `SOAPAction`: the message's namespace in quotes |
//! | key | MsgId: the operation's key; EndToEndId and PmtInfId: the attempt's id in 32 hexadecimal digits |
//! | callbacks | the bare pain.002 or pain.014, signed as Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`) |
//! | not accepted | SOAP Fault, its `detail` holding a StsRsnInf with the ISO reason code |
//!
//! `fixtures/` was written from ISO 20022's message definitions (iso20022.org, "Payments Initiation" and "Payments Clearing and
//! Settlement"), its external code sets (ExternalPaymentTransactionStatus1Code, ExternalStatusReason1Code), SOAP 1.1
//! (w3.org/TR/2000/NOTE-SOAP-20000508) and standardwebhooks.com.

//!
//! If it dies here: nothing is kept between calls; the MsgId makes the next one the same payment.

mod answer;
mod callback;
mod report;
mod request;
mod settings;

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use time::OffsetDateTime;
use uuid::Uuid;

use self::request::Message;
use super::answer::Answer;
use super::breaker::Breaker;
use super::client::{Call, Client};
use super::settings::Faults;
use super::signature::HmacKeys;
use super::{CallbackRefusal, Deadline, Gateway, Payment, either};
use crate::domain::destination::DestinationKind;
use crate::domain::ids::{Kind, Operation};
use crate::domain::outcome::{Notice, Outcome};

pub use settings::Settings;

pub const NAME: &str = "bank";

/// The day begins 14 hours early on Kiritimati and nowhere earlier.
const FURTHEST_OFFSET_MIN: i16 = 14 * 60;

pub struct Bank {
    client: Client,
    settings: Settings,
    authorization: HeaderValue,
    callback_keys: HmacKeys,
}

impl Bank {
    pub(super) fn new(settings: &Settings, faults: &mut Faults) -> Option<Self> {
        let client = faults.client(NAME, &settings.base_url, &settings.authority_certificate, settings.limits);
        faults.required("bank.username", &settings.username);
        faults.required("bank.password", settings.password.expose());
        faults.required("bank.callback_key", settings.callback_key.expose());
        faults.required("bank.account_iban", &settings.account_iban);
        faults.required("bank.account_owner", &settings.account_owner);
        faults.required("bank.account_bic", &settings.account_bic);
        if settings.utc_offset_min.abs() > FURTHEST_OFFSET_MIN {
            faults.add("bank.utc_offset_min", "is further from UTC than any place is");
        }
        let credentials = STANDARD.encode(format!("{}:{}", settings.username, settings.password.expose()));
        let authorization = faults.sensitive_header("bank.password", &format!("Basic {credentials}"));
        let key = faults.take("bank.callback_key", callback::key(settings.callback_key.expose()));
        let other = faults.take("bank.other_callback_key", callback::key(settings.other_callback_key.expose()));
        Some(Self {
            client: client?,
            settings: settings.clone(),
            authorization: authorization?,
            callback_keys: HmacKeys::new([key?, other?]),
        })
    }

    async fn post(&self, message: Message, deadline: Deadline) -> Result<Answer, Outcome> {
        let action = format!("\"{}\"", message.namespace);
        let action = HeaderValue::from_str(&action).map_err(|error| Outcome::Unreachable { why: error.to_string() })?;
        let mut headers = HeaderMap::from_iter([
            (AUTHORIZATION, self.authorization.clone()),
            (CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8")),
        ]);
        headers.insert("soapaction", action);
        let call = Call { method: Method::POST, path: String::new(), headers, body: message.envelope.into() };
        Ok(self.client.call(call, deadline).await?)
    }

    async fn send(&self, payment: &Payment, deadline: Deadline) -> Result<Outcome, Outcome> {
        let answer = self.post(request::create(payment, &self.settings)?, deadline).await?;
        Ok(answer::to_create(&answer, &payment.key(Operation::Create)))
    }

    async fn look(&self, payment: &Payment, deadline: Deadline) -> Result<Outcome, Outcome> {
        let id = Uuid::now_v7().simple().to_string();
        let question = request::status_request(payment, &id, OffsetDateTime::now_utc());
        let answer = self.post(question, deadline.of_question()).await?;
        Ok(answer::to_status_request(&answer, &payment.key(Operation::Create)))
    }
}

#[async_trait]
impl Gateway for Bank {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pays_to(&self) -> &'static [DestinationKind] {
        &[DestinationKind::Iban, DestinationKind::AccountNumber]
    }

    fn call_limit(&self) -> std::time::Duration {
        self.settings.limits.call()
    }

    fn key_lifetime(&self, _kind: Kind) -> std::time::Duration {
        std::time::Duration::from_secs(self.settings.key_lifetime_s)
    }

    async fn create(&self, payment: &Payment, deadline: Deadline) -> Outcome {
        either(self.send(payment, deadline).await)
    }

    /// A transfer is one message: there is nothing that the customer approves first and we take afterwards.
    async fn capture(&self, _payment: &Payment, _deadline: Deadline) -> Outcome {
        Outcome::Unknown { why: "the bank moves the money itself".into() }
    }

    async fn ask(&self, payment: &Payment, deadline: Deadline) -> Outcome {
        either(self.look(payment, deadline).await)
    }

    fn breaker(&self) -> Option<&Arc<Breaker>> {
        Some(self.client.breaker())
    }

    fn read_callback(&self, headers: &HeaderMap, body: &Bytes, now: OffsetDateTime) -> Result<Notice, CallbackRefusal> {
        callback::read(&self.callback_keys, headers, body, now)
    }
}
