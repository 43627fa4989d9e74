//! What each amount with a meaning does, at each gateway.

use std::time::Duration;

use futures_util::future::join_all;
use payfleet::domain::ids::Operation;
use payfleet::gateway_sim::behaviour::TABLE;
use payfleet::gateway_sim::charge_log::{Answer, Entry, Fate, standings};
use payfleet::gateway_sim::lies::Lie;
use reqwest::RequestBuilder;
use uuid::Uuid;

use super::running::{Running, SOON, Told, Way, told};
use crate::harness::eventually;

/// The gateways' words for a payment that succeeded, failed, or is still open.
fn words(way: Way) -> (&'static str, &'static str, &'static str) {
    match way {
        Way::StripeIn => ("succeeded", "requires_payment_method", "processing"),
        Way::StripeOut => ("paid", "failed", "pending"),
        Way::PaypalIn => ("COMPLETED", "DECLINED", "PENDING"),
        Way::PaypalOut => ("SUCCESS", "FAILED", "PENDING"),
        Way::BankIn | Way::BankOut => ("ACSC", "RJCT", "PDNG"),
    }
}

fn minor(ending: i64) -> i64 {
    12_000 + ending
}

/// The order of a PayPal deposit, approved; the call that moves its money is the capture.
async fn approved_order(sim: &Running, attempt: Uuid, ending: i64) -> String {
    let order = sim.pay(Way::PaypalIn, attempt, minor(ending)).await;
    sim.comes_to(Way::PaypalIn, attempt, "APPROVED").await;
    order.json()["id"].as_str().unwrap().to_owned()
}

/// The call that moves the money, ready to be sent as often as one likes.
struct MoneyCall<'a> {
    sim: &'a Running,
    way: Way,
    attempt: Uuid,
    ending: i64,
    order: Option<String>,
}

impl<'a> MoneyCall<'a> {
    async fn new(sim: &'a Running, way: Way, ending: i64) -> Self {
        let attempt = Uuid::now_v7();
        let order = if way == Way::PaypalIn { Some(approved_order(sim, attempt, ending).await) } else { None };
        Self { sim, way, attempt, ending, order }
    }

    async fn request(&self) -> RequestBuilder {
        match &self.order {
            Some(order) => self.sim.capture_request(order, self.attempt).await,
            None => self.sim.create(self.way, self.attempt, minor(self.ending)).await,
        }
    }

    async fn send(&self) -> Told {
        told(self.request().await).await
    }

    fn key(&self) -> String {
        if self.order.is_some() { Operation::Capture.key(self.attempt) } else { Operation::Create.key(self.attempt) }
    }

    /// What was logged about the calls under its key, questions left out.
    fn answers(&self) -> Vec<Answer> {
        let key = Some(self.key());
        let of_key = |entry| match entry {
            Entry::Request(request) if request.key == key && request.operation.is_some() => Some(request.answer),
            _ => None,
        };
        self.sim.log().into_iter().filter_map(of_key).collect()
    }

    fn moved(&self) -> bool {
        let log = self.sim.log();
        standings(&log).iter().any(|it| it.attempt_id == Some(self.attempt) && it.fate == Fate::Moved)
    }

    /// Sends it and hears nothing; true when the time ran out without an answer.
    async fn is_not_answered(&self) -> bool {
        let sent = self.request().await.timeout(Duration::from_secs(1)).send().await;
        sent.is_err_and(|error| error.is_timeout())
    }
}

#[tokio::test]
async fn an_ordinary_amount_succeeds() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let call = MoneyCall::new(&sim, way, 0).await;
        assert!(call.send().await.status < 300);
        sim.comes_to(way, call.attempt, words(way).0).await;
        assert!(call.moved());
    }
    sim.end().await;
}

#[tokio::test]
async fn amount_901_is_declined() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let call = MoneyCall::new(&sim, way, 901).await;
        let answer = call.send().await;
        match way {
            Way::StripeIn => {
                let error = answer.json()["error"].clone();
                assert_eq!((answer.status, error["code"].as_str()), (402, Some("card_declined")));
                assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
            }
            _ => assert!(answer.status < 300, "{way:?} {answer:?}"),
        }
        sim.comes_to(way, call.attempt, words(way).1).await;
        assert!(!call.moved());
    }
    sim.end().await;
}

#[tokio::test]
async fn amount_902_waits_for_the_customer_who_then_pays() {
    let sim = Running::start_with(|settings| settings.customer_after_ms = 200).await;
    for (way, waiting) in
        [(Way::StripeIn, "requires_action"), (Way::PaypalIn, "PAYER_ACTION_REQUIRED"), (Way::BankIn, "PDNG")]
    {
        let attempt = Uuid::now_v7();
        let answer = sim.pay(way, attempt, minor(902)).await;
        assert!(answer.body.contains(waiting), "{way:?} {answer:?}");
        let approved = if way == Way::PaypalIn { "APPROVED" } else { words(way).0 };
        sim.comes_to(way, attempt, approved).await;
    }
    sim.end().await;
}

#[tokio::test]
async fn amount_903_moves_the_money_and_is_never_answered() {
    let sim = Running::start().await;
    join_all(Way::ALL.map(async |way| {
        let call = MoneyCall::new(&sim, way, 903).await;
        assert!(call.is_not_answered().await, "{way:?}");
        sim.comes_to(way, call.attempt, words(way).0).await;
        assert!(call.moved());
        call.send().await;
        assert_eq!(call.answers(), [Answer::LostAfter, Answer::Replayed], "{way:?}");
    }))
    .await;
    sim.end().await;
}

#[tokio::test]
async fn amount_904_is_never_answered_and_does_nothing_until_it_comes_again() {
    let sim = Running::start().await;
    join_all(Way::ALL.map(async |way| {
        let call = MoneyCall::new(&sim, way, 904).await;
        assert!(call.is_not_answered().await, "{way:?}");
        assert!(!call.moved());
        assert!(call.send().await.status < 300, "{way:?}");
        sim.comes_to(way, call.attempt, words(way).0).await;
        assert_eq!(call.answers(), [Answer::LostBefore, Answer::Executed], "{way:?}");
    }))
    .await;
    sim.end().await;
}

#[tokio::test]
async fn a_call_that_is_never_answered_ends_with_its_connection() {
    let sim = Running::start_with(|settings| settings.unanswered_ms = 1).await;
    let sent = sim.create(Way::StripeIn, Uuid::now_v7(), minor(903)).await.send().await;
    assert!(sent.is_err_and(|error| !error.is_timeout()));
    sim.end().await;
}

#[tokio::test]
async fn amount_905_moves_the_money_and_answers_with_a_server_error() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let call = MoneyCall::new(&sim, way, 905).await;
        assert_eq!(call.send().await.status, 500, "{way:?}");
        sim.comes_to(way, call.attempt, words(way).0).await;
        // Stripe keeps the answer of a key, this one too; the others tell how it stands.
        let again = call.send().await.status;
        let expected = match way {
            Way::StripeIn | Way::StripeOut => 500,
            Way::PaypalOut => 400,
            _ => 200,
        };
        assert_eq!(again, expected, "{way:?}");
        assert_eq!(call.answers(), [Answer::FailedAfter, Answer::Replayed], "{way:?}");
    }
    sim.end().await;
}

#[tokio::test]
async fn amount_906_answers_with_a_server_error_and_does_nothing_until_it_comes_again() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let call = MoneyCall::new(&sim, way, 906).await;
        assert_eq!(call.send().await.status, 500, "{way:?}");
        assert!(!call.moved());
        assert!(call.send().await.status < 300, "{way:?}");
        sim.comes_to(way, call.attempt, words(way).0).await;
        assert_eq!(call.answers(), [Answer::FailedBefore, Answer::Executed], "{way:?}");
    }
    sim.end().await;
}

#[tokio::test]
async fn amount_907_is_accepted_first_and_its_callback_brings_the_result() {
    let sim = Running::start_with(|settings| settings.settle_after_ms = 300).await;
    for way in Way::ALL {
        let call = MoneyCall::new(&sim, way, 907).await;
        let answer = call.send().await;
        assert!(answer.status < 300 && answer.body.contains(words(way).2), "{way:?} {answer:?}");
        let told = if way == Way::PaypalIn { "PAYMENT.CAPTURE.COMPLETED" } else { words(way).0 };
        let who = call.attempt.simple().to_string();
        let hyphenated = call.attempt.to_string();
        let who = if matches!(way, Way::StripeIn | Way::StripeOut | Way::PaypalIn) { hyphenated } else { who };
        sim.callback(&[told, &who]).await;
        assert!(call.moved());
    }
    sim.end().await;
}

#[tokio::test]
async fn amount_908_is_told_by_asking_only() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let call = MoneyCall::new(&sim, way, 908).await;
        assert!(call.send().await.body.contains(words(way).2), "{way:?}");
        sim.comes_to(way, call.attempt, words(way).0).await;
        assert!(call.moved());
    }
    let callbacks = sim.log().into_iter().filter(|entry| matches!(entry, Entry::Callback(_))).count();
    assert_eq!((callbacks, sim.delivered().await.len()), (0, 0));
    sim.end().await;
}

#[tokio::test]
async fn amount_909_is_sent_away_twice_with_retry_after() {
    let sim = Running::start().await;
    for way in Way::ALL {
        // Each time under a new key, as a payer does who was told that nothing had happened.
        for _ in 0..2 {
            let answer = sim.create(way, Uuid::now_v7(), minor(909)).await.send().await.unwrap();
            assert_eq!(answer.status(), 429, "{way:?}");
            assert_eq!(answer.headers()["retry-after"], "1", "{way:?}");
        }
        assert!(sim.pay(way, Uuid::now_v7(), minor(909)).await.status < 300, "{way:?}");
    }
    sim.end().await;
}

#[tokio::test]
async fn a_payment_that_was_sent_away_is_remembered_as_such_over_a_restart() {
    let sim = Running::start().await;
    let attempt = Uuid::now_v7();
    assert_eq!(sim.pay(Way::StripeIn, attempt, minor(909)).await.status, 429);
    let sim = sim.killed_and_started().await;
    assert_eq!(sim.pay(Way::StripeIn, attempt, minor(909)).await.status, 429);
    assert_eq!(sim.pay(Way::StripeIn, attempt, minor(909)).await.status, 200);
    sim.end().await;
}

#[tokio::test]
async fn amount_910_is_refused_and_never_on_the_books() {
    let sim = Running::start().await;
    for way in Way::ALL {
        let attempt = Uuid::now_v7();
        for _ in 0..2 {
            let answer = sim.pay(way, attempt, minor(910)).await;
            let said = match way {
                Way::StripeIn => (400, "amount_too_large"),
                Way::StripeOut => (400, "resource_missing"),
                Way::PaypalIn => (422, "PAYEE_ACCOUNT_RESTRICTED"),
                Way::PaypalOut => (400, "VALIDATION_ERROR"),
                Way::BankIn | Way::BankOut => (500, "<Cd>AM02</Cd>"),
            };
            assert_eq!(answer.status, said.0, "{way:?} {answer:?}");
            assert!(answer.body.contains(said.1), "{way:?} {answer:?}");
        }
    }
    assert_eq!(sim.charges(), []);
    sim.end().await;
}

#[tokio::test]
async fn amount_911_delivers_the_callback_before_the_answer() {
    let sim = Running::start_with(|settings| settings.settle_after_ms = 3_600_000).await;
    for way in Way::ALL {
        let call = MoneyCall::new(&sim, way, 911).await;
        assert!(call.send().await.status < 300);
        let result = |request: &wiremock::Request| {
            let body = String::from_utf8_lossy(&request.body);
            body.contains(words(way).0)
                && (body.contains(&call.attempt.to_string()) || body.contains(&call.attempt.simple().to_string()))
        };
        assert!(sim.delivered().await.iter().any(result), "{way:?}: it is here by the time the answer is");
    }
    sim.end().await;
}

#[tokio::test]
async fn amount_912_sends_each_callback_five_times() {
    let sim = Running::start().await;
    let call = MoneyCall::new(&sim, Way::BankOut, 912).await;
    call.send().await;
    let copies = eventually("five copies", SOON, || async {
        let delivered = sim.delivered().await;
        (delivered.len() >= 5).then_some(delivered)
    })
    .await;
    assert_eq!(copies.len(), 5);
    assert!(copies.iter().all(|copy| copy.headers["webhook-id"] == copies[0].headers["webhook-id"]));
    sim.end().await;
}

#[tokio::test]
async fn amounts_913_to_917_move_the_money_once_and_lie_once_about_it() {
    let sim = Running::start().await;
    for (ending, lie) in [
        (913, Lie::Reset),
        (914, Lie::Garbage),
        (915, Lie::WrongAmount),
        (916, Lie::CallbackContradicting),
        (917, Lie::CallbackForged),
    ] {
        for way in Way::ALL {
            let call = MoneyCall::new(&sim, way, ending).await;
            let readable = match call.request().await.send().await {
                Ok(answer) => answer.bytes().await.is_ok_and(|body| std::str::from_utf8(&body).is_ok()),
                Err(_) => false,
            };
            assert_eq!(readable, lie.is_of_payment(), "{ending} {way:?}");
            sim.comes_to(way, call.attempt, words(way).0).await;
            let log = sim.log();
            let mine: Vec<_> = standings(&log).into_iter().filter(|it| it.attempt_id == Some(call.attempt)).collect();
            assert_eq!((mine.len(), mine[0].amount, mine[0].fate), (1, minor(ending), Fate::Moved), "{ending} {way:?}");
            let told: Vec<Lie> =
                sim.lied().into_iter().filter(|it| it.attempt_id == Some(call.attempt)).map(|it| it.kind).collect();
            assert_eq!(told, [lie], "{ending} {way:?}");
        }
    }
    sim.end().await;
}

#[tokio::test]
async fn the_front_page_tells_the_whole_table() {
    let sim = Running::start().await;
    let page = told(sim.http.get(&sim.base)).await;
    for row in TABLE {
        assert!(page.body.contains(&format!("…{}", row.ending)) && page.body.contains(row.name), "{}", row.name);
    }
    sim.end().await;
}
