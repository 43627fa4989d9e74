//! Every answer of the bank, read into an [`Outcome`]. Pure: status, headers and body in, outcome out.

use super::report::Report;
use crate::domain::outcome::Outcome;
use crate::gateway::answer::Answer;
use crate::gateway::xml::Element;

/// Reason codes (ExternalStatusReason1Code) of a Fault that says: this message is invalid, and was not taken on. Codes that hint at an
/// earlier message (AM05, DU01 …) or at a technical failure (FF10) are not among them, for they prove nothing.
const INVALID: &[&str] = &[
    "AC01", "AC02", "AC03", "AC08", "AC09", "AC10", "AC11", "AG03", "AM01", "AM02", "AM03", "AM06", "AM11", "AM12",
    "AM14", "BE22", "CH03", "CH04", "CH16", "CH17", "CH20", "CH21", "CURR", "DT01", "FF01", "FF02", "FF03", "FF08",
    "NOAR", "NRCH", "RC01", "RC02", "RC03", "RC04", "RC05", "RC07", "RC10", "RTNS",
];

/// The answer to a message that makes a payment.
pub(super) fn to_create(answer: &Answer, key: &str) -> Outcome {
    match outcome(answer, key) {
        // To a create it cannot mean what it means to a question.
        Outcome::NotFound => answer.unknown("the bank says that it never received what it answers"),
        outcome => outcome,
    }
}

/// The answer to a status request.
pub(super) fn to_status_request(answer: &Answer, key: &str) -> Outcome {
    match outcome(answer, key) {
        // The question was refused; that says nothing about the payment.
        Outcome::Rejected { code, .. } => answer.unknown(format_args!("the status request was refused: {code}")),
        outcome => outcome,
    }
}

/// SOAP 1.1 sends a Fault with status 500 (section 6.2), so there the body is looked at before the status.
fn outcome(answer: &Answer, key: &str) -> Outcome {
    let status = answer.status.as_u16();
    if !matches!(status, 200 | 500) {
        return answer.by_status().unwrap_or_else(|| answer.unknown("not documented"));
    }
    let envelope = match Element::parse(&answer.body) {
        Ok(envelope) if envelope.name == "Envelope" => envelope,
        Ok(other) => return answer.unknown(format_args!("<{}> is not a SOAP envelope", other.name)),
        Err(error) => return answer.unknown(error),
    };
    let Some(content) = envelope.child("Body").and_then(Element::only_child) else {
        return answer.unknown("a SOAP body without exactly one element");
    };
    match (status, content.name.as_str()) {
        (_, "Fault") => fault(answer, content),
        (200, _) => match Report::of(content) {
            Some(report) => report.outcome(key),
            None => answer.unknown("not a status report about one payment"),
        },
        _ => answer.unknown("the bank failed"),
    }
}

/// SOAP 1.1, section 4.4: `Client` says that the message was at fault, `Server` that its processing failed.
fn fault(answer: &Answer, fault: &Element) -> Outcome {
    let who = fault.text_at(&["faultcode"]).unwrap_or_default();
    let detail = fault.at(&["detail", "StsRsnInf"]);
    let code = detail.and_then(|detail| detail.text_at(&["Rsn", "Cd"])).unwrap_or_default();
    if who.rsplit(':').next() == Some("Client") && INVALID.contains(&code) {
        let words = detail.and_then(|detail| detail.text_at(&["AddtlInf"]));
        let message = words.or_else(|| fault.text_at(&["faultstring"])).unwrap_or_default();
        return Outcome::Rejected { code: code.to_owned(), message: message.to_owned() };
    }
    answer.unknown(format_args!("fault {who} {code}"))
}
