//! Reading what the bank's customers send, and SOAP 1.1 around what they are told (w3.org/TR/2000/NOTE-SOAP-20000508).

use http::StatusCode;
use quick_xml::escape::escape;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{Order, names};
use crate::domain::ids::{Kind, Operation};
use crate::domain::money::{Currency, Money};
use crate::gateway_sim::behaviour::dice;
use crate::gateway_sim::house::House;
use crate::gateway_sim::line::{Call, Reply};
use crate::gateway_sim::vendor::Vendor;

pub const CONTENT_TYPE: &str = "text/xml; charset=utf-8";
/// What a payment's echo is kept under.
pub const END_TO_END: &str = "end_to_end_id";
pub const PAYMENT_INFORMATION: &str = "payment_information_id";

const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:";

pub enum Message {
    Payment(Box<Order>),
    StatusRequest(StatusRequest),
}

pub struct StatusRequest {
    pub original_message_id: String,
    pub kind: Kind,
}

/// A message that was not accepted.
pub struct Fault {
    code: &'static str,
    reason: Option<&'static str>,
    told: String,
}

impl Fault {
    /// The caller's mistake, with a code of ISO 20022's ExternalStatusReason1Code where there is one.
    pub fn caller(reason: Option<&'static str>, told: impl Into<String>) -> Self {
        Self { code: "soap:Client", reason, told: told.into() }
    }

    pub fn bank(told: impl Into<String>) -> Self {
        Self { code: "soap:Server", reason: None, told: told.into() }
    }

    pub fn reply(self, status: StatusCode) -> Reply {
        let detail = self.reason.map_or_else(String::new, |reason| {
            format!(
                "<detail><StsRsnInf xmlns=\"{NAMESPACE}pain.002.001.10\"><Rsn><Cd>{reason}</Cd></Rsn>\
                 <AddtlInf>{}</AddtlInf></StsRsnInf></detail>",
                escape(&self.told)
            )
        });
        let text = if self.reason.is_some() { "The message was not accepted" } else { &self.told };
        let fault = format!(
            "<soap:Fault><faultcode>{}</faultcode><faultstring>{}</faultstring>{detail}</soap:Fault>",
            self.code,
            escape(text)
        );
        Reply::typed(status, CONTENT_TYPE, enveloped(&fault))
    }
}

pub fn enveloped(content: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body>{content}</soap:Body></soap:Envelope>\n"
    )
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Body")]
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "Document")]
    document: Document,
}

/// Exactly one of the three messages is there. Elements that are not read here are allowed.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "@xmlns")]
    namespace: String,
    #[serde(rename = "CstmrCdtTrfInitn")]
    transfer: Option<Initiation>,
    #[serde(rename = "CdtrPmtActvtnReq")]
    activation: Option<Initiation>,
    #[serde(rename = "FIToFIPmtStsReq")]
    status_request: Option<StatusQuestion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Initiation {
    grp_hdr: GroupHeader,
    pmt_inf: PaymentInformation,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GroupHeader {
    msg_id: String,
    nb_of_txs: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PaymentInformation {
    pmt_inf_id: String,
    xpry_dt: Option<Moment>,
    #[serde(alias = "CdtTrfTx")]
    cdt_trf_tx_inf: Transfer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Moment {
    dt_tm: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Transfer {
    pmt_id: PaymentId,
    amt: Amount,
    cdtr_acct: Option<Account>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PaymentId {
    end_to_end_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Amount {
    instd_amt: InstructedAmount,
}

#[derive(Deserialize)]
struct InstructedAmount {
    #[serde(rename = "@Ccy")]
    currency: String,
    #[serde(rename = "$text")]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Account {
    id: AccountId,
}

#[derive(Deserialize)]
struct AccountId {
    #[serde(rename = "IBAN")]
    iban: Option<String>,
    #[serde(rename = "Othr")]
    other: Option<OtherAccount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OtherAccount {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatusQuestion {
    orgnl_grp_inf: OriginalGroup,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OriginalGroup {
    orgnl_msg_id: String,
    orgnl_msg_nm_id: String,
}

fn invalid(told: impl Into<String>) -> Fault {
    Fault::caller(Some("FF01"), told)
}

pub fn read(house: &House, call: &Call) -> Result<Message, Fault> {
    let text = std::str::from_utf8(&call.body).map_err(|_| invalid("The message is not UTF-8"))?;
    let envelope: Envelope = quick_xml::de::from_str(text).map_err(|error| invalid(format!("Invalid XML: {error}")))?;
    let document = envelope.body.document;
    let named = document.namespace.strip_prefix(NAMESPACE).unwrap_or_default();
    let action = call.header("soapaction").unwrap_or_default().trim_matches('"');
    if action != document.namespace {
        return Err(invalid("SOAPAction does not name the message"));
    }
    let wanted = [Kind::Deposit, Kind::Withdrawal];
    match (document.transfer, document.activation, document.status_request) {
        (Some(message), None, None) if named == names(Kind::Withdrawal).0 => {
            order(house, call, Kind::Withdrawal, message).map(Box::new).map(Message::Payment)
        }
        (None, Some(message), None) if named == names(Kind::Deposit).0 => {
            order(house, call, Kind::Deposit, message).map(Box::new).map(Message::Payment)
        }
        (None, None, Some(question)) if named == "pacs.028.001.03" => {
            let original = question.orgnl_grp_inf;
            let kind = wanted.into_iter().find(|kind| names(*kind).0 == original.orgnl_msg_nm_id);
            let kind = kind.ok_or_else(|| invalid("OrgnlMsgNmId is not a message that is taken here"))?;
            Ok(Message::StatusRequest(StatusRequest { original_message_id: original.orgnl_msg_id, kind }))
        }
        _ => Err(invalid("The message is not one that is taken here")),
    }
}

fn order(house: &House, call: &Call, kind: Kind, message: Initiation) -> Result<Order, Fault> {
    let (header, payment) = (message.grp_hdr, message.pmt_inf);
    let transfer = payment.cdt_trf_tx_inf;
    let end_to_end = transfer.pmt_id.end_to_end_id;
    let ids = [&header.msg_id, &payment.pmt_inf_id, &end_to_end];
    if ids.iter().any(|id| !(1..=35).contains(&id.chars().count())) {
        return Err(invalid("Identifications have 1 to 35 characters"));
    }
    if header.nb_of_txs != "1" {
        return Err(invalid("Messages of exactly one transaction are simulated"));
    }
    let account = transfer.cdtr_acct.and_then(|account| account.id.iban.or(account.id.other.map(|other| other.id)));
    let account = account
        .filter(|account| !account.is_empty())
        .ok_or_else(|| Fault::caller(Some("AC03"), "Creditor account number invalid or missing"))?;
    let money = money(&transfer.amt.instd_amt)?;
    let whole = format!("{end_to_end}/{}/{}/{account}", money.minor, money.currency);
    let expires = payment.xpry_dt.and_then(|moment| moment.dt_tm);
    let customer_until = expires
        .map(|text| OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| invalid("XpryDt is not a date and time")))
        .transpose()?;
    Ok(Order {
        vendor: Vendor::Bank,
        attempt_id: Uuid::try_parse(&end_to_end)
            .ok()
            .or_else(|| Operation::of_key(&header.msg_id).map(|(attempt, _)| attempt)),
        transaction_id: None,
        kind,
        money,
        fingerprint: dice::digest(house.settings.seed, kind.as_str(), &whole),
        return_url: None,
        cancel_url: None,
        customer_until,
        echo: [(END_TO_END.to_owned(), end_to_end), (PAYMENT_INFORMATION.to_owned(), payment.pmt_inf_id)].into(),
        arrived_at: call.arrived_at,
        key: header.msg_id,
    })
}

fn money(amount: &InstructedAmount) -> Result<Money, Fault> {
    let currency: Currency =
        amount.currency.parse().map_err(|_| Fault::caller(Some("AM03"), "Currency is not one that is processed"))?;
    let money = Money::from_decimal(amount.value.trim(), currency)
        .map_err(|_| Fault::caller(Some("AM12"), "Amount is invalid or missing"))?;
    if money.minor > 0 { Ok(money) } else { Err(Fault::caller(Some("AM01"), "Amount is equal to zero")) }
}
