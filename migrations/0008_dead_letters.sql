-- Why: a consumed record that cannot be processed must not stop its partition, and must not vanish either.
CREATE TABLE dead_letters (
    id            uuid        CONSTRAINT dead_letters_pkey PRIMARY KEY,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    "offset"      bigint      NOT NULL,
    record_key    bytea,
    record_value  bytea,
    reason        text        NOT NULL,
    event_hash    bytea       NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT dead_letters_record_once UNIQUE (topic, partition, "offset")
);

GRANT SELECT, INSERT ON dead_letters TO payfleet_app;
