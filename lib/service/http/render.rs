//! The outermost layer: every error answer becomes a problem with its request's id and path, every answer is counted.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use tower::Service;

use super::Problem;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer or stranger id of the client's is replaced by one of ours: it goes into logs.
const REQUEST_ID_LENGTH: usize = 128;

/// As a response extension: the route that answered, for metrics. An answer without it counts as `unmatched`, and if it is an
/// error it is taken for one of the framework's own and given the form of a problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route(pub &'static str);

/// Wraps the service of one port.
#[derive(Clone)]
pub(super) struct Rendered<S> {
    pub inner: S,
    pub port: &'static str,
}

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<S, Q, B> Service<Request<Q>> for Rendered<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<Either<Full<Bytes>, B>>;
    type Error = S::Error;
    type Future = Pending<Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        let begin = Instant::now();
        let port = self.port;
        if request.headers().get(REQUEST_ID).is_some_and(|id| !is_plain(id)) {
            request.headers_mut().remove(REQUEST_ID);
        }
        let method = label_of(request.method());
        let path = request.uri().path().to_owned();
        let answer = self.inner.call(request);
        async move {
            let response = answer.await?;
            let route = response.extensions().get::<Route>().map_or("unmatched", |route| route.0);
            let status = response.status().as_u16().to_string();
            let labels = [("port", port), ("route", route), ("method", method)];
            metrics::histogram!("payfleet_http_request_seconds", &labels).record(begin.elapsed().as_secs_f64());
            metrics::counter!("payfleet_http_requests_total", "port" => port, "route" => route, "method" => method,
                "status" => status)
            .increment(1);
            Ok(finish(response, &path))
        }
        .boxed()
    }
}

/// Errors get their body here; everything else passes untouched.
fn finish<B>(mut response: Response<B>, path: &str) -> Response<Either<Full<Bytes>, B>> {
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>();
    let is_error = status.is_client_error() || status.is_server_error();
    let problem = match problem {
        Some(problem) => problem,
        None if is_error && response.extensions().get::<Route>().is_none() => Problem::of_status(status),
        None => return response.map(Either::Right),
    };
    let request_id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok().map(str::to_owned));
    let body = problem.to_json(request_id.as_deref(), Some(path));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    problem.put_headers(response.headers_mut());
    if status == StatusCode::PAYLOAD_TOO_LARGE || status == StatusCode::REQUEST_TIMEOUT {
        // Bytes of the request may still be on their way: they must not be taken for the next one.
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response.map(|_| Either::Left(Full::new(body.into())))
}

fn is_plain(id: &header::HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=REQUEST_ID_LENGTH).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// A client may send any word as a method; a metric must not grow by it.
fn label_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
