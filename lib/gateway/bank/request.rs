//! The messages that the bank gets. The same attempt always makes the same bytes: even their creation time is the attempt's.
//!
//! Elements stand in the order that ISO 20022's schemas demand.

use quick_xml::escape::escape;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::Settings;
use crate::domain::destination::Destination;
use crate::domain::ids::{Kind, Operation};
use crate::domain::outcome::Outcome;
use crate::gateway::Payment;

/// What stands where a mandatory field is not known (EPC's implementation guidelines use the same word).
const NOT_PROVIDED: &str = "NOTPROVIDED";

/// A message in its envelope, and its namespace: the SOAPAction.
pub(super) struct Message {
    pub(super) namespace: &'static str,
    pub(super) envelope: String,
}

/// The message that a payment is initiated by.
pub(super) fn definition(kind: Kind) -> &'static str {
    match kind {
        Kind::Deposit => "pain.013.001.07",
        Kind::Withdrawal => "pain.001.001.09",
    }
}

/// An element around what is already XML.
fn tag(name: &str, content: impl AsRef<str>) -> String {
    format!("<{name}>{}</{name}>", content.as_ref())
}

/// An element around text.
fn text(name: &str, content: &str) -> String {
    tag(name, escape(content))
}

fn envelope(namespace: &'static str, document: &str) -> Message {
    let envelope = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body>\
         <Document xmlns=\"{namespace}\">{document}</Document></soap:Body></soap:Envelope>\n"
    );
    Message { namespace, envelope }
}

fn date_time(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// The day on which the bank is asked to execute: the day that it is there when the attempt is made. By the attempt's time and the settings
/// alone, for a repeat must be the same bytes.
fn execution_date(payment: &Payment, settings: &Settings) -> String {
    let date = (payment.attempted_at + Duration::minutes(settings.utc_offset_min.into())).date();
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

fn amount(payment: &Payment) -> String {
    let money = payment.money;
    tag("Amt", format!("<InstdAmt Ccy=\"{}\">{}</InstdAmt>", money.currency, money.to_decimal()))
}

fn end_to_end_id(payment: &Payment) -> String {
    tag("PmtId", text("EndToEndId", &payment.attempt_id.simple().to_string()))
}

fn iban(iban: &str) -> String {
    tag("Id", text("IBAN", iban))
}

fn bic(bic: &str) -> String {
    tag("FinInstnId", text("BICFI", bic))
}

/// The message that makes this payment, or why it cannot be the bank's.
pub(super) fn create(payment: &Payment, settings: &Settings) -> Result<Message, Outcome> {
    match (payment.kind, &payment.destination) {
        (Kind::Deposit, _) => Ok(request_to_pay(payment, settings)),
        (Kind::Withdrawal, Some(destination)) => {
            let creditor = creditor(destination).ok_or_else(not_supported)?;
            Ok(credit_transfer(payment, settings, &creditor))
        }
        (Kind::Withdrawal, None) => Err(not_supported()),
    }
}

fn not_supported() -> Outcome {
    Outcome::Rejected {
        code: "destination_not_supported".into(),
        message: "the bank pays to IBANs and to account numbers with a bank code".into(),
    }
}

fn creditor(destination: &Destination) -> Option<String> {
    let party = tag("Cdtr", text("Nm", NOT_PROVIDED));
    match destination {
        Destination::Iban(number) => Some(party + &tag("CdtrAcct", iban(number))),
        Destination::AccountNumber { account_number, bank_code } => {
            let agent = tag("FinInstnId", tag("ClrSysMmbId", text("MmbId", bank_code)));
            let account = tag("Id", tag("Othr", text("Id", account_number)));
            Some(tag("CdtrAgt", agent) + &party + &tag("CdtrAcct", account))
        }
        Destination::Email(_) | Destination::Token(_) => None,
    }
}

fn group_header(payment: &Payment, settings: &Settings, sum: &str) -> String {
    let fields = [
        text("MsgId", &payment.key(Operation::Create)),
        tag("CreDtTm", date_time(payment.attempted_at)),
        tag("NbOfTxs", "1"),
        sum.to_owned(),
        tag("InitgPty", text("Nm", &settings.account_owner)),
    ];
    tag("GrpHdr", fields.concat())
}

/// CustomerCreditTransferInitiation.
fn credit_transfer(payment: &Payment, settings: &Settings, creditor: &str) -> Message {
    let transfer = tag("CdtTrfTxInf", end_to_end_id(payment) + &amount(payment) + creditor);
    let instruction = [
        text("PmtInfId", &payment.attempt_id.simple().to_string()),
        tag("PmtMtd", "TRF"),
        tag("ReqdExctnDt", tag("Dt", execution_date(payment, settings))),
        tag("Dbtr", text("Nm", &settings.account_owner)),
        tag("DbtrAcct", iban(&settings.account_iban)),
        tag("DbtrAgt", bic(&settings.account_bic)),
        transfer,
    ];
    let header = group_header(payment, settings, &tag("CtrlSum", payment.money.to_decimal()));
    envelope(
        "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09",
        &tag("CstmrCdtTrfInitn", header + &tag("PmtInf", instruction.concat())),
    )
}

/// CreditorPaymentActivationRequest. The bank finds the debtor with its customer; we know nothing of the account.
fn request_to_pay(payment: &Payment, settings: &Settings) -> Message {
    let expires_at = payment.attempted_at + Duration::seconds(settings.customer_s.min(u64::from(u32::MAX)) as i64);
    let transfer = [
        end_to_end_id(payment),
        amount(payment),
        tag("ChrgBr", "SLEV"),
        tag("CdtrAgt", bic(&settings.account_bic)),
        tag("Cdtr", text("Nm", &settings.account_owner)),
        tag("CdtrAcct", iban(&settings.account_iban)),
    ];
    let instruction = [
        text("PmtInfId", &payment.attempt_id.simple().to_string()),
        tag("PmtMtd", "TRF"),
        tag("ReqdExctnDt", tag("Dt", execution_date(payment, settings))),
        tag("XpryDt", tag("DtTm", date_time(expires_at))),
        tag("Dbtr", text("Nm", NOT_PROVIDED)),
        tag("DbtrAgt", tag("FinInstnId", tag("Othr", text("Id", NOT_PROVIDED)))),
        tag("CdtTrfTx", transfer.concat()),
    ];
    let header = group_header(payment, settings, "");
    envelope(
        "urn:iso:std:iso:20022:tech:xsd:pain.013.001.07",
        &tag("CdtrPmtActvtnReq", header + &tag("PmtInf", instruction.concat())),
    )
}

/// FIToFIPaymentStatusRequest: what became of the message that we sent under this payment's key. `id` is the question's own.
pub(super) fn status_request(payment: &Payment, id: &str, at: OffsetDateTime) -> Message {
    let header = tag("GrpHdr", text("MsgId", id) + &tag("CreDtTm", date_time(at)));
    let original =
        text("OrgnlMsgId", &payment.key(Operation::Create)) + &text("OrgnlMsgNmId", definition(payment.kind));
    envelope(
        "urn:iso:std:iso:20022:tech:xsd:pacs.028.001.03",
        &tag("FIToFIPmtStsReq", header + &tag("OrgnlGrpInf", original)),
    )
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::gateway::fixture::{deposit, money, settings, told, withdrawal};

    #[test]
    fn a_payment_always_makes_the_same_documented_message() {
        let settings = settings().bank;
        let request = create(&deposit(), &settings).unwrap();
        assert_eq!(request.envelope, include_str!("fixtures/request_pain013.xml"));
        assert_eq!(request.namespace, "urn:iso:std:iso:20022:tech:xsd:pain.013.001.07");
        let transfer = withdrawal(Destination::Iban("DE89370400440532013000".into()));
        let request = create(&transfer, &settings).unwrap();
        assert_eq!(request.envelope, include_str!("fixtures/request_pain001.xml"));
        assert_eq!(request.namespace, "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09");
        let account = Destination::AccountNumber { account_number: "0123456789".into(), bank_code: "058".into() };
        let mut transfer = withdrawal(account);
        transfer.money = money(1250, "NGN");
        let request = create(&transfer, &settings).unwrap();
        assert_eq!(request.envelope, include_str!("fixtures/request_pain001_account.xml"));
    }

    #[test]
    fn the_execution_date_is_the_banks_own_day() {
        let mut settings = settings().bank;
        let transfer = withdrawal(Destination::Iban("DE89370400440532013000".into()));
        let late = datetime!(2026-01-31 22:30:00 UTC);
        for (utc_offset_min, at, day) in [
            (0, late, "2026-01-31"),
            (120, late, "2026-02-01"),
            (540, datetime!(2026-01-31 14:59:59 UTC), "2026-01-31"),
            (540, datetime!(2026-01-31 15:00:00 UTC), "2026-02-01"),
            (-300, datetime!(2026-02-01 04:59:59 UTC), "2026-01-31"),
        ] {
            settings.utc_offset_min = utc_offset_min;
            for payment in [&transfer, &deposit()] {
                let payment = Payment { attempted_at: at, ..payment.clone() };
                let message = create(&payment, &settings).unwrap().envelope;
                assert!(message.contains(&format!("<ReqdExctnDt><Dt>{day}</Dt></ReqdExctnDt>")), "{message}");
            }
        }
    }

    #[test]
    fn a_question_names_the_message_that_it_is_about() {
        let transfer = withdrawal(Destination::Iban("DE89370400440532013000".into()));
        let at = datetime!(2026-01-01 00:00:05.123 UTC);
        let question = status_request(&transfer, "01920000000070008000000000000099", at);
        assert_eq!(question.envelope, include_str!("fixtures/request_pacs028.xml"));
    }

    #[test]
    fn text_from_outside_stays_text() {
        let settings = settings().bank;
        let forged = "DE89</IBAN></Id><Amt>&amp;\"'";
        let request = create(&withdrawal(Destination::Iban(forged.into())), &settings).unwrap();
        assert!(request.envelope.contains("<IBAN>DE89&lt;/IBAN&gt;&lt;/Id&gt;&lt;Amt&gt;&amp;amp;&quot;&apos;</IBAN>"));
    }

    #[test]
    fn what_the_bank_cannot_pay_to_is_refused_before_anything_is_sent() {
        let settings = settings().bank;
        for destination in [Destination::Email("a@example.com".into()), Destination::Token("ba_1".into())] {
            let refused = create(&withdrawal(destination), &settings).err().unwrap();
            assert_eq!(told(&refused), "rejected destination_not_supported");
        }
    }
}
