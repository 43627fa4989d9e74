use proptest::prelude::*;
use serde_json::json;

use super::syntax::Malformed;
use super::*;
use crate::domain::destination::Destination;

fn deposit(tree: Value) -> Result<Order, Vec<(String, &'static str)>> {
    read_as(Kind::Deposit, tree)
}

fn read_as(kind: Kind, tree: Value) -> Result<Order, Vec<(String, &'static str)>> {
    let told = |errors: Vec<FieldError>| errors.into_iter().map(|error| (error.field, error.code)).collect();
    read(kind, tree, Surroundings::Production).map_err(told)
}

fn with(name: &str, value: Value) -> Value {
    let mut tree = json!({"amount": 1250, "currency": "EUR"});
    tree[name] = value;
    tree
}

#[test]
fn an_amount_is_an_integer_or_the_same_as_a_text() {
    assert_eq!(deposit(with("amount", json!(1250))).unwrap(), deposit(with("amount", json!("1250"))).unwrap());
    for (bad, code) in [
        (json!(12.5), "not_an_integer"),
        (json!("12.50"), "not_an_integer"),
        (json!("+5"), "not_an_integer"),
        (json!(true), "not_an_integer"),
        (json!(0), "not_positive"),
        (json!(-5), "not_positive"),
        (json!(1_000_000_000_000_i64), "too_large"),
        (json!(u64::MAX), "too_large"),
        (json!("99999999999999999999"), "too_large"),
    ] {
        assert_eq!(deposit(with("amount", bad.clone())).unwrap_err(), [("amount".to_owned(), code)], "{bad}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let errors = read_as(
        Kind::Withdrawal,
        json!({"amount": "x", "currency": "eur", "country": "Germany", "ammount": 3, "destination": {"iban": "DE00"}}),
    )
    .unwrap_err();
    let expected = [
        ("amount", "not_an_integer"),
        ("currency", "unknown_currency"),
        ("country", "unknown_country"),
        ("destination.iban", "invalid_iban"),
        ("ammount", "unknown_field"),
    ];
    assert_eq!(errors, expected.map(|(field, code)| (field.to_owned(), code)));
    assert_eq!(deposit(json!({})).unwrap_err().len(), 2);
}

#[test]
fn a_deposit_has_no_destination() {
    let errors = deposit(with("destination", json!({"email": "a@example.com"}))).unwrap_err();
    assert_eq!(errors, [("destination".to_owned(), "unknown_field")]);
}

#[test]
fn a_destination_is_exactly_one_of_its_forms() {
    let pay_to = |destination| read_as(Kind::Withdrawal, with("destination", destination));
    let iban = pay_to(json!({"iban": "de89 3704 0044 0532 0130 00"})).unwrap().destination;
    assert_eq!(iban, Some(Destination::Iban("DE89370400440532013000".into())));
    assert!(pay_to(json!({"account_number": "0123456789", "bank_code": "058"})).is_ok());
    assert!(pay_to(json!({"email": "a.b+c@mail.example.com"})).is_ok());
    assert!(pay_to(json!({"token": "ba_123"})).is_ok());
    for bad in [
        json!({"iban": "DE89370400440532013001"}),
        json!({"iban": "GB82 WEST 1234 5698 7654 3é"}),
        json!({"email": "a@localhost"}),
        json!({"email": "a b@example.com"}),
        json!({"token": "ba 1"}),
        json!({"account_number": "0123456789"}),
        json!({"email": "a@example.com", "token": "ba_123"}),
        json!({"iban": 5}),
        json!("DE89370400440532013000"),
        json!({}),
    ] {
        assert!(pay_to(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn a_return_url_is_https_and_in_development_also_local() {
    for (text, production, development) in [
        ("https://shop.example/done?x=1", true, true),
        ("http://localhost:3000/done", false, true),
        ("http://shop.example/done", false, false),
        ("https://user:password@shop.example/", false, false),
        ("javascript:alert(1)", false, false),
        ("https://", false, false),
        ("/done", false, false),
    ] {
        let allowed = |surroundings| return_url(&json!(text), surroundings).is_ok();
        assert_eq!(allowed(Surroundings::Production), production, "{text}");
        assert_eq!(allowed(Surroundings::Development), development, "{text}");
    }
}

#[test]
fn metadata_has_its_bounds() {
    assert_eq!(deposit(with("metadata", json!({"a": "1"}))).unwrap().metadata.len(), 1);
    let many: serde_json::Map<String, Value> = (0..51).map(|n| (format!("k{n}"), json!("v"))).collect();
    for bad in [json!({"a": 1}), json!({"a b": "1"}), json!({"a": "x".repeat(501)}), json!({"a": "\u{0}"}), json!(many)]
    {
        assert!(deposit(with("metadata", bad)).is_err());
    }
    assert!(deposit(with("client_reference", json!("a\u{0}b"))).is_err());
}

#[test]
fn a_body_that_is_no_object_or_too_deep_is_malformed() {
    assert_eq!(from_json(b"[1]"), Err(Malformed::NotAnObject));
    assert!(matches!(from_json(b"{\"a\": }"), Err(Malformed::NotJson { .. })));
    assert_eq!(from_json(&b"[".repeat(60_000)), Err(Malformed::TooDeep));
    for twice in [r#"{"amount": 1, "amount": 1000}"#, r#"{"amount": 1, "metadata": {"a": "1", "\u0061": "2"}}"#] {
        assert!(matches!(from_json(twice.as_bytes()), Err(Malformed::Repeated { .. })), "{twice}");
    }
    let all = br#"{"a": [null, true, -1, 18446744073709551615, 1.5e3, "x"], "b": {"a": {}}}"#;
    assert_eq!(from_json(all).unwrap(), serde_json::from_slice::<Value>(all).unwrap());
    assert!(from_json(br#"{"a": "[[[[[[[[[[[[[[\"[["}"#).is_ok());
}

/// A letter of several bytes once made reading a destination panic.
#[test]
fn letters_of_several_bytes_are_no_account() {
    for form in ["iban", "email"] {
        let mut destination = json!({});
        destination[form] = json!("\u{800}A");
        assert!(read_as(Kind::Withdrawal, with("destination", destination)).is_err(), "{form}");
    }
}

proptest! {
    #[test]
    fn no_body_makes_reading_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(tree) = from_json(&body) {
            let _ = read(Kind::Withdrawal, tree, Surroundings::Production);
        }
    }

    #[test]
    fn no_text_makes_a_destination_panic(text in ".{0,40}") {
        for form in ["iban", "email", "token"] {
            let mut destination = json!({});
            destination[form] = json!(text);
            let _ = read_as(Kind::Withdrawal, with("destination", destination));
        }
    }
}
