//! What is done to whom, as it is counted and told.

use super::proxies::Line;
use super::schedule::{Fault, Hand};

/// Of somebody's.
pub fn act(hand: Hand, fault: &Fault) -> String {
    let what = this(fault);
    match hand {
        Hand::Place(_) | Hand::Gateways | Hand::Growth => what.to_owned(),
        Hand::Postgres => format!("PostgreSQL: {what}"),
        Hand::Kafka => format!("Kafka: {what}"),
        Hand::Redis => format!("Redis: {what}"),
        Hand::Line(line) => format!("connections to {}: {what}", far_end(line)),
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

fn far_end(line: Line) -> &'static str {
    match line {
        Line::IngressPostgres | Line::RelayPostgres | Line::WorkerPostgres => "PostgreSQL",
        Line::RelayKafka | Line::WorkerKafka => "Kafka",
        Line::Redis => "Redis",
        Line::Stripe | Line::Paypal | Line::Bank => "gateways",
        Line::Callbacks => "callbacks",
        Line::Clients1 | Line::Clients2 => "clients",
    }
}
