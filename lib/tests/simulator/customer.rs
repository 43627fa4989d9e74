//! The page behind a redirect, and customers who act by themselves.

use payfleet::gateway_sim::Customer;
use uuid::Uuid;

use super::running::{Running, Told, Way, told};

async fn with_page() -> Running {
    Running::start_with(|settings| {
        settings.customer = Customer::Page;
        settings.merchant = "Shoes & <Socks>".into();
    })
    .await
}

/// Where the gateway sends the customer of a new payment.
async fn redirect(sim: &Running, way: Way, attempt: Uuid, minor: i64) -> String {
    let answer: Told = sim.pay(way, attempt, minor).await;
    let json = answer.json();
    let url = match way {
        Way::StripeIn => &json["next_action"]["redirect_to_url"]["url"],
        _ => &json["links"].as_array().unwrap().iter().find(|link| link["rel"] == "payer-action").unwrap()["href"],
    };
    url.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_page_shows_who_is_paid_how_much_and_works_without_scripts() {
    let sim = with_page().await;
    let url = redirect(&sim, Way::PaypalIn, Uuid::now_v7(), 1_250).await;
    let answer = sim.http.get(&url).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let page = answer.text().await.unwrap();
    assert!(page.contains("12.50 EUR") && page.contains("Shoes &amp; &lt;Socks&gt;"), "{page}");
    assert!(page.contains("<html lang=\"en\">") && page.contains("<title>Pay 12.50 EUR to"));
    assert_eq!(page.matches("<form method=\"post\"").count(), 2);
    assert!(policy.contains("default-src 'none'") && !page.contains("<script"));
    sim.end().await;
}

#[tokio::test]
async fn a_customer_who_approves_is_sent_back_and_the_payment_goes_on() {
    let sim = with_page().await;
    for (way, minor, word) in [(Way::StripeIn, 1_902, "succeeded"), (Way::PaypalIn, 1_250, "APPROVED")] {
        let attempt = Uuid::now_v7();
        let url = redirect(&sim, way, attempt, minor).await;
        let answer = sim.http.post(format!("{url}/approve")).send().await.unwrap();
        assert_eq!(answer.status(), 303);
        let back = answer.headers()["location"].to_str().unwrap();
        assert!(back.starts_with("https://shop.example/back?basket=7&"), "{back}");
        let said = if way == Way::StripeIn { "redirect_status=succeeded" } else { "PayerID=" };
        assert!(back.contains(said), "{back}");
        assert_eq!(sim.stands(way, attempt).await.as_deref(), Some(word));
        assert!(told(sim.http.get(&url)).await.body.contains("role=\"status\""));
    }
    sim.end().await;
}

#[tokio::test]
async fn a_customer_who_cancels_pays_nothing_and_cannot_change_their_mind() {
    let sim = with_page().await;
    for (way, minor, word) in [(Way::StripeIn, 1_902, "requires_payment_method"), (Way::PaypalIn, 1_250, "VOIDED")] {
        let attempt = Uuid::now_v7();
        let url = redirect(&sim, way, attempt, minor).await;
        for decision in ["cancel", "approve"] {
            let answer = sim.http.post(format!("{url}/{decision}")).send().await.unwrap();
            assert_eq!(answer.status(), 303);
            assert_eq!(sim.stands(way, attempt).await.as_deref(), Some(word), "{decision}");
        }
        assert!(told(sim.http.get(&url)).await.body.contains("You cancelled this payment"));
    }
    sim.callback(&["payment_intent.payment_failed", "payment_intent_authentication_failure"]).await;
    sim.callback(&["CHECKOUT.ORDER.VOIDED"]).await;
    sim.end().await;
}

#[tokio::test]
async fn the_front_page_lists_who_is_waited_for() {
    let sim = with_page().await;
    // The bank's customer approves at their own bank: there is no redirect, only this list.
    let attempt = Uuid::now_v7();
    let answer = sim.pay(Way::BankIn, attempt, 1_902).await;
    let url = format!("{}/customer/bank/{}", sim.base, answer.element("AcctSvcrRef").unwrap());
    assert!(told(sim.http.get(&sim.base)).await.body.contains(&url));
    let after = sim.http.post(format!("{url}/approve")).send().await.unwrap();
    assert_eq!(after.headers()["location"].to_str().unwrap(), url);
    assert_eq!(sim.stands(Way::BankIn, attempt).await.as_deref(), Some("ACSC"));
    assert!(!told(sim.http.get(&sim.base)).await.body.contains(&url));
    sim.end().await;
}

#[tokio::test]
async fn nobody_finds_a_page_of_a_payment_that_is_not_there() {
    let sim = with_page().await;
    for path in ["/customer/stripe/pi_none", "/customer/nobody/x"] {
        assert_eq!(told(sim.http.get(format!("{}{path}", sim.base))).await.status, 404);
    }
    assert_eq!(told(sim.http.post(format!("{}/customer/stripe/pi_none/approve", sim.base))).await.status, 404);
    sim.end().await;
}

#[tokio::test]
async fn customers_by_themselves_approve_cancel_or_let_their_time_run_out() {
    let cases = [
        (Customer::Approve, 3_600_000, Some("APPROVED"), "succeeded", "ACSC"),
        (Customer::Cancel, 3_600_000, Some("VOIDED"), "requires_payment_method", "RJCT"),
        // PayPal forgets the order, the bank says that it has run out, Stripe goes on waiting.
        (Customer::Ignore, 0, None, "requires_action", "RJCT"),
    ];
    for (customer, customer_deadline_ms, paypal, stripe, bank) in cases {
        let sim = Running::start_with(|settings| {
            (settings.customer, settings.customer_deadline_ms) = (customer, customer_deadline_ms);
        })
        .await;
        let attempts = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
        sim.pay(Way::PaypalIn, attempts[0], 1_250).await;
        sim.pay(Way::StripeIn, attempts[1], 1_902).await;
        sim.pay(Way::BankIn, attempts[2], 1_902).await;
        sim.comes_to(Way::StripeIn, attempts[1], stripe).await;
        sim.comes_to(Way::BankIn, attempts[2], bank).await;
        match paypal {
            Some(word) => sim.comes_to(Way::PaypalIn, attempts[0], word).await,
            None => {
                crate::harness::eventually("the order to be forgotten", super::running::SOON, || async {
                    sim.stands(Way::PaypalIn, attempts[0]).await.is_none().then_some(())
                })
                .await;
            }
        }
        sim.end().await;
    }
}
