//! What is done to the fleet, and when: drawn from the size of a run (its seed, length and scale), and from nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use payfleet::service::failpoint::Window;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::lies::{Bags, Lies};
use super::named;
use super::poison;
use super::proxies::{Kind, Line, Toxic};
use crate::fleet::crew::{PLACES, Place, Role};

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Size {
    pub seed: u64,
    pub minutes: f64,
    /// Of the rates of faults and load.
    pub scale: f64,
}

impl Size {
    pub fn length_ms(self) -> u64 {
        (self.minutes * 60_000.0) as u64
    }
}

/// Who carries acts out, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hand {
    Place(Place),
    Postgres,
    Kafka,
    Redis,
    Line(Line),
    Gateways,
    Growth,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// kill -9, if it can be while the process stands in the window.
    Kill(Option<Window>),
    /// SIGSTOP, and SIGCONT after so many milliseconds.
    Freeze(u64),
    /// SIGTERM, and another in its place.
    Roll,
    /// SIGTERM, and nobody in its place for so many milliseconds.
    Away(u64),
    /// Its clock jumps by so many seconds, and back after so many milliseconds.
    Clock { jump_s: i64, ms: u64 },
    /// One process more of the role for so many milliseconds.
    Grow { role: Role, ms: u64 },
    /// The server is killed, and started again after so many milliseconds.
    Crash(u64),
    /// The server stands still for so many milliseconds.
    Still(u64),
    /// The server ends in good order and is started again.
    Restart,
    /// Redis forgets everything.
    Flush,
    /// Redis is killed and comes back with what it knew so many milliseconds ago.
    Stale(u64),
    /// What befalls so many percent of the connections for so many milliseconds.
    Toxic { toxic: Toxic, percent: u32, ms: u64 },
    /// What the gateways do for so many milliseconds.
    Lie { lies: Lies, ms: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Act {
    /// From the beginning of the faults.
    pub at_ms: u64,
    pub hand: Hand,
    pub fault: Fault,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// In the order of their times.
    pub acts: Vec<Act>,
}

/// Faults in ten minutes at scale 1. What is promised of such a run is less: what finds no time to happen is not done.
mod per_ten_minutes {
    pub const KILLS: f64 = 205.0;
    pub const FREEZES: f64 = 42.0;
    pub const ROLLS: f64 = 12.0;
    pub const CLOCKS: f64 = 12.0;
    pub const ABSENCES: f64 = 8.0;
    pub const GROWTHS: f64 = 6.0;
    pub const POSTGRES_CRASHES: f64 = 8.0;
    pub const KAFKA_CRASHES: f64 = 8.0;
    pub const KAFKA_FREEZES: f64 = 4.0;
    pub const KAFKA_RESTARTS: f64 = 3.0;
    pub const REDIS_KILLS: f64 = 6.0;
    pub const REDIS_FREEZES: f64 = 3.0;
    pub const REDIS_FLUSHES: f64 = 6.0;
    pub const REDIS_RESTORES: f64 = 5.0;
    /// Every line gets every kind.
    pub const TOXICS: f64 = 84.0;
    pub const LIES: f64 = 20.0;
}

/// The windows in which processes of a place are killed. Callbacks come to the first ingress.
fn windows(place: Place) -> &'static [Window] {
    use Window::*;
    match place {
        (Role::Ingress, 0) => &[C1, C2, C3, C4, C13, C14],
        (Role::Ingress, _) => &[C1, C2, C3, C4],
        (Role::Relay, _) => &[C5, C6, C7, C18],
        (Role::Worker, _) => &[C8, C9, C10, C11, C12, C15, C16, C17],
    }
}

/// Kills that are aimed at no window.
const UNAIMED: f64 = 0.08;

struct Draw {
    dice: StdRng,
    size: Size,
    acts: Vec<Act>,
}

impl Schedule {
    pub fn draw(size: Size) -> Self {
        let mut draw = Draw { dice: StdRng::seed_from_u64(size.seed), size, acts: Vec::new() };
        draw.kills();
        draw.processes();
        draw.servers();
        draw.toxics();
        draw.lies();
        draw.acts.sort_by_key(|act| act.at_ms);
        Self { acts: draw.acts }
    }

    pub fn of(&self, hand: Hand) -> Vec<Act> {
        self.acts.iter().filter(|act| act.hand == hand).cloned().collect()
    }

    /// How often each is to be done, as it is counted.
    pub fn planned(&self) -> BTreeMap<String, u64> {
        let mut planned = BTreeMap::new();
        for act in &self.acts {
            *planned.entry(named::act(act.hand, &act.fault)).or_default() += 1;
            if matches!(act.fault, Fault::Kill(Some(Window::C17))) {
                *planned.entry(poison::SPREAD.to_owned()).or_default() += 1;
            }
        }
        planned
    }

    /// One line per act, for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Act { at_ms, hand, fault } in &self.acts {
            writeln!(text, "{:>9.3} s  {hand:?}: {fault:?}", *at_ms as f64 / 1_000.0).ok();
        }
        text
    }
}

impl Draw {
    /// Times for so many acts per ten minutes: each somewhere in its own part of the run, so that no stretch is spared.
    fn times(&mut self, per_ten_minutes: f64) -> Vec<u64> {
        let count = (per_ten_minutes * self.size.minutes / 10.0 * self.size.scale).round().max(1.0) as u64;
        let length = self.size.length_ms() as f64;
        (0..count)
            .map(|n| ((n as f64 + self.dice.random_range(0.0..1.0)) / count as f64 * length * 0.96) as u64)
            .collect()
    }

    fn add(&mut self, at_ms: u64, hand: Hand, fault: Fault) {
        self.acts.push(Act { at_ms, hand, fault });
    }

    fn kills(&mut self) {
        let mut victims = Bag::default();
        // Ingresses are up again soonest, and there are fewer of them.
        let places: Vec<Place> = PLACES.into_iter().chain([PLACES[0], PLACES[1]]).collect();
        let mut aims: BTreeMap<Place, Bag<Window>> = BTreeMap::new();
        for at_ms in self.times(per_ten_minutes::KILLS) {
            let place = victims.next(&places, &mut self.dice);
            let aim = aims.entry(place).or_default().next(windows(place), &mut self.dice);
            let aimed = !self.dice.random_bool(UNAIMED);
            self.add(at_ms, Hand::Place(place), Fault::Kill(aimed.then_some(aim)));
        }
    }

    fn processes(&mut self) {
        let mut victims = Bag::default();
        for at_ms in self.times(per_ten_minutes::FREEZES) {
            let place = victims.next(&PLACES, &mut self.dice);
            // Leases of relays are 5 s long. Memberships of consumer groups 6 s, claims up to 9.6 s, both of workers. Ingresses have none.
            let ms = match place.0 {
                Role::Ingress | Role::Relay => self.dice.random_range(5_500..10_000),
                Role::Worker => self.dice.random_range(9_700..13_500),
            };
            self.add(at_ms, Hand::Place(place), Fault::Freeze(ms));
        }
        for at_ms in self.times(per_ten_minutes::ROLLS) {
            let place = victims.next(&PLACES, &mut self.dice);
            self.add(at_ms, Hand::Place(place), Fault::Roll);
        }
        for at_ms in self.times(per_ten_minutes::CLOCKS) {
            let place = victims.next(&PLACES, &mut self.dice);
            let jump_s = if self.dice.random_bool(0.5) { 600 } else { -600 };
            let ms = self.dice.random_range(2_000..6_000);
            self.add(at_ms, Hand::Place(place), Fault::Clock { jump_s, ms });
        }
        for at_ms in self.times(per_ten_minutes::ABSENCES) {
            let place = victims.next(&PLACES, &mut self.dice);
            let ms = self.dice.random_range(2_000..8_000);
            self.add(at_ms, Hand::Place(place), Fault::Away(ms));
        }
        let mut roles = Bag::default();
        for at_ms in self.times(per_ten_minutes::GROWTHS) {
            let role = roles.next(&[Role::Relay, Role::Worker], &mut self.dice);
            let ms = self.dice.random_range(6_000..20_000);
            self.add(at_ms, Hand::Growth, Fault::Grow { role, ms });
        }
    }

    fn servers(&mut self) {
        for at_ms in self.times(per_ten_minutes::POSTGRES_CRASHES) {
            let down = self.dice.random_range(0..2_500);
            self.add(at_ms, Hand::Postgres, Fault::Crash(down));
        }
        for at_ms in self.times(per_ten_minutes::KAFKA_CRASHES) {
            let down = self.dice.random_range(0..4_000);
            self.add(at_ms, Hand::Kafka, Fault::Crash(down));
        }
        for at_ms in self.times(per_ten_minutes::KAFKA_FREEZES) {
            let still = self.dice.random_range(3_000..9_000);
            self.add(at_ms, Hand::Kafka, Fault::Still(still));
        }
        for at_ms in self.times(per_ten_minutes::KAFKA_RESTARTS) {
            self.add(at_ms, Hand::Kafka, Fault::Restart);
        }
        for at_ms in self.times(per_ten_minutes::REDIS_KILLS) {
            let down = self.dice.random_range(0..5_000);
            self.add(at_ms, Hand::Redis, Fault::Crash(down));
        }
        for at_ms in self.times(per_ten_minutes::REDIS_FREEZES) {
            let still = self.dice.random_range(1_000..6_000);
            self.add(at_ms, Hand::Redis, Fault::Still(still));
        }
        for at_ms in self.times(per_ten_minutes::REDIS_FLUSHES) {
            self.add(at_ms, Hand::Redis, Fault::Flush);
        }
        for at_ms in self.times(per_ten_minutes::REDIS_RESTORES) {
            let old = self.dice.random_range(2_000..8_000);
            self.add(at_ms, Hand::Redis, Fault::Stale(old));
        }
    }

    fn toxics(&mut self) {
        let mut lines = Bag::default();
        let mut kinds: BTreeMap<Line, Bag<Kind>> = BTreeMap::new();
        for at_ms in self.times(per_ten_minutes::TOXICS) {
            let line = lines.next(&Line::ALL, &mut self.dice);
            let kind = kinds.entry(line).or_default().next(&Kind::ALL, &mut self.dice);
            let toxic = Toxic::draw(kind, &mut self.dice);
            let ms = self.dice.random_range(toxic.lasts_ms());
            let percent = if self.dice.random_bool(0.5) { 100 } else { self.dice.random_range(30..100) };
            self.add(at_ms, Hand::Line(line), Fault::Toxic { toxic, percent, ms });
        }
    }

    fn lies(&mut self) {
        let mut bags = Bags::default();
        for at_ms in self.times(per_ten_minutes::LIES) {
            let lies = Lies::draw(&mut bags, &mut self.dice);
            let ms = self.dice.random_range(4_000..12_000);
            self.add(at_ms, Hand::Gateways, Fault::Lie { lies, ms });
        }
    }
}

/// Gives out what it is filled with in any order, and is filled again only when it is empty: nothing waits long for its turn.
pub struct Bag<T>(Vec<T>);

impl<T> Default for Bag<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Bag<T> {
    pub fn next(&mut self, filling: &[T], dice: &mut StdRng) -> T {
        if self.0.is_empty() {
            self.0.extend_from_slice(filling);
            self.0.shuffle(dice);
        }
        self.0.pop().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Size = Size { seed: 7, minutes: 10.0, scale: 1.0 };

    #[test]
    fn the_same_size_is_the_same_schedule_and_another_seed_another() {
        assert_eq!(Schedule::draw(TEN), Schedule::draw(TEN));
        assert_eq!(Schedule::draw(TEN).text(), Schedule::draw(TEN).text());
        assert_ne!(Schedule::draw(TEN), Schedule::draw(Size { seed: 8, ..TEN }));
        assert_ne!(Schedule::draw(TEN), Schedule::draw(Size { scale: 1.5, ..TEN }));
        assert_ne!(Schedule::draw(TEN), Schedule::draw(Size { minutes: 9.0, ..TEN }));
    }

    fn count(schedule: &Schedule, is_one: impl Fn(&Act) -> bool) -> usize {
        schedule.acts.iter().filter(|act| is_one(act)).count()
    }

    #[test]
    fn every_seed_has_as_many_faults_as_are_promised_and_aims_at_every_window() {
        for seed in 0..50 {
            let schedule = Schedule::draw(Size { seed, ..TEN });
            let aimed = |role: Role| {
                count(
                    &schedule,
                    |act| matches!((act.hand, &act.fault), (Hand::Place((of, _)), Fault::Kill(Some(_))) if of == role),
                )
            };
            let kills = count(&schedule, |act| matches!(act.fault, Fault::Kill(_)));
            assert!(kills >= 200, "{kills}");
            for role in [Role::Ingress, Role::Relay, Role::Worker] {
                assert!(aimed(role) * 100 >= kills * 20, "{role:?}: {} of {kills}", aimed(role));
            }
            assert!(count(&schedule, |act| matches!(act.fault, Fault::Freeze(_))) >= 40);
            let crashes = |hand| count(&schedule, |act| act.hand == hand && matches!(act.fault, Fault::Crash(_)));
            assert!(crashes(Hand::Postgres) >= 7 && crashes(Hand::Kafka) >= 7);
            for window in Window::ALL {
                assert!(count(&schedule, |act| act.fault == Fault::Kill(Some(*window))) >= 3, "{window:?}");
            }
            for (line, kind) in Line::ALL.into_iter().flat_map(|line| Kind::ALL.map(|kind| (line, kind))) {
                let is_this = |act: &Act| matches!(act.fault, Fault::Toxic { toxic, .. } if toxic.kind() == kind);
                assert_eq!(
                    count(&schedule, |act| act.hand == Hand::Line(line) && is_this(act)),
                    1,
                    "{line:?} {kind:?}"
                );
            }
            let mut planned = schedule.planned();
            let unreadable = count(&schedule, |act| act.fault == Fault::Kill(Some(Window::C17)));
            assert_eq!(planned.remove(poison::SPREAD), Some(unreadable as u64));
            assert_eq!(planned.values().sum::<u64>(), schedule.acts.len() as u64);
        }
    }

    #[test]
    fn acts_rise_and_end_before_the_run_does() {
        let schedule = Schedule::draw(TEN);
        assert!(schedule.acts.is_sorted_by_key(|act| act.at_ms));
        assert!(schedule.acts.last().unwrap().at_ms < TEN.length_ms());
    }

    #[test]
    fn half_the_time_or_half_the_scale_is_half_the_faults() {
        let whole = Schedule::draw(TEN).acts.len();
        for half in [Size { minutes: 5.0, ..TEN }, Size { scale: 0.5, ..TEN }] {
            let acts = Schedule::draw(half).acts.len();
            assert!((whole * 45 / 100..=whole * 55 / 100).contains(&acts), "{acts} of {whole}");
        }
    }
}
