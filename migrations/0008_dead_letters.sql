-- Why: a consumed record that cannot be processed must not stop its partition, and must not vanish either.
CREATE TABLE dead_letters (
    id            uuid        CONSTRAINT dead_letters_pkey PRIMARY KEY,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    "offset"      bigint      NOT NULL,
    record_key    bytea,
    record_value  bytea,
    -- Name to text, as far as they are text: what a replay needs and a person reads.
    headers       json        NOT NULL,
    record_hash   bytea       NOT NULL CONSTRAINT dead_letters_hash_is_sha256 CHECK (octet_length(record_hash) = 32),
    reason        text        NOT NULL,
    event_hash    bytea       NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The hash belongs to it because offsets begin anew when a topic is made anew: another record in an old place is another letter.
    CONSTRAINT dead_letters_record_once UNIQUE (topic, partition, "offset", record_hash)
);

GRANT SELECT, INSERT ON dead_letters TO payfleet_app;
