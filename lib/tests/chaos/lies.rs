//! What the simulated gateways are told to do wrong, and how they are told: `PUT /_sim/lies`.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::schedule::Bag;

const GATEWAYS: [&str; 3] = ["stripe", "paypal", "bank"];

/// Chances that each request, answer or callback has.
const CHANCES: [&str; 19] = [
    "lost_before",
    "lost_after",
    "failed_before",
    "failed_after",
    "reset",
    "drip",
    "huge",
    "bomb",
    "garbage",
    "wrong_amount",
    "wrong_currency",
    "rate_limited",
    "callback_duplicate",
    "callback_reordered",
    "callback_delayed",
    "callback_missing",
    "callback_contradicting",
    "callback_forged",
    "callback_first",
];

/// Of all of a gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Up,
    Down,
    Frozen,
    /// Up and down, so many milliseconds each.
    Flapping(u64),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Of {
    state: State,
    per_mille: BTreeMap<&'static str, u32>,
}

/// Of ten times, one each.
const STATES: [State; 10] = {
    let mut states = [State::Up; 10];
    states[0] = State::Down;
    states[1] = State::Frozen;
    states[2] = State::Flapping(0);
    states
};

/// What has not been drawn yet, of each gateway's chances and of the states of all.
#[derive(Default)]
pub struct Bags {
    chances: BTreeMap<&'static str, Bag<&'static str>>,
    states: Bag<State>,
}

/// By gateway; whoever is not in here tells the truth.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lies(BTreeMap<&'static str, Of>);

impl Lies {
    /// Of each gateway every chance comes before any comes again, and so do the states.
    pub fn draw(bags: &mut Bags, dice: &mut StdRng) -> Self {
        let gateways = dice.random_range(1..=GATEWAYS.len());
        let chosen: Vec<&str> = GATEWAYS.choose_multiple(dice, gateways).copied().collect();
        Self(chosen.into_iter().map(|gateway| (gateway, Of::draw(gateway, bags, dice))).collect())
    }

    /// As the simulator takes it: all of all gateways. What it is not told stays as it was.
    pub fn json(&self) -> Value {
        let of = |gateway: &&'static str| {
            let mut lies = json!({ "down": false, "frozen": false, "flapping_ms": 0 });
            for chance in CHANCES {
                lies[chance] = json!(0.0);
            }
            if let Some(Of { state, per_mille }) = self.0.get(*gateway) {
                for (chance, per_mille) in per_mille {
                    lies[*chance] = json!(f64::from(*per_mille) / 1_000.0);
                }
                match state {
                    State::Up => {}
                    State::Down => lies["down"] = json!(true),
                    State::Frozen => lies["frozen"] = json!(true),
                    State::Flapping(ms) => lies["flapping_ms"] = json!(ms),
                }
            }
            ((*gateway).to_owned(), lies)
        };
        Value::Object(GATEWAYS.iter().map(of).collect())
    }
}

impl Of {
    fn draw(gateway: &'static str, bags: &mut Bags, dice: &mut StdRng) -> Self {
        let state = match bags.states.next(&STATES, dice) {
            State::Flapping(_) => State::Flapping(dice.random_range(200..2_000)),
            state => state,
        };
        let chances = bags.chances.entry(gateway).or_default();
        let kinds = dice.random_range(2..=6);
        let chosen: Vec<&str> = (0..kinds).map(|_| chances.next(&CHANCES, dice)).collect();
        Self { state, per_mille: chosen.into_iter().map(|chance| (chance, dice.random_range(20..200))).collect() }
    }
}

/// Whether the simulator has heard it. One that knows of no lies answers 404.
pub async fn tell(http: &reqwest::Client, simulator: &str, lies: &Lies) -> Result<(), String> {
    let url = format!("{simulator}/_sim/lies");
    let asked = http.put(url).timeout(Duration::from_secs(5)).json(&lies.json()).send();
    match asked.await.map_err(|error| error.to_string())?.status() {
        status if status.is_success() => Ok(()),
        status => Err(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn what_is_told_names_every_gateway_and_only_known_chances_between_0_and_1() {
        let (mut bags, mut dice) = (Bags::default(), StdRng::seed_from_u64(1));
        for _ in 0..100 {
            let told = Lies::draw(&mut bags, &mut dice).json();
            for gateway in GATEWAYS {
                for (name, value) in told[gateway].as_object().unwrap() {
                    match name.as_str() {
                        "down" | "frozen" => assert!(value.is_boolean()),
                        "flapping_ms" => assert!(value.is_u64()),
                        chance => {
                            assert!(CHANCES.contains(&chance), "{chance}");
                            assert!((0.0..=1.0).contains(&value.as_f64().unwrap()));
                        }
                    }
                }
            }
        }
        let truth = Lies::default().json();
        let of_bank = truth["bank"].as_object().unwrap();
        assert_eq!(of_bank.len(), CHANCES.len() + 3);
        let says_nothing = |value: &Value| *value == json!(false) || value.as_f64() == Some(0.0);
        assert!(of_bank.values().all(says_nothing), "what was said before goes on: {truth}");
    }
}
