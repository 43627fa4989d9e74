//! The windows between two durable steps, by name: where a crash costs most, and where a process can be made to stand so that it is
//! killed exactly there. Without the feature `failpoints` there are none, and [`reached`] is ready at once.
//!
//! `PAYFLEET_FAILPOINTS="c9=delay(2s,5%);c5=delay(200ms)"` makes every 20th visit to C9 two seconds long and every one to C5 a fifth
//! of a second. `PAYFLEET_FAILPOINTS_SEED` chooses which visits. In the file named by `PAYFLEET_FAILPOINTS_LOG` each of them leaves a
//! line `c9 <process id> <visit> in` and, if the process lives to see its end, one with `out`.

#[cfg(feature = "failpoints")]
mod armed;

macro_rules! windows {
    ($($(#[$doc:meta])* $window:ident = $name:literal,)*) => {
        /// Between which two steps.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Window {
            $($(#[$doc])* $window,)*
        }

        impl Window {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$window,)*];

            /// As in `PAYFLEET_FAILPOINTS`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$window => $name,)*
                }
            }
        }
    };
}

windows! {
    /// A request is read; its statement is not sent.
    C1 = "c1",
    /// The accepting statement is sent; its reply has not come.
    C2 = "c2",
    /// A payment is committed; its 202 is not sent.
    C3 = "c3",
    /// A payment is committed and answered; neither doorbell nor cache know.
    C4 = "c4",
    /// A lane's rows are read; none is handed to the producer.
    C5 = "c5",
    /// Rows are handed to the producer; the broker has not acknowledged them.
    C6 = "c6",
    /// Rows are acknowledged; no checkpoint has passed them.
    C7 = "c7",
    /// A command is consumed; its attempt is not committed.
    C8 = "c8",
    /// An attempt is committed; nothing of its call is sent.
    C9 = "c9",
    /// A call is sent and perhaps carried out; its answer is not read.
    C10 = "c10",
    /// An answer is read; the result is not committed.
    C11 = "c11",
    /// A result is committed; the command's offset is not.
    C12 = "c12",
    /// A callback is verified; it is not stored.
    C13 = "c13",
    /// A callback is stored; its 202 is not sent.
    C14 = "c14",
    /// A callback is applied while the call that it is about is still under way.
    C15 = "c15",
    /// A due payment is claimed; what follows is not committed.
    C16 = "c16",
    /// A dead letter is stored; the record's offset is not committed.
    C17 = "c17",
    /// A slot of the ring is locked and found passed; it is not truncated.
    C18 = "c18",
}

/// Stands in the window for as long as was chosen. Never blocks a thread.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn reached(_: Window) -> std::future::Ready<()> {
    std::future::ready(())
}

/// Stands in the window for as long as was chosen. Never blocks a thread.
#[cfg(feature = "failpoints")]
pub async fn reached(window: Window) {
    armed::stand_in(window).await;
}
