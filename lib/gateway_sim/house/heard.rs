//! What a caller hears of a request, when lies come in between.

use super::House;
use super::order::lied;
use crate::gateway_sim::charge_log::{Answer, Entry};
use crate::gateway_sim::lies::{Effect, Lie};
use crate::gateway_sim::line::{Conduct, Reply};
use crate::gateway_sim::spoil::Spoil;
use crate::gateway_sim::vendor::Vendor;

/// Why there is no answer to the request itself. Executed or not, the caller does not hear of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denial {
    Unanswered,
    Cut,
    ServerError,
    TooMany,
}

/// How a vendor words denials.
pub struct Denials {
    pub server_error: fn() -> Reply,
    pub too_many: fn() -> Reply,
}

impl Denials {
    fn conduct(&self, denial: Denial) -> Conduct {
        match denial {
            Denial::Unanswered => Conduct::Silence,
            Denial::Cut => Conduct::Cut,
            Denial::ServerError => (self.server_error)().into(),
            Denial::TooMany => (self.too_many)().into(),
        }
    }
}

/// What there is to be told, and whether it arrives.
pub struct Heard<T> {
    told: Result<T, Denial>,
    spoilt: Option<Spoil>,
}

impl<T> Heard<T> {
    pub(super) fn of(told: T, lie: Option<Lie>) -> Self {
        match lie.map(Lie::effect) {
            Some(Effect::Denied(denial)) => Self { told: Err(denial), spoilt: None },
            Some(Effect::Spoilt(spoil)) => Self { told: Ok(told), spoilt: Some(spoil) },
            Some(Effect::OfPayment) | None => Self { told: Ok(told), spoilt: None },
        }
    }

    /// The answer in the vendor's words.
    pub fn answered(self, denials: &Denials, words: impl FnOnce(T) -> Conduct) -> Conduct {
        match self.told {
            Ok(told) => words(told).spoilt(self.spoilt),
            Err(denial) => denials.conduct(denial),
        }
    }
}

/// What the log says of a request.
pub(super) fn logged(done: Answer, lie: Option<Lie>) -> Answer {
    lie.map_or(done, |lie| lie.logged(done))
}

/// Lets a request in, or says what is logged and heard of it when it is not. `judged`: what an honest gateway would do.
pub(super) fn admit<P, T>(judged: Result<P, (Answer, T)>, lie: Option<Lie>) -> Result<P, (Answer, Heard<T>)> {
    match (judged, lie.map(|lie| (lie, lie.effect()))) {
        (Ok(_), Some((lie, Effect::Denied(denial)))) if lie.comes_before() => {
            Err((lie.logged(Answer::Refused), Heard { told: Err(denial), spoilt: None }))
        }
        (Ok(place), _) => Ok(place),
        (Err((answer, told)), _) => Err((logged(answer, lie), Heard::of(told, lie))),
    }
}

impl House {
    /// What a request that concerns no payment meets, with the line that says so.
    pub(super) fn outage(&self, vendor: Vendor) -> Option<(Entry, Conduct)> {
        let lie = self.desk.outage(vendor)?;
        let conduct = if lie == Lie::Frozen { Conduct::Silence } else { Conduct::Cut };
        Some((Entry::Lied(lied(vendor, lie, None)), conduct))
    }
}
