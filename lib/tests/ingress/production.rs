//! The program as it is shipped, told to run in production with what belongs on a developer's machine.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use payfleet::service::config::EXIT_BAD_SETTINGS;

const CERTIFICATE: &str = include_str!("../../gateway/paypal/fixtures/certificate.pem");

/// Settings with which it would go on to look for its stores, but for what a test takes away.
fn real() -> BTreeMap<&'static str, &'static str> {
    [
        ("ENV", "production"),
        ("INGRESS__API_KEY_PEPPER", "the pepper of the tests: thirty-two bytes or more"),
        ("SEALING__KEYS", "t1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="),
        ("GATEWAYS__STRIPE__BASE_URL", "https://api.stripe.com"),
        ("GATEWAYS__STRIPE__SECRET_KEY", "sk_live_canary"),
        ("GATEWAYS__STRIPE__CALLBACK_KEY", "whsec_canary_canary_canary_canary"),
        ("GATEWAYS__PAYPAL__BASE_URL", "https://api-m.paypal.com"),
        ("GATEWAYS__PAYPAL__CLIENT_ID", "client"),
        ("GATEWAYS__PAYPAL__CLIENT_SECRET", "secret_canary"),
        ("GATEWAYS__PAYPAL__WEBHOOK_ID", "webhook"),
        ("GATEWAYS__PAYPAL__CALLBACK_CERTIFICATE", CERTIFICATE),
        ("GATEWAYS__BANK__BASE_URL", "https://bank.example/services"),
        ("GATEWAYS__BANK__USERNAME", "payfleet"),
        ("GATEWAYS__BANK__PASSWORD", "password_canary"),
        ("GATEWAYS__BANK__CALLBACK_KEY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("GATEWAYS__BANK__ACCOUNT_IBAN", "DE02120300000000202051"),
        ("GATEWAYS__BANK__ACCOUNT_OWNER", "Payfleet & Co"),
        ("GATEWAYS__BANK__ACCOUNT_BIC", "BYLADEM1001"),
    ]
    .into()
}

/// Starts it, and gives what it said when it had ended by itself.
fn refused(program: &str, settings: &BTreeMap<&str, &str>) -> String {
    let mut command = Command::new(program);
    command.env_clear().envs(settings.iter().map(|(name, value)| (format!("PAYFLEET_{name}"), value)));
    let Output { status, stderr, .. } = command.output().unwrap();
    let told = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(i32::from(EXIT_BAD_SETTINGS)), "{told}");
    assert!(!told.contains("canary"), "{told}");
    told
}

#[test]
fn told_nothing_it_says_at_once_all_that_it_needs() {
    let mut settings = BTreeMap::from([("REDIS__URL", "nowhere"), ("SETTLEMENT__SCHEDULE", "soon")]);
    let told = refused(env!("CARGO_BIN_EXE_ingress"), &settings);
    for name in [
        "REDIS__URL",
        "INGRESS__API_KEY_PEPPER",
        "SEALING__KEYS",
        "GATEWAYS__STRIPE__SECRET_KEY",
        "GATEWAYS__STRIPE__CALLBACK_KEY",
        "GATEWAYS__STRIPE__BASE_URL",
        "GATEWAYS__PAYPAL__BASE_URL",
        "GATEWAYS__BANK__BASE_URL",
        "GATEWAYS__BANK__CALLBACK_KEY",
    ] {
        assert!(told.contains(&format!("PAYFLEET_{name}")), "{name} is missing in {told}");
    }
    settings.remove("REDIS__URL");
    let told = refused(env!("CARGO_BIN_EXE_gateway-worker"), &settings);
    for name in ["SETTLEMENT__SCHEDULE", "SEALING__KEYS", "GATEWAYS__BANK__PASSWORD"] {
        assert!(told.contains(&format!("PAYFLEET_{name}")), "{name} is missing in {told}");
    }
}

#[test]
fn in_production_nothing_of_a_developers_machine_is_taken() {
    for (name, value) in [
        ("GATEWAYS__STRIPE__BASE_URL", "http://api.stripe.com"),
        ("GATEWAYS__PAYPAL__BASE_URL", "http://127.0.0.1:15010/paypal"),
        ("GATEWAYS__BANK__BASE_URL", "http://bank.example/services"),
        ("GATEWAYS__STRIPE__CALLBACK_KEY", "whsec_short"),
        ("GATEWAYS__STRIPE__SECRET_KEY", "sk_test_canary"),
        ("GATEWAYS__PAYPAL__CLIENT_ID", "payfleet-development"),
        ("INGRESS__API_KEY_PEPPER", "short"),
        ("SEALING__KEYS", "t1:AQEB"),
    ] {
        let mut settings = real();
        settings.insert(name, value);
        let told = refused(env!("CARGO_BIN_EXE_ingress"), &settings);
        assert!(told.contains("1 setting cannot") && told.contains(&format!("PAYFLEET_{name}")), "{name}: {told}");
    }
    let told = refused(env!("CARGO_BIN_EXE_gateway-sim"), &BTreeMap::from([("ENV", "production")]));
    assert!(told.contains("PAYFLEET_ENV"), "{told}");
}
