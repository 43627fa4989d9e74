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

mod settings;

pub use settings::Settings;
