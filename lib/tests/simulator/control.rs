//! Lies are changed while the simulator runs: as a whole, or not at all.

use serde_json::{Value, json};
use uuid::Uuid;

use super::lying::everywhere;
use super::running::{Running, Way, told};

async fn seen(sim: &Running) -> Value {
    told(sim.http.get(format!("{}/_sim/lies", sim.base))).await.json()
}

#[tokio::test]
async fn what_is_left_out_of_a_change_keeps_its_value() {
    let sim = Running::start_with(|settings| settings.lies.stripe.drip = 0.25).await;
    let changed =
        sim.put("lies", &json!({ "stripe": { "lost_after": 0.5 }, "bank": { "flapping_ms": 40 } })).await.json();
    assert_eq!(changed, seen(&sim).await);
    assert_eq!((&changed["stripe"]["drip"], &changed["stripe"]["lost_after"]), (&json!(0.25), &json!(0.5)));
    assert_eq!((&changed["bank"]["flapping_ms"], &changed["paypal"]["down"]), (&json!(40), &json!(false)));
    sim.put("lies", &everywhere(&json!({ "lost_after": 0.0 }))).await;
    assert_eq!(seen(&sim).await["stripe"]["drip"], 0.25);
    sim.end().await;
}

#[tokio::test]
async fn a_change_that_is_wrong_in_part_is_refused_as_a_whole_and_says_what_is_known() {
    let sim = Running::start().await;
    let before = seen(&sim).await;
    for (body, said) in [
        (json!({ "stripe": { "drip": 1.0, "lost_afer": 0.1 } }), &["lost_afer", "lost_after", "flapping_ms"][..]),
        (json!({ "stripe": { "drip": 1.0 }, "strype": {} }), &["strype", "stripe, paypal, bank"]),
        (json!({ "stripe": { "drip": 1.0 }, "bank": { "huge": 1.5 } }), &["bank.huge", "between 0 and 1"]),
        (json!({ "stripe": { "drip": 1.0 }, "bank": { "bomb": -0.5 } }), &["bank.bomb", "between 0 and 1"]),
        (json!({ "stripe": { "drip": 1.0 }, "bank": { "down": 1 } }), &["bank.down", "boolean"]),
        (json!({ "stripe": { "drip": 1.0 }, "bank": 3 }), &["bank", "object"]),
        (json!([1]), &["object"]),
    ] {
        let answer = sim.put("lies", &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(said.iter().all(|word| answer.json()["error"].as_str().unwrap().contains(word)), "{answer:?}");
        assert_eq!(seen(&sim).await, before, "{body}");
    }
    sim.end().await;
}

#[tokio::test]
async fn a_script_is_met_in_order_and_a_bad_one_is_refused() {
    let sim = Running::start().await;
    let script =
        json!({ "stripe": [{ "lie": "rate_limited" }, { "lie": "none", "times": 2 }, { "lie": "failed_after" }] });
    assert_eq!(sim.put("script", &script).await.status, 200);
    for (body, said) in [
        (json!({ "stripe": [{ "lie": "down" }] }), &["stripe[0]", "down", "none", "lost_after"][..]),
        (json!({ "stripe": [{ "lie": "none" }, { "lie": "none", "times": 0 }] }), &["stripe[1]", "times"]),
        (json!({ "stripe": [{ "lie": "none", "time": 1 }] }), &["time", "lie and times"]),
        (json!({ "strype": [] }), &["strype", "stripe, paypal, bank"]),
    ] {
        let answer = sim.put("script", &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(said.iter().all(|word| answer.json()["error"].as_str().unwrap().contains(word)), "{answer:?}");
    }
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(sim.pay(Way::StripeIn, Uuid::now_v7(), 1_250).await.status);
        // Another gateway's requests meet nothing of it.
        assert_eq!(sim.pay(Way::BankIn, Uuid::now_v7(), 1_250).await.status, 200);
    }
    assert_eq!(statuses, [429, 200, 200, 500, 200]);
    sim.end().await;
}

#[test]
fn a_chance_is_a_setting_of_the_environment() {
    let given = |name: &str, value: &str| [(format!("PAYFLEET_SIM__LIES__{name}"), value.to_owned())];
    let load =
        |name, value| payfleet::service::config::load_from::<payfleet::cli::settings::Settings>(given(name, value));
    let settings = load("STRIPE__LOST_AFTER", "0.05").unwrap().settings;
    assert_eq!((settings.sim.lies.stripe.lost_after, settings.sim.lies.bank.lost_after), (0.05, 0.0));
    assert!(load("BANK__DOWN", "true").unwrap().settings.sim.lies.bank.down);
    assert!(load("STRIPE__LOST_AFER", "0.05").is_err());
}
