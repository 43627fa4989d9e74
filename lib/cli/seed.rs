//! `payfleet seed`: gateways and routes, and users to try payfleet with.

use super::settings::{Env, Settings};
use super::{demo, migrate};
use crate::accounts::Pepper;
use crate::ingress;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("demo users have keys that everybody knows: they are refused where PAYFLEET_ENV is production")]
    DemoInProduction,
    #[error(transparent)]
    Pepper(ingress::Error),
    #[error(transparent)]
    Migrate(#[from] migrate::Error),
    #[error("PostgreSQL cannot be used: {0}")]
    Postgres(#[from] sqlx::Error),
}

/// Demo users, unless they are there.
pub async fn demo(settings: &Settings) -> Result<(), Error> {
    if settings.env == Env::Production {
        return Err(Error::DemoInProduction);
    }
    let pepper = Pepper::new(&settings.ingress.api_key_pepper).ok_or(Error::Pepper(ingress::Error::Pepper))?;
    let mut owner = migrate::owner(&settings.migrate).await?;
    demo::seed(&mut owner, &pepper).await?;
    Ok(())
}
