//! What a process needs to be told before it begins, and what it must not be told in production. All of it is judged at once.

use crate::accounts::Pepper;
use crate::cli::settings::{Env, Settings};
use crate::gateway;
use crate::sealing::Sealer;
use crate::service::config::Fault;
use crate::service::secret::Secret;
use crate::settlement::Policies;

/// Settings that a process cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    Postgres,
    Redis,
    Pepper,
    Gateways,
    Sealing,
    Settlement,
    /// Time for the API's port to be left and to drain before the process ends.
    TimeToLeave,
    /// That nobody takes what it does for payments.
    NoRealMoney,
}

/// Shorter, a key that callbacks are signed with can be guessed.
const CALLBACK_KEY_BYTES: usize = 24;

pub(super) fn faults(needs: &[Need], settings: &Settings) -> Vec<Fault> {
    needs.iter().flat_map(|need| faults_of(*need, settings)).collect()
}

fn faults_of(need: Need, settings: &Settings) -> Vec<Fault> {
    let fault = |path: &str, problem: String, remedy: &str| vec![Fault::between(path, problem, remedy)];
    let none = Vec::new();
    match need {
        Need::Postgres => settings.postgres.check().map_or_else(
            |_| fault("postgres.url", "it is not a URL".into(), "give postgres://user:password@host:port/database"),
            |()| none,
        ),
        Need::Redis => settings.redis.check().map_or_else(
            |_| fault("redis.url", "it is not a URL of Redis".into(), "give redis://[:password@]host:port[/database]"),
            |()| Vec::new(),
        ),
        Need::Pepper if Pepper::new(&settings.ingress.api_key_pepper).is_none() => fault(
            "ingress.api_key_pepper",
            format!("it is unset, or shorter than {} bytes", Pepper::MIN_BYTES),
            "make one, such as `openssl rand -base64 48` prints, and keep it: without it no API key is recognised",
        ),
        Need::Pepper => none,
        Need::Sealing => Sealer::new(&settings.sealing).map_or_else(
            |error| fault("sealing.keys", error.to_string(), "give `k1:` and what `openssl rand -base64 32` prints"),
            |_| Vec::new(),
        ),
        Need::Settlement => Policies::new(&settings.settlement)
            .map_or_else(|error| fault("settlement.schedule", error.to_string(), "correct it"), |_| Vec::new()),
        Need::Gateways => {
            let unusable = gateway::registry(&settings.gateways).err().map_or_else(Vec::new, |error| error.0);
            let told = unusable.into_iter().map(|text| {
                let (path, problem) = text.split_once(' ').unwrap_or(("gateways", &text));
                Fault::between(path, problem, "take it from the gateway's own pages")
            });
            told.chain(in_production(settings)).collect()
        }
        Need::TimeToLeave => {
            let (leave, drain) = (settings.ingress.http.leave_ms, settings.ingress.http.drain_ms);
            if leave.saturating_add(drain) <= settings.process.drain_ms {
                return none;
            }
            let (whole, problem) = (settings.process.drain_ms, "the process ends before requests under way are cut");
            let told =
                format!("with ingress.http.drain_ms ({drain}) it is more than process.drain_ms ({whole}): {problem}");
            fault("ingress.http.leave_ms", told, "lower one of them, or raise process.drain_ms")
        }
        Need::NoRealMoney if settings.env == Env::Production => fault(
            "env",
            "it is production, or unset, and this simulates gateways: nothing that it says is paid".into(),
            "set it to dev, for the simulator and for all that use it",
        ),
        Need::NoRealMoney => none,
    }
}

/// What would let real payments go, or anybody's callbacks come, over a line or under a key that is not to be trusted.
fn in_production(settings: &Settings) -> Vec<Fault> {
    if settings.env != Env::Production {
        return Vec::new();
    }
    let (stripe, paypal, bank) = (&settings.gateways.stripe, &settings.gateways.paypal, &settings.gateways.bank);
    let mut faults = Vec::new();
    for (gateway, url) in [("stripe", &stripe.base_url), ("paypal", &paypal.base_url), ("bank", &bank.base_url)] {
        if !url.starts_with("https://") {
            let path = format!("gateways.{gateway}.base_url");
            faults.push(Fault::between(
                &path,
                "it is not https, as in production it must be",
                "give the gateway's own",
            ));
        }
    }
    for (path, key) in
        [("stripe.callback_key", &stripe.callback_key), ("stripe.other_callback_key", &stripe.other_callback_key)]
    {
        if !key.is_empty() && key.expose().len() < CALLBACK_KEY_BYTES {
            let problem = format!("it is shorter than {CALLBACK_KEY_BYTES} bytes: callbacks could be forged");
            faults.push(Fault::between(&format!("gateways.{path}"), problem, "take the one that the gateway made"));
        }
    }
    for (path, of_tests) in [
        ("stripe.secret_key", is_test_key(&stripe.secret_key)),
        ("paypal.client_id", is_of_development(&paypal.client_id)),
        ("paypal.webhook_id", is_of_development(&paypal.webhook_id)),
        ("bank.account_owner", is_of_development(&bank.account_owner)),
    ] {
        if of_tests {
            let path = format!("gateways.{path}");
            faults.push(Fault::between(
                &path,
                "it is one for trying things out",
                "give the real one, or set PAYFLEET_ENV=dev",
            ));
        }
    }
    faults
}

fn is_test_key(key: &Secret) -> bool {
    ["sk_test_", "rk_test_"].iter().any(|prefix| key.expose().starts_with(prefix))
}

/// As `make deploy` sets it.
fn is_of_development(text: &str) -> bool {
    let text = text.to_lowercase();
    text.starts_with("payfleet") && text.ends_with("development") || text == "wh-payfleet-development"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::processes::{GATEWAY_SIM, GATEWAY_WORKER, INGRESS, RELAY};

    #[test]
    fn a_process_is_asked_only_for_what_it_needs() {
        let settings = Settings::default();
        assert_eq!(settings.env, Env::Production);
        assert!(faults(RELAY.needs, &settings).is_empty());
        let paths = |needs| faults(needs, &settings).into_iter().map(|fault| fault.setting).collect::<Vec<_>>();
        assert_eq!(paths(GATEWAY_SIM.needs), ["PAYFLEET_ENV"]);
        assert!(paths(INGRESS.needs).contains(&"PAYFLEET_INGRESS__API_KEY_PEPPER".to_owned()));
        assert!(!paths(GATEWAY_WORKER.needs).contains(&"PAYFLEET_INGRESS__API_KEY_PEPPER".to_owned()));
    }

    #[test]
    fn a_port_that_is_left_too_slowly_for_its_process_is_refused() {
        let mut settings = Settings::default();
        assert!(faults(&[Need::TimeToLeave], &settings).is_empty());
        settings.ingress.http.leave_ms = settings.process.drain_ms - settings.ingress.http.drain_ms + 1;
        let paths: Vec<String> =
            faults(&[Need::TimeToLeave], &settings).into_iter().map(|fault| fault.setting).collect();
        assert_eq!(paths, ["PAYFLEET_INGRESS__HTTP__LEAVE_MS"]);
    }

    #[test]
    fn what_development_uses_is_told_from_what_is_real() {
        for text in ["payfleet-development", "Payfleet Development", "WH-PAYFLEET-DEVELOPMENT"] {
            assert!(is_of_development(text), "{text}");
        }
        assert!(!is_of_development("Property Development Ltd") && !is_of_development(""));
        assert!(is_test_key(&Secret::new("rk_test_1")) && !is_test_key(&Secret::new("rk_live_1")));
    }
}
