//! A request at the door, in one round trip: its cached credential, its rate limit, and its idempotency key.

use ::redis::Script;

use super::rate_limit::{self, Limit, Quota};
use super::{Away, Claim, Claimed, Redis};

#[derive(Clone, Debug)]
pub struct Admission<'a> {
    /// The credential's hash as text.
    pub credential: &'a str,
    /// None: exempt.
    pub quota: Option<Quota>,
    pub claim: Option<&'a Claim>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admitted {
    /// As it was cached. None: not cached, and nothing was counted or claimed.
    pub credential: Option<Vec<u8>>,
    /// None: exempt.
    pub limit: Option<Limit>,
    /// None: not asked for, or beyond the limit.
    pub claimed: Option<Claimed>,
}

pub(super) fn script() -> Script {
    Script::new(&format!("{}\n{}", rate_limit::FUNCTION, include_str!("admit.lua")))
}

impl Redis {
    pub async fn admit(&self, admission: Admission<'_>) -> Result<Admitted, Away> {
        let mut manager = self.manager.clone();
        let mut invocation = self.scripts.admit.prepare_invoke();
        invocation.key(super::cache::credential(admission.credential)).key(rate_limit::bucket(admission.credential));
        invocation.arg(admission.quota.map_or(0, Quota::interval_us));
        invocation.arg(admission.quota.map_or(0, |quota| quota.burst));
        if let Some(claim) = admission.claim {
            invocation.key(claim.name.as_str());
            invocation.arg(claim.token.as_bytes()).arg(claim.lasts.as_millis() as u64);
        }
        let (credential, limit, found): (Option<Vec<u8>>, Option<Limit>, Option<Vec<u8>>) =
            self.call("admit", async { invocation.invoke_async(&mut manager).await }).await?;
        let taken = credential.is_some() && limit.is_none_or(|limit| limit.allowed);
        let claimed = admission.claim.filter(|_| taken).map(|_| Claimed::from_value(found));
        Ok(Admitted { credential, limit, claimed })
    }
}
