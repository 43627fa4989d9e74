//! The accept loop: HTTP/1.1, a bounded number of connections, each of which can be cut off in the middle of anything.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::Limited;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::house::Shared;
use super::house::now;
use super::line::{Line, Reply, carry_out};
use super::vendor::Vendor;
use super::{bank, customer, lies, paypal, stripe};

const CONNECTIONS: usize = 8_192;
const BODY_LIMIT: usize = 1024 * 1024;
/// Also how long a connection may be idle.
const HEADERS_WITHIN: Duration = Duration::from_secs(75);

fn routes(house: &Shared) -> BoxedFilter<(Response,)> {
    stripe::routes(house)
        .or(paypal::routes(house))
        .unify()
        .or(bank::routes(house))
        .unify()
        .or(customer::routes(house))
        .unify()
        .or(lies::routes(house))
        .unify()
        .or(unserved(house))
        .unify()
        .recover(refuse)
        .unify()
        .boxed()
}

/// What comes to a counter, but is nothing that it serves, or is too large to be read.
fn unserved(house: &Shared) -> BoxedFilter<(Response,)> {
    let house = house.clone();
    warp::path::param::<Vendor>()
        .and(warp::any().map(now))
        .and(warp::ext::get::<Line>())
        .and(warp::any().map(move || house.clone()))
        .and_then(|vendor, arrived_at, line, house: Shared| async move {
            let reply = Reply::json(StatusCode::NOT_FOUND, &json!({ "error": "this gateway takes no such request" }));
            let conduct = house.dismiss(vendor, arrived_at, reply).await;
            carry_out(&house, line, conduct).await
        })
        .boxed()
}

/// No route.
async fn refuse(rejection: Rejection) -> Result<Response, Infallible> {
    let (status, what) = if rejection.is_not_found() {
        (StatusCode::NOT_FOUND, "there is nothing here; GET / says what this server is")
    } else if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        (StatusCode::METHOD_NOT_ALLOWED, "not with this method")
    } else {
        (StatusCode::BAD_REQUEST, "the request cannot be read")
    };
    let mut response = Response::new(json!({ "error": what }).to_string().into());
    *response.status_mut() = status;
    Ok(response)
}

/// Serves until `stop`, then lets what is under way finish.
pub async fn serve(listener: TcpListener, house: &Shared, stop: &CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let routes = routes(house);
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
            (slot, listener.accept().await)
        };
        let (slot, stream) = tokio::select! {
            () = stop.cancelled() => return,
            (slot, accepted) = accepted => match accepted {
                Ok((stream, _)) => (slot, stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (routes, stop, gone) = (routes.clone(), house.stop.clone(), house.gone.clone());
        house.tasks.spawn(async move {
            tokio::select! {
                () = connection(stream, routes, stop) => {}
                () = gone.cancelled() => {}
            }
            drop(slot);
        });
    }
}

async fn connection(stream: TcpStream, routes: BoxedFilter<(Response,)>, stop: CancellationToken) {
    stream.set_nodelay(true).ok();
    let line = Line::default();
    let service = warp::service(routes);
    let known = line.clone();
    let answered = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(|body| Limited::new(body, BODY_LIMIT));
        request.extensions_mut().insert(known.clone());
        service.clone().oneshot(request)
    });
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .serve_connection(TokioIo::new(stream), answered);
    tokio::select! {
        biased;
        () = line.cut.cancelled() => return reset(serving),
        _ = &mut serving => return,
        () = stop.cancelled() => {}
    }
    Pin::new(&mut serving).graceful_shutdown();
    tokio::select! {
        biased;
        () = line.cut.cancelled() => reset(serving),
        // It may begin only now.
        () = line.endless.cancelled() => {}
        _ = &mut serving => {}
    }
}

/// Ends a connection without a farewell.
fn reset<S: HttpService<Incoming>>(serving: http1::Connection<TokioIo<TcpStream>, S>)
where
    S::ResBody: 'static,
    <S::ResBody as Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // A caller that has left already has nothing to be reset.
    serving.into_parts().io.into_inner().set_zero_linger().ok();
}
