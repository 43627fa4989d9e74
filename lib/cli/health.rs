//! `payfleet health`: the question that a container's health check asks.

use std::time::Duration;

use super::processes::INGRESS;
use super::settings::Settings;

const LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{url} does not answer: {cause}")]
    Silent { url: String, cause: reqwest::Error },
    #[error("not ready: {0}")]
    NotReady(String),
}

/// Asks the admin port of this container's process, or the ingress's usual one, whether it is ready.
pub async fn health(settings: &Settings, url: Option<String>) -> Result<(), Error> {
    // It listens on all addresses or on this one.
    let chosen = settings.process.admin_listen.rsplit(':').next().filter(|port| !port.is_empty());
    let port = chosen.map_or_else(|| INGRESS.admin_port.to_string(), str::to_owned);
    let url = url.unwrap_or_else(|| format!("http://127.0.0.1:{port}/readyz"));
    let ask = async {
        let client = reqwest::Client::builder().timeout(LIMIT).no_proxy().build()?;
        let answer = client.get(&url).send().await?;
        let ready = answer.status().is_success();
        Ok((ready, answer.text().await?))
    };
    match ask.await {
        Ok((true, _)) => Ok(()),
        Ok((false, reason)) => Err(Error::NotReady(reason)),
        Err(cause) => Err(Error::Silent { url, cause }),
    }
}
