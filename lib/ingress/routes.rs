//! The paths of the API. Once a path fits, every answer is made by its handler: a rejection only means "not my path".

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::accept::Told;
use super::{Ingress, accept, cancel, door, read};
use crate::domain::ids::Kind;
use crate::service::http::{Peer, Problem, Route};

/// What handlers need of a request, beside its body.
pub(super) struct Request {
    pub headers: HeaderMap,
    pub peer: Option<Peer>,
}

impl Request {
    pub(super) fn has_json(&self) -> bool {
        let given = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = given.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    }
}

pub(super) fn api(ingress: Arc<Ingress>) -> BoxedFilter<(Response,)> {
    let deposits = orders(&ingress, Kind::Deposit, warp::path!("v1" / "deposits").boxed(), "/v1/deposits");
    let withdrawals = orders(&ingress, Kind::Withdrawal, warp::path!("v1" / "withdrawals").boxed(), "/v1/withdrawals");
    let payments = payment(&ingress).or(cancelling(&ingress)).unify();
    deposits.or(withdrawals).unify().or(payments).unify().or(balance(&ingress)).unify().boxed()
}

fn orders(ingress: &Arc<Ingress>, kind: Kind, path: BoxedFilter<()>, route: &'static str) -> BoxedFilter<(Response,)> {
    let ingress = Arc::clone(ingress);
    path.and(warp::method())
        .and(request())
        .and(warp::body::stream())
        .then(move |method: Method, request: Request, stream| {
            let ingress = Arc::clone(&ingress);
            async move {
                let told = match method {
                    Method::POST => accept::handle(&ingress, kind, request, stream).await,
                    _ => (Err(Problem::method_not_allowed("POST")), None),
                };
                finish(&ingress, told, route)
            }
        })
        .boxed()
}

fn payment(ingress: &Arc<Ingress>) -> BoxedFilter<(Response,)> {
    let ingress = Arc::clone(ingress);
    warp::path!("v1" / "transactions" / String)
        .and(warp::method())
        .and(request())
        .and(query())
        .then(move |id: String, method: Method, request: Request, query: String| {
            let ingress = Arc::clone(&ingress);
            async move {
                let told = match method {
                    Method::GET | Method::HEAD => read::payment(&ingress, &id, &query, &request).await,
                    _ => (Err(Problem::method_not_allowed("GET, HEAD")), None),
                };
                finish(&ingress, told, "/v1/transactions/{id}")
            }
        })
        .boxed()
}

fn cancelling(ingress: &Arc<Ingress>) -> BoxedFilter<(Response,)> {
    let ingress = Arc::clone(ingress);
    warp::path!("v1" / "transactions" / String / "cancel")
        .and(warp::method())
        .and(request())
        .then(move |id: String, method: Method, request: Request| {
            let ingress = Arc::clone(&ingress);
            async move {
                let told = match method {
                    Method::POST => cancel::handle(&ingress, &id, &request).await,
                    _ => (Err(Problem::method_not_allowed("POST")), None),
                };
                finish(&ingress, told, "/v1/transactions/{id}/cancel")
            }
        })
        .boxed()
}

fn balance(ingress: &Arc<Ingress>) -> BoxedFilter<(Response,)> {
    let ingress = Arc::clone(ingress);
    warp::path!("v1" / "balance")
        .and(warp::method())
        .and(request())
        .then(move |method: Method, request: Request| {
            let ingress = Arc::clone(&ingress);
            async move {
                let told = match method {
                    Method::GET | Method::HEAD => read::balance(&ingress, &request).await,
                    _ => (Err(Problem::method_not_allowed("GET, HEAD")), None),
                };
                finish(&ingress, told, "/v1/balance")
            }
        })
        .boxed()
}

fn request() -> BoxedFilter<(Request,)> {
    warp::header::headers_cloned()
        .and(warp::ext::optional::<Peer>())
        .map(|headers, peer| Request { headers, peer })
        .boxed()
}

/// The query as it came; none is an empty one.
fn query() -> BoxedFilter<(String,)> {
    warp::query::raw().or(warp::any().map(String::new)).unify().boxed()
}

fn finish(ingress: &Ingress, (told, limit): Told, route: &'static str) -> Response {
    let mut response = told.unwrap_or_else(Reply::into_response);
    door::tell_limit(response.headers_mut(), ingress.settings.quota, limit);
    response.extensions_mut().insert(Route(route));
    response
}
