//! Where the books of a running fleet are: its own, and the gateways'.

use std::path::{Path, PathBuf};

use super::stand::SIMULATOR;
use super::{FLEET, stand};
use crate::dev::secrets::Secrets;
use crate::gateway_sim::charge_log;
use crate::postgres;
use crate::service::instance::Instance;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no fleet runs here: {0} does not say where; `make run` starts one")]
    NotRunning(PathBuf),
    #[error(transparent)]
    Secrets(#[from] crate::dev::servers::Error),
}

#[derive(Clone, Debug)]
pub struct Books {
    pub postgres: postgres::Settings,
    pub charge_log: PathBuf,
}

impl Books {
    /// Of the fleet that has everything of it under `home`.
    pub fn find(home: &Path) -> Result<Self, Error> {
        let told = home.join("run").join(format!("{}.json", FLEET.name));
        let instance = Instance::read(&told);
        let port = instance.and_then(|instance| instance.ports.get("postgres").copied());
        let port = port.ok_or(Error::NotRunning(told))?;
        let password = Secrets::of(home).read("app_password")?;
        let postgres = postgres::Settings { url: stand::app_url(&password, port), ..Default::default() };
        let charge_log = charge_log::path_in(&stand::place(home).join(SIMULATOR));
        Ok(Self { postgres, charge_log })
    }
}
