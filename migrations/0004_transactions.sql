-- Why: the payment itself, and every step it ever took. `transactions` is the present, `transitions` the append-only past:
-- each version has exactly one transition, and each outbox event of a payment belongs to one.
CREATE TABLE transactions (
    id                     uuid        CONSTRAINT transactions_pkey PRIMARY KEY,
    type                   text        NOT NULL CONSTRAINT transactions_type_known CHECK (type IN ('deposit', 'withdrawal')),
    user_id                uuid        NOT NULL,
    account_id             bigint      NOT NULL CONSTRAINT transactions_account_fkey REFERENCES accounts,
    amount                 bigint      NOT NULL CONSTRAINT transactions_amount_positive CHECK (amount > 0),
    currency               text        NOT NULL,
    country                text        NOT NULL,
    pinned_gateway         text,
    destination_kind       text        CONSTRAINT transactions_destination_known
                                       CHECK (destination_kind IN ('iban', 'account_number', 'email', 'token')),
    destination_last4      text,
    destination_sealed     bytea,
    destination_key_id     text,
    return_url             text,
    client_reference       text,
    metadata               json,
    -- W3C trace context of the request that made it: every record about the payment carries it, so that one trace tells its whole story.
    traceparent            text,
    -- the part that moves
    status                 text        NOT NULL CONSTRAINT transactions_status_known CHECK (status IN
                                           ('created', 'submitting', 'awaiting_gateway', 'requires_action', 'unknown',
                                            'succeeded', 'failed', 'cancelled', 'expired', 'review', 'reversed')),
    substatus              text,
    reason_code            text,
    reason_message         text,
    reason_gateway_code    text,
    gateway                text        NOT NULL,
    attempt                smallint    NOT NULL DEFAULT 0,
    round                  smallint    NOT NULL DEFAULT 0,
    next_action_url        text,
    next_action_expires_at timestamptz,
    version                bigint      NOT NULL CONSTRAINT transactions_version_from_one CHECK (version >= 1),
    last_seq               bigint      NOT NULL,
    asks                   smallint    NOT NULL DEFAULT 0,
    due_at                 timestamptz,
    submit_until           timestamptz NOT NULL,
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL,
    CONSTRAINT transactions_withdrawal_has_destination CHECK
        ((type = 'withdrawal') = (destination_sealed IS NOT NULL AND destination_kind IS NOT NULL
                                  AND destination_last4 IS NOT NULL AND destination_key_id IS NOT NULL)),
    CONSTRAINT transactions_substatus_fits CHECK (
        CASE status WHEN 'failed'   THEN substatus IN ('declined', 'rejected', 'not_executed', 'not_sent') AND substatus IS NOT NULL
                    WHEN 'reversed' THEN substatus IN ('chargeback', 'returned') AND substatus IS NOT NULL
                    ELSE substatus IS NULL END),
    -- Nothing is forgotten: whatever is not final, and not with a human, says when the fleet looks at it again.
    CONSTRAINT transactions_open_has_due CHECK
        (due_at IS NOT NULL OR status IN ('succeeded', 'failed', 'cancelled', 'expired', 'review', 'reversed')),
    CONSTRAINT transactions_action_has_url CHECK (status <> 'requires_action' OR next_action_url IS NOT NULL)
) WITH (fillfactor = 60);
CREATE INDEX transactions_due ON transactions (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX transactions_of_user ON transactions (user_id, id);

-- The Idempotency-Key and the first answer, byte for byte, in the same commit as the transaction, kept as long as it.
CREATE TABLE idempotency_keys (
    user_id        uuid     NOT NULL,
    endpoint       text     NOT NULL CONSTRAINT idempotency_keys_endpoint_known CHECK (endpoint IN ('POST /v1/deposits', 'POST /v1/withdrawals')),
    key            text     NOT NULL CONSTRAINT idempotency_keys_key_length CHECK (octet_length(key) BETWEEN 1 AND 255),
    command_hash   bytea    NOT NULL CONSTRAINT idempotency_keys_hash_is_sha256 CHECK (octet_length(command_hash) = 32),
    transaction_id uuid     NOT NULL CONSTRAINT idempotency_keys_transaction_unique UNIQUE,
    reply_status   smallint NOT NULL,
    reply_type     text     NOT NULL,
    reply_body     bytea    NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, endpoint, key)
);

-- Sums and hashes let the checker compare topics with history: event_* describes the record on payments.events,
-- command_* the one on payments.commands.<gateway>, where the step sent one.
CREATE TABLE transitions (
    transaction_id uuid        NOT NULL,
    version        bigint      NOT NULL,
    from_status    text,
    to_status      text        NOT NULL,
    to_substatus   text,
    cause          text        NOT NULL,
    actor          text        NOT NULL CONSTRAINT transitions_actor_known
                               CHECK (actor IN ('client', 'worker', 'callback', 'reconciler', 'timer', 'operator')),
    reason_code    text,
    attempt        smallint    NOT NULL,
    gateway        text        NOT NULL,
    event_seq      bigint      NOT NULL,
    event_hash     bytea       NOT NULL,
    command_seq    bigint,
    command_hash   bytea,
    command_topic  text,
    -- Tells whether a lane's cursor has passed this step's outbox rows: a command is sent again only after that.
    xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT transitions_pkey PRIMARY KEY (transaction_id, version),
    CONSTRAINT transitions_effect_once_per_cause UNIQUE (transaction_id, cause),
    CONSTRAINT transitions_command_whole CHECK (num_nulls(command_seq, command_hash, command_topic) IN (0, 3)),
    CONSTRAINT transitions_first_is_created CHECK ((version = 1) = (from_status IS NULL)),
    CONSTRAINT transitions_legal CHECK (
        CASE from_status
            WHEN 'created'          THEN to_status IN ('created', 'submitting', 'cancelled', 'failed', 'review')
            WHEN 'submitting'       THEN to_status IN ('created', 'submitting', 'awaiting_gateway', 'requires_action', 'unknown',
                                                       'succeeded', 'failed', 'review')
            WHEN 'awaiting_gateway' THEN to_status IN ('awaiting_gateway', 'requires_action', 'succeeded', 'failed', 'review')
            WHEN 'requires_action'  THEN to_status IN ('requires_action', 'submitting', 'awaiting_gateway', 'succeeded', 'failed',
                                                       'expired', 'review')
            WHEN 'unknown'          THEN to_status IN ('unknown', 'submitting', 'awaiting_gateway', 'requires_action',
                                                       'succeeded', 'failed', 'review')
            WHEN 'succeeded'        THEN to_status IN ('succeeded', 'reversed', 'review')
            WHEN 'failed'           THEN to_status IN ('failed', 'succeeded', 'review')
            WHEN 'expired'          THEN to_status IN ('expired', 'succeeded', 'review')
            WHEN 'review'           THEN to_status IN ('review', 'succeeded', 'failed', 'reversed')
            ELSE from_status IS NULL AND to_status = 'created'
        END)
);

-- One try at one gateway. Committed before the first byte goes out; its id is what every key at the gateway derives from.
CREATE TABLE attempts (
    id             uuid        CONSTRAINT attempts_pkey PRIMARY KEY,
    transaction_id uuid        NOT NULL CONSTRAINT attempts_transaction_fkey REFERENCES transactions,
    number         smallint    NOT NULL CONSTRAINT attempts_number_from_one CHECK (number >= 1),
    round          smallint    NOT NULL,
    gateway        text        NOT NULL,
    state          text        NOT NULL CONSTRAINT attempts_state_known CHECK (state IN
                                   ('open', 'accepted', 'needs_customer', 'approved', 'succeeded', 'declined', 'rejected',
                                    'unreachable', 'later', 'unknown', 'not_executed', 'expired')),
    reference      text,
    gateway_code   text,
    gateway_text   text,
    not_found      smallint    NOT NULL DEFAULT 0,
    not_found_at   timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT attempts_one_per_number UNIQUE (transaction_id, number)
) WITH (fillfactor = 70);
CREATE INDEX attempts_reference ON attempts (gateway, reference) WHERE reference IS NOT NULL;

-- One act on an attempt that may move money (create, capture, cancel). `calls` counts the times it may have been sent, take-overs
-- included; `send_by` is the last moment at which its bytes may leave.
CREATE TABLE operations (
    attempt_id uuid        NOT NULL CONSTRAINT operations_attempt_fkey REFERENCES attempts,
    kind       text        NOT NULL CONSTRAINT operations_kind_known CHECK (kind IN ('create', 'capture', 'cancel')),
    key        text        NOT NULL CONSTRAINT operations_key_unique UNIQUE,
    calls      smallint    NOT NULL CONSTRAINT operations_calls_from_one CHECK (calls >= 1),
    send_by    timestamptz NOT NULL,
    first_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    answered_at timestamptz,
    outcome    text,
    CONSTRAINT operations_pkey PRIMARY KEY (attempt_id, kind)
) WITH (fillfactor = 70);

GRANT SELECT, INSERT ON transactions, idempotency_keys, transitions, attempts, operations TO payfleet_app;
GRANT UPDATE (status, substatus, reason_code, reason_message, reason_gateway_code, gateway, attempt, round, next_action_url,
              next_action_expires_at, version, last_seq, asks, due_at, updated_at) ON transactions TO payfleet_app;
GRANT UPDATE (state, reference, gateway_code, gateway_text, not_found, not_found_at, updated_at) ON attempts TO payfleet_app;
GRANT UPDATE (calls, send_by, answered_at, outcome) ON operations TO payfleet_app;
