//! What is done to whom, as it is counted and told.

use super::proxies::Line;
use super::schedule::{Fault, Hand};

const LINE: &str = "connections of ";

/// Of what is counted: where it was done to a line, what.
pub fn on_a_line(act: &str) -> Option<&str> {
    act.strip_prefix(LINE)?.split_once(": ").map(|(_, what)| what)
}

/// Of somebody's.
pub fn act(hand: Hand, fault: &Fault) -> String {
    let what = this(fault);
    match hand {
        Hand::Place(_) | Hand::Gateways | Hand::Growth => what.to_owned(),
        Hand::Postgres => format!("PostgreSQL: {what}"),
        Hand::Kafka => format!("Kafka: {what}"),
        Hand::Redis => format!("Redis: {what}"),
        Hand::Line(line) => format!("{LINE}{}: {what}", ends(line)),
    }
}

/// Whoever it befalls.
pub fn this(fault: &Fault) -> &'static str {
    match fault {
        Fault::Kill(_) => "kill -9",
        Fault::Freeze(_) => "SIGSTOP past its leases, then SIGCONT",
        Fault::Roll => "rolling restart of a process",
        Fault::Away(_) => "scaled down, and up again",
        Fault::Clock { .. } => "clock jump of 10 minutes, and back",
        Fault::Grow { .. } => "scaled up, and down again",
        Fault::Crash(_) => "crash",
        Fault::Still(_) => "frozen",
        Fault::Restart => "restart",
        Fault::Flush => "flush",
        Fault::Stale(_) => "stale restore",
        Fault::Toxic { toxic, .. } => toxic.kind().name(),
        Fault::Lie { .. } => "gateways lie",
    }
}

/// Each line by itself: what was done to others says nothing of it.
fn ends(line: Line) -> &'static str {
    match line {
        Line::IngressPostgres => "ingress to PostgreSQL",
        Line::RelayPostgres => "relay to PostgreSQL",
        Line::WorkerPostgres => "worker to PostgreSQL",
        Line::RelayKafka => "relay to Kafka",
        Line::WorkerKafka => "worker to Kafka",
        Line::Redis => "all to Redis",
        Line::Stripe => "worker to Stripe",
        Line::Paypal => "worker to PayPal",
        Line::Bank => "worker to the bank",
        Line::Callbacks => "gateways to ingress",
        Line::Clients1 => "clients to one ingress",
        Line::Clients2 => "clients to the other ingress",
    }
}
