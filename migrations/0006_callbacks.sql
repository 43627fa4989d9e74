-- Why: what a gateway told us is kept as it came (sealed), once per event, before it is answered; applying it is a later, separate commit.
CREATE TABLE callbacks (
    id             uuid        CONSTRAINT callbacks_pkey PRIMARY KEY,
    gateway        text        NOT NULL,
    event_id       text        NOT NULL,
    event_type     text        NOT NULL,
    transaction_id uuid,
    attempt_id     uuid,
    notice         jsonb       NOT NULL,
    raw_sealed     bytea       NOT NULL,
    raw_key_id     text        NOT NULL,
    state          text        NOT NULL DEFAULT 'stored' CONSTRAINT callbacks_state_known
                               CHECK (state IN ('stored', 'unmatched', 'applied', 'ignored')),
    state_reason   text,
    tries          smallint    NOT NULL DEFAULT 0,
    due_at         timestamptz,
    -- Its record on payments.callbacks: the aggregate is the callback itself, and this its only event.
    event_hash     bytea       NOT NULL,
    received_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at        timestamptz,
    CONSTRAINT callbacks_event_once UNIQUE (gateway, event_id),
    CONSTRAINT callbacks_open_has_due CHECK (state IN ('applied', 'ignored') OR due_at IS NOT NULL)
);
CREATE INDEX callbacks_due ON callbacks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX callbacks_of_transaction ON callbacks (transaction_id) WHERE transaction_id IS NOT NULL;

GRANT SELECT, INSERT ON callbacks TO payfleet_app;
GRANT UPDATE (transaction_id, attempt_id, state, state_reason, tries, due_at, done_at) ON callbacks TO payfleet_app;
