-- Why: who may ask for payments, and the balances they may spend. A balance never goes below zero, whatever the code does.
CREATE TABLE users (
    id         uuid        CONSTRAINT users_pkey PRIMARY KEY,
    handle     text        NOT NULL CONSTRAINT users_handle_unique UNIQUE,
    country    text        NOT NULL CONSTRAINT users_country_is_iso3166 CHECK (country ~ '^[A-Z]{2}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Only a keyed hash of an API key is kept. Several may live at once, so that a key can be rotated.
CREATE TABLE api_keys (
    id           uuid        CONSTRAINT api_keys_pkey PRIMARY KEY,
    user_id      uuid        NOT NULL CONSTRAINT api_keys_user_fkey REFERENCES users,
    key_hash     bytea       NOT NULL CONSTRAINT api_keys_hash_unique UNIQUE
                             CONSTRAINT api_keys_hash_is_sha256 CHECK (octet_length(key_hash) = 32),
    shown_as     text        NOT NULL,
    rate_exempt  boolean     NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    revoked_at   timestamptz
);
CREATE INDEX api_keys_of_user ON api_keys (user_id);

-- One row per (user, currency). `available` may be spent, `held` is set aside for withdrawals under way,
-- `owed` is what the user owes after money already spent was taken back. Minor units of the currency.
CREATE TABLE accounts (
    id         bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT accounts_pkey PRIMARY KEY,
    user_id    uuid        NOT NULL CONSTRAINT accounts_user_fkey REFERENCES users,
    currency   text        NOT NULL CONSTRAINT accounts_currency_is_iso4217 CHECK (currency ~ '^[A-Z]{3}$'),
    available  bigint      NOT NULL DEFAULT 0 CONSTRAINT accounts_available_not_negative CHECK (available >= 0),
    held       bigint      NOT NULL DEFAULT 0 CONSTRAINT accounts_held_not_negative CHECK (held >= 0),
    owed       bigint      NOT NULL DEFAULT 0 CONSTRAINT accounts_owed_not_negative CHECK (owed >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT accounts_one_per_currency UNIQUE (user_id, currency)
) WITH (fillfactor = 70);

GRANT SELECT, INSERT ON users, api_keys, accounts TO payfleet_app;
GRANT UPDATE (revoked_at) ON api_keys TO payfleet_app;
GRANT UPDATE (available, held, owed) ON accounts TO payfleet_app;
