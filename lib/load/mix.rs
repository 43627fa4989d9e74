//! Which payment is meant next: drawn from a seed, so that a run can be repeated.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use uuid::Uuid;

use crate::domain::ids::Kind;

/// Who pays: a credential, and a currency that it has an account in.
#[derive(Clone, Debug)]
pub struct Payer {
    pub credential: Arc<str>,
    pub currency: String,
}

/// What the payments are like.
#[derive(Clone, Debug)]
pub struct Mix {
    pub seed: u64,
    /// The share of withdrawals, from 0 to 1.
    pub withdrawals: f64,
    /// Amounts are drawn evenly from here, in minor units; endings that mean something to the simulator are left out.
    pub amounts: std::ops::RangeInclusive<i64>,
    /// (ending, share): payments whose amount ends so, for what the simulator's table says of it.
    pub endings: Vec<(u16, f64)>,
    /// Pin payments to one of these gateways in turn; empty: the routes decide.
    pub gateways: Vec<String>,
}

impl Default for Mix {
    fn default() -> Self {
        Self { seed: 1, withdrawals: 0.3, amounts: 100..=20_000, endings: Vec::new(), gateways: Vec::new() }
    }
}

/// A payment that is meant.
#[derive(Clone, Debug)]
pub struct Order {
    pub key: String,
    pub credential: Arc<str>,
    pub kind: Kind,
    pub amount: i64,
    pub currency: String,
    pub body: bytes::Bytes,
}

/// The first of the endings that the simulator may give a meaning to; they go up to 999.
const MEANINGFUL: i64 = 901;

/// Draws orders one after the other.
pub struct Orders {
    mix: Mix,
    payers: Vec<Payer>,
    dice: StdRng,
    drawn: usize,
    /// In keys, so that two runs never share one.
    run: Uuid,
}

impl Orders {
    pub fn new(mix: Mix, payers: Vec<Payer>) -> Self {
        let dice = StdRng::seed_from_u64(mix.seed);
        Self { mix, payers, dice, drawn: 0, run: Uuid::now_v7() }
    }

    pub fn draw(&mut self) -> Order {
        let payer = self.payers[self.drawn % self.payers.len()].clone();
        let withdrawal = self.dice.random_bool(self.mix.withdrawals);
        let amount = self.amount();
        let kind = if withdrawal { Kind::Withdrawal } else { Kind::Deposit };
        let pinned = self.pinned();
        self.order(&payer, kind, amount, pinned)
    }

    /// A deposit to withdraw from, outside of the draw.
    pub fn funding(&mut self, payer: &Payer, amount: i64) -> Order {
        // Never pinned: some gateways ask a customer first, and nobody may be there to answer.
        self.order(payer, Kind::Deposit, amount - amount.rem_euclid(1_000), None)
    }

    /// The gateway whose turn it is, for deposits.
    fn pinned(&self) -> Option<String> {
        let gateways = &self.mix.gateways;
        (!gateways.is_empty()).then(|| gateways[self.drawn % gateways.len()].clone())
    }

    fn order(&mut self, payer: &Payer, kind: Kind, amount: i64, pinned: Option<String>) -> Order {
        let Payer { credential, currency } = payer.clone();
        let key = format!("load-{}-{}", self.run.simple(), self.drawn);
        let mut body = json!({ "amount": amount, "currency": currency, "client_reference": key });
        if kind == Kind::Withdrawal {
            let destinations = destinations(&currency);
            body["destination"] = destinations[self.dice.random_range(0..destinations.len())].clone();
        } else if let Some(gateway) = pinned {
            body["gateway"] = json!(gateway);
        }
        self.drawn += 1;
        Order { key, credential, kind, amount, currency, body: body.to_string().into() }
    }

    fn amount(&mut self) -> i64 {
        let plain = self.dice.random_range(self.mix.amounts.clone());
        let mut share = self.dice.random_range(0.0..1.0);
        for (ending, wanted) in &self.mix.endings {
            if share < *wanted {
                return plain - plain.rem_euclid(1_000) + i64::from(*ending);
            }
            share -= wanted;
        }
        if plain.rem_euclid(1_000) < MEANINGFUL { plain } else { plain - 100 }
    }

    /// What all withdrawals of `payments` orders may need, per payer, with room to spare.
    pub fn needed(&self, payments: u64) -> i64 {
        let each = payments / self.payers.len().max(1) as u64 + 1;
        let withdrawals = (each as f64 * self.mix.withdrawals * 1.5) as i64 + 10;
        if self.mix.withdrawals > 0.0 { withdrawals.saturating_mul(self.mix.amounts.end() + 1_000) } else { 0 }
    }

    pub fn payers(&self) -> &[Payer] {
        &self.payers
    }
}

/// Accounts that the demo routes' gateways can pay to, by currency. The IBAN is the one in the SWIFT registry's example for Germany.
fn destinations(currency: &str) -> Vec<serde_json::Value> {
    let account = json!({ "account_number": "0690000031", "bank_code": "044" });
    let (iban, email) = (json!({ "iban": "DE89370400440532013000" }), json!({ "email": "payee@example.com" }));
    let token = json!({ "token": "ba_1NfkPayfleetLoad" });
    match currency {
        "EUR" => vec![iban, email, token],
        "USD" => vec![account, email, token],
        "JPY" => vec![account, token],
        _ => vec![account],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn orders(mix: Mix) -> Orders {
        let payer = |currency: &str| Payer { credential: "key".into(), currency: currency.into() };
        Orders::new(mix, vec![payer("EUR"), payer("JPY")])
    }

    #[test]
    fn the_same_seed_means_the_same_payments_under_other_keys() {
        let (mut one, mut two) = (orders(Mix::default()), orders(Mix::default()));
        for _ in 0..50 {
            let (a, b) = (one.draw(), two.draw());
            assert_eq!((a.kind, a.amount, &a.currency), (b.kind, b.amount, &b.currency));
            assert_ne!(a.key, b.key);
        }
    }

    #[test]
    fn only_asked_for_endings_mean_something_to_the_simulator() {
        let mut orders = orders(Mix { endings: vec![(901, 0.1), (902, 0.1)], ..Mix::default() });
        let endings: Vec<i64> = (0..5_000).map(|_| orders.draw().amount % 1_000).collect();
        let meaningful: HashSet<i64> = endings.iter().copied().filter(|ending| *ending >= MEANINGFUL).collect();
        assert_eq!(meaningful, HashSet::from([901, 902]));
        let declined = endings.iter().filter(|ending| **ending == 901).count();
        assert!((400..600).contains(&declined), "{declined} of 5,000 at 10 %");
    }

    #[test]
    fn every_order_has_a_key_of_its_own() {
        let mut orders = orders(Mix::default());
        let keys: HashSet<String> = (0..1_000).map(|_| orders.draw().key).collect();
        assert_eq!(keys.len(), 1_000);
    }

    #[test]
    fn funding_is_an_ordinary_deposit_wherever_its_route_leads() {
        let mut orders = orders(Mix { gateways: vec!["paypal".into()], ..Mix::default() });
        let payer = orders.payers()[0].clone();
        let order = orders.funding(&payer, 12_345);
        assert_eq!((order.kind, order.amount), (Kind::Deposit, 12_000));
        assert!(!String::from_utf8_lossy(&order.body).contains("paypal"), "a customer would be asked");
        assert!(orders.needed(1_000) > 150 * 20_000);
    }
}
