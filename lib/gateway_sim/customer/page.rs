//! The HTML.

use crate::domain::money::Money;
use crate::gateway_sim::behaviour::TABLE;
use crate::gateway_sim::books::{Payment, State};
use crate::gateway_sim::house::House;
use crate::gateway_sim::vendor::Vendor;

use super::url_of;

/// Open payments that the front page shows at most.
const SHOWN: usize = 20;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #767676; --accent: #0b5fff; }
body { font: 1.05rem/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 44rem; padding: 1.5rem; }
h1 { font-size: 1.4rem; }
.amount { font-size: 2.2rem; font-weight: 700; margin: .5rem 0; }
dl { display: grid; gap: .2rem 1rem; grid-template-columns: max-content 1fr; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
form { display: inline-block; margin: 1rem 1rem 0 0; }
button { border: 2px solid var(--accent); border-radius: .4rem; cursor: pointer; font: inherit; min-height: 3rem; min-width: 9rem; }
button.approve { background: var(--accent); color: #fff; font-weight: 600; }
button.cancel { background: none; color: inherit; border-color: var(--line); }
button:focus-visible, a:focus-visible { outline: 3px solid #ffb000; outline-offset: 2px; }
table { border-collapse: collapse; } th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem; text-align: left; vertical-align: top; }
.note { border-left: .3rem solid var(--line); padding-left: .8rem; }
";

fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, letter| {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
        safe
    })
}

fn called(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Stripe => "Stripe",
        Vendor::Paypal => "PayPal",
        Vendor::Bank => "Your bank",
    }
}

/// The amount with the currency's decimals: `12.50 EUR`, `1250 JPY`.
fn shown(money: Money) -> String {
    escaped(&money.to_string())
}

/// What the customer is asked, or how it ended.
pub fn payment(house: &House, payment: &Payment) -> String {
    let merchant = escaped(&house.settings.merchant);
    let (vendor, amount) = (called(payment.vendor), shown(payment.money));
    let facts = format!(
        "<p class=\"amount\">{amount}</p>\n<dl><dt>To</dt><dd>{merchant}</dd><dt>Through</dt><dd>{vendor} (simulated)</dd>\
         <dt>Payment</dt><dd>{}</dd></dl>\n",
        escaped(&payment.reference)
    );
    let note = "<p class=\"note\">This is a simulation: no money moves anywhere.</p>\n";
    if payment.state == State::AwaitingCustomer {
        let here = format!("/customer/{}/{}", payment.vendor, escaped(&payment.reference));
        let base = escaped(&house.public_url);
        let forms = format!(
            "<form method=\"post\" action=\"{base}{here}/approve\"><button class=\"approve\">Approve {amount}</button></form>\n\
             <form method=\"post\" action=\"{base}{here}/cancel\"><button class=\"cancel\">Cancel</button></form>\n"
        );
        return whole(
            &format!("Pay {amount} to {merchant}"),
            &format!("<h1>{merchant} asks you to pay</h1>\n{facts}{forms}{note}"),
        );
    }
    let ended = match payment.state {
        State::Approved | State::Capturing | State::Pending => "You approved this payment",
        State::Succeeded => "This payment is complete",
        State::Cancelled => "You cancelled this payment",
        State::Expired => "The time to approve this payment is over",
        State::Failed => "This payment failed",
        State::Reversed => "This payment was taken back",
        State::AwaitingCustomer => "This payment waits for you",
    };
    whole(
        &format!("{ended}: {amount}"),
        &format!("<h1 role=\"status\">{ended}</h1>\n{facts}<p>You may close this page.</p>\n{note}"),
    )
}

pub fn unknown() -> String {
    whole(
        "No such payment",
        "<h1>There is no such payment here</h1>\n<p>The link may be mistyped, or belong to another simulator.</p>\n",
    )
}

/// What this server is, what the amounts mean, and who is waited for.
pub fn front(house: &House) -> String {
    let rows: String = TABLE
        .iter()
        .map(|row| {
            format!(
                "<tr><th scope=\"row\">…{}</th><td>{}</td><td>{}</td></tr>\n",
                row.ending,
                row.name,
                escaped(row.meaning)
            )
        })
        .collect();
    let waiting = waiting(house);
    whole(
        "Simulated payment gateways",
        &format!(
            "<h1>Simulated payment gateways</h1>\n\
             <p>This server stands for three payment gateways, so that payfleet can be tried without any of them. \
             It speaks their protocols under <code>/stripe</code>, <code>/paypal</code> and <code>/bank</code>.</p>\n\
             <h2>Payments that wait for their customer</h2>\n{waiting}\
             <h2>Amounts with a meaning</h2>\n\
             <p>The last three digits of an amount in minor units (12.50 EUR is 1250) choose what happens. \
             All other amounts are ordinary payments.</p>\n\
             <table><thead><tr><th scope=\"col\">Ends in</th><th scope=\"col\">Name</th><th scope=\"col\">What happens</th></tr></thead>\n\
             <tbody>\n{rows}</tbody></table>\n"
        ),
    )
}

fn waiting(house: &House) -> String {
    let books = house.books();
    let items: String = books
        .newest_waiting()
        .take(SHOWN)
        .map(|payment| {
            let (url, vendor, amount) =
                (escaped(&url_of(house, payment)), called(payment.vendor), shown(payment.money));
            format!("<li><a href=\"{url}\">{amount} through {vendor}, {}</a></li>\n", escaped(&payment.reference))
        })
        .collect();
    if items.is_empty() { "<p>None.</p>\n".to_owned() } else { format!("<ul>\n{items}</ul>\n") }
}
