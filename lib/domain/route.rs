//! Which gateway a payment goes to: by country and currency, in priority order.

use super::destination::DestinationKind;
use super::ids::Kind;
use super::transaction::{Attempt, AttemptState};

/// A row of the routes table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    pub country: Option<String>,
    pub currency: Option<String>,
    pub priority: i16,
    pub gateway: String,
}

/// What a gateway can do, as its adapter declares, and whether it is to be sent anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewayState {
    pub name: String,
    /// By an operator: no payment is sent to it any more.
    pub paused: bool,
    /// As this process sees it, calls fail: none is begun, of whatever kind.
    pub away: bool,
    pub pays_to: Vec<DestinationKind>,
}

impl GatewayState {
    /// Whether a payment may be sent to it now.
    pub fn takes_payments(&self) -> bool {
        !self.paused && !self.away
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub kind: Kind,
    pub country: &'a str,
    pub currency: &'a str,
    pub pinned: Option<&'a str>,
    pub destination: Option<DestinationKind>,
}

/// The gateways that may carry the payment, in order. Those that cannot pay to this kind of destination are dropped first; then the
/// most specific group that has any left ((country, currency), (any, currency), default) is taken. A pinned gateway replaces the group.
pub fn candidates<'a>(routes: &'a [Route], gateways: &'a [GatewayState], wanted: Wanted<'a>) -> Vec<&'a str> {
    let able = |name: &&str| {
        let gateway = gateways.iter().find(|gateway| gateway.name == *name);
        match (gateway, wanted.kind, wanted.destination) {
            (Some(gateway), Kind::Withdrawal, Some(kind)) => gateway.pays_to.contains(&kind),
            (Some(_), _, _) => true,
            (None, _, _) => false,
        }
    };
    if let Some(pinned) = wanted.pinned {
        return Some(pinned).into_iter().filter(able).collect();
    }
    let groups = [(Some(wanted.country), Some(wanted.currency)), (None, Some(wanted.currency)), (None, None)];
    groups
        .into_iter()
        .map(|group| {
            let of_group = routes.iter().filter(|r| (r.country.as_deref(), r.currency.as_deref()) == group);
            let mut rows: Vec<&Route> = of_group.filter(|route| able(&route.gateway.as_str())).collect();
            rows.sort_by_key(|route| route.priority);
            rows
        })
        .find(|rows| !rows.is_empty())
        .map(|rows| rows.into_iter().map(|route| route.gateway.as_str()).collect())
        .unwrap_or_default()
}

/// What follows for a payment that has not reached any gateway's books.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next<'a> {
    /// Try this one, in this round.
    Try { gateway: &'a str, round: i16 },
    /// Each was tried in this round, or takes none now: wait, then begin the next round with the first that may still take it.
    Wait { gateway: &'a str, round: i16 },
    /// No gateway takes it: each has refused it for good, or was in doubt.
    Nowhere,
}

/// The next gateway after the definite refusals in `attempts`. One that rejected the payment (a documented reject) is never asked
/// again, nor one that was in doubt; one that was unreachable or said "later" is asked again in the next round.
pub fn next<'a>(candidates: &[&'a str], gateways: &[GatewayState], attempts: &[Attempt], round: i16) -> Next<'a> {
    let comes_again = |state| matches!(state, AttemptState::Unreachable | AttemptState::Later);
    let rejected = |name: &str| attempts.iter().any(|a| a.gateway == name && !comes_again(a.state));
    let tried = |name: &str| attempts.iter().any(|a| a.gateway == name && a.round == round);
    let closed = |name: &str| gateways.iter().any(|gateway| gateway.name == name && !gateway.takes_payments());
    let open: Vec<&'a str> = candidates.iter().copied().filter(|name| !rejected(name)).collect();
    match open.iter().find(|name| !tried(name) && !closed(name)) {
        Some(gateway) => Next::Try { gateway, round },
        None => match open.iter().find(|name| !closed(name)).or(open.first()) {
            Some(gateway) => Next::Wait { gateway, round: round + 1 },
            None => Next::Nowhere,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(country: Option<&str>, currency: Option<&str>, priority: i16, gateway: &str) -> Route {
        Route {
            country: country.map(Into::into),
            currency: currency.map(Into::into),
            priority,
            gateway: gateway.into(),
        }
    }

    fn gateways() -> Vec<GatewayState> {
        let gateway = |name: &str, pays_to: &[DestinationKind]| GatewayState {
            name: name.into(),
            paused: false,
            away: false,
            pays_to: pays_to.to_vec(),
        };
        vec![
            gateway("stripe", &[DestinationKind::Token]),
            gateway("paypal", &[DestinationKind::Email]),
            gateway("bank", &[DestinationKind::Iban, DestinationKind::AccountNumber]),
        ]
    }

    fn routes() -> Vec<Route> {
        vec![
            route(Some("DE"), Some("EUR"), 2, "paypal"),
            route(Some("DE"), Some("EUR"), 1, "stripe"),
            route(Some("DE"), Some("EUR"), 3, "bank"),
            route(None, Some("EUR"), 1, "paypal"),
            route(None, None, 1, "bank"),
        ]
    }

    fn wanted<'a>(country: &'a str, currency: &'a str) -> Wanted<'a> {
        Wanted { kind: Kind::Deposit, country, currency, pinned: None, destination: None }
    }

    #[test]
    fn the_most_specific_group_wins_in_priority_order() {
        let (routes, gateways) = (routes(), gateways());
        assert_eq!(candidates(&routes, &gateways, wanted("DE", "EUR")), ["stripe", "paypal", "bank"]);
        assert_eq!(candidates(&routes, &gateways, wanted("FR", "EUR")), ["paypal"]);
        assert_eq!(candidates(&routes, &gateways, wanted("DE", "USD")), ["bank"]);
    }

    #[test]
    fn a_withdrawal_goes_only_where_its_destination_can_be_paid() {
        let (routes, gateways) = (routes(), gateways());
        let mut payout = wanted("DE", "EUR");
        payout.kind = Kind::Withdrawal;
        payout.destination = Some(DestinationKind::Iban);
        assert_eq!(candidates(&routes, &gateways, payout), ["bank"]);
        payout.pinned = Some("stripe");
        assert!(candidates(&routes, &gateways, payout).is_empty());
    }

    #[test]
    fn a_group_in_which_nobody_can_pay_a_withdrawal_leaves_it_to_the_next() {
        let (routes, gateways) = (routes(), gateways());
        let mut payout = wanted("FR", "EUR");
        payout.kind = Kind::Withdrawal;
        payout.destination = Some(DestinationKind::Iban);
        assert_eq!(candidates(&routes, &gateways, payout), ["bank"]);
        payout.destination = Some(DestinationKind::Token);
        assert!(candidates(&routes, &gateways, payout).is_empty());
    }

    fn attempt(number: i16, round: i16, gateway: &str, state: AttemptState) -> Attempt {
        Attempt {
            id: uuid::Uuid::now_v7(),
            number,
            round,
            gateway: gateway.into(),
            state,
            reference: None,
            not_found: 0,
            not_found_at: None,
            created_at: time::OffsetDateTime::UNIX_EPOCH,
            operations: Vec::new(),
        }
    }

    #[test]
    fn a_short_outage_of_all_gateways_waits_and_begins_again() {
        let tried =
            [attempt(1, 0, "stripe", AttemptState::Unreachable), attempt(2, 0, "paypal", AttemptState::Rejected)];
        let all = ["stripe", "paypal"];
        assert_eq!(next(&all, &gateways(), &tried[..1], 0), Next::Try { gateway: "paypal", round: 0 });
        assert_eq!(next(&all, &gateways(), &tried, 0), Next::Wait { gateway: "stripe", round: 1 });
        assert_eq!(next(&all, &gateways(), &tried, 1), Next::Try { gateway: "stripe", round: 1 });
        assert_eq!(next(&["paypal"], &gateways(), &tried, 0), Next::Nowhere);
    }

    #[test]
    fn a_gateway_that_may_have_executed_what_it_refused_gets_no_second_attempt() {
        for state in [AttemptState::Unknown, AttemptState::NotExecuted, AttemptState::Declined] {
            let tried = [attempt(1, 0, "stripe", state), attempt(2, 0, "paypal", AttemptState::Later)];
            let after = next(&["stripe", "paypal"], &gateways(), &tried, 0);
            assert_eq!(after, Next::Wait { gateway: "paypal", round: 1 }, "{state:?}");
        }
    }

    #[test]
    fn a_gateway_that_is_paused_or_away_is_passed_over() {
        for (paused, away) in [(true, false), (false, true), (true, true)] {
            let mut gateways = gateways();
            (gateways[0].paused, gateways[0].away) = (paused, away);
            assert_eq!(next(&["stripe", "paypal"], &gateways, &[], 0), Next::Try { gateway: "paypal", round: 0 });
            assert_eq!(next(&["stripe"], &gateways, &[], 0), Next::Wait { gateway: "stripe", round: 1 });
        }
    }
}
