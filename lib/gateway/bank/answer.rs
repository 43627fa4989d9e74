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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::fixture::{key, told};

    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!("fixtures/", $name, ".xml"))
        };
    }

    const SETTLED: &str = fixture!("pain002_settled");

    #[test]
    fn every_answer_to_a_payment_has_its_one_meaning() {
        let first = "accepted 01920000000070008000000000000001c";
        let duplicate = fixture!("pain002_rejected").replace("AC04", "DU01");
        let cases = [
            (200, fixture!("pain002_received"), first),
            (200, fixture!("pain014_received"), first),
            (200, fixture!("pain002_pending"), "accepted BANKREF0001"),
            (200, fixture!("pain014_pending"), "accepted BANKREF0001"),
            (200, SETTLED, "succeeded BANKREF0001 12.50 EUR"),
            (200, fixture!("pain014_settled"), "succeeded BANKREF0001 12.50 EUR"),
            (200, fixture!("pain002_credited"), "succeeded BANKREF0001 12.50 EUR"),
            (200, fixture!("pain002_rejected"), "declined BANKREF0001 AC04"),
            (200, fixture!("pain014_rejected"), "declined BANKREF0001 ARFR"),
            (200, fixture!("pain014_expired"), "expired BANKREF0001"),
            (200, &duplicate, "unknown"),
            (200, fixture!("pain002_settled_without_amount"), "unknown"),
            (200, fixture!("pain002_settled_other_message"), "unknown"),
            (200, fixture!("pain002_never_received"), "unknown"),
            (500, fixture!("fault_validation"), "rejected AC03"),
            (200, fixture!("fault_validation"), "rejected AC03"),
            (500, fixture!("fault_duplicate"), "unknown"),
            (500, fixture!("fault_undocumented"), "unknown"),
            (500, fixture!("fault_server"), "unknown"),
            (500, SETTLED, "unknown"),
            (503, fixture!("fault_validation"), "unknown"),
            (400, fixture!("fault_validation"), "unknown"),
            (302, SETTLED, "unknown"),
            (401, "", "later credentials_refused"),
            (403, "", "later credentials_refused"),
            (429, "", "later rate_limited"),
            (200, "", "unknown"),
            (200, "<html/>", "unknown"),
        ];
        for (status, body, meaning) in cases {
            assert_eq!(told(&to_create(&Answer::made(status, body), &key())), meaning, "{status} {body}");
        }
    }

    #[test]
    fn only_a_question_can_be_answered_by_not_found() {
        let asked = |status, body| told(&to_status_request(&Answer::made(status, body), &key()));
        assert_eq!(asked(200, fixture!("pain002_never_received")), "not_found");
        assert_eq!(asked(200, fixture!("pain014_never_received")), "not_found");
        assert_eq!(asked(200, SETTLED), "succeeded BANKREF0001 12.50 EUR");
        assert_eq!(asked(404, ""), "unknown");
    }

    #[test]
    fn a_refused_question_says_nothing_about_the_payment() {
        let refused = Answer::made(500, fixture!("fault_validation"));
        assert_eq!(told(&to_status_request(&refused, &key())), "unknown");
    }

    /// `Server` means that the processing failed, whatever the code beside it.
    #[test]
    fn only_a_fault_of_ours_is_a_refusal() {
        let body = fixture!("fault_validation").replace("soap:Client", "soap:Server");
        assert_eq!(told(&to_create(&Answer::made(500, &body), &key())), "unknown");
    }

    #[test]
    fn the_amount_is_the_banks_and_never_ours() {
        let body = SETTLED.replace("Ccy=\"EUR\">12.50", "Ccy=\"USD\">12.00");
        assert_eq!(told(&to_create(&Answer::made(200, &body), &key())), "succeeded BANKREF0001 12.00 USD");
        let body = SETTLED.replace(">12.50", ">12.505");
        assert_eq!(told(&to_create(&Answer::made(200, &body), &key())), "unknown");
    }

    #[test]
    fn a_report_about_two_payments_is_not_read() {
        let start = SETTLED.find("<TxInfAndSts>").unwrap();
        let end = SETTLED.find("</TxInfAndSts>").unwrap() + "</TxInfAndSts>".len();
        let body = format!("{}{}{}", &SETTLED[..end], &SETTLED[start..end], &SETTLED[end..]);
        assert_eq!(told(&to_create(&Answer::made(200, &body), &key())), "unknown");
    }
}
