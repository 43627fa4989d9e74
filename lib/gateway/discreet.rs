//! A gateway's words, without the account that they are about.
//!
//! Vendors quote what they were sent ("No such external account: 'ba_…'"), and their words go on to whoever asks about the payment, to
//! logs, topics and caches. So every gateway stands behind this wrapper: in codes, messages and reasons, whatever is the payment's own
//! destination, or has the form of an account, is replaced before the outcome leaves this edge. Too much is replaced rather than too
//! little: a date written in digits is lost with the account numbers. References and the customer's page are not words and stay.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use time::OffsetDateTime;

use super::breaker::Breaker;
use super::{CallbackRefusal, Deadline, Gateway, Payment};
use crate::domain::destination::{Destination, DestinationKind};
use crate::domain::ids::Kind;
use crate::domain::outcome::{Notice, Outcome};

/// What stands where an account stood.
const MASK: &str = "[account]";
/// Characters of a gateway's words that are kept.
const LENGTH_LIMIT: usize = 500;
/// Characters that are looked at for the form of an account: an address has 64, an @ and 255 at most (RFC 5321, 4.5.3.1), all else is shorter.
const FORM_LIMIT: usize = 320;
/// A destination as short as this is only taken for itself where it is a word of its own.
const SHORT: usize = 5;
/// Digits in a row that may be an account: fewer are amounts and line numbers.
const DIGITS: usize = 8;
/// How Stripe's ids of accounts and means of payment begin (docs.stripe.com/api).
const PREFIXES: [&str; 7] = ["acct_", "ba_", "btok_", "cus_", "pm_", "src_", "tok_"];
/// Also how codes begin ("card_declined"): an id has a digit in it.
const CARD: &str = "card_";

pub(super) struct Discreet(pub(super) Arc<dyn Gateway>);

#[async_trait]
impl Gateway for Discreet {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pays_to(&self) -> &'static [DestinationKind] {
        self.0.pays_to()
    }

    fn call_limit(&self) -> Duration {
        self.0.call_limit()
    }

    fn key_lifetime(&self, kind: Kind) -> Duration {
        self.0.key_lifetime(kind)
    }

    async fn create(&self, payment: &Payment, deadline: Deadline) -> Outcome {
        discreet(self.0.create(payment, deadline).await, payment.destination.as_ref())
    }

    async fn capture(&self, payment: &Payment, deadline: Deadline) -> Outcome {
        discreet(self.0.capture(payment, deadline).await, payment.destination.as_ref())
    }

    async fn ask(&self, payment: &Payment, deadline: Deadline) -> Outcome {
        discreet(self.0.ask(payment, deadline).await, payment.destination.as_ref())
    }

    fn breaker(&self) -> Option<&Arc<Breaker>> {
        self.0.breaker()
    }

    /// Which payment it is about, and so the destination, is not known yet: only the form of an account tells.
    fn read_callback(&self, headers: &HeaderMap, body: &Bytes, now: OffsetDateTime) -> Result<Notice, CallbackRefusal> {
        let notice = self.0.read_callback(headers, body, now)?;
        Ok(Notice { claim: notice.claim.map(|claim| discreet(claim, None)), ..notice })
    }
}

fn discreet(outcome: Outcome, destination: Option<&Destination>) -> Outcome {
    let masked = |words: String| mask(&words, destination);
    match outcome {
        Outcome::Declined { reference, code, message } => {
            Outcome::Declined { reference, code: masked(code), message: masked(message) }
        }
        Outcome::Rejected { code, message } => Outcome::Rejected { code: masked(code), message: masked(message) },
        Outcome::Later { retry_after_ms, code } => Outcome::Later { retry_after_ms, code: masked(code) },
        Outcome::Unreachable { why } => Outcome::Unreachable { why: masked(why) },
        Outcome::Unknown { why } => Outcome::Unknown { why: masked(why) },
        outcome => outcome,
    }
}

fn mask(words: &str, destination: Option<&Destination>) -> String {
    let account = destination.map_or("", |destination| match destination {
        Destination::Iban(account) | Destination::Email(account) | Destination::Token(account) => account.as_str(),
        Destination::AccountNumber { account_number, .. } => account_number.as_str(),
    });
    let mut masked = String::new();
    let (mut rest, mut before, mut written) = (words, None, 0);
    while written < LENGTH_LIMIT
        && let Some(next) = rest.chars().next()
    {
        let start = beginning(rest);
        let found =
            itself(rest, account, before).or_else(|| (!before.is_some_and(is_word)).then(|| form(start)).flatten());
        let taken = found.unwrap_or(next.len_utf8());
        let kept = if found.is_some() { MASK } else { &rest[..taken] };
        masked.push_str(kept);
        written += kept.chars().count();
        // It may go on beyond what is looked at: then nothing after it is kept.
        if found.is_some() && start.len() < rest.len() && taken + SHORT > start.len() {
            break;
        }
        before = rest[..taken].chars().next_back();
        rest = &rest[taken..];
    }
    masked.chars().take(LENGTH_LIMIT).collect()
}

/// As much of the text as may be an account. Words without end cost no more than this for each character that is kept.
fn beginning(rest: &str) -> &str {
    rest.char_indices().nth(FORM_LIMIT).map_or(rest, |(end, _)| &rest[..end])
}

/// The length of the payment's own account at the start of the text, whichever case it is written in.
fn itself(rest: &str, account: &str, before: Option<char>) -> Option<usize> {
    let length = account.len();
    let is_it = length > 0 && rest.get(..length).is_some_and(|start| start.eq_ignore_ascii_case(account));
    let is_word_of_its_own = !before.is_some_and(is_word) && !rest.get(length..)?.starts_with(is_word);
    (is_it && (length > SHORT || is_word_of_its_own)).then_some(length)
}

/// The length of what has the form of an account at the start of the text, which is the beginning of a word.
fn form(rest: &str) -> Option<usize> {
    email(rest).or_else(|| id(rest)).or_else(|| iban(rest)).or_else(|| digits(rest))
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn email(rest: &str) -> Option<usize> {
    let end = rest.find(|character: char| !(is_word(character) || ".%+-'@".contains(character))).unwrap_or(rest.len());
    let address = rest[..end].trim_end_matches(['.', '\'', '-']);
    let (name, host) = address.split_once('@')?;
    (name.starts_with(is_word) && !host.is_empty()).then_some(address.len())
}

fn id(rest: &str) -> Option<usize> {
    let word = &rest[..rest.find(|character| !is_word(character)).unwrap_or(rest.len())];
    let begins = |prefix: &str| word.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    let is_card = begins(CARD) && word.contains(|character: char| character.is_ascii_digit());
    let is_id = is_card || PREFIXES.iter().any(|prefix| begins(prefix));
    is_id.then_some(word.len())
}

/// ISO 13616: country, two check digits, up to 30 letters and digits; in print in groups of four.
fn iban(rest: &str) -> Option<usize> {
    let mut kept = 0;
    let mut end = 0;
    let mut characters = rest.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let fits = match kept {
            0 | 1 => character.is_ascii_uppercase(),
            2 | 3 => character.is_ascii_digit(),
            _ => character.is_ascii_uppercase() || character.is_ascii_digit(),
        };
        let is_gap = kept >= 4 && character == ' ' && characters.peek().is_some_and(|(_, next)| *next != ' ');
        match (fits, is_gap) {
            (true, _) => (kept, end) = (kept + 1, at + 1),
            (false, true) => {}
            (false, false) => break,
        }
    }
    (kept >= 15).then_some(end)
}

/// A long number, also in groups.
fn digits(rest: &str) -> Option<usize> {
    let end =
        rest.find(|character: char| !(character.is_ascii_digit() || " -".contains(character))).unwrap_or(rest.len());
    let mut run = &rest[..end];
    if rest[end..].starts_with(is_word) {
        run = &run[..run.rfind([' ', '-'])?];
    }
    let run = run.trim_end_matches([' ', '-']);
    (run.bytes().filter(u8::is_ascii_digit).count() >= DIGITS).then_some(run.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(account: &str) -> Destination {
        Destination::Token(account.into())
    }

    #[test]
    fn the_payments_own_account_is_never_quoted() {
        let gone = destination("ba_gone");
        assert_eq!(mask("No such external account: 'ba_gone'", Some(&gone)), "No such external account: '[account]'");
        let accounts = [
            Destination::Iban("DE89370400440532013000".into()),
            Destination::AccountNumber { account_number: "ACC-77x".into(), bank_code: "058".into() },
            Destination::Email("O'Brien+x@Example.com".into()),
            Destination::Token("plainword".into()),
        ];
        for destination in accounts {
            let (Destination::Iban(account) | Destination::Email(account) | Destination::Token(account)) = &destination
            else {
                assert_eq!(mask("of acc-77X:", Some(&destination)), "of [account]:");
                continue;
            };
            for written in [account.clone(), account.to_lowercase(), account.to_uppercase()] {
                assert_eq!(mask(&format!("({written}) is closed"), Some(&destination)), "([account]) is closed");
            }
        }
    }

    #[test]
    fn a_short_account_is_a_word_of_its_own_and_not_a_part_of_others() {
        assert_eq!(
            mask("no account in 'in' inside", Some(&destination("in"))),
            "no account [account] '[account]' inside"
        );
        assert_eq!(mask("unchanged", Some(&destination(""))), "unchanged");
    }

    #[test]
    fn what_has_the_form_of_an_account_is_never_quoted() {
        for account in [
            "ba_1PayfleetFixture",
            "acct_x",
            "card_1NGTaT2eZvKYlo2C",
            "DE89370400440532013000",
            "DE89 3704 0044 0532 0130 00",
            "NO9386011117947",
            "0123456789",
            "4242-4242-4242-4242",
            "4242 4242 4242 4242",
            "payee@example.com",
            "o'brien+bills@mail.example.co.uk",
        ] {
            let told = mask(&format!("'{account}' (or {account}) is not known."), None);
            assert_eq!(told, "'[account]' (or [account]) is not known.", "{account}");
        }
    }

    #[test]
    fn codes_and_ordinary_words_stay_as_they_are() {
        for words in [
            "card_declined",
            "insufficient_funds",
            "AC04",
            "HTTP 409: idempotency_error idempotency_key_in_use",
            "Amount must be no more than 9999999 EUR, see line 12.",
            "MISSING REQUIRED PARAMETER",
            "Überweisung … zurück",
            "",
        ] {
            assert_eq!(mask(words, None), words);
        }
    }

    #[test]
    fn words_without_end_are_cut() {
        assert_eq!(mask(&"x ".repeat(100_000), None).chars().count(), LENGTH_LIMIT);
    }

    #[test]
    fn of_words_without_end_no_more_is_looked_at_than_an_account_is_long() {
        for words in ["-".repeat(250_000), "é".repeat(250_000), "1 ".repeat(250_000)] {
            assert!(beginning(&words).chars().count() <= FORM_LIMIT);
            assert!(mask(&words, None).chars().count() <= LENGTH_LIMIT);
        }
        let far = format!("a{}@example.com", "-".repeat(250_000));
        assert!(mask(&far, None).starts_with("a---"), "the end of the text was looked at");
        for endless in ["4242".repeat(1_000), "4242 ".repeat(1_000), format!("ba_{}", "1".repeat(1_000))] {
            assert_eq!(mask(&endless, None), MASK);
        }
    }

    #[test]
    fn every_outcome_in_words_is_masked_and_what_is_not_words_stays() {
        let account = destination("ba_gone");
        let words = || "about ba_gone".to_owned();
        let reference = Some("4242424242".to_owned());
        let outcomes = [
            Outcome::Declined { reference: reference.clone(), code: words(), message: words() },
            Outcome::Rejected { code: words(), message: words() },
            Outcome::Later { retry_after_ms: None, code: words() },
            Outcome::Unreachable { why: words() },
            Outcome::Unknown { why: words() },
        ];
        for outcome in outcomes {
            let told = discreet(outcome, Some(&account));
            assert!(!format!("{told:?}").contains("ba_gone"), "{told:?}");
            assert!(told.reference().is_none() || told.reference() == reference.as_deref());
        }
        let accepted = Outcome::Accepted { reference: "4242424242".into() };
        assert_eq!(discreet(accepted.clone(), Some(&account)), accepted);
    }
}
