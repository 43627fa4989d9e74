//! Where it is decided what a request meets. Chances and scripts can be changed while requests come in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use serde::Serialize;

use super::chances::Lies;
use super::lie::Lie;
use crate::gateway_sim::behaviour::{Plan, dice};
use crate::gateway_sim::vendor::{PerGateway, Vendor};

/// What an order meets.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Meets {
    /// With its answer.
    pub lie: Option<Lie>,
    /// For as long as its payment is on the books, if it makes one.
    pub of_payment: Vec<Lie>,
}

/// The same for a number of requests: a lie, or none although chance would have one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Run {
    #[serde(serialize_with = "none_by_name")]
    pub lie: Option<Lie>,
    pub times: u64,
}

fn none_by_name<S: serde::Serializer>(lie: &Option<Lie>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(lie.map_or("none", Lie::as_str))
}

pub type Script = VecDeque<Run>;

pub struct Desk {
    seed: u64,
    begun: Instant,
    live: Mutex<Live>,
}

struct Live {
    lies: PerGateway<Lies>,
    scripts: PerGateway<Script>,
    /// How often each key came since the start, and how often each question was asked.
    orders: Times,
    questions: Times,
}

type Times = HashMap<(Vendor, String), u64>;

/// How often it came before.
fn count(times: &mut Times, vendor: Vendor, what: &str) -> u64 {
    let times = times.entry((vendor, what.to_owned())).or_default();
    *times += 1;
    *times - 1
}

impl Live {
    /// The next line of the script; None: there is none, chance decides.
    fn next_scripted(&mut self, vendor: Vendor) -> Option<Option<Lie>> {
        let script = self.scripts.of_mut(vendor);
        let run = script.front_mut()?;
        let lie = run.lie;
        run.times = run.times.saturating_sub(1);
        if run.times == 0 {
            script.pop_front();
        }
        Some(lie)
    }
}

impl Desk {
    pub fn new(seed: u64, lies: PerGateway<Lies>) -> Self {
        let live = Live { lies, scripts: PerGateway::default(), orders: Times::new(), questions: Times::new() };
        Self { seed, begun: Instant::now(), live: Mutex::new(live) }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("no holder of the desk panics")
    }

    pub fn lies(&self) -> PerGateway<Lies> {
        self.live().lies.clone()
    }

    pub fn scripts(&self) -> PerGateway<Script> {
        self.live().scripts.clone()
    }

    /// Changes the chances as a whole, or not at all.
    pub fn change<E>(&self, change: impl FnOnce(&PerGateway<Lies>) -> Result<PerGateway<Lies>, E>) -> Result<(), E> {
        let mut live = self.live();
        live.lies = change(&live.lies)?;
        Ok(())
    }

    /// Puts scripts in the place of those that were there.
    pub fn follow(&self, scripts: impl IntoIterator<Item = (Vendor, Script)>) {
        let mut live = self.live();
        for (vendor, script) in scripts {
            *live.scripts.of_mut(vendor) = script;
        }
    }

    /// Why the gateway is not to be reached just now, if it is not.
    pub fn outage(&self, vendor: Vendor) -> Option<Lie> {
        let live = self.live();
        let lies = live.lies.of(vendor);
        if lies.down {
            return Some(Lie::Down);
        }
        if lies.frozen {
            return Some(Lie::Frozen);
        }
        let period = lies.flapping_ms;
        let phase = dice::up_to(self.seed, "lie/flapping", vendor.as_str(), period.saturating_mul(2).saturating_sub(1));
        let elapsed = (self.begun.elapsed().as_millis() as u64).saturating_add(phase);
        let is_down = elapsed.checked_div(period).is_some_and(|turn| turn % 2 == 1);
        is_down.then_some(Lie::Flapping)
    }

    /// What a request to make or to capture a payment meets. What the plan has in store befalls the first of its key that moves the money: `is_new`
    /// and `strikes`.
    pub fn order(&self, vendor: Vendor, key: &str, is_new: bool, strikes: bool, plan: Plan) -> Meets {
        if let Some(outage) = self.outage(vendor) {
            return Meets { lie: Some(outage), of_payment: Vec::new() };
        }
        let mut live = self.live();
        let own = plan.lie.filter(|lie| lie.is_of_payment());
        if let Some(scripted) = live.next_scripted(vendor) {
            let of_payment = scripted.filter(|lie| lie.is_of_payment()).into_iter().chain(own).collect();
            return Meets { lie: scripted.filter(|lie| !lie.is_of_payment()), of_payment };
        }
        if plan.lie.is_some() || plan.sent_away > 0 {
            let answered = plan.lie.filter(|lie| is_new && strikes && !lie.is_of_payment());
            return Meets { lie: answered, of_payment: own.into_iter().collect() };
        }
        let who = format!("{vendor}/{key}");
        let of_payment = self.thrown(live.lies.of(vendor), &who).filter(|lie| lie.is_of_payment()).collect();
        // A repeat is answered by chance, too: whoever takes its refusal for that of the first call loses money.
        let who = match count(&mut live.orders, vendor, key) {
            0 => who,
            before => format!("{who}/{before}"),
        };
        let lie = self.thrown(live.lies.of(vendor), &who).find(|lie| !lie.is_of_payment());
        Meets { lie, of_payment }
    }

    /// What a question meets with its answer.
    pub fn question(&self, vendor: Vendor, about: &str) -> Option<Lie> {
        if let Some(outage) = self.outage(vendor) {
            return Some(outage);
        }
        let mut live = self.live();
        let number = count(&mut live.questions, vendor, about);
        if let Some(scripted) = live.next_scripted(vendor) {
            return scripted.filter(|lie| !lie.is_of_payment());
        }
        let who = format!("{vendor}/question/{about}/{number}");
        self.thrown(live.lies.of(vendor), &who).find(|lie| !lie.is_of_payment())
    }

    fn thrown<'a>(&self, lies: &'a Lies, who: &'a str) -> impl Iterator<Item = Lie> + use<'a> {
        let seed = self.seed;
        Lie::ALL.into_iter().filter(move |lie| lie.happens(seed, who, lies.chance(*lie)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::gateway_sim::behaviour::ORDINARY;

    fn all_at(chance: f64) -> Lies {
        let fields = Lie::ALL.into_iter().map(|lie| (lie.as_str().to_owned(), chance.into()));
        serde_json::from_value(serde_json::Value::Object(fields.collect())).unwrap()
    }

    fn desk(seed: u64, lies: Lies) -> Desk {
        Desk::new(seed, PerGateway { stripe: lies.clone(), paypal: lies.clone(), bank: lies })
    }

    /// What an order meets, and each question about it.
    type Met = (Vec<Meets>, Vec<Option<Lie>>);

    /// What three orders of each key and three questions about each meet, in whatever order they come.
    fn decisions(desk: &Desk, keys: &[(Vendor, u64)]) -> BTreeMap<(Vendor, u64), Met> {
        let mut all: BTreeMap<_, Met> = BTreeMap::new();
        for round in 0..3 {
            for (vendor, key) in keys {
                let key_text = key.to_string();
                let (orders, questions) = all.entry((*vendor, *key)).or_default();
                orders.push(desk.order(*vendor, &key_text, round == 0, true, ORDINARY));
                questions.push(desk.question(*vendor, &key_text));
            }
        }
        all
    }

    proptest! {
        #[test]
        fn the_same_seed_decides_the_same_in_whatever_order_requests_come(
            seed: u64,
            (keys, shuffled) in proptest::collection::btree_set((0..3_usize, any::<u64>()), 1..30).prop_flat_map(|keys| {
                let keys: Vec<_> = keys.into_iter().map(|(vendor, key)| (Vendor::ALL[vendor], key)).collect();
                (Just(keys.clone()), Just(keys).prop_shuffle())
            }),
        ) {
            let lies = all_at(0.2);
            prop_assert_eq!(decisions(&desk(seed, lies.clone()), &keys), decisions(&desk(seed, lies), &shuffled));
        }
    }

    #[test]
    fn another_seed_decides_otherwise_and_questions_are_decided_one_by_one() {
        let keys: Vec<_> = (0..100).map(|key| (Vendor::Bank, key)).collect();
        let [one, other] = [1, 2].map(|seed| decisions(&desk(seed, all_at(0.2)), &keys));
        assert_ne!(one, other);
        assert!(one.values().any(|(_, questions)| questions[0] != questions[1]));
        let first = |is_lied_to: bool| one.values().any(|(orders, _)| orders[0].lie.is_some() == is_lied_to);
        assert!(first(true) && first(false));
    }

    #[test]
    fn repeats_of_a_key_are_lied_to_one_by_one_and_its_payment_stays_what_it_is() {
        let keys: Vec<_> = (0..100).map(|key| (Vendor::Stripe, key)).collect();
        let met = decisions(&desk(1, all_at(0.2)), &keys);
        let (mut lied_to_again, mut served_at_last) = (0, 0);
        for (orders, _) in met.values() {
            assert!(orders.iter().all(|meets| meets.of_payment == orders[0].of_payment), "{orders:?}");
            lied_to_again += usize::from(orders[0].lie.is_none() && orders[1].lie.is_some());
            served_at_last += usize::from(orders[0].lie.is_some() && orders[1].lie.is_none());
        }
        assert!(lied_to_again > 0 && served_at_last > 0, "{lied_to_again}, {served_at_last}");
    }

    #[test]
    fn an_amount_with_a_lie_of_its_own_meets_no_other() {
        let (desk, plan) = (desk(1, all_at(1.0)), Plan { lie: Some(Lie::Reset), ..ORDINARY });
        let meets = |is_new, strikes| desk.order(Vendor::Paypal, "k", is_new, strikes, plan);
        assert_eq!(meets(true, true), Meets { lie: Some(Lie::Reset), of_payment: Vec::new() });
        assert_eq!([meets(false, true), meets(true, false)], [Meets::default(), Meets::default()]);
    }

    #[test]
    fn a_script_is_met_line_by_line_and_then_chance_again() {
        let desk = desk(1, Lies::default());
        let run = |lie, times| Run { lie, times };
        let script = [run(Some(Lie::Reset), 1), run(None, 2), run(Some(Lie::WrongAmount), 1)];
        desk.follow([(Vendor::Stripe, script.into())]);
        desk.change(|_| Ok::<_, ()>(PerGateway { stripe: all_at(1.0), ..PerGateway::default() })).unwrap();
        let meets = || desk.order(Vendor::Stripe, "k", true, true, ORDINARY);
        assert_eq!(desk.question(Vendor::Stripe, "q"), Some(Lie::Reset));
        assert_eq!([meets(), meets()], [Meets::default(), Meets::default()]);
        assert_eq!(meets(), Meets { lie: None, of_payment: vec![Lie::WrongAmount] });
        assert_eq!(meets().lie, Some(Lie::RateLimited));
        assert_eq!(desk.order(Vendor::Bank, "k", true, true, ORDINARY), Meets::default(), "a script is one gateway's");
    }

    #[test]
    fn a_gateway_that_is_down_is_down_for_everyone_and_the_others_are_not() {
        for (lie, lies) in [
            (Lie::Down, Lies { down: true, frozen: true, ..all_at(1.0) }),
            (Lie::Frozen, Lies { frozen: true, flapping_ms: 1, ..all_at(1.0) }),
        ] {
            let desk = Desk::new(1, PerGateway { paypal: lies, ..PerGateway::default() });
            assert_eq!(desk.order(Vendor::Paypal, "k", false, true, ORDINARY).lie, Some(lie));
            assert_eq!(desk.question(Vendor::Paypal, "q"), Some(lie));
            assert_eq!(desk.outage(Vendor::Stripe), None);
        }
    }

    #[test]
    fn where_flapping_begins_follows_from_the_seed() {
        let first = |seed| {
            // A period that no test outlives.
            let lies = Lies { flapping_ms: 86_400_000, ..Lies::default() };
            Desk::new(seed, PerGateway { bank: lies, ..PerGateway::default() }).outage(Vendor::Bank)
        };
        let begun: Vec<_> = (0..64).map(first).collect();
        assert_eq!(begun, (0..64).map(first).collect::<Vec<_>>());
        assert!(begun.contains(&None) && begun.contains(&Some(Lie::Flapping)));
    }
}
