//! Where a withdrawal goes, checked as far as it can be checked without asking anyone.

use serde_json::{Map, Value};

use super::Wrong;
use super::fields::{Fields, is_text};
use crate::domain::destination::Destination;

const FORMS: Wrong = (
    "one_of",
    "must be one of {\"iban\"}, {\"account_number\", \"bank_code\"}, {\"email\"} or {\"token\"}, and nothing else",
);

pub(super) fn read(fields: &mut Fields) -> Option<Destination> {
    let Some(value) = fields.take("destination") else {
        fields.wrong("destination", ("required", "is required for a withdrawal"));
        return None;
    };
    let found = value.as_object().ok_or(("destination", FORMS)).and_then(of_object);
    found.map_err(|(field, wrong)| fields.wrong(field, wrong)).ok()
}

fn of_object(object: &Map<String, Value>) -> Result<Destination, (&'static str, Wrong)> {
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    match names.as_slice() {
        ["iban"] => iban(text("iban"))
            .map(Destination::Iban)
            .ok_or(("destination.iban", ("invalid_iban", "is not an IBAN: check its letters, digits and check sum"))),
        ["email"] => Some(text("email"))
            .filter(|email| is_email(email))
            .map(|email| Destination::Email(email.into()))
            .ok_or(("destination.email", ("invalid_email", "is not an e-mail address"))),
        ["token"] => Some(text("token"))
            .filter(|token| is_token(token))
            .map(|token| Destination::Token(token.into()))
            .ok_or(("destination.token", ("invalid_token", "must be 4 to 255 visible ASCII characters"))),
        ["account_number", "bank_code"] => account(text("account_number"), text("bank_code")),
        _ => Err(("destination", FORMS)),
    }
}

fn account(number: &str, bank: &str) -> Result<Destination, (&'static str, Wrong)> {
    if !is_plain(number, 4, 34) {
        return Err(("destination.account_number", ("invalid_account_number", "must be 4 to 34 letters and digits")));
    }
    if !is_plain(bank, 3, 15) {
        return Err(("destination.bank_code", ("invalid_bank_code", "must be 3 to 15 letters and digits")));
    }
    Ok(Destination::AccountNumber { account_number: number.to_owned(), bank_code: bank.to_owned() })
}

fn is_plain(text: &str, shortest: usize, longest: usize) -> bool {
    (shortest..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// ISO 13616: without spaces and in capitals, with a valid check sum (ISO 7064, mod 97-10).
fn iban(text: &str) -> Option<String> {
    let iban: String = text.chars().filter(|letter| *letter != ' ').map(|letter| letter.to_ascii_uppercase()).collect();
    let letters = iban.as_bytes();
    let formed = is_plain(&iban, 15, 34)
        && letters[..2].iter().all(u8::is_ascii_uppercase)
        && letters[2..4].iter().all(u8::is_ascii_digit);
    // Letters count as two digits (A = 10 … Z = 35), the first four characters come last.
    let turned = iban.bytes().skip(4).chain(iban.bytes().take(4));
    let remainder = turned.fold(0_u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        letter => (sum * 100 + u32::from(letter.saturating_sub(b'A')) + 10) % 97,
    });
    (formed && remainder == 1).then_some(iban)
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let domain_fits = domain.contains('.')
        && domain
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    text.len() <= 254 && is_text(text, 254) && !text.contains(char::is_whitespace) && !local.is_empty() && domain_fits
}

fn is_token(text: &str) -> bool {
    (4..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
