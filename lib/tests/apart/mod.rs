//! Gateways are kept apart: one that is ill is left alone, what was never sent to it goes elsewhere or waits, what was sent waits for it.

mod door;

use std::sync::Arc;

use futures_util::future::join_all;
use payfleet::domain::decide::news::Source;
use payfleet::domain::ids::Kind;
use payfleet::domain::transaction::Status;
use payfleet::gateway::breaker::Settings;
use payfleet::gateway::{Gateway, registry};
use payfleet::worker::attempt::Attempts;
use uuid::Uuid;

use self::door::{Door, Manner};
use crate::harness::eventually;
use crate::harness::payments::Fleet;
use crate::settlement::succeeded;
use crate::simulator::adapters;
use crate::simulator::running::{Running, SOON};
use crate::worker::latest_command;

/// So many failures open the breaker.
const FAILURES: usize = 3;
const CALL_MS: u64 = 4_000;

/// Stripe's adapter before the simulator, with a door between them.
struct Stand {
    sim: Running,
    door: Door,
    stripe: Arc<dyn Gateway>,
    fleet: Fleet,
    attempts: Attempts,
}

impl Stand {
    async fn new(manner: Manner, rest_ms: u64) -> Self {
        let sim = Running::start().await;
        let door = Door::of(&sim.base, manner).await;
        let mut settings = adapters::settings(&door.base);
        settings.stripe.limits.call_ms = CALL_MS;
        settings.stripe.limits.breaker =
            Settings { calls: 4, failures: FAILURES, rest_ms, longest_rest_ms: rest_ms, probes: 1 };
        let stripe = registry(&settings).unwrap().get("stripe").unwrap().clone();
        let fleet = Fleet::with_stripe(0, stripe.clone()).await;
        let attempts = Attempts::new(fleet.settlement.clone());
        Self { sim, door, stripe, fleet, attempts }
    }

    async fn accepted(&self, count: usize) -> Vec<Uuid> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.fleet.accepted(Kind::Deposit, 500).await);
        }
        ids
    }

    /// The first command of each, all at once.
    async fn handled(&self, ids: &[Uuid]) {
        for handled in join_all(ids.iter().map(|id| self.attempts.handle(Fleet::first_command(*id)))).await {
            handled.unwrap();
        }
    }

    /// Payments whose calls failed: the breaker is open, and nobody knows what became of them.
    async fn opened(&self) -> Vec<Uuid> {
        let ids = self.accepted(FAILURES).await;
        self.handled(&ids).await;
        for id in &ids {
            assert_eq!(self.fleet.status(*id).await.0, "unknown");
        }
        assert!(!self.stripe.admits());
        ids
    }

    async fn attempts_at_stripe(&self) -> i64 {
        self.fleet.count("SELECT count(*) FROM attempts WHERE gateway = 'stripe'").await
    }

    fn calls_at_bank(&self) -> usize {
        self.fleet.bank.calls.lock().unwrap().len()
    }
}

/// (gateway, position in the question schedule, seconds until it is due)
async fn stands(fleet: &Fleet, id: Uuid) -> (String, i16, f64) {
    sqlx::query_as("SELECT gateway, asks, extract(epoch FROM due_at - now())::float8 FROM transactions WHERE id = $1")
        .bind(id)
        .fetch_one(&fleet.database.owner)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_time_outs_what_was_never_sent_goes_to_the_next_gateway_and_what_was_sent_waits_for_its_question() {
    let stand = Stand::new(Manner::Silent, 600_000).await;
    let sent = stand.opened().await;
    let heard = stand.sim.log().len();

    let fresh = stand.accepted(1).await[0];
    stand.handled(&[fresh]).await;
    assert_eq!(
        (stand.fleet.status(fresh).await.0.as_str(), stands(&stand.fleet, fresh).await.0.as_str()),
        ("created", "bank")
    );
    stand.fleet.bank.then(succeeded(500));
    stand.attempts.handle(latest_command(&stand.fleet).await).await.unwrap();
    assert_eq!(stand.fleet.status(fresh).await.0, "succeeded");

    for id in &sent {
        stand.fleet.settlement.fell_due(*id).await.unwrap();
        let (gateway, asks, due_s) = stands(&stand.fleet, *id).await;
        assert_eq!((stand.fleet.status(*id).await.0.as_str(), gateway.as_str(), asks), ("unknown", "stripe", 0));
        assert!(due_s > 300.0, "asked again in {due_s} s, while the breaker rests for 600");
    }
    assert_eq!(stand.sim.log().len(), heard, "nobody asked");
    assert_eq!((stand.attempts_at_stripe().await, stand.calls_at_bank()), (FAILURES as i64, 1));
    assert_eq!(stand.sim.charges().len(), FAILURES, "each was charged, and only there");
    stand.sim.end().await;
}

/// Its question was ordered before it ended: what it was to find out is known since.
#[tokio::test(flavor = "multi_thread")]
async fn while_calls_fail_a_payment_that_has_ended_is_neither_asked_about_nor_woken() {
    let stand = Stand::new(Manner::Silent, 600_000).await;
    let id = stand.opened().await[0];
    let settlement = &stand.fleet.settlement;
    let (open, asked_at) = settlement.load(id).await.unwrap();
    let attempt = open.current_attempt().unwrap().id;
    let source = Source::Answer { asked_at, delivered: true };
    settlement.learn(id, attempt, source, &succeeded(500), None).await.unwrap();
    let (ended, now) = settlement.load(id).await.unwrap();
    assert_eq!((ended.status, ended.is_due), (Status::Succeeded, false));
    let heard = stand.sim.log().len();
    settlement.ask(&ended, attempt, now, true).await.unwrap();
    assert_eq!((stand.sim.log().len(), settlement.load(id).await.unwrap().0.is_due), (heard, false));
    stand.sim.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_only_gateway_fails_a_payment_waits_and_is_paid_once_it_is_back() {
    let stand = Stand::new(Manner::Failing, 5_000).await;
    let sent = stand.opened().await;
    let waiting = stand.accepted(1).await[0];
    sqlx::query("UPDATE transactions SET pinned_gateway = 'stripe'")
        .execute(&stand.fleet.database.owner)
        .await
        .unwrap();
    stand.handled(&[waiting]).await;
    let (gateway, _, due_s) = stands(&stand.fleet, waiting).await;
    assert_eq!((stand.fleet.status(waiting).await, gateway.as_str()), (("created".into(), 1), "stripe"));
    assert!(due_s > 0.0);
    assert_eq!((stand.door.failed(), stand.attempts_at_stripe().await), (FAILURES, FAILURES as i64));

    stand.door.becomes(Manner::Open);
    stand.fleet.passed().await;
    eventually("its command, once the breaker has rested", SOON, async || {
        stand.fleet.settlement.fell_due(waiting).await.unwrap();
        (stand.fleet.status(waiting).await == ("created".into(), 2)).then_some(())
    })
    .await;
    stand.attempts.handle(latest_command(&stand.fleet).await).await.unwrap();
    assert_eq!((stand.fleet.status(waiting).await.0.as_str(), stand.fleet.balances().await.0), ("succeeded", 500));
    assert_eq!(stand.sim.charges().len(), 1);

    // That was the probe: from now on many at once are let in, and the others are asked about at last.
    let passes = [stand.stripe.admit(), stand.stripe.admit()];
    assert!(passes.iter().all(Result::is_ok));
    stand.fleet.settlement.fell_due(sent[0]).await.unwrap();
    assert_eq!((stand.fleet.status(sent[0]).await.0.as_str(), stands(&stand.fleet, sent[0]).await.1), ("unknown", 1));
    assert_eq!(stand.calls_at_bank(), 0);
    stand.sim.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_payments_one_tries_whether_its_gateway_is_back_and_the_others_go_on() {
    let stand = Stand::new(Manner::Silent, 3_000).await;
    stand.opened().await;
    eventually("the rest to be over", SOON, async || stand.stripe.admits().then_some(())).await;
    let many = stand.accepted(5).await;
    stand.handled(&many).await;
    assert_eq!(stand.attempts_at_stripe().await, FAILURES as i64 + 1);
    let elsewhere = "SELECT count(*) FROM transactions WHERE status = 'created' AND gateway = 'bank'";
    assert_eq!(stand.fleet.count(elsewhere).await, 4);
    assert!(!stand.stripe.admits(), "the probe was not answered");
    stand.sim.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn declines_rejections_and_rate_limits_leave_the_breaker_closed() {
    let (status, wire) = (Arc::new(std::sync::Mutex::new(0_u16)), crate::gateways::wire::Wire::open().await);
    let mut settings = crate::gateways::wire::settings(&wire.url());
    settings.stripe.limits.breaker = Settings { calls: 4, failures: 1, ..Settings::default() };
    let stripe = registry(&settings).unwrap().get("stripe").unwrap().clone();
    let answering = status.clone();
    tokio::spawn(async move {
        loop {
            let mut peer = wire.accept().await;
            while peer.request().await.is_some() {
                let status = *answering.lock().unwrap();
                peer.answer(status, r#"{"error": {"type": "card_error", "code": "card_declined", "message": "No."}}"#)
                    .await;
            }
        }
    });
    let payment = crate::gateways::wire::deposit();
    for answer in [400, 401, 402, 404, 409, 422, 429] {
        *status.lock().unwrap() = answer;
        stripe.create(&payment, crate::gateways::wire::patient()).await;
        assert!(stripe.admits(), "{answer} opened it");
    }
    *status.lock().unwrap() = 500;
    stripe.create(&payment, crate::gateways::wire::patient()).await;
    assert!(!stripe.admits());
}
