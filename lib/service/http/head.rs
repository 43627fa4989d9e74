//! The bounds of a request's line and headers. The protocol's own are wider, because what it refuses by itself has no body.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, StatusCode};
use tower::Service;
use warp::Reply;
use warp::reply::Response;

use super::Problem;

/// Path and query.
const URI_BYTES: usize = 8 * 1024;
/// Names and values of all headers.
pub(super) const HEADER_BYTES: usize = 16 * 1024;
pub(super) const HEADERS: usize = 64;

/// Answers what is out of bounds before the routes see it.
#[derive(Clone)]
pub(super) struct Bounded<S>(pub S);

impl<S, Q> Service<Request<Q>> for Bounded<S>
where
    S: Service<Request<Q>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        match fault(&request) {
            None => Either::Left(self.0.call(request)),
            Some(status) => Either::Right(ready(Ok(Problem::of_status(status).into_response()))),
        }
    }
}

fn fault<Q>(request: &Request<Q>) -> Option<StatusCode> {
    let uri = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if uri > URI_BYTES {
        Some(StatusCode::URI_TOO_LONG)
    } else if headers.len() > HEADERS || bytes > HEADER_BYTES {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        None
    }
}
