//! Bugs that can be planted on purpose, to see that the tests would find them. Without the feature `planted-bugs` there are none,
//! and [`is`] is a constant.
//!
//! `make planted-bugs` plants one after the other and says what finds it; `make planted-bugs bug=no-epoch-check` plants that one.

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)*) => {
        /// What can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Bug {
            $($(#[$doc])* $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug,)*];

            /// As in `PAYFLEET_PLANTED_BUG`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)*
                }
            }
        }
    };
}

bugs! {
    /// The relay looks for rows with an id above the last one it sent: late committers are skipped.
    CursorIdGreaterThanLast = "cursor-id-greater-than-last",
    /// The relay keeps its cursors in memory when it connects to Postgres again.
    CursorKeptOverReconnect = "cursor-kept-over-reconnect",
    /// Truncation looks whether every lane has passed, then locks, then truncates without looking again.
    TruncationChecksBeforeItLocks = "truncation-checks-before-it-locks",
    /// The producer goes on behind a record that was refused.
    FollowersPassARefusedRecord = "followers-pass-a-refused-record",
    /// Checkpoints are written whatever the lane's epoch has become.
    NoEpochCheck = "no-epoch-check",
    /// Progress is stored as far as rows were read, acknowledged or not.
    CheckpointBeforeAck = "checkpoint-before-ack",
}

/// Is this bug planted?
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub const fn is(_: Bug) -> bool {
    false
}

/// Is this bug planted? Read from `PAYFLEET_PLANTED_BUG` when first asked.
#[cfg(feature = "planted-bugs")]
pub fn is(bug: Bug) -> bool {
    static PLANTED: std::sync::LazyLock<Option<Bug>> = std::sync::LazyLock::new(|| {
        let name = std::env::var("PAYFLEET_PLANTED_BUG").ok().filter(|name| !name.is_empty())?;
        let known = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
        Some(known.unwrap_or_else(|| panic!("PAYFLEET_PLANTED_BUG={name}: there is no such bug")))
    });
    *PLANTED == Some(bug)
}
