//! The accept loop, under clients that mean harm or know no better. Its routes here are of the tests' own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use payfleet::service::http::{self, Limits, Problem};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Filter;

use super::client::Client;

struct Port {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Lets `GET /slow` answer.
    go_on: Arc<Notify>,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn open(limits: Limits) -> Port {
    let go_on = Arc::new(Notify::new());
    let waited_for = Arc::clone(&go_on);
    let slow = warp::path!("slow").then(move || {
        let waited_for = Arc::clone(&waited_for);
        async move {
            waited_for.notified().await;
            "slow"
        }
    });
    let sink = warp::path!("sink").and(warp::post()).and(warp::body::stream()).then(|body| async move {
        match http::body::read(body, 100, Duration::from_millis(300)).await {
            Ok(bytes) => warp::reply::Response::new(bytes.len().to_string().into()),
            Err(error) => warp::Reply::into_response(Problem::from(error)),
        }
    });
    let panics = warp::path!("panics").map(|| -> &'static str { panic!("a secret of the handler") });
    let routes = slow.or(sink).or(panics).or(warp::path!("quick").map(|| "quick"));
    let listener = http::bind("127.0.0.1:0", "TEST").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(http::serve(listener, routes, "test", limits, stop.clone()));
    tasks.close();
    Port { address, stop, tasks, go_on }
}

/// A client's first words; it says no more.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

fn short() -> Limits {
    Limits { header_ms: 200, request_ms: 1_000, drain_ms: 200, ..Limits::default() }
}

#[tokio::test]
async fn a_client_that_says_nothing_or_never_ends_its_headers_is_let_go() {
    let port = open(short()).await;
    let mut silent = Client::connect(port.address).await;
    let mut half_a_preface = Client::connect(port.address).await;
    half_a_preface.send(b"PR").await;
    let mut endless = Client::connect(port.address).await;
    endless.send(b"GET /quick HTTP/1.1\r\nhost: x\r\nx-a: b\r\n").await;
    let mut idle = Client::connect(port.address).await;
    assert_eq!(idle.request("GET", "/quick", &[], b"").await.status, 200);
    let mut idle_http2 = Client::connect(port.address).await;
    idle_http2.send(HTTP2).await;
    let begin = Instant::now();
    for client in [&mut silent, &mut half_a_preface, &mut endless, &mut idle, &mut idle_http2] {
        client.closed().await;
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_full_house_says_so_at_once_and_still_hears_the_order_to_stop() {
    let port = open(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = Client::connect(port.address).await;
    assert_eq!(first.request("GET", "/quick", &[], b"").await.status, 200);
    let mut second = Client::connect(port.address).await;
    let refused = second.answer().await;
    refused.assert_problem(503, "unavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("x-request-id"), refused.json()["request_id"].as_str());
    port.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), port.tasks.wait()).await.expect("deaf to the order to stop");
}

#[tokio::test]
async fn whoever_idles_makes_room_for_requests_and_whoever_is_served_stays() {
    // Who is let go is so to make room, not because its patience with them is at an end.
    let port = open(Limits { connections: 32, undisturbed_ms: 100, header_ms: 120_000, ..Limits::default() }).await;
    let mut served = Client::connect(port.address).await;
    served.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut longest = Client::connect(port.address).await;
    assert_eq!(longest.request("GET", "/quick", &[], b"").await.status, 200);
    let mut idle = Vec::new();
    for n in 0..3 {
        for n in 0..40 {
            let mut client = Client::connect(port.address).await;
            let begins: &[u8] = [b"", b"GET /quick HTTP/1.1\r\nhost: x\r\n".as_slice(), HTTP2][n % 3];
            client.send(begins).await;
            idle.push(client);
        }
        let what = format!("a request to be let in past {} idle ones", idle.len());
        crate::harness::eventually(&what, Duration::from_secs(4), async || {
            let mut client = Client::connect(port.address).await;
            client.send(b"GET /quick HTTP/1.1\r\nhost: x\r\n\r\n").await;
            client.try_answer().await.filter(|answer| answer.status == 200).map(drop)
        })
        .await;
        assert!(n > 0 || longest.try_answer().await.is_none(), "who had been idle longest was left");
    }
    port.go_on.notify_one();
    assert_eq!(served.answer().await.body, b"slow", "a request under way was cut off");
}

#[tokio::test]
async fn one_address_does_not_get_all_connections_unless_it_is_a_proxy() {
    let port = open(Limits { connections: 3, connections_per_address: 1, ..Limits::default() }).await;
    let mut first = Client::connect(port.address).await;
    assert_eq!(first.request("GET", "/quick", &[], b"").await.status, 200);
    let refused = Client::connect(port.address).await.answer().await;
    refused.assert_problem(503, "unavailable");
    let mut elsewhere = Client::connect_from("127.0.0.2", port.address).await;
    assert_eq!(elsewhere.request("GET", "/quick", &[], b"").await.status, 200);
    let proxies = vec!["127.0.0.1".parse().unwrap()];
    let port = open(Limits { connections_per_address: 1, proxies, ..Limits::default() }).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(port.address).await;
        assert_eq!(client.request("GET", "/quick", &[], b"").await.status, 200);
        all.push(client);
    }
}

#[tokio::test]
async fn a_path_or_headers_beyond_the_bounds_are_a_problem_too() {
    let port = open(short()).await;
    let mut client = Client::connect(port.address).await;
    let long = format!("/quick?{}", "x".repeat(9_000));
    client.request("GET", &long, &[], b"").await.assert_problem(414, "uri_too_long");
    let large = "x".repeat(17_000);
    client.request("GET", "/quick", &[("x-large", &large)], b"").await.assert_problem(431, "headers_too_large");
    let names: Vec<String> = (0..70).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    client.request("GET", "/quick", &many, b"").await.assert_problem(431, "headers_too_large");
    assert_eq!(client.request("GET", "/quick", &many[..50], b"").await.status, 200);
}

#[tokio::test]
async fn every_answer_of_the_framework_is_a_problem() {
    let port = open(short()).await;
    let mut client = Client::connect(port.address).await;
    client.request("GET", "/nowhere", &[("x-request-id", "mine-1")], b"").await.assert_problem(404, "not_found");
    let again = client.request("GET", "/nowhere", &[("x-request-id", "mine-1")], b"").await;
    assert_eq!(again.json()["request_id"], "mine-1");
    assert_eq!(again.header("x-request-id"), Some("mine-1"));
    assert_eq!(again.json()["instance"], "/nowhere");
    client.request("GET", "/sink", &[], b"").await.assert_problem(405, "method_not_allowed");
    let panicked = client.request("GET", "/panics", &[], b"").await;
    panicked.assert_problem(500, "internal");
    assert!(!String::from_utf8_lossy(&panicked.body).contains("secret"), "a panic's text reached the client");
    client.request("GET", "/slow", &[], b"").await.assert_problem(503, "unavailable");
}

#[tokio::test]
async fn a_request_id_that_could_forge_a_log_line_is_replaced() {
    let port = open(short()).await;
    let mut client = Client::connect(port.address).await;
    for bad in ["two words", &"x".repeat(129)] {
        let answer = client.request("GET", "/quick", &[("x-request-id", bad)], b"").await;
        let given = answer.header("x-request-id").unwrap();
        assert!(given.len() == 32 && given != bad, "{given}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_however_it_is_sent() {
    let port = open(short()).await;
    let declared = Client::connect(port.address).await.request("POST", "/sink", &[], &[b'x'; 101]).await;
    declared.assert_problem(413, "body_too_large");
    let huge = Client::connect(port.address).await.request("POST", "/sink", &[], &vec![b'x'; 2_000_000]).await;
    huge.assert_problem(413, "body_too_large");
    let mut chunked = Client::connect(port.address).await;
    chunked.send(b"POST /sink HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    chunked.send(&[b"200\r\n".as_slice(), &[b'x'; 512], b"\r\n0\r\n\r\n"].concat()).await;
    chunked.answer().await.assert_problem(413, "body_too_large");
    let fits = Client::connect(port.address).await.request("POST", "/sink", &[], &[b'x'; 100]).await;
    assert_eq!((fits.status, fits.body.as_slice()), (200, b"100".as_slice()));
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let port = open(short()).await;
    let mut client = Client::connect(port.address).await;
    client.send(b"POST /sink HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\nabc").await;
    client.answer().await.assert_problem(408, "request_timeout");
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_is_under_way_and_takes_nothing_new() {
    let port = open(Limits { leave_ms: 0, drain_ms: 20_000, ..Limits::default() }).await;
    let mut client = Client::connect(port.address).await;
    client.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // Answered on the other connection only after the first request has been read.
    assert_eq!(Client::connect(port.address).await.request("GET", "/quick", &[], b"").await.status, 200);
    port.stop.cancel();
    is_closed(&port).await;
    port.go_on.notify_one();
    assert_eq!(client.answer().await.body, b"slow");
    client.closed().await;
    port.tasks.wait().await;
}

async fn is_closed(port: &Port) {
    crate::harness::eventually("the port to be closed", Duration::from_secs(5), || async {
        tokio::net::TcpStream::connect(port.address).await.err()
    })
    .await;
}

#[tokio::test]
async fn told_to_stop_it_goes_on_for_a_while_and_each_answer_is_the_last_of_its_connection() {
    let begun = Instant::now();
    let port = open(Limits { leave_ms: 500, drain_ms: 20_000, ..Limits::default() }).await;
    let mut kept = Client::connect(port.address).await;
    let answer = kept.request("GET", "/quick", &[], b"").await;
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    let mut idle = Client::connect(port.address).await;
    assert_eq!(idle.request("GET", "/quick", &[], b"").await.status, 200);
    port.stop.cancel();
    let mut newcomer = Client::connect(port.address).await;
    for client in [&mut kept, &mut newcomer] {
        let answer = client.request("GET", "/quick", &[], b"").await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        client.closed().await;
    }
    is_closed(&port).await;
    assert!(begun.elapsed() >= Duration::from_millis(500), "it was closed at once");
    idle.closed().await;
    port.tasks.wait().await;
}

#[tokio::test]
async fn whoever_was_connected_when_the_port_was_closed_is_still_served() {
    let port = open(Limits { leave_ms: 0, drain_ms: 20_000, ..Limits::default() }).await;
    // One thread serves and connects here: what follows until the next `await` is done before the port looks again.
    let address = port.address;
    let connect = || std::net::TcpStream::connect(address).unwrap();
    port.stop.cancel();
    let waiting: Vec<std::net::TcpStream> = (0..20).map(|_| connect()).collect();
    for stream in waiting {
        let mut client = Client::over(stream);
        let answer = client.request("GET", "/quick", &[], b"").await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        client.closed().await;
    }
    is_closed(&port).await;
    port.tasks.wait().await;
}

#[tokio::test]
async fn the_drain_has_a_deadline() {
    let port = open(Limits { drain_ms: 50, ..Limits::default() }).await;
    let mut client = Client::connect(port.address).await;
    client.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(Client::connect(port.address).await.request("GET", "/quick", &[], b"").await.status, 200);
    port.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), port.tasks.wait()).await.expect("the drain has no end");
    assert!(client.try_answer().await.is_none());
}

#[tokio::test]
async fn a_busy_port_says_how_to_choose_another() {
    let taken = http::bind("127.0.0.1:0", "PAYFLEET_INGRESS__LISTEN").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = http::bind(&format!("127.0.0.1:{port}"), "PAYFLEET_INGRESS__LISTEN").await.unwrap_err().to_string();
    assert!(error.contains(&format!("port {port} is in use")), "{error}");
    assert!(error.contains("PAYFLEET_INGRESS__LISTEN=127.0.0.1:PORT"), "{error}");
    let error = http::bind("15001", "PAYFLEET_INGRESS__LISTEN").await.unwrap_err().to_string();
    assert!(error.contains("`15001` is not an address"), "{error}");
}
