//! What a run did and what was found: a table for people, JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use payfleet::gateway_sim::lies::Lie;
use payfleet::load::Outcome;
use payfleet::ops::verify::{Finding, Report, Verdict};
use payfleet::service::failpoint::Window;
use serde_json::{Value, json};

use super::clients::Heard;
use super::named;
use super::schedule::Size;
use super::tally::{Counts, Kills};
use super::watch::Fired;
use crate::fleet::crew::Role;

/// What is promised of ten minutes at scale 1, and of longer runs in proportion. Of a shorter one only that nobody was spared: half of all
/// that was planned of each kind, and of each role somebody killed at work.
const KILLS: f64 = 170.0;
const FREEZES: f64 = 35.0;
const CRASHES: f64 = 6.0;
const PAYMENTS: f64 = 11_000.0;
/// In percent of all kills, for each role: of processes that stood in a window.
const AT_WORK: u64 = 15;
/// From this length on a run is to have come to every window, and everywhere somebody is to have died.
const WHOLE_MINUTES: f64 = 10.0;

/// As payments are counted that were given to a human because their gateway gave no answer.
const SILENT: [&str; 2] = ["review: gateway_silent", "review: bell_unanswered"];

pub struct Run {
    pub size: Size,
    /// How often each kind of fault was to be done.
    pub planned: BTreeMap<String, u64>,
    pub counts: Counts,
    pub lies: BTreeMap<Lie, u64>,
    pub fired: Vec<(Window, Fired)>,
    pub outcome: Outcome,
    pub heard: Heard,
    pub payments: i64,
    /// How many stand where, for which reason.
    pub ends: BTreeMap<String, u64>,
    /// How often a statement was sent whose reply was lost with its connection.
    pub in_doubt: BTreeMap<Role, u64>,
    pub bound: Duration,
    /// From the last fault to the last payment's end; None: not within the bound.
    pub settled_after: Option<Duration>,
    pub verified: Report,
}

impl Run {
    /// Why the run is red.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.counts.failures.clone();
        let found = self.verified.findings.iter().filter(|finding| finding.verdict() != Verdict::Held);
        let found: Vec<String> = found
            .map(|Finding { invariant, violations, .. }| match violations {
                0 => format!("{} not checkable", invariant.name()),
                _ => format!("{} violated {violations} times", invariant.name()),
            })
            .collect();
        if !found.is_empty() {
            failures.push(format!("the books do not hold: {}", found.join(", ")));
        }
        if self.settled_after.is_none() {
            let bound = self.bound;
            failures.push(format!(
                "not every payment was final, and known to who meant it, {bound:?} after the last fault"
            ));
        }
        // No gateway is away for as long as the shortest query schedule lasts: whoever gave up asking has not asked.
        let silent: u64 = SILENT.iter().filter_map(|why| self.ends.get(*why)).sum();
        if silent > 0 {
            failures.push(format!(
                "{silent} payments in review for the silence of gateways that were not silent for so long"
            ));
        }
        let undecided = self.outcome.figures.undecided + self.heard.undecided;
        if undecided > 0 {
            failures.push(format!("{undecided} clients were never told what became of their request"));
        }
        if self.heard.fooled > 0 {
            failures.push(format!("{} clients were given the payment of another order", self.heard.fooled));
        }
        failures.extend(self.shortfalls());
        failures
    }

    /// Where a run was much weaker than planned, or one of the promised length than promised: then it proves too little.
    fn shortfalls(&self) -> Vec<String> {
        let share = self.size.minutes * self.size.scale / WHOLE_MINUTES;
        let done = |what: &str| self.counts.done.get(what).copied().unwrap_or_default();
        let skipped = self.planned.iter().filter(|(what, planned)| done(what) * 2 < **planned);
        let mut short: Vec<String> =
            skipped.map(|(what, planned)| format!("{what}: planned {planned} times, done {}", done(what))).collect();
        let of = |role| self.counts.kills.get(&role).copied().unwrap_or_default();
        let idle = Role::ALL.into_iter().filter(|role| of(*role).at_work == 0);
        short.extend(idle.map(|role| format!("no {role:?} was killed with work in flight")));
        if share < 1.0 {
            return short;
        }
        let kills: u64 = self.counts.kills.values().map(|kills| kills.all).sum();
        let wanted = [
            ("kill -9", kills, KILLS),
            ("freezes", done("SIGSTOP past its leases, then SIGCONT"), FREEZES),
            ("crashes of PostgreSQL", done("PostgreSQL: crash"), CRASHES),
            ("crashes of Kafka", done("Kafka: crash"), CRASHES),
            ("payments", u64::try_from(self.payments).unwrap_or(0), PAYMENTS),
        ];
        let few = wanted.into_iter().filter(|(_, done, per_ten)| (*done as f64) < per_ten * share);
        short.extend(few.map(|(what, done, per_ten)| format!("too few: {done} {what}, {:.0} wanted", per_ten * share)));
        for role in Role::ALL {
            let Kills { at_work, .. } = of(role);
            if at_work * 100 < kills * AT_WORK {
                short.push(format!("only {at_work} of {kills} kills were of a {role:?} with work in flight"));
            }
        }
        let unfired = self.fired.iter().filter(|(_, fired)| fired.died == 0);
        short.extend(unfired.map(|(window, _)| format!("nobody died in {}", window.name())));
        let states = [Lie::Down, Lie::Frozen, Lie::Flapping];
        let untold = Lie::ALL.into_iter().chain(states).filter(|lie| !self.lies.contains_key(lie));
        short.extend(untold.map(|lie| format!("no gateway lied so: {}", lie.as_str())));
        let certain = self.in_doubt.iter().filter(|(_, count)| **count == 0);
        short.extend(certain.map(|(role, _)| format!("no statement of a {role:?} lost its reply")));
        short
    }

    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            writeln!(text, "{name:<62} {value:>10}").ok();
        };
        let mut lines: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (what, count) in &self.counts.done {
            match named::on_a_line(what) {
                Some(toxic) => {
                    let (times, on) = lines.entry(toxic).or_default();
                    (*times, *on) = (*times + count, *on + 1);
                }
                None => row(what, count.to_string()),
            }
        }
        for (toxic, (times, on)) in lines {
            row(&format!("connections: {toxic}; so many lines"), format!("{times} {on}"));
        }
        for (what, count) in &self.counts.not_done {
            row(&format!("NOT DONE: {what}"), count.to_string());
        }
        for (role, Kills { all, at_work }) in &self.counts.kills {
            let percent = at_work * 100 / (*all).max(1);
            row(&format!("kill -9 of {}, with work in flight", program(*role)), format!("{at_work}/{all} {percent} %"));
        }
        for (window, Fired { entered, died }) in &self.fired {
            row(
                &format!("crash point {}: entered, died inside", window.name().to_uppercase()),
                format!("{entered} {died}"),
            );
        }
        for (lie, count) in &self.lies {
            row(&format!("gateways: {}", lie.as_str()), count.to_string());
        }
        for (role, count) in &self.in_doubt {
            row(&format!("statements of {} that were sent, their replies lost", program(*role)), count.to_string());
        }
        let (buried, poisoned) = (self.counts.buried, self.counts.poisoned.len());
        row("unreadable records that arrived, and were buried", format!("{poisoned} {buried}"));
        let figures = &self.outcome.figures;
        row("payments", self.payments.to_string());
        for (end, count) in &self.ends {
            row(&format!("payments that stand at {}", end.replace('_', " ")), count.to_string());
        }
        row("requests sent again, answers lost", format!("{} {}", figures.resends, figures.lost));
        for (status, count) in &figures.put_off {
            row(&format!("put off with {status}"), count.to_string());
        }
        for (status, count) in &figures.refused {
            row(&format!("refused with {status}"), count.to_string());
        }
        let Heard { hung_up, repeated, .. } = self.heard;
        row("clients that hung up, repeated requests", format!("{hung_up} {repeated}"));
        let settled = match self.settled_after {
            Some(after) => format!("{:.1} s", after.as_secs_f64()),
            None => "NOT ALL".to_owned(),
        };
        row("everything final after the last fault", settled);
        row("bound on that (I7)", format!("{} s", self.bound.as_secs()));
        format!("{text}\n{}", self.verified.table())
    }

    pub fn json(&self) -> Value {
        let Size { seed, minutes, scale } = self.size;
        let kills: Vec<Value> = self
            .counts
            .kills
            .iter()
            .map(|(role, kills)| json!({ "role": program(*role), "kills": kills.all, "at_work": kills.at_work }))
            .collect();
        let points: Vec<Value> = self
            .fired
            .iter()
            .map(|(window, fired)| json!({ "point": window.name(), "entered": fired.entered, "died": fired.died }))
            .collect();
        let in_doubt: BTreeMap<&str, u64> =
            self.in_doubt.iter().map(|(role, count)| (program(*role), *count)).collect();
        let lies: BTreeMap<&str, u64> = self.lies.iter().map(|(lie, count)| (lie.as_str(), *count)).collect();
        let part = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        json!({
            "seed": seed, "minutes": minutes, "scale": scale,
            "passed": self.failures().is_empty(), "failures": self.failures(),
            "planned": self.planned, "faults": self.counts.done, "not_done": self.counts.not_done, "kills": kills,
            "crash_points": points, "lies": lies,
            "payments": self.payments, "ends": self.ends, "in_doubt": in_doubt, "load": part(self.outcome.json()),
            "hung_up": self.heard.hung_up, "repeated": self.heard.repeated,
            "settled_after_ms": self.settled_after.map(|after| after.as_millis() as u64), "bound_ms": self.bound.as_millis() as u64,
            "verify": part(self.verified.json()),
        })
    }
}

fn program(role: Role) -> &'static str {
    match role {
        Role::Ingress => "ingress",
        Role::Relay => "relay",
        Role::Worker => "gateway-worker",
    }
}
