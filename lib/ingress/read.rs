//! `GET /v1/transactions/{id}` and `GET /v1/balance`.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response as HttpResponse};
use tokio::sync::OwnedSemaphorePermit;
use warp::reply::Response;

use super::accept::Told;
use super::door::{Asking, Passed};
use super::routes::Request;
use super::waiting::Until;
use super::{Ingress, refusal, represent};
use crate::accounts;
use crate::domain::ids::PublicId;
use crate::service::http::{FieldError, Problem};
use crate::transactions::resource::{self, Resource};

const LONGEST_WAIT_S: u64 = 30;
/// How long `refresh=true` waits for the gateway's word, if the client does not say.
const REFRESH_WAIT: Duration = Duration::from_secs(10);

/// What a reader asks for beside the payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Query {
    wait: Option<Duration>,
    refresh: bool,
}

impl Query {
    fn read(text: &str) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(text)
            .map_err(|_| refusal::invalid_query(FieldError::new("query", "malformed", "cannot be read")))?;
        let mut query = Self::default();
        for (name, value) in pairs {
            let wrong = |code, message| {
                refusal::invalid_query(FieldError::new(name.chars().take(40).collect::<String>(), code, message))
            };
            match name.as_str() {
                "wait" => {
                    let seconds: u64 = value
                        .parse()
                        .ok()
                        .filter(|seconds| *seconds <= LONGEST_WAIT_S)
                        .ok_or_else(|| wrong("out_of_range", "must be a number of seconds from 0 to 30"))?;
                    query.wait = Some(Duration::from_secs(seconds));
                }
                "refresh" if value == "true" => query.refresh = true,
                "refresh" if value == "false" => {}
                "refresh" => return Err(wrong("not_a_boolean", "must be true or false")),
                _ => return Err(wrong("unknown_parameter", "is not a parameter of this request")),
            }
        }
        Ok(query)
    }
}

pub(super) async fn payment(ingress: &Ingress, id: &str, query: &str, request: &Request) -> Told {
    with_room(ingress, request, async |passed, room| {
        let query = Query::read(query)?;
        let id: PublicId = id.parse().map_err(|_| refusal::no_such_payment())?;
        if query == Query::default() {
            return standing(ingress, id, passed).await.map(json);
        }
        let resource = load(ingress, id, passed).await?;
        let resource = watched(ingress, resource, query, passed, room).await?;
        Ok(json(represent::payment(&resource)))
    })
    .await
}

pub(super) async fn balance(ingress: &Ingress, request: &Request) -> Told {
    with_room(ingress, request, async |passed, _room| {
        let reading = async {
            let mut connection = ingress.pool.acquire().await?;
            accounts::balances(&mut connection, passed.credential.user_id).await
        };
        let balances = ingress.read(reading).await?;
        Ok(json(represent::balances(&balances)))
    })
    .await
}

async fn with_room(
    ingress: &Ingress,
    request: &Request,
    read: impl AsyncFnOnce(&Passed, OwnedSemaphorePermit) -> Result<Response, Problem>,
) -> Told {
    let Ok(room) = Arc::clone(&ingress.reading).try_acquire_owned() else { return (Err(refusal::overloaded()), None) };
    let asking = Asking { headers: &request.headers, peer: request.peer, ordering: None };
    match ingress.door.pass(asking).await {
        Ok(passed) => (read(&passed, room).await, passed.limit),
        Err((problem, limit)) => (Err(problem), limit),
    }
}

/// The payment now. A final one is kept in Redis by its version; that version is asked of PostgreSQL each time, so that what was
/// reversed since, or restored from an old copy, is never shown.
async fn standing(ingress: &Ingress, id: PublicId, passed: &Passed) -> Result<Vec<u8>, Problem> {
    let standing = ingress.read(resource::standing(&ingress.pool, id, passed.credential.user_id)).await?;
    let standing = standing.ok_or_else(refusal::no_such_payment)?;
    if !standing.status.is_final() {
        return load(ingress, id, passed).await.map(|resource| represent::payment(&resource));
    }
    let kept = ingress.redis.payment(id.id, standing.version).await;
    let result = if matches!(kept, Ok(Some(_))) { "hit" } else { "miss" };
    metrics::counter!("payfleet_cache_lookups_total", "cache" => "payment", "result" => result).increment(1);
    if let Ok(Some(kept)) = kept {
        return Ok(kept);
    }
    let resource = load(ingress, id, passed).await?;
    let shown = represent::payment(&resource);
    if kept.is_ok() && resource.status.is_final() {
        ingress.redis.keep_payment(id.id, resource.version, &shown).await.ok();
    }
    Ok(shown)
}

pub(super) async fn load(ingress: &Ingress, id: PublicId, passed: &Passed) -> Result<Resource, Problem> {
    let reading = async {
        let mut connection = ingress.pool.acquire().await?;
        resource::load(&mut connection, &[id.id]).await
    };
    let found = ingress.read(reading).await?;
    // Another user's payment is not there, to whoever asks.
    let mine = |resource: &Resource| resource.user_id == passed.credential.user_id && resource.id == id;
    found.into_iter().find(mine).ok_or_else(refusal::no_such_payment)
}

/// Waits in a place of its own: whoever only reads needs the room in which all read.
async fn watched(
    ingress: &Ingress,
    resource: Resource,
    query: Query,
    passed: &Passed,
    room: OwnedSemaphorePermit,
) -> Result<Resource, Problem> {
    let limit = query.wait.unwrap_or(if query.refresh { REFRESH_WAIT } else { Duration::ZERO });
    let waits = !resource.status.is_final() && !limit.is_zero();
    let place = waits.then(|| ingress.waiters.take(Some(passed.credential.key_id))).transpose();
    let _place = place.map_err(refusal::nowhere_to_wait)?;
    let until = if query.refresh {
        ingress.door.may_refresh(&passed.credential).await?;
        let asked = ingress.read(resource::look_now(&ingress.pool, resource.id.id)).await?;
        if !asked {
            return Ok(resource);
        }
        Until::LookedAt { version: resource.version, asks: resource.asks }
    } else {
        Until::StatusIsNot(resource.status.public().0)
    };
    if !waits {
        return Ok(resource);
    }
    drop(room);
    match ingress.waiting.wait(resource.id.id, until, limit).await {
        Some(changed) => Ok(changed),
        // The time is over: as it stands now.
        None => load(ingress, resource.id, passed).await,
    }
}

pub(super) fn json(body: Vec<u8>) -> Response {
    let mut response = HttpResponse::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(represent::JSON));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_only_if_all_of_it_is_understood() {
        let wait = |seconds| Query { wait: Some(Duration::from_secs(seconds)), refresh: false };
        assert_eq!(Query::read("").unwrap(), Query::default());
        assert_eq!(Query::read("wait=30").unwrap(), wait(30));
        assert_eq!(Query::read("refresh=true").unwrap(), Query { wait: None, refresh: true });
        for bad in ["wait=31", "wait=-1", "wait=", "refresh=yes", "expand=all"] {
            assert_eq!(Query::read(bad).unwrap_err().code, "invalid_query", "{bad}");
        }
    }
}
