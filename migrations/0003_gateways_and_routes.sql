-- Why: which gateways exist for routing, and in which order they are tried. Adapters are code; these rows are operations.
CREATE TABLE gateways (
    name       text        CONSTRAINT gateways_pkey PRIMARY KEY,
    paused     boolean     NOT NULL DEFAULT false,
    paused_at  timestamptz,
    CONSTRAINT gateways_paused_says_since_when CHECK (paused = (paused_at IS NOT NULL))
);

-- A NULL country or currency means any. The most specific group that has rows wins: (country, currency), (any, currency), default.
CREATE TABLE routes (
    id        bigint   GENERATED ALWAYS AS IDENTITY CONSTRAINT routes_pkey PRIMARY KEY,
    country   text     CONSTRAINT routes_country_is_iso3166 CHECK (country ~ '^[A-Z]{2}$'),
    currency  text     CONSTRAINT routes_currency_is_iso4217 CHECK (currency ~ '^[A-Z]{3}$'),
    priority  smallint NOT NULL CONSTRAINT routes_priority_from_one CHECK (priority >= 1),
    gateway   text     NOT NULL CONSTRAINT routes_gateway_fkey REFERENCES gateways,
    CONSTRAINT routes_country_needs_currency CHECK (country IS NULL OR currency IS NOT NULL),
    CONSTRAINT routes_one_per_priority UNIQUE NULLS NOT DISTINCT (country, currency, priority),
    CONSTRAINT routes_gateway_once UNIQUE NULLS NOT DISTINCT (country, currency, gateway)
);

GRANT SELECT, INSERT ON gateways, routes TO payfleet_app;
GRANT UPDATE (paused, paused_at) ON gateways TO payfleet_app;
GRANT UPDATE, DELETE ON routes TO payfleet_app;
