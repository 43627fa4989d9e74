//! Caches: credentials for a short while, and payments that are final.

use std::time::Duration;

use uuid::Uuid;

use super::{Away, Redis};

/// How long final payments are kept; every reading of one asks PostgreSQL for its version first, so they may be stale for ever.
const FINAL_KEPT: Duration = Duration::from_secs(60 * 60);

pub(super) fn credential(hash: &str) -> String {
    format!("credential:{hash}")
}

fn payment(id: Uuid, version: i64) -> String {
    format!("payment:{}:{version}", id.simple())
}

impl Redis {
    async fn get(&self, name: &'static str, key: String) -> Result<Option<Vec<u8>>, Away> {
        let mut manager = self.manager.clone();
        self.call(name, async move { ::redis::cmd("GET").arg(key).query_async(&mut manager).await }).await
    }

    async fn set(&self, name: &'static str, key: String, value: &[u8], kept: Duration) -> Result<(), Away> {
        let mut manager = self.manager.clone();
        let mut command = ::redis::cmd("SET");
        command.arg(key).arg(value).arg("PX").arg(kept.as_millis() as u64);
        self.call(name, async move { command.query_async(&mut manager).await }).await
    }

    pub async fn keep_credential(&self, hash: &str, value: &[u8], kept: Duration) -> Result<(), Away> {
        self.set("keep_credential", credential(hash), value, kept).await
    }

    /// To be called when a key is revoked.
    pub async fn forget_credential(&self, hash: &str) -> Result<(), Away> {
        let mut manager = self.manager.clone();
        let key = credential(hash);
        let forgetting = async move { ::redis::cmd("DEL").arg(key).query_async(&mut manager).await };
        self.call("forget_credential", forgetting).await
    }

    /// A payment as it stood at this version, as it was kept.
    pub async fn payment(&self, id: Uuid, version: i64) -> Result<Option<Vec<u8>>, Away> {
        self.get("payment", payment(id, version)).await
    }

    pub async fn keep_payment(&self, id: Uuid, version: i64, value: &[u8]) -> Result<(), Away> {
        self.set("keep_payment", payment(id, version), value, FINAL_KEPT).await
    }
}
