//! Gateways that are only routed to: the ingress never calls one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use payfleet::domain::destination::DestinationKind;
use payfleet::domain::ids::Kind;
use payfleet::domain::outcome::{Notice, Outcome};
use payfleet::gateway::{CallbackRefusal, Deadline, Gateway, Gateways, Payment};
use time::OffsetDateTime;

struct Silent {
    name: &'static str,
    pays_to: &'static [DestinationKind],
}

pub fn all() -> Gateways {
    let gateway = |name, pays_to| Arc::new(Silent { name, pays_to }) as Arc<dyn Gateway>;
    Gateways::new(vec![
        gateway("stripe", &[DestinationKind::Token]),
        gateway("paypal", &[DestinationKind::Email]),
        gateway("bank", &[DestinationKind::Iban, DestinationKind::AccountNumber]),
    ])
}

#[async_trait]
impl Gateway for Silent {
    fn name(&self) -> &'static str {
        self.name
    }

    fn pays_to(&self) -> &'static [DestinationKind] {
        self.pays_to
    }

    fn call_limit(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn key_lifetime(&self, _: Kind) -> Duration {
        Duration::from_secs(3_600)
    }

    async fn create(&self, _: &Payment, _: Deadline) -> Outcome {
        panic!("the ingress called a gateway")
    }

    async fn capture(&self, _: &Payment, _: Deadline) -> Outcome {
        panic!("the ingress called a gateway")
    }

    async fn ask(&self, _: &Payment, _: Deadline) -> Outcome {
        panic!("the ingress called a gateway")
    }

    fn read_callback(&self, _: &HeaderMap, _: &Bytes, _: OffsetDateTime) -> Result<Notice, CallbackRefusal> {
        Err(CallbackRefusal::BadSignature)
    }
}
