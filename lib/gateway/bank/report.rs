//! Status reports: pain.002 about a credit transfer, pain.014 about a request to pay. They differ in names only.
//!
//! Statuses: ISO 20022 external code set ExternalPaymentTransactionStatus1Code; reasons: ExternalStatusReason1Code.

use uuid::Uuid;

use crate::domain::ids::Operation;
use crate::domain::money::{Currency, Money};
use crate::domain::outcome::Outcome;
use crate::gateway::xml::Element;

/// The message was never received by the bank: AG09 "Original payment never received", IRNR "No initial request-to-pay has been received".
const NEVER_RECEIVED: [&str; 2] = ["AG09", "IRNR"];
/// The same message, or the same payment, has come before: it proves nothing about what became of that one.
const DUPLICATE: [&str; 7] = ["AM05", "DU01", "DU02", "DU03", "DU04", "DU05", "DUPL"];
/// AEXR "Request-to-pay Expiry Date and Time has already passed".
const EXPIRED: &str = "AEXR";

pub(super) struct Report {
    /// `pain.002.001.10` and the like, for the event type.
    pub(super) definition: String,
    /// The MsgId that it answers.
    original: String,
    status: Option<String>,
    reason: Option<String>,
    words: Option<String>,
    reference: Option<String>,
    money: Option<Money>,
}

impl Report {
    /// Reads `Document/<report>`; None when it is not a status report about one payment.
    pub(super) fn of(document: &Element) -> Option<Self> {
        let report = document.only_child().filter(|_| document.name == "Document")?;
        let definition = match report.name.as_str() {
            "CstmrPmtStsRpt" => "pain.002",
            "CdtrPmtActvtnReqStsRpt" => "pain.014",
            _ => return None,
        };
        let group = report.child("OrgnlGrpInfAndSts")?;
        let instruction = only(report.children("OrgnlPmtInfAndSts"))?;
        let transaction = match instruction {
            Some(instruction) => only(instruction.children("TxInfAndSts"))?,
            None => None,
        };
        // The innermost level that has a status tells it.
        let levels = [(transaction, "TxSts"), (instruction, "PmtInfSts"), (Some(group), "GrpSts")];
        let told =
            levels.iter().find_map(|(level, name)| level.and_then(|level| Some((level, level.text_at(&[name])?))));
        let reason = told.and_then(|(level, _)| level.child("StsRsnInf"));
        let owned = |text: &str| text.to_owned();
        Some(Self {
            definition: definition.to_owned(),
            original: group.text_at(&["OrgnlMsgId"])?.to_owned(),
            status: told.map(|(_, status)| owned(status)),
            reason: reason.and_then(|reason| reason.text_at(&["Rsn", "Cd"])).map(owned),
            words: reason.and_then(|reason| reason.text_at(&["AddtlInf"])).map(owned),
            reference: transaction.and_then(|transaction| transaction.text_at(&["AcctSvcrRef"])).map(owned),
            money: transaction.and_then(amount),
        })
    }

    /// The attempt that our own MsgId names.
    pub(super) fn attempt(&self) -> Option<Uuid> {
        Operation::of_key(&self.original).map(|(attempt, _)| attempt)
    }

    /// The bank's own id of the payment, or the MsgId until it has one: the bank is always asked by that.
    pub(super) fn reference(&self) -> String {
        self.reference.clone().unwrap_or_else(|| self.original.clone())
    }

    /// What it says about the payment that was sent under `key`.
    pub(super) fn outcome(&self, key: &str) -> Outcome {
        let unknown =
            |why: String| Outcome::Unknown { why: format!("{} on {}: {why}", self.definition, self.original) };
        if self.original != key {
            return unknown("answers another message".into());
        }
        let reference = self.reference();
        let reason = self.reason.as_deref().unwrap_or("not given");
        match self.status.as_deref() {
            // Settlement completed on the debtor's or the creditor's account.
            Some("ACSC" | "ACCC") => match self.money {
                Some(money) => Outcome::Succeeded { reference, money },
                None => unknown("settled, but the amount is not said".into()),
            },
            Some("RCVD" | "PDNG" | "ACTC" | "ACCP" | "ACSP" | "ACWC" | "ACWP" | "ACFC" | "ACPD" | "PATC" | "PRES") => {
                Outcome::Accepted { reference }
            }
            Some("RJCT") if NEVER_RECEIVED.contains(&reason) => Outcome::NotFound,
            Some("RJCT") if DUPLICATE.contains(&reason) => unknown(format!("a duplicate ({reason})")),
            Some("RJCT") if reason == EXPIRED => Outcome::Expired { reference: Some(reference) },
            Some(status @ ("RJCT" | "CANC")) => Outcome::Declined {
                reference: Some(reference),
                code: self.reason.clone().unwrap_or_else(|| status.to_owned()),
                message: self.words.clone().unwrap_or_default(),
            },
            Some(status) => unknown(format!("status {status}")),
            None => unknown("no status".into()),
        }
    }
}

/// The only one, or none; `None` outside when there are several: we send one payment in a message.
fn only<'e>(mut elements: impl Iterator<Item = &'e Element>) -> Option<Option<&'e Element>> {
    let first = elements.next();
    elements.next().is_none().then_some(first)
}

fn amount(transaction: &Element) -> Option<Money> {
    let path = ["OrgnlTxRef", "Amt", "InstdAmt"];
    let currency: Currency = transaction.at(&path)?.attribute("Ccy")?.parse().ok()?;
    Money::from_decimal(transaction.text_at(&path)?, currency).ok()
}
