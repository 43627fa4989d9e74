//! A simulator that runs for one test, and callers who speak its three protocols.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use payfleet::domain::ids::Operation;
use payfleet::gateway_sim::charge_log::{self, ChargeEntry, Entry};
use payfleet::gateway_sim::{GatewaySim, Settings};
use payfleet::service::secret::Secret;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::harness::eventually;

pub const SOON: Duration = Duration::from_secs(20);
pub const STRIPE_KEY: &str = "whsec_test_stripe";
pub const BANK_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const WEBHOOK_ID: &str = "1JE4291016473214C";
pub const PAYPAL_CERTIFICATE: &str = include_str!("../../gateway/paypal/fixtures/certificate.pem");
const PAYPAL_KEY: &[u8] = include_bytes!("../../gateway/paypal/fixtures/key.pk8");

/// Which payment is made: the gateway, and whether money comes in or goes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    StripeIn,
    StripeOut,
    PaypalIn,
    PaypalOut,
    BankIn,
    BankOut,
}

impl Way {
    pub const ALL: [Self; 6] =
        [Self::StripeIn, Self::StripeOut, Self::PaypalIn, Self::PaypalOut, Self::BankIn, Self::BankOut];
}

pub struct Running {
    pub base: String,
    /// Where callbacks go; answers 200 unless a test says otherwise.
    pub inbox: MockServer,
    pub http: Client,
    settings: Settings,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// An answer that has been read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    pub status: u16,
    pub body: String,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The text of the first element of this name.
    pub fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|(text, _)| text)
    }
}

fn settings(inbox: &MockServer) -> Settings {
    let mut settings = Settings {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: std::env::temp_dir().join(format!("payfleet-sim-{}", Uuid::now_v7().simple())),
        callback_base_url: inbox.uri(),
        customer_after_ms: 0,
        settle_after_ms: 0,
        ..Settings::default()
    };
    settings.callbacks.first_pause_ms = 5;
    settings.callbacks.longest_pause_ms = 20;
    settings.stripe.secret_key = Secret::new("sk_test_sim");
    settings.stripe.callback_key = Secret::new(STRIPE_KEY);
    settings.paypal.client_id = "client".into();
    settings.paypal.client_secret = Secret::new("secret");
    settings.paypal.webhook_id = WEBHOOK_ID.into();
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(PAYPAL_KEY));
    settings.paypal.callback_private_key = Secret::new(pem);
    settings.bank.username = "payfleet".into();
    settings.bank.password = Secret::new("secret");
    settings.bank.callback_key = Secret::new(BANK_KEY);
    settings
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let inbox = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&inbox).await;
        let mut settings = settings(&inbox);
        change(&mut settings);
        Self::run(inbox, settings).await
    }

    async fn run(inbox: MockServer, settings: Settings) -> Self {
        let sim = GatewaySim::bind(settings.clone()).await.unwrap();
        let (base, stop) = (format!("http://{}", sim.address()), CancellationToken::new());
        let until = stop.clone();
        let task = tokio::spawn(async move { sim.run(until).await.unwrap() });
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base, inbox, http, settings, stop, task }
    }

    /// Ends the simulator without letting it finish anything, and starts another on its books.
    pub async fn killed_and_started_with(self, change: impl FnOnce(&mut Settings)) -> Self {
        self.task.abort();
        self.task.await.unwrap_err();
        let mut settings = self.settings;
        change(&mut settings);
        Self::run(self.inbox, settings).await
    }

    pub async fn killed_and_started(self) -> Self {
        self.killed_and_started_with(|_| {}).await
    }

    /// Ends in order and removes the books.
    pub async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        std::fs::remove_dir_all(&self.settings.data_dir).unwrap();
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn log_path(&self) -> PathBuf {
        charge_log::path_in(&self.settings.data_dir)
    }

    /// All lines but the first.
    pub fn log(&self) -> Vec<Entry> {
        let mut entries = charge_log::read(&self.log_path()).unwrap();
        assert!(matches!(entries.remove(0), Entry::Begun(_)));
        assert!(
            !entries.iter().any(|entry| matches!(entry, Entry::Begun(_))),
            "it is begun once, however often it is opened"
        );
        entries
    }

    pub fn charges(&self) -> Vec<ChargeEntry> {
        let charge = |entry| if let Entry::Charge(charge) = entry { Some(charge) } else { None };
        self.log().into_iter().filter_map(charge).collect()
    }

    /// What has been delivered so far.
    pub async fn delivered(&self) -> Vec<Request> {
        self.inbox.received_requests().await.unwrap()
    }

    /// The first callback whose body says all of this.
    pub async fn callback(&self, words: &[&str]) -> Request {
        let said = |request: &Request| words.iter().all(|word| String::from_utf8_lossy(&request.body).contains(word));
        eventually(&format!("a callback with {words:?}"), SOON, || async {
            self.delivered().await.into_iter().find(|request| said(request))
        })
        .await
    }

    pub fn stripe(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth("sk_test_sim").header("stripe-version", "2026-02-25.clover")
    }

    /// A Stripe create; `more` is added to what every create holds.
    pub fn stripe_create(&self, path: &str, attempt: Uuid, minor: i64, more: &[(&str, &str)]) -> RequestBuilder {
        let (amount, attempt_id) = (minor.to_string(), attempt.to_string());
        let mut form =
            vec![("amount", amount.as_str()), ("currency", "eur"), ("metadata[attempt_id]", attempt_id.as_str())];
        form.extend_from_slice(more);
        let request = self.http.post(format!("{}/stripe/v1/{path}", self.base)).form(&form);
        self.stripe(request).header("idempotency-key", Operation::Create.key(attempt))
    }

    pub async fn token(&self) -> String {
        let request = self.http.post(format!("{}/paypal/v1/oauth2/token", self.base));
        let request = request.basic_auth("client", Some("secret")).form(&[("grant_type", "client_credentials")]);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn paypal(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.token().await).header("prefer", "return=representation")
    }

    pub async fn capture_request(&self, order: &str, attempt: Uuid) -> RequestBuilder {
        let request = self.http.post(format!("{}/paypal/v2/checkout/orders/{order}/capture", self.base));
        let request = request.header("content-type", "application/json").body("{}");
        self.paypal(request).await.header("paypal-request-id", Operation::Capture.key(attempt))
    }

    pub async fn capture(&self, order: &str, attempt: Uuid) -> Told {
        told(self.capture_request(order, attempt).await).await
    }

    fn soap(&self, name: &str, content: &str) -> RequestBuilder {
        let namespace = format!("urn:iso:std:iso:20022:tech:xsd:{name}");
        let body = format!(
            "<soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body>\
             <Document xmlns=\"{namespace}\">{content}</Document></soap:Body></soap:Envelope>"
        );
        let request = self.http.post(format!("{}/bank", self.base)).basic_auth("payfleet", Some("secret"));
        request
            .header("content-type", "text/xml; charset=utf-8")
            .header("soapaction", format!("\"{namespace}\""))
            .body(body)
    }

    /// The bank's status request about a message.
    pub fn status_request(&self, name: &str, message_id: &str) -> RequestBuilder {
        let question = format!(
            "<FIToFIPmtStsReq><GrpHdr><MsgId>q</MsgId></GrpHdr><OrgnlGrpInf><OrgnlMsgId>{message_id}</OrgnlMsgId>\
             <OrgnlMsgNmId>{name}</OrgnlMsgNmId></OrgnlGrpInf></FIToFIPmtStsReq>"
        );
        self.soap("pacs.028.001.03", &question)
    }

    /// The request that makes a payment, as the fleet sends it.
    pub async fn create(&self, way: Way, attempt: Uuid, minor: i64) -> RequestBuilder {
        let key = Operation::Create.key(attempt);
        let value = format!("{}.{:02}", minor / 100, minor % 100);
        let id = attempt.simple();
        match way {
            Way::StripeIn => {
                let more = [
                    ("confirm", "true"),
                    ("payment_method", "pm_card_visa"),
                    ("automatic_payment_methods[enabled]", "true"),
                    ("return_url", "https://shop.example/back?basket=7"),
                ];
                self.stripe_create("payment_intents", attempt, minor, &more)
            }
            Way::StripeOut => self.stripe_create("payouts", attempt, minor, &[("destination", "ba_1")]),
            Way::PaypalIn => {
                let back = "https://shop.example/back?basket=7";
                let body = json!({
                    "intent": "CAPTURE",
                    "purchase_units": [{ "custom_id": attempt, "amount": { "currency_code": "EUR", "value": value } }],
                    "payment_source": { "paypal": { "experience_context": { "return_url": back, "cancel_url": back } } },
                });
                let request = self.http.post(format!("{}/paypal/v2/checkout/orders", self.base)).json(&body);
                self.paypal(request).await.header("paypal-request-id", key)
            }
            Way::PaypalOut => {
                let body = json!({
                    "sender_batch_header": { "sender_batch_id": key },
                    "items": [{
                        "recipient_type": "EMAIL", "amount": { "currency": "EUR", "value": value },
                        "receiver": "payee@example.com", "sender_item_id": key,
                    }],
                });
                let request = self.http.post(format!("{}/paypal/v1/payments/payouts", self.base)).json(&body);
                self.paypal(request).await
            }
            Way::BankIn => self.soap(
                "pain.013.001.07",
                &format!(
                    "<CdtrPmtActvtnReq><GrpHdr><MsgId>{key}</MsgId><NbOfTxs>1</NbOfTxs></GrpHdr><PmtInf><PmtInfId>{id}</PmtInfId>\
                     <CdtTrfTx><PmtId><EndToEndId>{id}</EndToEndId></PmtId><Amt><InstdAmt Ccy=\"EUR\">{value}</InstdAmt></Amt>\
                     <CdtrAcct><Id><IBAN>DE02120300000000202051</IBAN></Id></CdtrAcct></CdtTrfTx></PmtInf></CdtrPmtActvtnReq>"
                ),
            ),
            Way::BankOut => self.soap(
                "pain.001.001.09",
                &format!(
                    "<CstmrCdtTrfInitn><GrpHdr><MsgId>{key}</MsgId><NbOfTxs>1</NbOfTxs></GrpHdr><PmtInf><PmtInfId>{id}</PmtInfId>\
                     <CdtTrfTxInf><PmtId><EndToEndId>{id}</EndToEndId></PmtId><Amt><InstdAmt Ccy=\"EUR\">{value}</InstdAmt></Amt>\
                     <CdtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></CdtrAcct></CdtTrfTxInf></PmtInf></CstmrCdtTrfInitn>"
                ),
            ),
        }
    }

    pub async fn pay(&self, way: Way, attempt: Uuid, minor: i64) -> Told {
        told(self.create(way, attempt, minor).await).await
    }

    /// Asks the gateway about a payment: how it stands, in the gateway's own word. None: it does not know it.
    pub async fn stands(&self, way: Way, attempt: Uuid) -> Option<String> {
        let key = Operation::Create.key(attempt);
        let reference = self.charges().into_iter().rfind(|charge| charge.key == key).map(|charge| charge.reference);
        let get =
            |path: &str| self.http.get(format!("{}{path}/{}", self.base, reference.clone().unwrap_or("none".into())));
        let answer = match way {
            Way::StripeIn => told(self.stripe(get("/stripe/v1/payment_intents"))).await,
            Way::StripeOut => told(self.stripe(get("/stripe/v1/payouts"))).await,
            Way::PaypalIn => told(self.paypal(get("/paypal/v2/checkout/orders")).await).await,
            Way::PaypalOut => told(self.paypal(get("/paypal/v1/payments/payouts")).await).await,
            Way::BankIn | Way::BankOut => {
                let name = if way == Way::BankIn { "pain.013.001.07" } else { "pain.001.001.09" };
                told(self.status_request(name, &key)).await
            }
        };
        if answer.status == StatusCode::NOT_FOUND.as_u16() {
            return None;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        match way {
            Way::StripeIn | Way::StripeOut => answer.json()["status"].as_str().map(str::to_owned),
            Way::PaypalIn => {
                let order = answer.json();
                let capture = order.pointer("/purchase_units/0/payments/captures/0/status");
                capture.or(order.get("status")).and_then(Value::as_str).map(str::to_owned)
            }
            Way::PaypalOut => answer.json()["items"][0]["transaction_status"].as_str().map(str::to_owned),
            Way::BankIn | Way::BankOut => answer.element("TxSts").map(str::to_owned),
        }
    }

    /// Waits until a payment stands so.
    pub async fn comes_to(&self, way: Way, attempt: Uuid, word: &str) {
        eventually(&format!("{way:?} to be {word}"), SOON, || async {
            (self.stands(way, attempt).await.as_deref() == Some(word)).then_some(())
        })
        .await;
    }
}

pub async fn read(answer: Response) -> Told {
    Told { status: answer.status().as_u16(), body: answer.text().await.unwrap() }
}

pub async fn told(request: RequestBuilder) -> Told {
    read(request.send().await.unwrap()).await
}
