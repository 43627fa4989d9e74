//! How a relay behaves.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// In logs and in the table of members.
    pub name: String,
    /// A relay that was silent for this long has lost its lanes: how long the events of a frozen one wait.
    pub lease_ms: u64,
    /// How often a relay says that it lives.
    pub heartbeat_ms: u64,
    /// How often it looks who else lives: how long the events of a killed one wait.
    pub watch_ms: u64,
    /// Rows read of one lane at a time at most.
    pub page_rows: i64,
    /// Rows of one lane that are sent and not yet acknowledged at most.
    pub flight_rows: usize,
    /// Bytes likewise, over all lanes.
    pub flight_bytes: usize,
    /// Progress is stored this often …
    pub checkpoint_ms: u64,
    /// … or after so many rows.
    pub checkpoint_rows: u64,
    /// From one look at what is new to the next: at least so long, however often somebody rings …
    pub poll_min_ms: u64,
    /// … and at most so long, if nobody does.
    pub poll_max_ms: u64,
    /// A slot of the ring is left when it has this many bytes …
    pub rotate_bytes: i64,
    /// … or has been written to for this long.
    pub rotate_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "relay".into(),
            lease_ms: 5_000,
            heartbeat_ms: 1_000,
            watch_ms: 250,
            page_rows: 1_000,
            flight_rows: 4_000,
            flight_bytes: 48 << 20,
            checkpoint_ms: 100,
            checkpoint_rows: 5_000,
            poll_min_ms: 1,
            poll_max_ms: 50,
            rotate_bytes: 256 << 20,
            rotate_ms: 600_000,
        }
    }
}
