//! Status reports: pain.002 about credit transfers, pain.014 about requests to pay (iso20022.org). TxSts is of
//! ExternalPaymentTransactionStatus1Code, reasons are of ExternalStatusReason1Code.

use quick_xml::escape::escape;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{names, soap};
use crate::domain::ids::Kind;
use crate::gateway_sim::behaviour::dice;
use crate::gateway_sim::books::{Payment, State};
use crate::gateway_sim::house::{House, now};

/// The code of how a payment stands, and why when it was rejected.
fn status(payment: &Payment) -> (&'static str, Option<(&'static str, &'static str)>) {
    match (payment.state, payment.kind) {
        (State::Succeeded | State::Reversed, _) => ("ACSC", None),
        (State::Failed, Kind::Withdrawal) => ("RJCT", Some(("AC04", "Closed account number"))),
        (State::Failed, Kind::Deposit) => ("RJCT", Some(("AM04", "Insufficient funds"))),
        (State::Cancelled, _) => ("RJCT", Some(("ARFR", "The debtor has refused the request"))),
        (State::Expired, _) => ("RJCT", Some(("AEXR", "Expired before the debtor answered"))),
        (State::AwaitingCustomer | State::Approved | State::Pending | State::Capturing, _) => ("PDNG", None),
    }
}

fn reason(code: &str, text: &str) -> String {
    format!("<StsRsnInf><Rsn><Cd>{code}</Cd></Rsn><AddtlInf>{text}</AddtlInf></StsRsnInf>")
}

/// How a payment stands, as of its last change.
pub fn standing(house: &House, payment: &Payment) -> String {
    let (code, why) = status(payment);
    let why = why.map_or_else(String::new, |(code, text)| reason(code, text));
    let message_id = dice::text(house.settings.seed, code, &payment.reference, dice::CAPITALS, 20);
    let transaction = format!(
        "<TxInfAndSts><OrgnlEndToEndId>{}</OrgnlEndToEndId><TxSts>{code}</TxSts>{why}<AcctSvcrRef>{}</AcctSvcrRef>\
         <OrgnlTxRef><Amt><InstdAmt Ccy=\"{}\">{}</InstdAmt></Amt></OrgnlTxRef></TxInfAndSts>",
        escape(payment.echoed(soap::END_TO_END).unwrap_or_default()),
        payment.reference,
        payment.money_told().currency,
        payment.money_told().to_decimal(),
    );
    let information = payment.echoed(soap::PAYMENT_INFORMATION).unwrap_or_default();
    report(payment.kind, &payment.key, &message_id, payment.changed_at, &original(information, &transaction))
}

/// The message came before and is still being looked at.
pub fn received(kind: Kind, message_id: &str, end_to_end: &str) -> String {
    let id = escape(end_to_end);
    let transaction = format!("<TxInfAndSts><OrgnlEndToEndId>{id}</OrgnlEndToEndId><TxSts>RCVD</TxSts></TxInfAndSts>");
    report(kind, message_id, &own_id(message_id), now(), &original(end_to_end, &transaction))
}

/// No message of this id is known.
pub fn never_received(kind: Kind, message_id: &str) -> String {
    let (code, text) = match kind {
        Kind::Deposit => ("IRNR", "No such request"),
        Kind::Withdrawal => ("AG09", "No such payment"),
    };
    let group = format!("<GrpSts>RJCT</GrpSts>{}", reason(code, text));
    report(kind, message_id, &own_id(message_id), now(), &Parts { group, payment: String::new() })
}

fn own_id(message_id: &str) -> String {
    dice::text(0, "status", message_id, dice::CAPITALS, 20)
}

struct Parts {
    /// What is said about the message as a whole.
    group: String,
    payment: String,
}

fn original(information_id: &str, transaction: &str) -> Parts {
    let id = escape(information_id);
    let payment = format!("<OrgnlPmtInfAndSts><OrgnlPmtInfId>{id}</OrgnlPmtInfId>{transaction}</OrgnlPmtInfAndSts>");
    Parts { group: String::new(), payment }
}

fn report(kind: Kind, original_id: &str, message_id: &str, at: OffsetDateTime, parts: &Parts) -> String {
    let (asked, answered) = names(kind);
    let root = match kind {
        Kind::Deposit => "CdtrPmtActvtnReqStsRpt",
        Kind::Withdrawal => "CstmrPmtStsRpt",
    };
    let Parts { group, payment } = parts;
    format!(
        "<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:{answered}\"><{root}>\
         <GrpHdr><MsgId>{message_id}</MsgId><CreDtTm>{}</CreDtTm></GrpHdr>\
         <OrgnlGrpInfAndSts><OrgnlMsgId>{}</OrgnlMsgId><OrgnlMsgNmId>{asked}</OrgnlMsgNmId>{group}</OrgnlGrpInfAndSts>\
         {payment}</{root}></Document>",
        at.format(&Rfc3339).unwrap_or_default(),
        escape(original_id),
    )
}
