//! OAuth 2 client credentials (developer.paypal.com/api/rest/authentication). A token says itself until when it holds, so it
//! outlives a restart.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::json;

use crate::gateway_sim::callbacks::hmac;
use crate::gateway_sim::house::{House, now};
use crate::gateway_sim::line::{Call, Reply};

const PREFIX: &str = "A21AA";

pub fn token(house: &House, call: &Call) -> Reply {
    let settings = &house.settings.paypal;
    let asked = Call::pairs(&call.body);
    if !call.knows(&settings.client_id, settings.client_secret.expose()) {
        let body = json!({ "error": "invalid_client", "error_description": "Client Authentication failed" });
        return Reply::json(StatusCode::UNAUTHORIZED, &body);
    }
    if !asked.iter().any(|(name, value)| name == "grant_type" && value == "client_credentials") {
        let body = json!({ "error": "unsupported_grant_type", "error_description": "Grant Type is NULL" });
        return Reply::json(StatusCode::BAD_REQUEST, &body);
    }
    let until = now().unix_timestamp().saturating_add_unsigned(settings.token_lifetime_s);
    let body = json!({
        "scope": "https://uri.paypal.com/services/payments/payment/authcapture https://uri.paypal.com/payments/payouts",
        "access_token": issued(house, until),
        "token_type": "Bearer",
        "app_id": "APP-80W284485P519543T",
        "expires_in": settings.token_lifetime_s,
        "nonce": call.arrived_at.unix_timestamp_nanos().to_string(),
    });
    Reply::json(StatusCode::OK, &body)
}

fn issued(house: &House, until: i64) -> String {
    let proof = hmac(house.settings.paypal.client_secret.expose().as_bytes(), format!("token/{until}").as_bytes());
    format!("{PREFIX}{until}.{}", BASE64_URL_SAFE_NO_PAD.encode(proof))
}

/// A token of ours that has not run out.
pub fn admitted(house: &House, call: &Call) -> Result<(), Reply> {
    let shown = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let until = shown
        .and_then(|token| token.strip_prefix(PREFIX))
        .and_then(|rest| rest.split_once('.'))
        .and_then(|(until, _)| until.parse::<i64>().ok());
    match until {
        Some(until) if call.bears(&issued(house, until)) && now().unix_timestamp() < until => Ok(()),
        Some(_) | None => {
            let body = json!({ "error": "invalid_token", "error_description": "Token signature verification failed" });
            Err(Reply::json(StatusCode::UNAUTHORIZED, &body))
        }
    }
}
