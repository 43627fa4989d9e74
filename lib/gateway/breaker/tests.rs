//! The breaker, by a clock that the test turns.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings { calls: 6, failures: 3, rest_ms: 1_000, longest_rest_ms: 3_000, probes: 2 }
}

/// A machine, and a clock that the test turns.
struct Stand {
    machine: Machine,
    now: Instant,
}

impl Stand {
    fn new() -> Self {
        let now = Instant::now();
        Self { machine: Machine::new(settings(), now), now }
    }

    /// Calls that begin and end now.
    fn told(&mut self, healths: &[Health]) {
        healths.iter().for_each(|health| self.machine.told(self.now, *health, self.now));
    }

    fn opened() -> Self {
        let mut stand = Self::new();
        stand.told(&[Health::Ill; 3]);
        assert_eq!(stand.machine.state.level(), 2);
        stand
    }

    /// One call is let in, and comes to this.
    fn probe(&mut self, health: Health) {
        let epoch = self.machine.admit(self.now).unwrap();
        self.told(&[health]);
        self.machine.leave(epoch);
    }
}

#[test]
fn it_opens_when_too_many_of_the_latest_calls_failed_and_not_before() {
    use Health::{Ill, Well};
    let mut stand = Stand::new();
    stand.told(&[Ill, Ill, Well, Well, Well, Well, Ill, Ill]);
    assert!(stand.machine.admit(stand.now).is_ok(), "two of the latest six failed");
    stand.told(&[Ill]);
    assert_eq!(stand.machine.admit(stand.now), Err(SECOND));
}

#[test]
fn while_it_rests_nobody_is_let_in_and_then_one_at_a_time() {
    let mut stand = Stand::opened();
    stand.now += SECOND - Duration::from_millis(1);
    assert_eq!(stand.machine.admit(stand.now), Err(Duration::from_millis(1)));
    stand.now += Duration::from_millis(1);
    let probe = stand.machine.admit(stand.now).unwrap();
    assert_eq!((stand.machine.state.level(), stand.machine.admit(stand.now)), (1, Err(SECOND)));
    // It came to nothing: no call was made after all.
    stand.machine.leave(probe);
    assert!(stand.machine.admit(stand.now).is_ok());
}

#[test]
fn it_closes_after_enough_probes_were_answered() {
    let mut stand = Stand::opened();
    stand.now += SECOND;
    stand.probe(Health::Well);
    assert_eq!(stand.machine.state.level(), 1);
    stand.probe(Health::Well);
    assert_eq!(stand.machine.state.level(), 0);
    stand.told(&[Health::Ill; 2]);
    assert_eq!(stand.machine.state.level(), 0, "what failed before it opened is forgotten");
}

#[test]
fn a_probe_that_fails_lets_it_rest_twice_as_long_up_to_the_longest() {
    let mut stand = Stand::opened();
    for rest in [2, 3, 3] {
        while stand.machine.refuses_for(stand.now).is_some() {
            stand.now += Duration::from_millis(100);
        }
        stand.probe(Health::Ill);
        assert_eq!(stand.machine.refuses_for(stand.now), Some(SECOND * rest));
    }
    stand.now += SECOND * 3;
    stand.probe(Health::Well);
    stand.probe(Health::Well);
    stand.told(&[Health::Ill; 3]);
    assert_eq!(stand.machine.refuses_for(stand.now), Some(SECOND), "it was well in between");
}

/// As those that were under way when a gateway froze: they end one after the other, long after.
#[test]
fn calls_that_began_before_it_opened_say_nothing_about_the_gateway_now() {
    let mut stand = Stand::opened();
    let begun = stand.now - SECOND;
    stand.now += SECOND;
    let probe = stand.machine.admit(stand.now).unwrap();
    stand.machine.told(begun, Health::Ill, stand.now);
    stand.machine.told(begun, Health::Well, stand.now);
    stand.machine.told(begun, Health::Well, stand.now);
    assert_eq!(stand.machine.state.level(), 1);
    stand.machine.leave(probe);
    stand.probe(Health::Well);
    stand.probe(Health::Well);
    stand.now += SECOND;
    (0..9).for_each(|_| stand.machine.told(begun, Health::Ill, stand.now));
    assert_eq!(stand.machine.state.level(), 0);
}

#[test]
fn a_pass_from_before_it_opened_makes_no_room_for_a_second_probe() {
    let mut stand = Stand::new();
    let early = stand.machine.admit(stand.now).unwrap();
    stand.told(&[Health::Ill; 3]);
    stand.now += SECOND;
    let _probe = stand.machine.admit(stand.now).unwrap();
    stand.machine.leave(early);
    assert!(stand.machine.admit(stand.now).is_err());
}

#[test]
fn a_pass_is_given_back_when_it_is_dropped() {
    let breaker = Arc::new(Breaker::new("bank", Settings { rest_ms: 0, longest_rest_ms: 0, ..settings() }));
    (0..3).for_each(|_| breaker.told(Instant::now(), Health::Ill));
    let probe = breaker.admit().unwrap();
    assert!(!breaker.admits() && breaker.admit().is_err());
    drop(probe);
    assert!(breaker.admits());
}

#[test]
fn settings_that_would_never_open_or_never_close_it_are_unusable() {
    assert!(Settings::default().are_usable() && settings().are_usable());
    for unusable in [
        Settings { failures: 0, ..settings() },
        Settings { failures: 7, ..settings() },
        Settings { probes: 0, ..settings() },
    ] {
        assert!(!unusable.are_usable(), "{unusable:?}");
    }
}
