//! Simulated gateways: a server of its own that speaks the protocols of Stripe, PayPal and a bank, keeps its own books, and
//! misbehaves on demand.
//!
//! ```text
//! stripe/ paypal/ bank/   the counters: each reads its protocol and answers in it      customer/   the page behind a redirect
//!          │ Order, Capture, questions
//!        house/           one charge per key; what follows by itself (agenda)          behaviour/  what a payment meets
//!          │ lines
//!   books/ ◀─▶ charge_log/   the books are a fold of the log; the log is fsynced before anything is answered
//!          │ events
//!       callbacks/        signed, posted until answered with 2xx                       lies/  what it is told instead of the truth
//! ```
//!
//! It shares no code with the adapters that call it: what one misreads the other must not excuse.
//!
//! If it dies here: nothing was answered that is not in the log, so the next start goes on from the same books: keys are
//! honoured, pending payments finish, queued callbacks go out.

mod agenda;
mod bank;
pub mod behaviour;
mod books;
mod callbacks;
pub mod charge_log;
mod customer;
mod house;
pub mod lies;
mod line;
mod paypal;
mod server;
mod settings;
mod spoil;
mod stripe;
pub mod vendor;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::service::shutdown::vital;
pub use callbacks::BadKey;
use callbacks::Signers;
use charge_log::{BegunEntry, Entry};
use house::{House, Shared};
pub use settings::{BankSettings, CallbackSettings, Customer, PaypalSettings, Settings, StripeSettings};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("settings of the simulator: {}", .0.join("; "))]
    Settings(Vec<String>),
    #[error("{address} cannot be listened on; PAYFLEET_SIM__LISTEN chooses another")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    ChargeLog(#[from] charge_log::Error),
    #[error("callbacks cannot be sent")]
    Callbacks(#[source] reqwest::Error),
}

/// A simulator that listens, with its books read back, but serves nobody yet.
pub struct GatewaySim {
    listener: TcpListener,
    address: SocketAddr,
    house: Shared,
    log_failure: oneshot::Receiver<charge_log::Error>,
}

impl GatewaySim {
    pub async fn bind(settings: Settings) -> Result<Self, Error> {
        let mut problems = settings.problems();
        let signers = match Signers::new(&settings) {
            Ok(signers) if problems.is_empty() => signers,
            Ok(_) => return Err(Error::Settings(problems)),
            Err(bad) => {
                let told = bad.to_string();
                let named = told.split(':').next().unwrap_or_default();
                if !problems.iter().any(|problem| problem.starts_with(named)) {
                    problems.push(told);
                }
                return Err(Error::Settings(problems));
            }
        };
        let listen = |source| Error::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let opened = charge_log::ChargeLog::open(&settings.data_dir).await?;
        if opened.entries.is_empty() {
            // Should it not be written, the log says why as soon as it is served.
            opened.log.append(&[Entry::Begun(BegunEntry { at: house::now() })]).await.ok();
        }
        // Whoever installed a provider first keeps it: it is ring everywhere.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().map_err(Error::Callbacks)?;
        let public_url = match settings.public_url.trim_end_matches('/') {
            "" => format!("http://{address}"),
            given => given.to_owned(),
        };
        let house = House::new(settings, public_url, signers, http, opened.log, &opened.entries);
        Ok(Self { listener, address, house: Arc::new(house), log_failure: opened.failure })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, or until the charge log cannot be written. Dropping the future stops everything at once.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let house = self.house;
        let _gone = house.gone.clone().drop_guard();
        house.resume();
        house.tasks.spawn(vital("agenda", house.clone().keep_agenda()));
        tracing::info!(address = %self.address, "the simulated gateways are open");
        let served = tokio::select! {
            () = server::serve(self.listener, &house, &stop) => Ok(()),
            // An error of the receiver only means that the log was closed in order.
            Ok(failure) = self.log_failure => Err(Error::ChargeLog(failure)),
        };
        house.stop.cancel();
        house.tasks.close();
        house.tasks.wait().await;
        served
    }
}

/// Binds and serves.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), Error> {
    GatewaySim::bind(settings).await?.run(stop).await
}
