//! Bugs that can be planted on purpose, to see that the tests would find them. Without the feature `planted-bugs` there are none,
//! and [`is`] is a constant.
//!
//! `make planted-bugs` plants one after the other and says what finds it; `make planted-bugs bug=no-epoch-check` plants that one. Each
//! has its catcher: a test that must turn red while it is planted, and for the reason that is wrong. `make planted-bugs by=chaos` plants
//! those that two minutes of chaos must catch.

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal by $catcher:literal saying $words:literal $(in_chaos $violated:literal)?,)*) => {
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

            /// The test that must turn red; all tests below it if it ends with `::`.
            pub const fn catcher(self) -> &'static str {
                match self {
                    $(Self::$bug => $catcher,)*
                }
            }

            /// What the catcher must say, as a regular expression: red for another reason has caught nothing.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$bug => $words,)*
                }
            }

            /// What two minutes of chaos must find wrong, one of these between bars; None: they do not catch it.
            pub fn in_chaos(self) -> Option<&'static str> {
                match self {
                    $(Self::$bug => None$(.or(Some($violated)))?,)*
                }
            }
        }
    };
}

bugs! {
    /// The relay looks for rows with an id above the last one it sent: late committers are skipped.
    CursorIdGreaterThanLast = "cursor-id-greater-than-last" by "fleet::million::" saying "what was committed is not on the topics" in_chaos "I9 violated|I10 violated",
    /// The relay keeps its cursors in memory when it connects to Postgres again.
    CursorKeptOverReconnect = "cursor-kept-over-reconnect" by "fleet::million::" saying "what was committed is not on the topics",
    /// Truncation looks whether every lane has passed, then locks, then truncates without looking again.
    TruncationChecksBeforeItLocks = "truncation-checks-before-it-locks" by "fleet::million::" saying "what was committed is not on the topics",
    /// The producer goes on behind a record that was refused.
    FollowersPassARefusedRecord = "followers-pass-a-refused-record" by "fleet::million::" saying "events overtook each other",
    /// Checkpoints are written whatever the lane's epoch has become.
    NoEpochCheck = "no-epoch-check" by "fleet::million::" saying "a checkpoint of an old epoch after one of a newer" in_chaos "I19 violated",
    /// Progress is stored as far as rows were read, acknowledged or not.
    CheckpointBeforeAck = "checkpoint-before-ack" by "fleet::million::" saying "what was committed is not on the topics" in_chaos "I9 violated|I10 violated",
    /// An order is answered 202 before it is committed.
    AnswerBeforeCommit = "answer-before-commit" by "idempotency::faults::while_postgres_is_away_nothing_is_accepted_and_the_key_stays_free" saying "left: 202 right: 503" in_chaos "I6 violated|I17 violated",
    /// That a commit may have happened whose answer was lost is told as "nothing was done".
    DoubtToldAsRefusal = "doubt-told-as-refusal" by "ingress::locked::a_request_whose_session_was_lost_is_never_told_that_nothing_was_committed" saying "Unavailable",
    /// Another order under a key that was used is answered with the first one's payment.
    ReplayWithoutComparing = "replay-without-comparing" by "idempotency::another_order_under_the_same_key_is_refused_with_redis_or_without" saying "left: 202 right: 422" in_chaos "clients were given the payment of another order",
    /// A callback is thanked for before it is stored.
    CallbackThankedBeforeCommit = "callback-thanked-before-commit" by "callback::http::without_a_commit_there_is_no_2xx" saying "left: 202 right: 503" in_chaos "I15 violated",
    /// A callback that was signed at any time is taken.
    StaleCallbackTaken = "stale-callback-taken" by "callback::http::what_is_forged_old_or_of_the_future_is_401_and_not_stored" saying "left: 202 right: 401",
    /// Each delivery of a callback is an event of its own.
    CallbackDedupeOff = "callback-dedupe-off" by "callback::an_event_delivered_a_hundred_times_at_once_is_stored_and_enqueued_once" saying "left: 100 right: 1",
    /// A callback that comes before its payment is known is given up.
    UnmatchedCallbackDropped = "unmatched-callback-dropped" by "callback::a_callback_before_its_payment_is_known_is_kept_and_applied_later" saying "left: .ignored. right: .unmatched.",
    /// The sweep takes stored callbacks that are due and applies none.
    SweepForgetsStoredCallbacks = "sweep-forgets-stored-callbacks" by "reconciler::whole::a_stored_callback_whose_record_was_lost_is_applied_when_due" saying "waited .* for: it to be looked at",
    /// A record counts for the offset as soon as it is read.
    OffsetCommittedEarly = "offset-committed-early" by "kafka::offsets::a_consumer_killed_again_and_again_skips_no_record" saying "partition [0-9]+ is committed to",
    /// A record whose handling failed counts as done.
    FailedRecordCountsAsDone = "failed-record-counts-as-done" by "kafka::offsets::an_infrastructure_error_never_advances_the_offset_and_holds_no_other_key" saying "waited .* for: a commit up to the record",
    /// A dead record is passed without being buried.
    DeadRecordDropped = "dead-record-dropped" by "dead_letters::an_offset_passes_a_dead_record_only_when_it_is_buried" saying "left: .0, 0. right: .3, 1." in_chaos "unreadable records were never buried",
    /// Records of one key are handled at the same time.
    RecordsOfAKeyAtOnce = "records-of-a-key-at-once" by "kafka::order::the_records_of_a_key_are_handled_one_at_a_time_and_in_order" saying "two records of a key at once",
    /// A relay that has found nothing looks again only when the bell rings.
    LostDoorbellWithoutPoll = "lost-doorbell-without-poll" by "relay::delivery::a_transaction_that_commits_late_is_not_passed_over" saying "waited .* for: the outbox to be drained",
    /// A lane that is behind goes on at the next tick instead of where it stands.
    TickGap = "tick-gap" by "outbox::deltas::ticks_cut_a_backlog_into_slices_that_together_are_all_of_it" saying "left: .0, ",
    /// The gateway is called first, and the attempt put on record after.
    AttemptAfterCall = "attempt-after-call" by "worker::a_command_handled_by_many_at_once_calls_the_gateway_once" saying "left: [0-9]+ right: 1" in_chaos "I25 violated",
    /// A payment that is sent again is sent under a new key.
    NewKeyOnRetry = "new-key-on-retry" by "worker::a_worker_that_died_before_the_call_leaves_a_payment_that_is_sent_once_with_the_same_key" saying "left: .submitting. right: .succeeded." in_chaos "I25 violated|I5 violated",
    /// A command that is consumed again while its call may be under way is carried out again.
    RedeliveryWithoutAsking = "redelivery-without-asking" by "worker::a_command_consumed_again_after_its_worker_died_calls_nobody" saying "it was called blind",
    /// An answer that cannot be recorded at once is thrown away.
    AnswerDropped = "answer-dropped" by "worker::an_answer_that_cannot_be_recorded_is_kept_until_it_can_be" saying "waited .* for: refusals",
    /// Bytes of a call leave at any time, however late its worker thaws.
    NoSendBy = "no-send-by" by "gateways::timing::nothing_is_sent_over_a_kept_connection_after_send_by" saying "connection closed before message completed",
    /// A call whose answer was lost counts as never sent.
    LostTakenForNotSent = "lost-taken-for-not-sent" by "gateways::client::no_answer_in_time_is_unknown" saying "Unreachable" in_chaos "I5 violated",
    /// PayPal's amounts are read by way of floats.
    FloatRounding = "float-rounding" by "gateway::paypal::amount::tests::every_amount_is_read_to_its_last_minor_unit" saying "minor: 28, .* minor: 29, " in_chaos "I7 violated",
    /// A call that times out fails the payment.
    HoldReleasedOnTimeOut = "hold-released-on-time-out" by "worker::a_withdrawal_whose_call_times_out_keeps_its_hold_until_its_gateway_says_how_it_ended" saying "left: .*failed.* right: .*unknown" in_chaos "I5 violated",
    /// A payment whose outcome is unknown goes to the next gateway.
    FallbackAfterUnknown = "fallback-after-unknown" by "worker::an_unknown_outcome_is_asked_about_and_never_sent_elsewhere" saying "left: .created. right: .unknown." in_chaos "I5 violated",
    /// The refusal of a call that was not the only one is taken as definite.
    RefusalOfASecondCall = "refusal-of-a-second-call" by "worker::a_refusal_of_a_payment_that_was_sent_before_sends_it_nowhere_else" saying "left: .created. right: .unknown.",
    /// "No such payment" fails the payment at once.
    NotFoundTakenForFailure = "not-found-taken-for-failure" by "worker::a_worker_that_died_before_the_call_leaves_a_payment_that_is_sent_once_with_the_same_key" saying "RowNotFound" in_chaos "I5 violated",
    /// A success counts for the amount of the order, whatever the gateway says.
    AmountNotCompared = "amount-not-compared" by "endings::a_human_settles_a_wrong_amount_and_the_difference_stands_in_suspense" saying "left: .succeeded. right: .review.",
    /// A hold is released with the step that posts it. The database refuses the step by a constraint.
    HoldPostedAndReleased = "hold-posted-and-released" by "settlement::a_hold_is_posted_or_released_never_both" saying "Refused.Failed.Database" in_chaos "I5 violated|I7 violated",
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
