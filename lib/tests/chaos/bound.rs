//! The times that a run goes by, and the bound on everything being final after the last fault that follows from them.

use std::time::Duration;

/// Which query schedule the fleet is run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Times {
    /// Steps of at most 5 s.
    Short,
    /// As in production.
    Production,
}

/// How long things last, not what is done about them.
const SHORT: [(&str, &str); 15] = [
    ("SETTLEMENT__SCHEDULE", SHORT_SCHEDULE),
    ("SETTLEMENT__SETTLE_WINDOW_MS", "2000"),
    ("SETTLEMENT__MARGIN_MS", "500"),
    ("SETTLEMENT__RETRY_FIRST_MS", "500"),
    ("SETTLEMENT__RETRY_LONGEST_MS", "5000"),
    ("RECONCILER__LEAVE_MS", "8000"),
    ("RECONCILER__LONGEST_MS", "8000"),
    ("GATEWAYS__STRIPE__LIMITS__CALL_MS", "3000"),
    ("GATEWAYS__PAYPAL__LIMITS__CALL_MS", "3000"),
    ("GATEWAYS__BANK__LIMITS__CALL_MS", "3000"),
    ("POSTGRES__STATEMENT_MS", "5000"),
    ("SIM__CALLBACKS__LONGEST_PAUSE_MS", "5000"),
    ("SIM__CUSTOMER", "approve"),
    ("SIM__CUSTOMER_AFTER_MS", "500"),
    // Slots of the ring are left and truncated within the run.
    ("RELAY__ROTATE_MS", "3000"),
];

/// Ten minutes of questions: longer than anything in a run keeps a gateway from answering.
const SHORT_SCHEDULE: &str = concat!(
    "1s 2s 3s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s ",
    "5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s ",
    "5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s 5s"
);

/// What is promised of [`Times::Short`].
const SHORT_BOUND: Duration = Duration::from_secs(60);

/// The settings that have a part in the bound, as the programs have them when nobody chooses others.
struct Production {
    schedule: Vec<Duration>,
    settle_window: Duration,
    margin: Duration,
    retry_longest: Duration,
    leave: Duration,
    call: Duration,
}

impl Production {
    fn as_is() -> Self {
        let settlement = payfleet::settlement::Settings::default();
        let reconciler = payfleet::reconciler::Settings::default();
        let gateways = payfleet::gateway::Settings::default();
        let ms = Duration::from_millis;
        let call = [gateways.stripe.limits.call_ms, gateways.paypal.limits.call_ms, gateways.bank.limits.call_ms];
        Self {
            schedule: settlement.schedule.split_whitespace().map(time).collect(),
            settle_window: ms(settlement.settle_window_ms),
            margin: ms(settlement.margin_ms),
            retry_longest: ms(settlement.retry_longest_ms),
            leave: ms(reconciler.leave_ms),
            call: ms(call.into_iter().max().unwrap()),
        }
    }

    /// The worst case is a payment that was under way from the first second, whose every question was lost: it has come to the longest
    /// step that begins within the run. After the last fault that step may just have begun; its question was taken by a process that
    /// died, is asked again when that is over, and told "no such payment"; then the payment is sent again, or asked about once more a
    /// settle window later, which is the step that follows; and if it was sent, that may be after the longest wait for it.
    fn bound(&self, run: Duration) -> Duration {
        let mut begins = Duration::ZERO;
        let mut reached = 0;
        for (n, step) in self.schedule.iter().enumerate() {
            if begins > run {
                break;
            }
            (reached, begins) = (n, begins + *step);
        }
        let next = (reached + 1).min(self.schedule.len() - 1);
        let questions = self.schedule[reached] + self.schedule[next];
        questions + self.settle_window + self.leave + (self.call + self.margin) * 2 + self.retry_longest
    }
}

fn time(word: &str) -> Duration {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap();
    let seconds = match &word[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        unit => panic!("`{unit}` of `{word}`"),
    };
    Duration::from_secs(word[..digits].parse::<u64>().unwrap() * seconds)
}

impl Times {
    pub fn settings(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Short => SHORT.to_vec(),
            // Only the simulator's customer, and the ring.
            Self::Production => SHORT[12..].to_vec(),
        }
    }

    /// Within this after the last fault of a run of this length every payment is final.
    pub fn bound(self, run: Duration) -> Duration {
        match self {
            Self::Short => SHORT_BOUND,
            Self::Production => Production::as_is().bound(run),
        }
    }

    /// How long clients repeat themselves.
    pub fn patience(self) -> Duration {
        Duration::from_secs(180)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_of_the_short_schedule_is_longer_than_5_s_and_it_outlasts_a_run() {
        let steps: Vec<Duration> = SHORT_SCHEDULE.split_whitespace().map(time).collect();
        assert!(steps.iter().all(|step| *step <= Duration::from_secs(5)));
        assert!(steps.iter().sum::<Duration>() > Duration::from_secs(580));
    }

    #[test]
    fn the_production_bound_grows_with_the_run_and_covers_the_step_that_it_can_reach() {
        let production = Production::as_is();
        let bounds = [60, 600, 6_000].map(|seconds| production.bound(Duration::from_secs(seconds)));
        assert!(bounds.is_sorted(), "{bounds:?}");
        // Ten minutes after its first question a payment may stand in the step of ten minutes, and the next is an hour.
        assert!(bounds[1] > Duration::from_secs(4_200), "{bounds:?}");
    }
}
