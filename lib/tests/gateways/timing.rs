//! When bytes leave, how often, and over which connection.

use std::time::{Duration, Instant};

use payfleet::domain::outcome::Outcome;
use payfleet::gateway::Deadline;

use super::wire::{KEY, Wire, deposit, gateway, is_unknown, is_unreachable, patient};

const SUCCEEDED: &str = include_str!("../../gateway/stripe/fixtures/payment_intent_succeeded.json");

#[tokio::test]
async fn a_connection_is_kept_for_the_next_call() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    let calls = async {
        for _ in 0..20 {
            let outcome = gateway.create(&payment, patient()).await;
            assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
        }
    };
    let server = async {
        let mut peer = wire.accept().await;
        for _ in 0..20 {
            peer.exchange(200, SUCCEEDED).await;
        }
    };
    tokio::join!(calls, server);
    assert!(!wire.is_called_again());
}

/// The worker thawed too late: the connection is there, but the time to send is over.
#[tokio::test]
async fn nothing_is_sent_over_a_kept_connection_after_send_by() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    let server = async {
        let mut peer = wire.accept().await;
        peer.exchange(200, SUCCEEDED).await;
        peer.request().await
    };
    let calls = async {
        gateway.create(&payment, patient()).await;
        let now = Instant::now();
        let late = Deadline { send_by: now, answer_by: now + Duration::from_secs(30) };
        gateway.create(&payment, late).await
    };
    let (outcome, sent) = tokio::join!(calls, server);
    assert!(is_unreachable(&outcome), "{outcome:?}");
    assert!(sent.is_none(), "{sent:?}");
}

/// Frozen as SIGSTOP would: the connection is made, then nothing runs until `send_by` has passed.
#[tokio::test]
async fn a_worker_frozen_between_connecting_and_sending_sends_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = gateway(&format!("http://{}", listener.local_addr().unwrap()), "stripe");
    let send_by = Instant::now() + Duration::from_millis(300);
    let deadline = Deadline { send_by, answer_by: send_by + Duration::from_secs(30) };
    let (connected, is_connected) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        connected.send(()).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut bytes).unwrap();
        bytes
    });
    let payment = deposit();
    let mut call = gateway.create(&payment, deadline);
    assert!(futures_util::poll!(&mut call).is_pending(), "it is connecting");
    // The runtime has one thread: while the test holds it, the call cannot go on, as if the process were stopped.
    is_connected.recv().unwrap();
    while Instant::now() <= send_by {
        std::thread::yield_now();
    }
    let outcome = call.await;
    assert!(is_unreachable(&outcome), "{outcome:?}");
    let sent = tokio::task::spawn_blocking(move || server.join().unwrap()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&sent), "");
}

#[tokio::test]
async fn a_post_is_not_sent_again_when_its_kept_connection_dies() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    let server = async {
        let mut peer = wire.accept().await;
        peer.exchange(200, SUCCEEDED).await;
        let second = peer.request().await.unwrap();
        drop(peer);
        second
    };
    let calls = async {
        gateway.create(&payment, patient()).await;
        gateway.create(&payment, patient()).await
    };
    let (outcome, second) = tokio::join!(calls, server);
    assert!(is_unknown(&outcome), "{outcome:?}");
    assert_eq!(second.header("idempotency-key"), Some(KEY));
    assert!(!wire.is_called_again(), "nothing is sent a second time");
}

/// A race between the gateway's closing and our sending: whoever wins, the request arrives once at most, and the outcome says which.
#[tokio::test]
async fn a_connection_closed_while_idle_never_doubles_a_request() {
    let wire = Wire::open().await;
    let gateway = gateway(&wire.url(), "stripe");
    let payment = deposit();
    for round in 0..50 {
        let first = async {
            let mut peer = wire.accept().await;
            peer.exchange(200, SUCCEEDED).await;
            peer
        };
        let (_, peer) = tokio::join!(gateway.create(&payment, patient()), first);
        drop(peer);
        let noticed = round % 2 == 0;
        if noticed {
            // Awaiting another thread lets this one look at its sockets; then whoever owns them has its turn.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let call = gateway.create(&payment, patient());
        tokio::pin!(call);
        tokio::select! {
            mut peer = wire.accept() => {
                let (outcome, request) = tokio::join!(call, async {
                    let request = peer.request().await;
                    peer.answer(200, SUCCEEDED).await;
                    drop(peer);
                    request
                });
                assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
                assert_eq!(request.unwrap().header("idempotency-key"), Some(KEY));
            }
            outcome = &mut call => assert!(is_unknown(&outcome) && !noticed, "{outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_idle_for_too_long_is_not_used_again() {
    let wire = Wire::open().await;
    let mut settings = super::wire::settings(&wire.url());
    settings.stripe.limits.idle_ms = 0;
    let gateways = payfleet::gateway::registry(&settings).unwrap();
    let gateway = gateways.get("stripe").unwrap();
    let payment = deposit();
    for _ in 0..3 {
        let server = async { wire.accept().await.exchange(200, SUCCEEDED).await };
        let (outcome, _) = tokio::join!(gateway.create(&payment, patient()), server);
        assert!(matches!(outcome, Outcome::Succeeded { .. }), "{outcome:?}");
    }
}
